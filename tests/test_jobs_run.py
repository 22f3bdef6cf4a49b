"""A job at work: side by side, chained, killed, interrupted, changed; always the same bytes at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from command import ROOT, environment, synthgen
from processes import none_left, running

DATA = ("alpaca.jsonl", "sharegpt.jsonl", "samples.jsonl", "rejected.jsonl", "failures.jsonl")
FAKE_VLLM = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fake_vllm'}", "SYNTHGEN_VLLM_PYTHON": sys.executable}


class Server:
    """The fake server in a process of its own."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fake_server", *args],
            cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.base_url = self.process.stdout.readline().strip()

    def log(self) -> dict[str, Any]:
        with urlopen(self.base_url.removesuffix("/v1") + "/_log", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def asked(self) -> int:
        return int(self.log()["count"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def serving(*args: str) -> Iterator[Server]:
    server = Server(*args)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def quick() -> Iterator[Server]:
    with serving() as server:
        yield server


CHAIN = """
name: demo
seed: 5
models: {{default: {model}}}
steps:
  - {{id: en, recipe: self-instruct, lang: en, count: {count}}}
  - {{id: zh, recipe: alpaca, lang: zh, count: {count}, set: {{listed: 4}}}}
  - {{id: again, recipe: respond, input: [en, zh], set: {{k: {k}}}}}
  - id: train
    mix: {{en: 1.0, zh: 0.5, again: 30}}
    dedup: [exact, rouge]
    decontaminate: [bench.jsonl]
    export: {{alpaca: out/train.jsonl, sharegpt: out/sharegpt.jsonl}}
"""


def write(folder: Path, base_url: str, *, count: int = 20, k: int = 1, model: str = "") -> Path:
    """The job of four steps in a folder of its own."""
    folder.mkdir(exist_ok=True)
    spec = model or f"{{model: fake, base_url: '{base_url}'}}"
    (folder / "job.yaml").write_text(CHAIN.format(model=spec, count=count, k=k))
    (folder / "bench.jsonl").write_text(json.dumps({"question": "How much is twelve times eleven?"}) + "\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Everything that a job makes and that must not hang on time."""
    made = [*folder.glob("runs/*/*/*"), *folder.glob("out/*")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in made if p.name in DATA or p.parent.name == "out"}


def stored(folder: Path, step: str) -> int:
    """How many answers a step has on disk."""
    path = folder / "runs" / "demo" / step / "run.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        there = db.execute("select 1 from sqlite_master where name = 'completion'").fetchone()
        return int(db.execute("select count(*) from completion").fetchone()[0]) if there else 0


def in_all(folder: Path) -> int:
    return stored(folder, "en") + stored(folder, "zh")


@contextmanager
def start(folder: Path, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`synthgen run job.yaml` in the folder; killed at the end, if it is still there."""
    command = [sys.executable, "-m", "synthgen", "run", "job.yaml", *args]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def reference(quick: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed job makes."""
    folder = write(tmp_path_factory.mktemp("reference") / "job", quick.base_url)
    done = synthgen("run", "job.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = files(folder)
    assert found["runs/demo/en/alpaca.jsonl"].count(b"\n") == found["runs/demo/zh/alpaca.jsonl"].count(b"\n") == 20
    assert found["out/train.jsonl"].count(b"\n") >= 20
    assert len(done.stdout.splitlines()) <= 25
    return found


def test_killed_again_and_again_it_ends_in_the_same_bytes(reference: dict[str, bytes], tmp_path: Path) -> None:
    with serving("--delay", "0.05") as server:
        folder = write(tmp_path / "job", server.base_url)
        kills = 0
        while True:
            before = server.asked()
            with start(folder) as process:
                while process.poll() is None and server.asked() < before + 15:
                    time.sleep(0.01)
                time.sleep(0.02 + 0.06 * (kills % 3))  # so that some of it is answered, and lives end at many a place
                process.kill()
                _, said = process.communicate(timeout=60)
            if process.returncode != -signal.SIGKILL:
                assert process.returncode == 0, said
                break
            kills += 1
        assert kills >= 3
        assert server.log()["by_status"].keys() <= {"200"}
    assert files(folder) == reference


def test_ctrl_c_and_sigterm_stop_all_steps_and_the_same_command_continues(
    reference: dict[str, bytes], tmp_path: Path
) -> None:
    with serving("--delay", "0.3") as server:
        folder = write(tmp_path / "job", server.base_url)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            before = in_all(folder)
            with start(folder) as process:
                while not (stored(folder, "en") and stored(folder, "zh") and in_all(folder) > before):
                    assert process.poll() is None
                process.send_signal(number)
                out, said = process.communicate(timeout=60)
            assert process.returncode == code, said
            assert "next: " in out
            assert "Traceback" not in said
            for step in ("en", "zh"):
                assert (folder / "runs" / "demo" / step / "alpaca.jsonl").is_file()
        done = synthgen("run", "job.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert files(folder) == reference


def test_a_job_that_is_done_asks_nothing_and_needs_no_server(reference: dict[str, bytes], tmp_path: Path) -> None:
    with serving() as server:
        folder = write(tmp_path / "job", server.base_url)
        assert synthgen("run", "job.yaml", cwd=folder).returncode == 0
    done = synthgen("run", "job.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:5]] == ["unchanged"] * 4
    assert files(folder) == reference


def test_a_changed_step_is_redone_with_what_hangs_on_it(tmp_path: Path) -> None:
    with serving() as server:
        folder = write(tmp_path / "job", server.base_url)
        assert synthgen("run", "job.yaml", cwd=folder).returncode == 0
        before, asked = files(folder), server.asked()
        write(folder, server.base_url, k=2)
        done = synthgen("run", "job.yaml", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        steps = {one["step"]: one for one in json.loads(done.stdout.splitlines()[-1])["steps"]}
        assert {name: one["unchanged"] for name, one in steps.items()} == {
            "en": True, "zh": True, "again": False, "train": False,
        }  # fmt: skip
        assert server.asked() - asked == 40  # the second answers; the first are stored
        assert steps["again"]["accepted"] == 80
        after = files(folder)
        changed = {name.split("/")[2] for name in after if name.startswith("runs/") and after[name] != before[name]}
        assert changed == {"again", "train"}
        # and back again, from the stored answers
        write(folder, server.base_url)
        assert synthgen("run", "job.yaml", cwd=folder).returncode == 0
        assert server.asked() - asked == 40
    assert files(folder) == before


def test_a_file_that_was_deleted_is_written_again(tmp_path: Path, quick: Server) -> None:
    folder = write(tmp_path / "job", quick.base_url)
    assert synthgen("run", "job.yaml", cwd=folder).returncode == 0
    before, asked = files(folder), quick.asked()
    (folder / "runs" / "demo" / "en" / "alpaca.jsonl").unlink()
    (folder / "out" / "train.jsonl").unlink()
    assert synthgen("run", "job.yaml", cwd=folder).returncode == 0
    assert (files(folder), quick.asked()) == (before, asked)


def test_steps_that_are_ready_run_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "Name a river that crosses a border."}\n')
    with serving("--script", "echo", "--delay", "1.5") as server:
        (tmp_path / "job.yaml").write_text(
            f"models: {{default: {{base_url: '{server.base_url}'}}}}\n"
            "steps:\n"
            "- {id: a, recipe: respond, input: p.jsonl}\n"
            "- {id: b, recipe: respond, input: p.jsonl}\n"
            "- {id: c, recipe: respond, input: [a, b]}\n"
        )
        done = synthgen("run", "job.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert server.log()["most_in_flight"] == 2
        assert server.asked() == 4


def test_one_step_alone(tmp_path: Path, quick: Server) -> None:
    folder = write(tmp_path / "job", quick.base_url)
    done = synthgen("run", "job.yaml", "--only", "again", cwd=folder)
    assert done.returncode == 2
    assert "--only again: its input en is not there yet (runs/demo/en); run en first" in done.stderr
    done = synthgen("run", "job.yaml", "--only", "gain", cwd=folder)
    assert (done.returncode, "no such step; steps: en, zh, again, train" in done.stderr) == (2, True)
    for step in ("en", "zh", "again"):
        assert synthgen("run", "job.yaml", "--only", step, cwd=folder).returncode == 0
    assert sorted(p.name for p in (folder / "runs" / "demo").iterdir() if p.is_dir()) == ["again", "en", "zh"]


def test_a_second_run_of_a_live_job_says_who_holds_it(tmp_path: Path) -> None:
    with serving("--delay", "0.5") as server:
        folder = write(tmp_path / "job", server.base_url)
        with start(folder) as process:
            while server.asked() < 2:
                assert process.poll() is None
            second = synthgen("run", "job.yaml", cwd=folder)
            process.kill()
            process.communicate()
    assert second.returncode == 3
    assert f"in use by process {process.pid}" in second.stderr


def test_what_hangs_on_a_step_that_was_refused_does_not_begin_and_the_rest_goes_on(
    tmp_path: Path, quick: Server
) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "Name a river that crosses a border."}\n')
    with serving("--api-key", "secret") as closed:
        (tmp_path / "job.yaml").write_text(
            f"models: {{default: {{base_url: '{quick.base_url}'}}}}\n"
            "steps:\n"
            f"- {{id: refused, recipe: respond, input: p.jsonl, base_url: '{closed.base_url}'}}\n"
            "- {id: waits, recipe: respond, input: refused}\n"
            "- {id: other, recipe: respond, input: p.jsonl}\n"
        )
        done = synthgen("run", "job.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 4
    steps = {one["step"]: one for one in json.loads(done.stdout.splitlines()[-1])["steps"]}
    assert {name: one["exit_code"] for name, one in steps.items()} == {"refused": 4, "waits": 4, "other": 0}
    assert "error: waits: not begun, as refused ended with 4" in done.stderr
    assert not (tmp_path / "runs" / "job" / "waits").exists()


def test_what_hangs_on_a_step_with_failed_tasks_goes_on(tmp_path: Path) -> None:
    rows = [{"prompt": f"Name {n} rivers that cross a border."} for n in range(2, 8)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving("--script", "echo", "--fault", "400", "--times", "1") as server:
        (tmp_path / "job.yaml").write_text(
            f"models: {{default: {{base_url: '{server.base_url}'}}}}\n"
            "steps:\n"
            "- {id: a, recipe: respond, input: p.jsonl, concurrency: 1}\n"
            "- {id: b, mix: {a: 1.0}}\n"
            "- {id: c, mix: {a: 1.0}, count: 6}\n"
            "- {id: d, mix: {c: 1.0}}\n"
        )
        done = synthgen("run", "job.yaml", "--json", cwd=tmp_path)
    assert "b: goes on with what a has, though some of its requests failed" in done.stdout
    steps = {one["step"]: one for one in json.loads(done.stdout.splitlines()[-1])["steps"]}
    assert {name: one["exit_code"] for name, one in steps.items()} == {"a": 5, "b": 0, "c": 7, "d": 7}
    assert done.returncode == 7
    assert steps["b"]["accepted"] == 5
    assert "c: the sources are used up, 5 of 6 rows" in done.stderr


def test_servers_of_a_job_are_started_once_and_end_with_it(reference: dict[str, bytes], tmp_path: Path) -> None:
    model = str(tmp_path / "fake")
    folder = write(tmp_path / "job", "", model=f"{{serve: '{model}', replicas: 2}}")
    done = synthgen("run", "job.yaml", cwd=folder, **FAKE_VLLM)
    assert done.returncode == 0, done.stderr
    assert running(model) == {}
    logs = sorted((folder / "runs" / "demo").glob("serve-*.log"))
    assert [log.name for log in logs] == ["serve-0.log", "serve-1.log"]
    assert [log.read_text().count("INFO loading") for log in logs] == [1, 1]
    again = synthgen("run", "job.yaml", cwd=folder, **FAKE_VLLM)
    assert again.returncode == 0
    assert [log.read_text().count("INFO loading") for log in logs] == [1, 1]
    assert len(files(folder)["out/train.jsonl"]) > 0


def test_a_killed_job_leaves_no_server_and_continues(tmp_path: Path) -> None:
    made = []
    model = f"fake-{os.getpid()}"  # the same for both, and no other test run's on this machine
    for name, kills in (("whole", 0), ("killed", 1)):
        folder = write(tmp_path / name, "", model=f"{{serve: {model}, args: [--delay, '0.05']}}")
        for _ in range(kills):
            with start(folder, **FAKE_VLLM) as process:
                store = folder / "runs" / "demo" / "zh" / "run.sqlite-wal"
                while not store.exists() or store.stat().st_size < 40_000:
                    assert process.poll() is None
                    time.sleep(0.01)
                assert len(running(model)) == 3  # a supervisor, a server, its engine
                process.kill()
                process.communicate()
            assert none_left(model, 30) == {}
        done = synthgen("run", "job.yaml", cwd=folder, **FAKE_VLLM)
        assert done.returncode == 0, done.stderr
        assert running(model) == {}
        made.append(files(folder))
    assert made[0] == made[1]


def test_ctrl_c_while_a_server_starts(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", "", model=f"{{serve: '{tmp_path}/never'}}")
    with start(folder, **FAKE_VLLM) as process:
        while len(running(f"{tmp_path}/never")) < 3:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert running(f"{tmp_path}/never") == {}


def test_a_model_that_is_none_is_told_in_vllms_own_words(tmp_path: Path) -> None:
    folder = write(tmp_path / "job", "", model="{serve: no-model}")
    done = synthgen("run", "job.yaml", cwd=folder, **FAKE_VLLM)
    assert done.returncode == 4
    assert "serve no-model: vLLM ended with exit code 1; its last lines (runs/demo/serve-0.log):" in done.stderr
    assert "OSError: no-model is not a local folder" in done.stderr


def test_a_port_that_is_taken_is_told_and_the_log_of_nobody_is_touched(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        folder = write(tmp_path / "job", "", model=f"{{serve: m, args: [--port, '{port}']}}")
        done = synthgen("run", "job.yaml", cwd=folder, **FAKE_VLLM)
    assert done.returncode == 2
    assert f"serve m: port {port} cannot be used (Address already in use); leave --port out" in done.stderr
    assert list(folder.glob("runs/demo/serve*")) == []


def test_servers_that_die_end_the_steps_that_need_them(tmp_path: Path) -> None:
    model = f"{tmp_path}/fake"
    folder = write(tmp_path / "job", "", model=f"{{serve: '{model}', args: [--delay, '0.3']}}")
    with start(folder, **FAKE_VLLM) as process:
        while not (folder / "runs" / "demo" / "zh" / "run.json").exists():
            assert process.poll() is None
        (server,) = [pid for pid, line in running(model).items() if "supervisor" not in line and " -c " not in line]
        os.kill(server, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert f"serve {model}: vLLM ended with exit code 137" in said
    assert running(model) == {}


def test_one_budget_for_all_steps_interruptions_included(tmp_path: Path) -> None:
    with serving("--delay", "0.1") as server:
        folder = write(tmp_path / "job", server.base_url, count=400)
        text = (folder / "job.yaml").read_text()
        (folder / "job.yaml").write_text(text + "budget: {tokens: 60000}\n")
        with start(folder) as process:
            while not stored(folder, "en") or not stored(folder, "zh"):
                assert process.poll() is None
            process.kill()
            process.communicate()
        done = synthgen("run", "job.yaml", "--json", cwd=folder)
        assert done.returncode == 6, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        steps = {one["step"]: one for one in result["steps"]}
        assert {name: one["exit_code"] for name, one in steps.items()} == {"en": 6, "zh": 6, "again": 6, "train": 6}
        spent = sum(steps[name]["prompt_tokens"] + steps[name]["completion_tokens"] for name in ("en", "zh"))
        assert 40_000 < spent < 64_000
        assert "continuing within the budget of the interrupted command" in done.stdout
        # after an end in good order the same command has as much again
        more = synthgen("run", "job.yaml", "--json", cwd=folder)
        steps = {one["step"]: one for one in json.loads(more.stdout.splitlines()[-1])["steps"]}
        total = sum(steps[name]["prompt_tokens"] + steps[name]["completion_tokens"] for name in ("en", "zh"))
        assert more.returncode == 6
        assert 40_000 < total - spent < 64_000

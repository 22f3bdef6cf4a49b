"""`--batch vllm-file`: the live path's dataset; run here or elsewhere, killed or not, no finished file is made twice."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import vllm_server
from command import ROOT, environment
from fake_batch import serving
from test_embedded_recipes import check_dataset

from synthgen.backends import ModelSpec, open_backends
from synthgen.errors import UsageError

FILES = ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl")


@dataclass(slots=True)
class Place:
    """A folder with a runner that answers as the fake server does."""

    folder: Path
    env: dict[str, str]

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def command(self, model: str) -> list[str]:
        base = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--count", "40", "--out", "run"]
        return [*base, "--batch", "vllm-file", "--model", model]

    def finish(self, model: str, code: int = 0, **env: str) -> str:
        done = subprocess.run(
            self.command(model), env=self.env | env, cwd=self.folder, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def start(self, model: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(model), env=self.env | env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def data(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in FILES}

    def runs(self) -> list[tuple[int, int]]:
        """(process, lines) of every start of the runner."""
        log = self.folder / "runs.log"
        rows = log.read_text().split("\n")[:-1] if log.exists() else []
        return [(int(pid), int(count)) for pid, count in (row.split() for row in rows)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    runner = tmp_path / "python"
    words = [sys.executable, str(ROOT / "tests" / "fake_run_batch.py")]
    runner.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    runner.chmod(0o700)
    return Place(tmp_path, environment(SYNTHGEN_VLLM_PYTHON=str(runner), RUN_BATCH_LOG=str(tmp_path / "runs.log")))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that waited for each answer."""
    folder = tmp_path_factory.mktemp("live")
    with serving() as server:
        args = ["generate", "alpaca", "--count", "40", "--model", "fake", "--base-url", server.base_url, "--out", "run"]
        done = subprocess.run(
            [sys.executable, "-m", "synthgen", *args], env=environment(OPENAI_API_KEY="key"), cwd=folder,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: (folder / "run" / name).read_bytes() for name in FILES}


def until(done: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_run_here_it_makes_the_files_of_the_live_path(place: Place, live: dict[str, bytes]) -> None:
    said = place.finish("vllm:fake")
    assert place.data() == live
    assert [count for _, count in place.runs()] == [8]
    assert "batch-0001: 8 requests handed over" in said
    assert "batch-0001: 4 of 8 done" in said
    for name in ("batch-0001.jsonl", "batch-0001.out.jsonl", "batch-0001.log"):
        assert (place.out / name).is_file()
    place.finish("vllm:fake")
    assert len(place.runs()) == 1


def test_run_elsewhere_it_says_how_and_takes_the_answers_in(place: Place, live: dict[str, bytes]) -> None:
    said = place.finish("fake", code=7)
    assert place.runs() == []
    command = said.split("wait for `")[1].split("`")[0]
    assert command == (
        "python -m vllm.entrypoints.openai.run_batch -i run/batch-0001.jsonl -o run/batch-0001.out.jsonl --model fake"
    )
    assert place.finish("fake", code=7).count("error: ") == 1  # not yet: the same file, the same word
    assert [path.name for path in place.out.glob("batch-*")] == ["batch-0001.jsonl"]
    words = [str(place.folder / "python"), *shlex.split(command)[1:]]
    subprocess.run(words, cwd=place.folder, env=place.env, check=True)
    place.finish("fake")
    assert place.data() == live
    assert len(place.runs()) == 1


def test_killed_while_it_waits_it_takes_the_same_file_up(place: Place, live: dict[str, bytes]) -> None:
    """The runner lives on; the next command waits for it and starts no second one."""
    with place.start("vllm:fake", RUN_BATCH_SECONDS="4") as process:
        until(lambda: bool(place.runs()), process)
        process.kill()
    ((runner, _),) = place.runs()
    assert alive(runner)
    said = place.finish("vllm:fake")
    assert "batch-0001: vLLM is still at work on it, since an earlier command" in said
    assert place.data() == live
    assert len(place.runs()) == 1
    assert not alive(runner)


def test_killed_with_its_runner_it_runs_the_same_file_again(place: Place, live: dict[str, bytes]) -> None:
    with place.start("vllm:fake", RUN_BATCH_SECONDS="30") as process:
        until(lambda: bool(place.runs()), process)
        process.kill()
        os.kill(place.runs()[0][0], signal.SIGKILL)
    place.finish("vllm:fake")
    assert place.data() == live
    assert [count for _, count in place.runs()] == [8, 8]
    assert len(list(place.out.glob("batch-????.jsonl"))) == 1


def test_interrupted_it_stops_the_runner_and_says_so(place: Place, live: dict[str, bytes]) -> None:
    with place.start("vllm:fake", RUN_BATCH_SECONDS="60") as process:
        until(lambda: bool(place.runs()), process)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "batch-0001 was stopped; the same command answers it from its beginning" in said
    assert not alive(place.runs()[0][0])
    place.finish("vllm:fake")
    assert place.data() == live


def test_a_part_of_an_answer_file_is_taken_in_and_the_rest_is_asked(place: Place, live: dict[str, bytes]) -> None:
    place.finish("fake", code=7)
    given = (place.out / "batch-0001.jsonl").read_bytes()
    words = ["-m", "vllm.entrypoints.openai.run_batch", "-i", "run/batch-0001.jsonl", "-o", "whole", "--model", "fake"]
    subprocess.run([str(place.folder / "python"), *words], cwd=place.folder, env=place.env, check=True)
    whole = (place.folder / "whole").read_bytes()
    (place.out / "batch-0001.out.jsonl").write_bytes(whole[: len(whole) // 4])
    place.finish("fake", code=7)
    rest = (place.out / "batch-0002.jsonl").read_bytes()
    ids = [json.loads(row)["custom_id"] for row in given.splitlines()]
    assert [json.loads(row)["custom_id"] for row in rest.splitlines()] == ids[8 - rest.count(b"\n") :]
    assert 5 <= rest.count(b"\n") <= 7
    words[3], words[5] = "run/batch-0002.jsonl", "run/batch-0002.out.jsonl"
    subprocess.run([str(place.folder / "python"), *words], cwd=place.folder, env=place.env, check=True)
    place.finish("fake")
    assert place.data() == live


def test_a_runner_that_fails_is_told_by_its_last_line(place: Place) -> None:
    said = place.finish("vllm:fake", code=4, RUN_BATCH_FAULT="exit")
    assert "batch-0001: vLLM ended with 1: ValueError: the engine does not start (its log: run/batch-0001.log)" in said


def test_a_file_that_kills_the_runner_is_written_anew_once_it_is_deleted(place: Place, live: dict[str, bytes]) -> None:
    said = place.finish("vllm:fake", code=4, RUN_BATCH_FAULT="exit")
    assert "without run/batch-0001.jsonl the same command writes its requests anew" in said
    (place.out / "batch-0001.jsonl").unlink()
    assert "batch-0001: its file is gone; 8 requests go into a new batch" in place.finish("vllm:fake")
    assert place.data() == live


def test_lines_that_are_refused_are_failures(place: Place) -> None:
    said = place.finish("vllm:fake", code=5, RUN_BATCH_FAULT="a")  # every prompt has one
    assert "as a test wants it" in said


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ModelSpec(None, batch="vllm-file"), "no model is nothing for it"),
        (ModelSpec("openai:x", batch="vllm-file"), "openai:x is nothing for it"),
        (ModelSpec("x", ("http://h/v1",), batch="vllm-file"), "asks no server"),
        (ModelSpec("vllm:/nowhere/x", batch="vllm-file"), "no model in that folder"),
        (ModelSpec("vllm:x", batch="openai"), "vllm:x is nothing for it"),
    ],
)
def test_specifications_that_no_file_can_serve(spec: ModelSpec, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_backends(spec)


def test_a_python_that_is_not_there(place: Place) -> None:
    said = place.finish("vllm:fake", code=2, SYNTHGEN_VLLM_PYTHON="/no/python")
    assert "SYNTHGEN_VLLM_PYTHON=/no/python: no program of that name" in said


def test_the_real_runner(vllm_python: str, tmp_path: Path) -> None:
    options = "max_model_len=1024&enforce_eager=true&enable_chunked_prefill=false&max_num_batched_tokens=8192"
    model = f"vllm:{vllm_server.MODEL}?{options}&served_model_name=tiny"
    base = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--count", "10", "--out", "run"]
    env = vllm_server.environment(core=1) | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    for code in (0, 0):
        done = subprocess.run(
            [*base, "--batch", "vllm-file", "--model", model], env=env, cwd=tmp_path, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    check_dataset(tmp_path / "run", "en", 10)
    logs = list((tmp_path / "run").glob("batch-*.log"))
    assert logs
    assert "vLLM answers it" not in done.stderr  # the second time everything is there

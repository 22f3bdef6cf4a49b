"""Servers that are started are stopped, with all that they started, however their starter ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from command import ROOT, environment, synthgen
from processes import none_left, running

from synthgen.serve import Serve, Software, check_args, devices

FAKE = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'fake_vllm'}", "SYNTHGEN_VLLM_PYTHON": sys.executable}
GONE_SECONDS = 30  # the supervisor's grace is 20


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A name that no other process of the machine has in its command line."""
    return str(tmp_path / "model")


@contextmanager
def serving(model: str, cwd: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "synthgen", "serve", model, *args]
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(**FAKE), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(number)]


def test_replicas_are_printed_once_they_answer_and_stopped_by_ctrl_c(model: str, tmp_path: Path) -> None:
    with serving(model, tmp_path, "--replicas", "2") as process:
        urls = lines(process, 2)
        for url in urls:
            with urlopen(f"{url}/models", timeout=10) as answer:
                assert json.load(answer)["data"][0]["id"] == model
        assert len(set(urls)) == 2
        # this command, two supervisors, two servers and their engines
        assert len(running(model)) == 7
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert running(model) == {}
    for number in range(2):
        assert "INFO loading" in (tmp_path / "runs" / "serve" / f"serve-{number}.log").read_text()


def test_events_for_programs(model: str, tmp_path: Path) -> None:
    with serving(model, tmp_path, "--json", "--quiet") as process:
        found = json.loads(lines(process, 1)[0])
        while found["event"] == "progress":
            found = json.loads(lines(process, 1)[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert found["model"] == model
    assert len(found["base_urls"]) == 1
    assert running(model) == {}


def test_killed_starter_leaves_nothing(model: str, tmp_path: Path) -> None:
    with serving(model, tmp_path, "--replicas", "2") as process:
        lines(process, 2)
        process.kill()
        process.wait(10)
        assert none_left(model, GONE_SECONDS) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_killed_supervisor_leaves_nothing(model: str, tmp_path: Path) -> None:
    with serving(model, tmp_path) as process:
        lines(process, 1)
        (supervisor,) = [pid for pid, line in running(model).items() if "supervisor.py" in line]
        os.kill(supervisor, signal.SIGKILL)
        assert process.wait(60) == 4
        assert none_left(f"api_server --model {model}", GONE_SECONDS) == {}
        for engine in running(model):  # that of the fake takes no SIGTERM, and nobody is left to do more
            os.kill(engine, signal.SIGKILL)


def test_killed_while_it_waits_for_health(model: str, tmp_path: Path) -> None:
    with serving(f"{model}-never", tmp_path) as process:
        while len(running(model)) < 4:
            assert process.poll() is None
        process.kill()
        process.wait(10)
        assert none_left(model, GONE_SECONDS) == {}


def test_ctrl_c_before_it_is_up(model: str, tmp_path: Path) -> None:
    with serving(f"{model}-never", tmp_path) as process:
        while len(running(model)) < 4:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert running(model) == {}


def test_a_server_that_does_not_start_speaks_for_itself(tmp_path: Path) -> None:
    done = synthgen("serve", "no-model-here", cwd=tmp_path, **FAKE)
    assert done.returncode == 4
    assert "vLLM ended with exit code 1" in done.stderr
    assert "OSError: no-model-here is not a local folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_is_added_to_and_only_its_new_lines_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "runs" / "serve" / "serve-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier start\n")
    done = synthgen("serve", "no-model-here", cwd=tmp_path, **FAKE)
    assert "earlier" not in done.stderr
    assert log.read_text().startswith("of an earlier start\nINFO loading")


def test_never_healthy(model: str, tmp_path: Path) -> None:
    done = synthgen("serve", f"{model}-never", "--start-timeout", "1", cwd=tmp_path, **FAKE)
    assert done.returncode == 4
    assert "is not healthy after 1 s (--start-timeout)" in done.stderr
    assert running(model) == {}


def test_one_that_falls_is_told_and_the_last_one_ends_the_command(model: str, tmp_path: Path) -> None:
    with serving(model, tmp_path, "--replicas", "2") as process:
        lines(process, 2)
        assert process.stderr is not None
        for place, words in enumerate(("vLLM ended with exit code 137", "error:")):
            server = min(
                pid for pid, line in running(model).items() if f"-m vllm.{'entrypoints'}" in line and "-S" not in line
            )
            os.kill(server, signal.SIGKILL)
            said = process.stderr.readline()
            while words not in said:
                said = process.stderr.readline()
                assert said, "the command ended without a word"
            assert (process.poll() is None) or place
        assert process.wait(60) == 4
    assert running(model) == {}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["m", "--", "--model", "other"], "--model does not go into vLLM's arguments"),
        (["m", "--", "--port", "seventy"], "a port between 1 and 65535 is expected"),
        (["m", "--", "-tp", "two"], "--tensor-parallel-size two: a whole number of at least 1 is expected"),
        (["m", "--", "--max-model-len 4096"], "write ['--max-model-len', '4096'] instead"),
        (["m", "--replicas", "0"], "0 is not in the range"),
    ],
)
def test_wrong_arguments(args: list[str], words: str, tmp_path: Path) -> None:
    done = synthgen("serve", *args, cwd=tmp_path, **FAKE)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = synthgen("serve", "m", "--", "--port", str(port), cwd=tmp_path, **FAKE)
    assert done.returncode == 2
    assert f"port {port} cannot be used" in done.stderr


def test_no_vllm(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()  # a folder of that name is none
    done = synthgen("serve", "m", cwd=tmp_path, SYNTHGEN_VLLM_PYTHON=sys.executable)
    assert done.returncode == 2
    assert "pip install 'synthgen[vllm]'" in done.stderr
    assert "SYNTHGEN_VLLM_PYTHON" in done.stderr
    gone = synthgen("serve", "m", cwd=tmp_path, SYNTHGEN_VLLM_PYTHON="/nowhere/python")
    assert (gone.returncode, "cannot be run" in gone.stderr) == (2, True)


def test_each_replica_gets_its_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = Software("python", cpu=False), Software("python", cpu=True)
    name = "CUDA_VISIBLE_DEVICES"
    monkeypatch.setattr("synthgen.serve._gpus", lambda: ["0", "1", "2", "3"])
    assert devices(Serve("m", 2), gpu, {}) == [{name: "0,1"}, {name: "2,3"}]
    assert devices(Serve("m", 2, ("-tp", "1")), gpu, {name: "5,7"}) == [{name: "5"}, {name: "7"}]
    assert devices(Serve("m", 3, ("--tensor-parallel-size=2",)), gpu, {}) == [{}, {}, {}]
    assert devices(Serve("m", 1), gpu, {}) == [{}]
    monkeypatch.setattr("synthgen.serve._cores", lambda: ["0", "1", "2"])
    bind = "VLLM_CPU_OMP_THREADS_BIND"
    assert devices(Serve("m", 2), cpu, {}) == [{bind: "0"}, {bind: "1"}]
    assert devices(Serve("m", 4), cpu, {}) == [{bind: "0"}, {bind: "1"}, {bind: "2"}, {bind: "0"}]
    assert devices(Serve("m", 2), cpu, {bind: "all"}) == [{}, {}]


def test_arguments_that_are_fine() -> None:
    assert check_args(Serve("m", 2, ("--port=8000", "--max-model-len", "4096"))) is None

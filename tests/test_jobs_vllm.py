"""A job on a real vLLM server that it starts itself: killed in the middle, it ends in the same bytes and alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from command import environment
from processes import in_sessions, sessions
from vllm_server import FLAGS, MODEL, START_SECONDS
from vllm_server import environment as vllm_environment

JOB = """
name: demo
models:
  default: {{serve: weights-of-this-test, args: {args}}}
steps:
  - {{id: en, recipe: self-instruct, lang: en, count: 12, concurrency: 8}}
  - {{id: zh, recipe: alpaca, lang: zh, count: 12, concurrency: 8}}
  - id: clean
    mix: {{en: 1.0, zh: 0.75}}
    dedup: [exact, rouge]
    decontaminate: [bench.jsonl]
  - id: train
    mix: {{clean: 1.0}}
    export: {{alpaca: out/train.jsonl, sharegpt: out/sharegpt.jsonl}}
"""
WORD = "weights-of-this-test"  # the name of the model says whose processes these are
GONE_SECONDS = 40


def start(folder: Path, python: str) -> subprocess.Popen[str]:
    env = environment() | vllm_environment(0) | {"SYNTHGEN_VLLM_PYTHON": python}
    # vLLM is no part of this checkout, and warnings are its own affair.
    env = {name: value for name, value in env.items() if name not in ("PYTHONWARNINGS",)}
    command = [sys.executable, "-m", "synthgen", "run", "job.yaml"]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answers(folder: Path) -> int:
    """How many are stored in the second step."""
    path = folder / "runs" / "demo" / "zh" / "run.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        tables = db.execute("select 1 from sqlite_master where name = 'completion'").fetchone()
        return int(db.execute("select count(*) from completion").fetchone()[0]) if tables else 0


def made(folder: Path) -> dict[str, bytes]:
    names = ("alpaca.jsonl", "sharegpt.jsonl", "samples.jsonl", "rejected.jsonl", "failures.jsonl", "train.jsonl")
    found = [*folder.glob("runs/demo/*/*"), *folder.glob("out/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name in names}


def until(process: subprocess.Popen[str], folder: Path, stored: int | None) -> set[int]:
    """Waits until so many answers are stored, or for the end; the sessions of the servers that were there meanwhile."""
    seen: set[int] = set()
    while process.poll() is None and (stored is None or answers(folder) < stored):
        seen |= sessions(WORD)
        time.sleep(0.05)
    return seen


def gone(seen: set[int], seconds: float) -> dict[int, int]:
    """Processes of these sessions that are still there after so long."""
    ends = time.monotonic() + seconds
    while (left := in_sessions(seen)) and time.monotonic() < ends:
        time.sleep(0.1)
    return left


@pytest.mark.timeout(3 * START_SECONDS + 600)
def test_a_job_on_its_own_server_is_killed_and_ends_in_the_same_bytes(vllm_python: str, tmp_path: Path) -> None:
    for name, kills in (("whole", 0), ("killed", 1)):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copytree(MODEL, folder / WORD)
        (folder / "job.yaml").write_text(JOB.format(args=json.dumps(FLAGS)))
        (folder / "bench.jsonl").write_text(json.dumps({"question": "How much is twelve times eleven?"}) + "\n")
        for _ in range(kills):
            with start(folder, vllm_python) as process:
                seen = until(process, folder, 8)
                assert process.poll() is None, process.communicate()
                assert len(in_sessions(seen)) >= 3  # the supervisor, the API server, its engine
                process.kill()
                process.communicate()
            assert gone(seen, GONE_SECONDS) == {}
            assert not (folder / "out").exists()
        with start(folder, vllm_python) as process:
            seen = until(process, folder, None)
            out, said = process.communicate()
        assert process.returncode == 0, said
        assert len(seen) == 2
        assert gone(seen, 0) == {}
        assert [line.split()[1] for line in out.splitlines()[1:5]] == ["done"] * 4
        assert "INFO" in (folder / "runs" / "demo" / "serve-0.log").read_text()
    whole, killed = made(tmp_path / "whole"), made(tmp_path / "killed")
    assert whole["runs/demo/en/alpaca.jsonl"].count(b"\n") == whole["runs/demo/zh/alpaca.jsonl"].count(b"\n") == 12
    assert whole["out/train.jsonl"].count(b"\n") == whole["runs/demo/clean/samples.jsonl"].count(b"\n") > 12
    assert killed == whole

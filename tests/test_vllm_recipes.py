"""Both recipes in both languages on a real vLLM server; a wrong name, a long prompt, a server that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import environment, synthgen
from test_embedded_recipes import CASES, check_dataset
from test_embedded_reformulate import FILES, check_waterfall, command
from vllm_server import NAME, Server


@pytest.mark.parametrize(("recipe", "lang"), CASES)
def test_a_real_server_fills_a_dataset(recipe: str, lang: str, vllm_url: str, tmp_path: Path) -> None:
    args = ("generate", recipe, "--lang", lang, "--count", "50", "--concurrency", "16", "--out", "run")
    done = synthgen(*args, "--base-url", f"{vllm_url}/v1", cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    check_dataset(tmp_path / "run", lang, 50)
    again = synthgen(*args, "--base-url", f"{vllm_url}/v1", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout.splitlines()[-1])
    assert result["accepted"] == 50


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("pairs", "number"), [("generated", 5), ("library:2", 2)])
def test_a_real_server_rewrites_documents(lang: str, pairs: str, number: int, vllm_url: str, tmp_path: Path) -> None:
    args = (*command(lang, pairs, "run"), "--base-url", f"{vllm_url}/v1", "--concurrency", "16")
    done = synthgen(*args, cwd=tmp_path, timeout=900)
    assert done.returncode in (0, 5, 7), done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    check_waterfall(tmp_path / "run", said, number)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    again = synthgen(*args, cwd=tmp_path, timeout=900)
    assert again.returncode == done.returncode, again.stderr
    assert {name: (tmp_path / "run" / name).read_bytes() for name in FILES} == before


def test_a_wrong_model_name_is_refused_with_what_is_served(vllm_url: str, tmp_path: Path) -> None:
    done = synthgen("generate", "alpaca", "--model", "tinny", "--base-url", f"{vllm_url}/v1", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert NAME in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_prompt_longer_than_the_context_is_a_failure_row(vllm_url: str, tmp_path: Path) -> None:
    seeds = [{"id": "long", "instruction": "Say what this is about.", "input": "word " * 3000, "output": "Words."}]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(s) + "\n" for s in seeds), encoding="utf-8")
    done = synthgen(
        "generate", "alpaca", "--seeds", "seeds.jsonl", "--count", "5", "--out", "run", "--base-url", f"{vllm_url}/v1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    failures = [json.loads(line) for line in (tmp_path / "run" / "failures.jsonl").read_text().splitlines()]
    assert failures
    assert "1024" in failures[0]["error"].replace(",", "")
    assert failures[0]["attempts"] == 1


def test_a_server_that_dies_in_mid_run_loses_nothing(
    vllm_url: str, vllm_factory: Callable[..., Server], tmp_path: Path
) -> None:
    """One of two servers dies: the other takes over. Both gone would be an exit; here the run ends whole."""
    doomed = vllm_factory()
    args = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--count", "60", "--out", "run"]
    urls = ["--concurrency", "16", "--base-url", f"{vllm_url}/v1", "--base-url", f"{doomed.url}/v1"]
    process = subprocess.Popen([*args, *urls], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    assert process.poll() is None, "the run ended before the server could die"
    doomed.kill()
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    check_dataset(tmp_path / "run", "en", 60)
    assert not (tmp_path / "run" / "failures.jsonl").read_text()


def test_interrupting_a_run_on_a_real_server(vllm_url: str, tmp_path: Path) -> None:
    args = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--count", "400", "--out", "run"]
    process = subprocess.Popen(
        [*args, "--base-url", f"{vllm_url}/v1"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    time.sleep(8)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "the same command continues" in err

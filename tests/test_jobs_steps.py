"""Steps of a job beyond their undisturbed course: nothing to work on, batches, servers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import fake_batch
import pytest
from command import ROOT, environment, synthgen
from processes import none_left, running
from test_jobs_run import FAKE_VLLM, serving, start


@pytest.mark.parametrize("prompts", [5, 40])  # all of them fail; so many fail that the rest is not asked
def test_what_hangs_on_a_step_that_has_nothing_does_not_begin(prompts: int, tmp_path: Path) -> None:
    rows = [{"prompt": f"Name {n} rivers that cross a border."} for n in range(prompts)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving("--script", "echo", "--fault", "400") as server:
        (tmp_path / "job.yaml").write_text(
            f"models: {{default: {{base_url: '{server.base_url}'}}}}\n"
            "steps:\n"
            "- {id: a, recipe: respond, input: p.jsonl}\n"
            "- {id: b, mix: {a: 1.0}}\n"
            "- {id: c, recipe: respond, input: a}\n"
        )
        done = synthgen("run", "job.yaml", "--json", cwd=tmp_path)
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    assert [one["exit_code"] for one in steps] == [5, 5, 5]
    assert [one["message"] for one in steps[1:]] == ["not begun, as a ended with 5"] * 2
    assert done.returncode == 5


def test_another_place_for_the_same_model_redoes_nothing(tmp_path: Path) -> None:
    text = "models: {{default: {{model: fake, base_url: [{urls}]}}}}\nsteps: [{{id: a, recipe: alpaca, count: 5}}]\n"
    with serving() as server:
        (tmp_path / "job.yaml").write_text(text.format(urls=server.base_url))
        done = synthgen("run", "job.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "job.yaml").write_text(text.format(urls="http://127.0.0.1:9/v1, http://127.0.0.1:10/v1"))
    done = synthgen("run", "job.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"][0]["unchanged"]
    (tmp_path / "job.yaml").write_text(text.format(urls="http://127.0.0.1:9/v1").replace("fake", "other"))
    assert synthgen("run", "job.yaml", cwd=tmp_path).returncode == 4


def test_a_step_that_asks_in_batches_waits_and_goes_on_and_makes_the_rows_of_the_live_path(tmp_path: Path) -> None:
    steps = "steps:\n- {id: a, recipe: alpaca, count: 20, batch: vllm-file}\n- {id: b, mix: {a: 1.0}}\n"
    live, batch = tmp_path / "live", tmp_path / "batch"
    for folder in (live, batch):
        folder.mkdir()
    with fake_batch.serving() as server:
        text = f"name: j\nmodels: {{default: {{model: fake, base_url: '{server.base_url}'}}}}\n{steps}"
        (live / "job.yaml").write_text(text.replace(", batch: vllm-file", ""))
        done = synthgen("run", "job.yaml", cwd=live, OPENAI_API_KEY="key")
        assert done.returncode == 0, done.stderr
    (batch / "job.yaml").write_text(f"name: j\nmodels: {{default: {{model: fake}}}}\n{steps}")
    for _ in range(9):
        done = synthgen("run", "job.yaml", cwd=batch)
        if done.returncode != 7:
            break
        assert "requests wait for `python -m vllm.entrypoints.openai.run_batch" in done.stderr
        assert "b: not begun, as a ended with 7" in done.stderr
        run = batch / "runs" / "j" / "a"
        (given,) = [p for p in run.glob("batch-*[0-9].jsonl") if not p.with_suffix(".out.jsonl").exists()]
        words = [sys.executable, ROOT / "tests" / "fake_run_batch.py", "-m", "vllm.entrypoints.openai.run_batch"]
        words += ["-i", given, "-o", given.with_suffix(".out.jsonl"), "--model", "fake"]
        subprocess.run(words, env=environment(RUN_BATCH_LOG=str(tmp_path / "log")), check=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for name in ("a/alpaca.jsonl", "a/rejected.jsonl", "b/samples.jsonl"):
        assert (batch / "runs" / "j" / name).read_bytes() == (live / "runs" / "j" / name).read_bytes(), name


def test_a_second_run_while_the_first_waits_for_its_server_starts_none(tmp_path: Path) -> None:
    model = str(tmp_path / "model-never")
    (tmp_path / "job.yaml").write_text(
        f"models: {{default: {{serve: {model}}}}}\nsteps: [{{id: a, recipe: alpaca, count: 2}}]\n"
    )
    with start(tmp_path, **FAKE_VLLM) as process:
        until = time.monotonic() + 60
        while not running(f"api_server --model {model}") and time.monotonic() < until:
            time.sleep(0.05)
        before = running(model)
        assert before
        second = synthgen("run", "job.yaml", cwd=tmp_path, **FAKE_VLLM)
        assert second.returncode == 3
        assert f"runs/job: in use by process {process.pid}; wait for it" in second.stderr
        process.kill()
        process.communicate(timeout=60)
        assert none_left(model, 30) == {}

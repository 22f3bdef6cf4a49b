"""A mix without what means the same: the job's model `embedding`, its budget, its Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_embeddings
import pytest
from command import environment, synthgen
from fake_embeddings import FakeEmbeddings

TEXTS = [
    "Name three long rivers of Europe that cross a border",
    "Bake a loaf of bread without any yeast",
    "border cross a that Europe of rivers long three Name",
    "Turn the sentence into a question",
]


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeEmbeddings]:
    with fake_embeddings.serving() as server:
        yield server


@pytest.fixture
def fake(shared_fake: FakeEmbeddings) -> FakeEmbeddings:
    shared_fake.reset()
    return shared_fake


def job(folder: Path, texts: list[str], models: str, **more: str) -> Path:
    rows = [{"instruction": text, "input": "", "output": f"{n}"} for n, text in enumerate(texts)]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = "steps: [{id: train, mix: {own.jsonl: 1.0}, dedup: [semantic, exact], export: {alpaca: out.jsonl}}]\n"
    top = "".join(f"{key}: {value}\n" for key, value in more.items())
    (folder / "job.yaml").write_text(f"name: demo\n{top}{models}\n{steps}")
    return folder / "out.jsonl"


def model(fake: FakeEmbeddings, more: str = "") -> str:
    return f"models: {{embedding: {{model: fake-embed, base_url: {fake.base_url}{more}}}}}"


def outputs(path: Path) -> list[str]:
    return [json.loads(line)["output"] for line in path.read_text().splitlines()]


def test_what_means_the_same_is_left_out(fake: FakeEmbeddings, tmp_path: Path) -> None:
    out = job(tmp_path, TEXTS, model(fake))
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert outputs(out) == ["0", "1", "3"]
    (rejected,) = (tmp_path / "runs" / "demo" / "train" / "rejected.jsonl").read_text().splitlines()
    found: dict[str, Any] = json.loads(rejected)
    assert found["reason"] == "same meaning"
    assert found["detail"].startswith("1.000 cosine to own.jsonl:1: Name three long rivers")
    about = json.loads((tmp_path / "runs" / "demo" / "train" / "run.json").read_text())
    assert about["embedding"] == "fake-embed"
    assert "5 texts embedded (2 requests" in done.stderr
    requests = fake.requests
    assert synthgen("run", "job.yaml", cwd=tmp_path).returncode == 0
    assert fake.requests == requests


def test_another_model_decides_anew(fake: FakeEmbeddings, tmp_path: Path) -> None:
    job(tmp_path, TEXTS, model(fake))
    assert synthgen("run", "job.yaml", cwd=tmp_path).returncode == 0
    fake.models, fake.dimensions = ["other"], 32
    job(tmp_path, TEXTS, model(fake).replace("fake-embed", "other"))
    assert synthgen("run", "job.yaml", cwd=tmp_path).returncode == 0
    assert fake.asked[TEXTS[0]] == 2


def test_without_a_model_it_is_told_before_anything(tmp_path: Path) -> None:
    job(tmp_path, TEXTS, "")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "job.yaml:3: dedup: semantic compares embeddings; name their model: models: {embedding:" in done.stderr
    job(tmp_path, TEXTS, "models: {embedding: {model: x}}")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "models: embedding: --model x: where is it served? Give --base-url URL" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_recipes_do_not_ask_the_model_of_embeddings(fake: FakeEmbeddings, tmp_path: Path) -> None:
    job(tmp_path, TEXTS, model(fake))
    text = (tmp_path / "job.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("steps: [", "steps: [{id: a, recipe: alpaca, count: 1}, "))
    done = synthgen("run", "job.yaml", cwd=tmp_path, timeout=200)
    assert done.returncode in (0, 7), done.stderr  # by the embedded model
    assert (tmp_path / "runs" / "demo" / "a" / "run.sqlite").exists()
    assert set(fake.asked) == {*TEXTS, "embedding"}


def test_its_cost_is_the_jobs(fake: FakeEmbeddings, tmp_path: Path) -> None:
    texts = [f"{n} " + "word " * 100 for n in range(700)]
    out = job(tmp_path, texts, model(fake, ", price: {in: 1, out: 0}"), budget="{tokens: 20000}")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "of 20,000 tokens" in done.stderr
    assert not out.exists()
    assert 64 < sum(fake.asked.values()) < 400


def test_dollars_need_the_price_of_this_model_alone(fake: FakeEmbeddings, tmp_path: Path) -> None:
    texts = [f"{n} " + "word " * 100 for n in range(700)]
    job(tmp_path, texts, model(fake), budget="{usd: 0.02}")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert (done.returncode, fake.requests) == (2, 0)
    assert "budget: usd needs the price of a model" in done.stderr
    job(tmp_path, texts, model(fake, ", price: {in: 1, out: 0}"), budget="{usd: 0.02}")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "of $0.02" in done.stderr


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    out = job(tmp_path, TEXTS, "models: {embedding: {model: x, base_url: http://127.0.0.1:1/v1}}")
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 4
    assert "no server answers" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_while_the_server_thinks(fake: FakeEmbeddings, tmp_path: Path, sign: int, code: int) -> None:
    texts = [f"row {n} and {n * n} of many" for n in range(1200)]
    out = job(tmp_path, texts, model(fake))
    fake.hangs_after = 20
    started = subprocess.Popen(
        [sys.executable, "-m", "synthgen", "run", "job.yaml"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert fake.hanging.wait(60)
    started.send_signal(sign)
    _, said = started.communicate(timeout=60)
    assert started.returncode == code, said
    assert "Traceback" not in said
    assert not out.exists()
    fake.hangs_after = None
    done = synthgen("run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert outputs(out)
    assert sum(fake.asked.values()) <= 1201 + 512  # less what was in flight when it died

"""`synthgen dedup --method semantic`: what means the same is dropped, nothing is paid for twice, no model is no verdict."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import fake_embeddings
import numpy as np
import pytest
from command import environment, synthgen, write_rows
from fake_embeddings import FakeEmbeddings, vector

from synthgen.backends import ModelSpec
from synthgen.cli.embedding import foretell
from synthgen.embedding import Embedding, EmbeddingWish

ROWS = [
    {"instruction": "Name three long rivers of Europe that cross a border", "output": "Rhine, Danube, Oder"},
    {"instruction": "Bake a loaf of bread without any yeast", "output": "Use soda."},
    {"instruction": "border cross a that Europe of rivers long three Name", "output": "Rhine, Danube, Elbe"},
    {"instruction": "  ", "output": "nothing was asked"},
    {"instruction": "Bake a loaf of bread without any yeast", "output": "Use soda."},
    {"instruction": "word " * 300, "output": "longer than the model reads"},
    {"instruction": "word " * 300, "output": "and once more"},
]


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeEmbeddings]:
    with fake_embeddings.serving() as server:
        yield server


@pytest.fixture
def fake(shared_fake: FakeEmbeddings) -> FakeEmbeddings:
    shared_fake.reset()
    return shared_fake


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def model(fake: FakeEmbeddings) -> tuple[str, ...]:
    return ("--embedding-model", "fake-embed", "--embedding-base-url", fake.base_url)


def test_what_means_the_same_is_dropped_with_evidence(fake: FakeEmbeddings, tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    command = ("dedup", source, "-o", out, "--method", "semantic,exact", *model(fake))
    done = synthgen(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read(out) == [ROWS[n] for n in (0, 1, 3, 5)]
    found = read(tmp_path / "duplicates.jsonl")
    assert [(one["row"].rpartition(":")[2], one["level"]) for one in found] == [
        ("3", "semantic"), ("5", "exact"), ("7", "exact"),
    ]  # fmt: skip
    assert found[0]["score"] > 0.9999
    assert found[0]["nearest"].endswith("a.jsonl:1")
    assert found[0]["nearest_text"] == ROWS[0]["instruction"]
    assert "semantic: fake-embed, cosine of at least 0.9" in done.stdout
    assert "1 text has no embedding and took no part in semantic, the first: word word" in done.stderr
    assert "note: 4 texts embedded (" in done.stderr, done.stderr
    assert (tmp_path / ".synthgen" / ".gitignore").read_text() == "*\n"

    requests = fake.requests
    again = synthgen(*command, "--threshold", "0.2", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout.splitlines()[-1])
    assert result["semantic"] == {
        "model": "fake-embed", "dimensions": 64, "threshold": 0.2, "embedded": 0, "requests": 0, "tokens": 0,
        "usd": None, "stored_before": 3, "refused": 1, "store": ".synthgen/embeddings.sqlite",
    }  # fmt: skip
    assert set(fake.asked.values()) == {1}
    assert fake.requests - requests == 1  # only what was refused


def test_it_keeps_what_brute_force_keeps(fake: FakeEmbeddings, tmp_path: Path) -> None:
    rng = Random(4)
    words = [f"word{n}" for n in range(400)]
    texts: list[str] = []
    for _ in range(1500):  # three windows
        if texts and rng.random() < 0.4:
            edited = rng.choice(texts).split()
            for _ in range(rng.randrange(3)):
                edited[rng.randrange(len(edited))] = rng.choice(words)
            texts.append(" ".join(edited))
        else:
            texts.append(" ".join(rng.choices(words, k=12)))
    source = write_rows(tmp_path / "a.jsonl", [{"instruction": text, "output": str(n)} for n, text in enumerate(texts)])
    done = synthgen("dedup", source, "-o", "b.jsonl", "--method", "semantic", *model(fake), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = np.stack([vector(text) for text in texts]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept: list[int] = []
    for n in range(len(rows)):
        same_task = any(texts[n] == texts[k] for k in kept)  # the cosine is 1 then, whatever its last bits
        if not same_task and not (kept and (rows[kept] @ rows[n]).max() >= 0.9):
            kept.append(n)
    assert [int(row["output"]) for row in read(tmp_path / "b.jsonl")] == kept
    assert 600 < len(kept) < 1300


def test_without_a_model_it_is_not_run(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    done = synthgen("dedup", source, "-o", "b.jsonl", "--method", "exact,semantic", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: semantic: not run: it compares embeddings, and no model that makes them")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]
    done = synthgen("dedup", source, "-o", "b.jsonl", "--embedding-model", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "--embedding-model is for the method semantic; add that to --method, or leave it out" in done.stderr
    done = synthgen("dedup", source, "-o", "b.jsonl", "--budget", "usd=1", cwd=tmp_path)
    assert done.returncode == 2
    assert "--budget is for the method semantic" in done.stderr
    done = synthgen("dedup", source, "--method", "semantic", "--embedding-model", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "--embedding-model x: where is it served? Give --embedding-base-url URL" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_the_environment_names_the_server_and_the_key(fake: FakeEmbeddings, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    env = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "sk-from-env", "MY_KEY": "sk-mine"}
    words = ("dedup", source, "-o", "b.jsonl", "--method", "semantic", "--embedding-model", "fake-embed")
    assert synthgen(*words, cwd=tmp_path, **env).returncode == 0
    assert fake.headers[0]["Authorization"] == "Bearer sk-from-env"
    fake.reset()
    (tmp_path / ".synthgen" / "embeddings.sqlite").unlink()
    assert synthgen(*words, "--api-key-env", "MY_KEY", cwd=tmp_path, **env).returncode == 0
    assert fake.headers[0]["Authorization"] == "Bearer sk-mine"


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    nobody = ("--embedding-model", "x", "--embedding-base-url", "http://127.0.0.1:1/v1")
    done = synthgen("dedup", source, "-o", "b.jsonl", "--method", "semantic", *nobody, cwd=tmp_path)
    assert done.returncode == 4
    assert "correct --embedding-base-url" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "b.jsonl").exists()


def test_hours_are_foretold(fake: FakeEmbeddings, tmp_path: Path) -> None:
    wish = EmbeddingWish(ModelSpec("fake-embed", (fake.base_url,), embeds=True), tmp_path / "e.sqlite")
    said: list[str] = []
    with Embedding(wish, said.append) as embedding:
        foretell(embedding, 10_000, said.append)
        assert (said, fake.requests) == ([], 0)
        foretell(embedding, 30_000_000, said.append)
    assert len(said) == 1
    assert re.fullmatch(
        r"semantic compares each of 30,000,000 rows with all that are kept: up to [\d.]+ hours and 7\.2 GiB here, "
        "less where other methods before it drop rows",
        said[0],
    )


def test_a_budget(fake: FakeEmbeddings, tmp_path: Path) -> None:
    rows = [{"instruction": f"{n} " + "word " * 100, "output": "x"} for n in range(800)]
    source = write_rows(tmp_path / "a.jsonl", rows)
    words = ("dedup", source, "-o", "b.jsonl", "--method", "semantic", "--threshold", "1", *model(fake))
    money = ("--price", "in=1,out=0", "--budget", "usd=0.02")
    done = synthgen(*words, *money, cwd=tmp_path)
    assert done.returncode == 6
    assert "stopped by the budget: $0.0" in done.stderr
    assert "of $0.02; the same command goes on" in done.stderr
    assert not (tmp_path / "b.jsonl").exists()
    assert 64 < sum(fake.asked.values()) < 400
    done = synthgen(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(fake.asked.values()) == {1}
    assert len(read(tmp_path / "b.jsonl")) == 800


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_paid_outlives_the_command(fake: FakeEmbeddings, tmp_path: Path, sign: int, code: int) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"instruction": f"row {n} of many", "output": "x"} for n in range(1500)])
    words = ("dedup", str(source), "-o", "b.jsonl", "--method", "semantic", "--threshold", "1", *model(fake))
    fake.hangs_after = 20  # in the second window
    started = subprocess.Popen(
        [sys.executable, "-m", "synthgen", *words], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert fake.hanging.wait(60)
    started.send_signal(sign)
    _, said = started.communicate(timeout=60)
    assert started.returncode == code, said
    assert not (tmp_path / "b.jsonl").exists()
    if sign != signal.SIGKILL:
        assert "texts embedded (" in said
        assert said.rstrip().endswith("nothing was written")
    fake.hangs_after = None
    done = synthgen(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "b.jsonl")) == 1500
    answered = [times for text, times in fake.asked.items() if text != "embedding"]
    assert len(answered) == 1500
    assert sum(answered) <= 1500 + 512  # less what was in flight when it died

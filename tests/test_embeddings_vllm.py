"""The same on a real server of embeddings: vectors that mean something, and a file without its rephrased rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import synthgen
from vllm_server import CONTEXT_TOKENS, NAME, serving

from synthgen.backends import ModelSpec
from synthgen.dedup.semantic import Semantic
from synthgen.embedding import Embedding, EmbeddingWish
from synthgen.errors import NotAllowed

POOLING = ("--runner", "pooling", "--convert", "embed")
TEXTS = [
    "Give three tips for staying healthy.",
    "Give three tips to stay healthy.",
    "Describe the structure of an atom.",
    "Write a poem about the sea.",
    "给出三个保持健康的建议。",
]


@pytest.fixture(scope="module")
def pooling_url(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(vllm_python, tmp_path_factory.mktemp("vllm") / "pooling.log", *POOLING, core=1) as server:
        yield f"{server.url}/v1"


def wish(url: str, folder: Path, name: str | None = NAME) -> EmbeddingWish:
    return EmbeddingWish(ModelSpec(name, (url,), embeds=True), folder / "embeddings.sqlite")


def test_vectors_of_a_real_model(pooling_url: str, tmp_path: Path) -> None:
    many = [f"{text} ({n})" for n in range(60) for text in TEXTS]
    with Embedding(wish(pooling_url, tmp_path, None), print) as embedding:
        rows = embedding([*TEXTS, *many, "word " * 2 * CONTEXT_TOKENS, ""])
        assert embedding.embedder.model == NAME
        assert embedding.embedder.paid.refused == 1
        assert "maximum context length" in embedding.embedder.paid.first_refused
        assert embedding.embedder.paid.tokens > len(many) * 5
    assert rows.shape[1] == 192
    assert not rows[-2:].any()
    units = rows[:5] / np.linalg.norm(rows[:5], axis=1, keepdims=True)
    cosines = units @ units.T
    assert cosines[0, 1] > 0.9 > max(cosines[0, 2], cosines[0, 3])
    with Embedding(wish(pooling_url, tmp_path), print) as embedding:
        level = Semantic(embedding)
        for n, text in enumerate(TEXTS[:1] + TEXTS[2:]):
            level.add(str(n), text)
        found = level.nearest_many(TEXTS)
        assert [near and near.id for near in found] == ["0", "0", "1", "2", "3"]
        assert [near.score == 1.0 for near in found if near] == [True, False, True, True, True]
        assert embedding.embedder.paid.requests == 0  # all of it was stored


def test_a_server_that_writes_makes_no_embeddings(vllm_url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(NotAllowed, match="makes no embeddings"),
        Embedding(wish(vllm_url + "/v1", tmp_path), print) as e,
    ):
        e(TEXTS)


def test_a_file_without_its_rephrased_rows(pooling_url: str, tmp_path: Path) -> None:
    rows = [{"instruction": text, "output": str(n)} for n, text in enumerate([*TEXTS, TEXTS[3]])]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--embedding-model", NAME, "--embedding-base-url", pooling_url)
    done = synthgen("dedup", "a.jsonl", "-o", "b.jsonl", "--method", "semantic", *where, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = [json.loads(line)["output"] for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert kept == ["0", "2", "3", "4"]
    assert f"semantic: {NAME}, cosine of at least 0.9" in done.stdout
    evidence = [json.loads(line) for line in (tmp_path / "duplicates.jsonl").read_text().splitlines()]
    assert [(one["row"], one["nearest"], one["level"]) for one in evidence] == [
        ("a.jsonl:2", "a.jsonl:1", "semantic"),
        ("a.jsonl:6", "a.jsonl:4", "semantic"),
    ]
    assert 0.9 <= evidence[0]["score"] < evidence[1]["score"] == 1

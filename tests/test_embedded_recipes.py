"""Both recipes in both languages on the embedded model, from the command line to the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from brute import pairs_too_near, rows
from command import synthgen

from synthgen.data import folder
from synthgen.filters import reason
from synthgen.formats import read_samples
from synthgen.seeds import read_seeds

CASES = [(recipe, lang) for recipe in ("alpaca", "self-instruct") for lang in ("en", "zh")]


def check_dataset(run: Path, lang: str, count: int) -> None:
    """Exactly `count` rows in each file; none unfit, none too near to another or to a seed."""
    alpaca, sharegpt = rows(run / "alpaca.jsonl"), rows(run / "sharegpt.jsonl")
    assert len(alpaca) == len(sharegpt) == count
    instructions = [r["instruction"] for r in alpaca]
    seeds = [s.fields["instruction"] for s in read_seeds([folder("seeds") / lang])]
    near = [pair for pair in pairs_too_near(seeds + instructions) if pair[0] in instructions]
    assert not near
    for sample in read_samples(run / "alpaca.jsonl"):
        assert reason(sample, lang) is None


@pytest.mark.parametrize(("recipe", "lang"), CASES)
def test_the_embedded_model_fills_a_dataset(recipe: str, lang: str, tmp_path: Path) -> None:
    done = synthgen("generate", recipe, "--lang", lang, "--count", "50", "--out", "run", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "embedded model" in done.stderr
    assert "accepted" in done.stdout
    assert len(done.stdout.splitlines()) <= 25
    check_dataset(tmp_path / "run", lang, 50)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, concurrency in (("a", "1"), ("b", "64")):
        done = synthgen("generate", "alpaca", "--count", "8", "--out", name, "--concurrency", concurrency, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for file in ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()

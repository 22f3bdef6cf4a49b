"""Documents for other readers on the embedded model: every chunk has its rows, and every row its reason and its place."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, lines, result, synthgen

DOCUMENTS = {"en": ("glass.txt", "lighthouses.txt"), "zh": ("tofu.md", "bridges.txt")}
FILES = ("text.jsonl", "rejected.jsonl", "failures.jsonl")


def documents(lang: str) -> list[Path]:
    return [ROOT / "examples" / "documents" / lang / name for name in DOCUMENTS[lang]]


def check_waterfall(run: Path, said: dict[str, Any], pairs: int) -> None:
    """To the last unit: a chunk gave as many rows as there were pairs, or one that says why it has none."""
    rejected = [json.loads(line) for line in lines(run / "rejected.jsonl")]
    failures = [json.loads(line) for line in lines(run / "failures.jsonl")]
    accepted = lines(run / "text.jsonl")
    assert said["accepted"] == len(accepted)
    assert said["rejected"] == Counter(row["reason"] for row in rejected)
    assert said["candidates"] == len(accepted) + len(rejected)
    assert said["failed"] == len(failures)
    rows: dict[str, list[str]] = defaultdict(list)
    for row in rejected:
        rows[row["task"]].append(row["reason"])
        source = row["sample"]["meta"]["source"]
        start, end = source["span"]
        assert end - start == len(source["text"])
        assert row["reason"] == "pairs" or row["sample"]["meta"]["genre"]
    for row in (json.loads(line) for line in lines(run / "samples.jsonl")):
        rows[row["meta"]["id"].rpartition(".")[0]].append("accepted")
        assert {"score", "scores", "genre", "audience", "strictness", "coverage", "overlap", "tokens"} <= row[
            "meta"
        ].keys()
    for row in failures:
        rows[row["task"]].append("failure")
    for task, found in rows.items():
        assert len(found) == pairs or found in (["pairs"], ["failure"]), (task, found)
    assert {task.rpartition("/")[0] for task in rows} == {
        row["meta"]["source"]["document"] for row in _samples(rejected, run)
    }


def _samples(rejected: list[dict[str, Any]], run: Path) -> list[dict[str, Any]]:
    return [row["sample"] for row in rejected] + [json.loads(line) for line in lines(run / "samples.jsonl")]


def command(lang: str, pairs: str, out: str, *more: str) -> tuple[str | Path, ...]:
    given = [word for path in documents(lang) for word in ("--documents", path)]
    return (
        "generate", "reformulate", *given, "--lang", lang, "--out", out, "--set", f"pairs={pairs}", "--set", "coverage=0",
        "--format", "text,samples", "--json", *more,
    )  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("pairs", "number"), [("generated", 5), ("library:2", 2)])
def test_every_chunk_of_a_document_has_its_rows(lang: str, pairs: str, number: int, tmp_path: Path) -> None:
    done = synthgen(*command(lang, pairs, "run"), cwd=tmp_path, timeout=600)
    assert done.returncode in (0, 5, 7), done.stderr  # the embedded model seldom writes what is asked for
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    check_waterfall(tmp_path / "run", said, number)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    again = result(
        synthgen(*command(lang, pairs, "run", "--concurrency", "1"), cwd=tmp_path, timeout=600), done.returncode
    )
    assert again["accepted"] == said["accepted"]
    assert {name: (tmp_path / "run" / name).read_bytes() for name in FILES} == before

"""Each container of each format gives back what was put in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_formats import ALL, LONG, PLAIN, SPLIT

from synthgen.formats import formats, open_format, read_samples
from synthgen.formats.write import write_samples
from synthgen.rows import read_rows

SAMPLES = [*ALL, LONG, PLAIN, SPLIT]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row.fields for row in read_rows(path)]


@pytest.mark.parametrize("name", list(formats()))
def test_parquet_gives_back_the_rows_and_the_samples(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    member = open_format(name)
    lines = write_samples(SAMPLES, member, tmp_path / "a.json")
    table = write_samples(SAMPLES, member, tmp_path / "a.parquet")
    assert (table.rows, table.columns, table.lost) == (lines.rows, lines.columns, lines.lost)
    assert rows_of(table.path) == rows_of(lines.path)
    assert list(read_samples(table.path, name)) == list(read_samples(lines.path, name))


@pytest.mark.parametrize(
    "name", [name for name in formats() if name not in ("samples", "fastchat", "mt-bench", "seed-tasks")]
)
def test_csv_gives_back_the_samples(tmp_path: Path, name: str) -> None:
    member = open_format(name)
    lines = write_samples(SAMPLES, member, tmp_path / "a.jsonl")
    table = write_samples(SAMPLES, member, tmp_path / "a.csv")
    assert (table.rows, table.columns, table.lost) == (lines.rows, lines.columns, lines.lost)
    assert list(read_samples(table.path)) == list(read_samples(lines.path))

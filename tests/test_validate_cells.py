"""CSV: what `validate` says the loaders see is what `datasets` makes of the same file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import lines, synthgen

from synthgen.rows import Row, scan_rows
from synthgen.validating.cells import Cells
from synthgen.validating.checking import Check, Finding
from synthgen.validating.repairing import Repairing

FILES = {
    "numbers": "instruction,input,output\n1+1,,2\n2+2,,4\n",
    "numbers and a word": "instruction,input,output\n1+1,,2\n2+2,,x\n",
    "words for null": "instruction,input,output\na,,NA\nb,,None\nc,,x\n",
    "true and false": "prompt,completion,label\na,b,TRUE\nc,d,false\n",
    "numbers and true": "prompt,completion,label\na,b,1\nc,d,TRUE\n",
    "a label that is missing": "prompt,completion,label\na,b,1\nc,d,\n",
    "fractions": "prompt,completion\na, 12 \nc,1e5\n",
    "in quotes": 'prompt,completion\na,"12"\nc,"13"\n',
    "thousands": 'prompt,completion\na,"1,000"\nc,13\n',
    "not finite": "prompt,completion\na,inf\nc,12345678901234567890123\n",
    "of other sorts": "prompt,completion\na,0x1\nc,+1\n",
    "underscores": "prompt,completion\na,007\nc,1_000\n",
    "zeros": "prompt,completion\na,007\nc,-1\n",
}


@pytest.mark.parametrize("name", FILES)
def test_cells_are_what_datasets_makes_of_them(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "a.csv"
    path.write_text(FILES[name])
    loaded = datasets.load_dataset("csv", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
    cells = Cells(path)
    made = [cells.row(row.fields) for row in scan_rows(path, as_text=True) if isinstance(row, Row)]
    assert made == list(loaded)
    kinds = [[type(value) in (int, float) for value in row.values()] for row in made]
    assert kinds == [[type(value) in (int, float) for value in row.values()] for row in loaded]


def found(path: Path, text: str) -> list[tuple[int | str, str]]:
    path.write_text(text)
    told: list[Finding] = []
    Check(path, told.append).run()
    return [(one.line, one.rule.name) for one in told]


def test_numbers_words_for_null_and_separators_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert found(path, FILES["numbers"]) == [(1, "csv-numbers"), (2, "no-output"), (3, "no-output")]
    nulls = [(2, "no-output"), (2, "csv-null"), (3, "no-output"), (3, "csv-null")]
    assert found(path, FILES["words for null"]) == nulls
    assert found(path, FILES["numbers and a word"]) == []
    assert found(path, "instruction;input;output\na;;b\n") == [(1, "csv-separator")]
    assert found(path, "instruction\tinput\toutput\na\t\tb\n") == [(1, "csv-separator")]
    assert found(path, FILES["true and false"]) == []
    assert found(path, FILES["numbers and true"]) == [(2, "label-type"), (3, "label-type")]


@pytest.mark.parametrize("name", ["numbers", "words for null"])
def test_the_copy_has_text_where_the_table_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(FILES[name])
    Repairing(Check(path, lambda _: None).run(), tmp_path / "b.jsonl", lambda _: None).run()
    rows = [json.loads(row) for row in lines(tmp_path / "b.jsonl")]
    assert [row["output"] for row in rows] == (["2", "4"] if name == "numbers" else ["NA", "None", "x"])


def test_the_way_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(FILES["numbers"])
    done = synthgen("validate", "a.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.csv:2: fault no-output: output is a number (drops the row: LLaMA-Factory" in done.stdout
    last = "--fix repairs 2 of the first 2 rows at fault: synthgen validate a.csv --fix -o repaired.jsonl"
    assert done.stdout.splitlines()[-1] == last
    (tmp_path / "b.csv").write_text("instruction;input;output\na;;b\n")
    assert "--fix writes JSON lines" in synthgen("validate", "b.csv", cwd=tmp_path).stdout

"""What `validate` says of files that trainers do not read as they are: the exit code, and what to do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import lines, result, synthgen, write_rows
from test_validate import A, Q, S, U, alpaca, said, talk


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.csv", "问题,答案\nq,a\n", "the columns are 问题, 答案"),
        ("a.jsonl", '{"Instruction": "q", "Output": "a"}\n', "the columns are Instruction, Output"),
        ("a.json", '{"data": [{"instruction": "q", "output": "a"}]}', "one row with one column, data; are the rows"),
    ],
)
def test_rows_of_no_known_format_are_a_fault_that_names_the_columns(
    tmp_path: Path, name: str, text: str, columns: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    done = synthgen("validate", name, cwd=tmp_path)
    first = done.stdout.splitlines()[0]
    assert done.returncode == 1
    assert first.startswith(f"{name}:1: fault unknown-format: {columns}")
    assert "name them messages; conversations; instruction, output;" in first


@pytest.mark.parametrize(
    ("row", "as_"),
    [
        ({"id": "1", "data": ["q", "a", "r", "b"]}, "1 of the first 1 rows at fault as fastchat: {} messages"),
        (talk(U, S) | {"messages": json.dumps(talk(U, S)["messages"])}, "1 of the first 1 rows at fault as messages: {} messages"),
    ],
)  # fmt: skip
def test_what_export_reads_has_the_command_and_the_command_works(tmp_path: Path, row: dict[str, Any], as_: str) -> None:
    write_rows(tmp_path / "a.jsonl", [row])
    done = synthgen("validate", "a.jsonl", cwd=tmp_path)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(f"export reads {as_.format('synthgen export a.jsonl --to')} -o "), last
    assert synthgen(*last.partition(": synthgen ")[2].split(), cwd=tmp_path).returncode == 0
    result(synthgen("validate", last.split()[-1], "--json", cwd=tmp_path))


def test_what_the_copy_repairs_is_said_and_what_cannot_be_is_not(tmp_path: Path) -> None:
    rows = [alpaca(), {"instruction": "q", "input": "", "output": None}, alpaca()]
    write_rows(tmp_path / "a.jsonl", rows)
    assert "--fix" not in synthgen("validate", "a.jsonl", cwd=tmp_path).stdout
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(alpaca()) + ",\n" for _ in range(3)))
    last = synthgen("validate", "b.jsonl", cwd=tmp_path).stdout.splitlines()[-1]
    assert last == "--fix repairs 3 of the first 3 rows at fault: synthgen validate b.jsonl --fix -o repaired.jsonl"
    synthgen(*last.partition(": synthgen ")[2].split(), cwd=tmp_path)
    assert lines(tmp_path / "repaired.jsonl") == [json.dumps(alpaca())] * 3


def test_a_file_of_many_kinds_is_of_none(tmp_path: Path) -> None:
    rows = [alpaca(), said(Q, A), talk(U, S), {"question": "q", "answer": "a"}, {"question": "r", "answer": "b"}]
    write_rows(tmp_path / "a.jsonl", rows)
    done = synthgen("validate", "a.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout.count("fault mixed-shapes")) == (1, 1)
    assert "the first rows are 2 of question-answer, 1 of alpaca, 1 of sharegpt, 1 of messages (drops" in done.stdout
    assert "TRL" in done.stdout.splitlines()[0]


def test_a_row_of_nothing_known_in_a_file_of_questions_is_a_fault(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"question": "q", "answer": "a"}, {"foo": 1}])
    done = synthgen("validate", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.jsonl:2: fault mixed-shapes: a row of no known format in a file of question-answer" in done.stdout


def test_a_registry_of_another_name_is_checked_as_one(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"a": {"file_name": "a.jsonl"}, "b": {"file_name": "no.jsonl"}}))
    write_rows(tmp_path / "a.jsonl", [alpaca()])
    done = synthgen("validate", "mine.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "mine.json:1: fault registry-file: b: no file no.jsonl" in done.stdout
    assert "a.jsonl: 1 rows alpaca" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.jsonl", '{"text": "a"},\n', "not JSON (a comma after the row at column 14)"),
        ("a.jsonl", '{"text": "a",}\n', "not JSON (a comma with nothing after it at column 13)"),
        ("a.json", '[{"text": "a"},\n]', "not JSON (a comma with nothing after it at column 1); nothing after"),
        ("a.jsonl", '{"text": nul}\n', "not JSON (invalid literal"),
    ],
)
def test_a_comma_too_many_is_called_that(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    said_ = synthgen("validate", name, cwd=tmp_path).stdout
    assert f"fault not-json: {what}" in said_, said_


def test_a_spreadsheet_and_other_encodings_have_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    assert "a.xlsx: a spreadsheet; save it as CSV UTF-8" in synthgen("validate", "a.xlsx", cwd=tmp_path).stderr
    (tmp_path / "a.csv").write_bytes("问题,答案\n".encode("gb18030"))
    assert "iconv -f GB18030 -t UTF-8" in synthgen("validate", "a.csv", cwd=tmp_path).stdout


def test_a_mark_before_csv_is_no_finding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfinstruction,input,output\nq,,a\n")
    assert result(synthgen("validate", "a.csv", "--json", cwd=tmp_path))["warnings"] == 0


def test_the_same_of_row_after_row_is_said_ten_times(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [alpaca(output=None)] * 40 + [alpaca(instruction=3)])
    said_ = synthgen("validate", "a.jsonl", cwd=tmp_path).stdout
    assert (said_.count("fault no-output"), said_.count("fault instruction-type")) == (10, 1)
    assert "  30 more of no-output: --json tells every one" in said_

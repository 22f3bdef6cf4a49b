"""Rows out of real and broken files: what is read, and the one line that says what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, read_rows, scan_rows
from synthgen.rows.text import MAX_LINE_BYTES

ROWS = [{"a": 1, "t": "x {{ 7*7 }} <|im_end|> ### "}, {"a": 2, "t": "中文\u2028\n行"}]


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def lines_of(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def refusal(source: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        list(read_rows(source))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_json_lines_come_with_their_line_numbers(tmp_path: Path) -> None:
    path = put(tmp_path / "s.jsonl", lines_of([ROWS[0]]) + "\n  \n" + lines_of([ROWS[1]]))
    assert list(read_rows(path)) == [Row(ROWS[0], f"{path}:1"), Row(ROWS[1], f"{path}:4")]
    assert list(read_rows(str(path))) == list(read_rows(path))
    assert len(list(scan_rows(path))) == 2


@pytest.mark.parametrize("name", ["s.jsonl", "s.ndjson", "s.json", "S.JSONL"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_lines_under_any_name_end_and_mark(tmp_path: Path, name: str, end: str, mark: bytes) -> None:
    path = put(tmp_path / name, mark + lines_of(ROWS).replace("\n", end).encode())
    assert [row.fields for row in read_rows(path)] == ROWS
    no_newline_at_the_end = put(tmp_path / name, mark + end.join(map(json.dumps, ROWS)).encode())
    assert [row.fields for row in read_rows(no_newline_at_the_end)] == ROWS


@pytest.mark.parametrize("name", ["s.json", "s.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_tells_the_line_of_each_row(tmp_path: Path, name: str, indent: int | None) -> None:
    path = put(tmp_path / name, "\n" + json.dumps(ROWS, indent=indent) + "\n")
    rows = list(read_rows(path))
    assert [row.fields for row in rows] == ROWS
    places = ("2", "2#2") if indent is None else ("3", "7")  # rows of one line are told apart
    assert [row.where for row in rows] == [f"{path}:{place}" for place in places]


def test_one_object_over_several_lines_is_a_row(tmp_path: Path) -> None:
    path = put(tmp_path / "s.json", json.dumps(ROWS[0], indent=1))
    assert list(read_rows(path)) == [Row(ROWS[0], f"{path}:1")]


def test_a_long_array_on_one_line_is_read_whole(tmp_path: Path) -> None:
    row = {"t": "x" * (MAX_LINE_BYTES + 1)}
    assert next(read_rows(put(tmp_path / "s.json", json.dumps([row])))).fields == row


def test_a_comma_after_a_row_has_the_command_that_cuts_it(tmp_path: Path) -> None:
    text = refusal(put(tmp_path / "s.jsonl", '{"a": 1},\n{"a": 2},\n'))
    assert "not JSON (a comma after the row at column 9); synthgen validate" in text
    assert "--fix -o PATH cuts it" in text


def test_a_broken_line_is_named_with_its_column(tmp_path: Path) -> None:
    path = put(tmp_path / "seeds.jsonl", lines_of([ROWS[0]] * 36) + '{"prompt": x}\n' + lines_of(ROWS))
    text = refusal(path)
    assert text.startswith(f"{path}:37: not JSON (")
    assert text.endswith("at column 12); fix or delete the line")
    found = list(scan_rows(path))
    assert len(found) == len(list(scan_rows(path))) == 39
    assert [n for n, row in enumerate(found, 1) if isinstance(row, Fault)] == [37]


@pytest.mark.parametrize("name", ["s.jsonl", "s.json"])
@pytest.mark.parametrize("bad", ["[1]", '"text"', "null", "3"])
def test_what_is_no_object_is_refused(tmp_path: Path, name: str, bad: str) -> None:
    path = put(tmp_path / name, f'{{"a": 1}}\n{bad}\n')
    assert f"{path}:2: " in refusal(path)
    assert "must be an object" in refusal(path)
    array = put(tmp_path / name, f'[{{"a": 1}},\n{bad}\n]')
    assert f"{array}:2: " in refusal(array)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('[{"a": 1},\n{"a": x}]', 2, "Expecting value"),
        ('[{"a": 1}\n{"a": 2}]', 2, "expected , or ]"),
        ('[{"a": 1},\n]', 2, "a comma with nothing after it"),
        ('[{"a": 1}]\n{"a": 2}', 2, "unexpected content"),
        ('[{"a": 1},\n', 2, "a comma with nothing after it"),
        ('[{"a": 1}', 1, "expected , or ]"),
        ('[{"a": 1},\n{"a": NaN}]', 2, "NaN"),
        ('[{"a": 1},\n{"a": -Infinity}]', 2, "-Infinity"),
        ('{\n"a": 1}\n{"a": 2}', 3, "unexpected content"),
        ('[{"a": 1},\n{"a": "\x01"}]', 2, "control character"),
    ],
)
def test_a_broken_array_tells_where(tmp_path: Path, text: str, line: int, word: str) -> None:
    path = put(tmp_path / "s.json", text)
    said = refusal(path)
    assert said.startswith(f"{path}:{line}: not JSON (")
    assert word in said


def test_nan_is_refused_in_lines(tmp_path: Path) -> None:
    assert ":1: not JSON" in refusal(put(tmp_path / "s.jsonl", '{"a": NaN}\n'))


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_nesting_without_end_is_refused(tmp_path: Path, open_: str, close: str) -> None:
    deep = '{"a": ' + open_ * 200_000 + "1" + close * 200_000 + "}"
    assert ":1: " in refusal(put(tmp_path / "s.jsonl", deep))
    assert ":1: " in refusal(put(tmp_path / "s.json", f"[{deep}]"))


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.csv"])
@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    path = put(tmp_path / name, data)
    assert refusal(path) == f"{path}: no rows in it; give a file with at least one"


def test_an_empty_array_and_a_header_alone_have_no_rows(tmp_path: Path) -> None:
    assert "no rows" in refusal(put(tmp_path / "s.json", " [ ] "))
    assert "no rows" in refusal(put(tmp_path / "s.csv", "instruction,input\n"))


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.csv"])
@pytest.mark.parametrize(
    ("encoding", "mark"),  # without its mark UTF-32 is not known
    [(name, "\ufeff") for name in ("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE")]
    + [("UTF-16LE", ""), ("UTF-16BE", "")],
)
def test_other_encodings_are_called_by_name(tmp_path: Path, name: str, encoding: str, mark: str) -> None:
    path = put(tmp_path / name, (mark + lines_of(ROWS)).encode(encoding))
    text = refusal(path)
    encoding = encoding[:6] if mark else encoding  # under a name with its order iconv would keep the mark
    assert f"{path}: this is {encoding};" in text
    assert f"iconv -f {encoding} -t UTF-8" in text


@pytest.mark.parametrize("name", ["s.jsonl", "s.csv"])
def test_bytes_that_are_no_utf8_are_shown(tmp_path: Path, name: str) -> None:
    head = lines_of([ROWS[0]]) if name == "s.jsonl" else "t\n"
    path = put(tmp_path / name, head.encode() + '{"t": "中"}\n'.encode("gb18030"))
    text = refusal(path)
    assert text.startswith(f"{path}:2: not UTF-8 (byte 0xD6 at byte 8 of the line)")
    assert "iconv" in text


def test_bytes_that_are_no_utf8_in_an_array(tmp_path: Path) -> None:
    path = put(tmp_path / "s.json", '[{"t": "ok"},\n{"t": "中"}]'.encode("gb18030"))
    assert refusal(path).startswith(f"{path}:2: not UTF-8 (byte 0xD6 at byte 8 of the line)")


@pytest.mark.parametrize("name", ["s.jsonl", "s.csv"])
def test_a_line_too_long_is_refused_with_its_size(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, b't,u\n{"t": "' + b"x" * 10_000_000 + b'"}\n{"t": "y"}\n')
    text = next(str(row) for row in scan_rows(path) if ":2" in row.where) if name == "s.jsonl" else refusal(path)
    assert text.startswith(f"{path}:2: one line of 10.0 MB, at most 8 MB")


def test_reading_goes_on_after_a_line_too_long(tmp_path: Path) -> None:
    path = put(tmp_path / "s.jsonl", b'{"t": "' + b"x" * (3 * MAX_LINE_BYTES) + b'"}\n{"t": "y"}')
    fault, row = scan_rows(path)
    assert isinstance(fault, Fault)
    assert row == Row({"t": "y"}, f"{path}:2")


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    line = b'{"t": "' + b"x" * (MAX_LINE_BYTES - 9) + b'"}'
    assert len(line) == MAX_LINE_BYTES
    assert len(list(scan_rows(put(tmp_path / "s.jsonl", line + b"\n" + line)))) == 2


@pytest.mark.parametrize(("text", "line"), [('{"a": 1}\n{"t": "\\ud800"}', 2), ('[{"a": 1},\n{"\\uDC00x": "t"}]', 2)])
@pytest.mark.parametrize("name", ["s.jsonl", "s.json"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = put(tmp_path / name, text)
    said = refusal(path)
    assert said.startswith(f"{path}:{line}: half a surrogate pair")


def test_a_whole_pair_and_its_spelling_pass(tmp_path: Path) -> None:
    for text in ('{"t": "\\ud83d\\ude00", "u": "\\\\ud800"}\n', '[{"t": "\\ud83d\\ude00", "u": "\\\\ud800"}]'):
        row = next(read_rows(put(tmp_path / "s.json", text)))
        assert row.fields == {"t": "\U0001f600", "u": "\\ud800"}


@pytest.mark.parametrize("text", ['{"t": ["a\\u0000"]}\n', '[{"t\\u0000": 1}]', '{"t": "a\0"}\n', '[{"t": "a\0"}]'])
def test_nul_is_refused(tmp_path: Path, text: str) -> None:
    assert ":1: a NUL character" in refusal(put(tmp_path / "s.json", text))


def test_nul_spelled_out_passes(tmp_path: Path) -> None:
    assert next(read_rows(put(tmp_path / "s.jsonl", '{"t": "\\\\u0000"}'))).fields == {"t": "\\u0000"}


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "seeds.jsonl", lines_of(ROWS))
    path = tmp_path / "seed.jsonl"
    assert refusal(path) == f"{path}: no such file; did you mean {tmp_path / 'seeds.jsonl'}?"
    assert refusal(tmp_path / "zzzz.csv") == f"{tmp_path / 'zzzz.csv'}: no such file"
    assert "nor a folder" in refusal(tmp_path / "none" / "seeds.jsonl")


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    put(tmp_path / "b.jsonl", lines_of([{"n": 2}]))
    put(tmp_path / "a.json", '[{"n": 1}]')
    put(tmp_path / "c.csv", "n\n3\n")
    put(tmp_path / "README.md", "not rows")
    put(tmp_path / ".hidden.jsonl", "not rows")
    (tmp_path / "d.jsonl").mkdir()
    assert [row.fields["n"] for row in read_rows(tmp_path)] == [1, 2, "3"]
    assert len(list(scan_rows(tmp_path))) == 3


def test_a_folder_without_rows_says_what_it_takes(tmp_path: Path) -> None:
    put(tmp_path / "README.md", "not rows")
    assert refusal(tmp_path).startswith(f"{tmp_path}: no file with rows in this folder; it takes .jsonl")
    assert "it takes .jsonl" in refusal(tmp_path / "README.md")


def test_permission_denied_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "s.jsonl", lines_of(ROWS))

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert "permission denied" in refusal(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", denied)
        assert "permission denied" in refusal(tmp_path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_csv_takes_quotes_newlines_and_other_commas(tmp_path: Path, comma: str, mark: str) -> None:
    text = '指令,input\r\n"a, ""b""\nc; d",""\n\n中文,"\t x;"\n'.replace(",", comma)
    path = put(tmp_path / "s.csv", mark + text)
    assert list(read_rows(path)) == [
        Row({"指令": f'a{comma} "b"\nc; d', "input": ""}, f"{path}:2"),
        Row({"指令": "中文", "input": "\t x;"}, f"{path}:5"),
    ]


def test_csv_of_one_column(tmp_path: Path) -> None:
    path = put(tmp_path / "s.csv", 'instruction\nhello\n"a, b"\n')
    assert [row.fields["instruction"] for row in read_rows(path)] == ["hello", "a, b"]


def test_csv_cells_may_be_long(tmp_path: Path) -> None:
    path = put(tmp_path / "s.csv", f"t,u\n{'x' * 1_000_000},y\n")  # the default of the csv module is 131,072
    assert len(next(read_rows(path)).fields["t"]) == 1_000_000


def test_csv_faults_tell_their_line(tmp_path: Path) -> None:
    path = put(tmp_path / "s.csv", "t,u\n1,2\n1,2,3\n4\n5,6\n")
    assert refusal(path).startswith(f"{path}:3: 3 cells under 2 columns")
    assert [isinstance(row, Fault) for row in scan_rows(path)] == [False, True, True, False]
    assert refusal(put(path, 't,u\n1,2\n"1,2\n')).startswith(f"{path}:3: not CSV (unexpected end of data)")
    assert refusal(put(path, "t,t\n1,2\n")).startswith(f"{path}:1: two columns of the same name")
    assert ":2: a NUL character" in refusal(put(path, "t,u\n1,\0\n"))


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    path = tmp_path / "s.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path)
    assert list(read_rows(path)) == [Row(ROWS[0], f"{path}:1"), Row(ROWS[1], f"{path}:2")]
    assert len(list(scan_rows(path))) == 2
    parquet.write_table(pa.Table.from_pylist([{"t": "a\0"}]), path)
    assert f"{path}:1: a NUL" in refusal(path)
    assert "not parquet" in refusal(put(tmp_path / "t.parquet", "no"))


@pytest.mark.parametrize("source", ["s.parquet", "hf:owner/name"])
def test_without_the_extra_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "s.parquet", "x")
    for module in ("pyarrow", "pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    assert 'pip install "synthgen[hub]"' in refusal(source)

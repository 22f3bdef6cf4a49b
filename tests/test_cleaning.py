"""Rows that are read, judged and written again: what is kept stays as it stood, to the byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.cleaning.copying import Files
from synthgen.cleaning.texts import answers, texts_of, user_turns
from synthgen.errors import UsageError
from synthgen.rows import Fault, Row


def copied(sources: list[Path], kept: Callable[[int], bool] = lambda _: True) -> bytes:
    """What a copy holds after both passes."""
    files, out = Files(sources), bytearray()
    for _ in files.rows():
        pass
    files.copy(kept, out.extend)
    return bytes(out)


def wheres(source: Path) -> list[str]:
    return [("!" if isinstance(row, Fault) else "") + row.where.rpartition(":")[2] for row in Files([source]).rows()]


def odd(number: int) -> bool:
    return number % 2 == 1


LINES = b'{"a": 1.0, "b": 1e300}\r\n\n  {"b":123456789012345678901234567890,"a":"\\u00e9"} \n{"a": broken\n{"a":2}'


def test_lines_stay_byte_for_byte_those_at_fault_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINES)
    assert wheres(path) == ["1", "3", "!4", "5"]
    assert copied([path]) == b"\xef\xbb\xbf" + LINES
    assert copied([path], odd) == LINES[LINES.index(b"  {") : LINES.index(b'{"a": broken')] + b'{"a":2}'
    assert copied([path], lambda n: n == 2) == b'{"a": broken\n'


def test_files_join_where_one_ends_without_a_newline(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_bytes(b'{"a":1}')
    b.write_bytes(b'\xef\xbb\xbf{"a":2}')
    assert copied([a, b]) == b'{"a":1}\n{"a":2}'
    assert copied([a, b], lambda n: n == 0) == b'{"a":1}'
    assert copied([a, b], odd) == b'{"a":2}'
    assert copied([tmp_path]) == b'{"a":1}\n{"a":2}'  # a folder stands for its files


def test_a_line_longer_than_any_row_is_copied_too(tmp_path: Path) -> None:
    long = b'{"a": "' + b"x" * 17_000_000 + b'"}\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n' + long + b'{"a":2}\n')
    assert wheres(path) == ["1", "!2", "3"]
    assert copied([path]) == path.read_bytes()
    assert copied([path], odd) == long
    assert copied([path], lambda n: n != 1) == b'{"a":1}\n{"a":2}\n'


ARRAY = (
    '\ufeff[\n  {"a": 1.0, "b": 1e400, "a": "é"},\n\t{"n": 123456789012345678901234567890} ,\n  7,\n  {"a": 2.50}\n]\n'
)


def test_rows_of_an_array_stay_as_they_stood(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(ARRAY, encoding="utf-8")
    assert wheres(path) == ["2", "3", "!4", "5"]
    assert copied([path]) == ARRAY.encode()
    assert copied([path], odd).decode() == ('\ufeff[\n  {"n": 123456789012345678901234567890},\n  {"a": 2.50}\n]\n')
    assert json.loads(copied([path], lambda _: False).decode("utf-8-sig")) == []
    assert copied([path], lambda n: n == 2).decode("utf-8-sig") == "[\n  7\n]\n"


def test_several_documents_become_one_array(tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text('{\n "a": 1.0\n}\n')
    b.write_text('[{"a": 2}, {"a":3}]')
    assert copied([a, b]) == b'[\n{\n "a": 1.0\n},\n{"a": 2},\n{"a":3}\n]\n'
    assert copied([a, b], lambda n: n == 2) == b'[\n{"a":3}\n]\n'
    assert copied([a, b], lambda _: False) == b"[]\n"
    assert copied([a]) == a.read_bytes()
    assert copied([a], lambda _: False) == b"[]\n"


CSV = b'q;"an ""a"""\r\n"x\n;y";1\r\n\r\nz;2;3\r\nw;3'


def test_a_table_keeps_header_dialect_and_faulty_rows(tmp_path: Path) -> None:
    path, more = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_bytes(CSV)
    more.write_bytes(b'q;"an ""a"""\r\nv;4\r\n')
    assert wheres(path) == ["2", "!5", "6"]
    assert copied([path]) == CSV
    assert copied([path], odd) == b'q;"an ""a"""\r\nz;2;3\r\n'
    assert copied([path, more]) == CSV + b"\r\nv;4\r\n"
    assert copied([path, more], lambda n: n == 3) == b'q;"an ""a"""\r\nv;4\r\n'
    more.write_bytes(b"q;other\r\nv;4\r\n")
    with pytest.raises(UsageError, match=r"b.csv:1: another header than .*a.csv"):
        Files([path, more])


def parquet(path: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    table = pa.Table.from_pylist(rows).replace_schema_metadata({"about": "kept"})
    pq.write_table(table, path, **more)
    return path


def test_parquet_keeps_schema_metadata_and_compression(tmp_path: Path) -> None:
    rows = [{"q": f"text {n}", "m": [{"role": "user", "content": str(n)}], "b": bytes([n])} for n in range(7)]
    path = parquet(tmp_path / "a.parquet", rows, compression="gzip", row_group_size=3)
    from pyarrow import parquet as pq

    out = tmp_path / "out.parquet"
    out.write_bytes(copied([path, parquet(tmp_path / "b.parquet", rows[:2])], lambda n: n % 2 == 0))
    assert pq.read_table(out).to_pylist() == [*rows[::2], rows[1]]
    assert pq.ParquetFile(out).schema_arrow.equals(pq.ParquetFile(path).schema_arrow, check_metadata=True)
    assert pq.ParquetFile(out).metadata.row_group(0).column(0).compression == "GZIP"
    plain = parquet(tmp_path / "plain.parquet", rows, compression="none")
    out.write_bytes(copied([plain]))
    assert pq.ParquetFile(out).metadata.row_group(0).column(0).compression == "UNCOMPRESSED"
    other = parquet(tmp_path / "c.parquet", [{"q": "text"}])
    with pytest.raises(UsageError, match=r"c.parquet: other columns than .*a.parquet"):
        copied([path, other])


def test_parquet_with_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"q": f"text {n * n}"} for n in range(500)], compression="snappy")
    data = bytearray(path.read_bytes())
    data[100:300] = bytes(range(200))
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"a.parquet: a part of it cannot be read .*is the file whole\?"):
        list(Files([path]).rows())


def test_kinds_do_not_mix_and_nothing_is_given_twice(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.json"
    a.write_text('{"a":1}\n')
    b.write_text('[{"a":1}]')
    with pytest.raises(UsageError, match=r"b.json is a JSON array and .*a.jsonl JSON lines.*synthgen export"):
        Files([a, b])
    with pytest.raises(UsageError, match=r"a.jsonl: given twice"):
        Files([a, tmp_path / "." / "a.jsonl"])
    with pytest.raises(UsageError, match=r"hf:owner/name: given twice"):
        Files(["hf:owner/name", "hf:owner/name"])
    b.write_text('{"a": 1}\n{"a": 2}\n')  # JSON lines, whatever the name says
    assert copied([a, b]) == b'{"a":1}\n{"a": 1}\n{"a": 2}\n'


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("a.jsonl", "is the file that is read"),
        ("more/link.jsonl", "is the file that is read"),
        ("out.csv", "must end in .jsonl or .ndjson or .json: .*call it out.jsonl"),
        ("folder.jsonl", "is a folder"),
    ],
)
def test_out_is_refused(tmp_path: Path, out: str, said: str) -> None:
    a = tmp_path / "a.jsonl"
    a.write_text('{"a":1}\n')
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "link.jsonl").symlink_to(a)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match=said):
        Files([a]).check(tmp_path / out)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UsageError, match="a device or a pipe"):
        Files([a]).check(tmp_path / "pipe.jsonl")
    with pytest.raises(UsageError, match="a pipe or a device; write what comes out"):
        Files([tmp_path / "pipe.jsonl"])
    (tmp_path / "pipe.jsonl").unlink()
    Files([a]).check(tmp_path / "new.jsonl")
    with pytest.raises(UsageError, match="lies in the folder that is read"):
        Files([tmp_path]).check(tmp_path / "new.jsonl")


def test_what_a_run_is_made_of_is_no_out(tmp_path: Path) -> None:
    source = tmp_path / "alpaca.jsonl"
    source.write_text('{"a":1}\n')
    (tmp_path / "run.sqlite").write_text("")
    with pytest.raises(UsageError, match="belongs to the run itself"):
        Files([source]).check(tmp_path / "run.json")


def test_a_data_set_of_the_hub_becomes_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [{"q": "é", "n": 1.0}, {"q": "b", "n": None}, {"q": "c", "n": 2}]
    monkeypatch.setattr("synthgen.cleaning.containers.scan_rows", lambda name: (Row(row, name) for row in rows))
    files, out = Files(["hf:owner/name"]), bytearray()
    files.check(Path("new.jsonl"))
    assert len(list(files.rows())) == 3
    files.copy(lambda n: n != 1, out.extend)
    assert out.decode() == '{"q": "é", "n": 1.0}\n{"q": "c", "n": 2}\n'
    rows[0]["n"] = object()
    with pytest.raises(UsageError, match=r"hf:owner/name: JSON lines cannot hold it .*download"):
        files.copy(lambda _: True, out.extend)


def test_a_file_that_changes_between_the_passes_is_told(tmp_path: Path) -> None:
    a = tmp_path / "a.jsonl"
    a.write_text('{"a":1}\n')
    files = Files([a])
    assert len(list(files.rows())) == 1
    a.write_text('{"a":1}\n{"a":2}\n')
    with pytest.raises(UsageError, match="changed while it was read"):
        files.copy(lambda _: True, lambda _: None)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", b'[{"a": 1}, {"a": ]', r"a.json:1: not JSON .* nothing after this can be read"),
        ("a.json", '[{"a": "中文"}]'.encode("gb18030"), r"a.json:1: not UTF-8 .*iconv"),
        ("a.jsonl", '{"a": "中文"}\n{"a": "文中"}\n'.encode("gb18030"), r"a.jsonl:1: not UTF-8 .*no row of the input"),
        ("a.csv", b'a,b\n1,2\n3,"4\n', r"a.csv:3: not CSV .* nothing after it can be read"),
        ("a.csv", b"a,b\n", r"a.csv: no rows in it"),
        ("a.jsonl", b"", r"a.jsonl: no rows in it"),
    ],
)
def test_a_file_at_fault_is_refused_whole(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        list(Files([path]).rows())


def test_real_files_are_copied_to_the_byte(shared_data: Path) -> None:
    for path in sorted(set(shared_data.glob("*.json*")) - {shared_data / "lf_dataset_info.json"}):
        assert copied([path]) == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("fields", "prompt", "given", "answer"),
    [
        ({"instruction": "Do", "input": "x", "output": "y"}, "Do", "x", "y"),
        ({"question": "Q?", "answer": "A"}, "Q?", "", "A"),
        ({"id": 7, "question": "Q?", "solution": "A", "level": 3}, "Q?", "", "A\n3"),
        ({"text": "T"}, "T", "", ""),
        ({"instruction": "", "prompt": "P"}, "P", "", ""),
        ({"instruction": "", "output": "P"}, "", "", "P"),
        (
            {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
                          {"role": "assistant", "content": "A"}, {"role": "user", "content": "V"}]},
            "U\nV", "S", "A",
        ),
        ({"conversations": [{"from": "human", "value": "U"}], "chosen": "C", "rejected": "R"}, "U", "", "C\nR"),
        (
            {"conversations": [{"from": "human", "value": "U"}], "chosen": {"from": "gpt", "value": "C"},
             "rejected": {"from": "gpt", "value": "R"}},
            "U", "", "C\nR",
        ),
        (
            {"prompt": [{"role": "user", "content": "U"}], "chosen": [{"role": "assistant", "content": "C"}],
             "rejected": [{"role": "assistant", "content": "R"}]},
            "U", "", "C\nR",
        ),
        (
            {"chosen": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "C"}],
             "rejected": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "R"}]},
            "U", "", "C\nR",
        ),
        (
            {"input": {"messages": [{"role": "user", "content": "U"}]},
             "preferred_output": [{"role": "assistant", "content": "C"}],
             "non_preferred_output": [{"role": "assistant", "content": "R"}]},
            "U", "", "C\nR",
        ),
        (
            {"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "C"}],
             "rejected_response": "R"},
            "U", "", "C\nR",
        ),
        ({"instruction": "U", "output": "A", "kto_tag": False}, "U", "", "A\nfalse"),
        ({"instruction": "U", "instances": [{"input": "i", "output": "A"}]}, "U", "i", '[{"input": "i", "output": "A"}]'),
        ({"conversations": '[{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]'}, "U", "", "A"),
        ({"instruction": "", "input": "I", "system": "S", "output": "A"}, "I", "S", "A"),
        ({"turns": ["one", "two"]}, "one\ntwo", "", ""),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "U"}, {"type": "image", "url": "i"}]},
                          {"role": "assistant", "content": [{"type": "text", "text": "A"}, {"type": "refusal"}]}]},
            "U", '{"type": "image", "url": "i"}', 'A\n{"type": "refusal"}',
        ),
        (
            {"messages": [{"role": "user", "content": "U"},
                          {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                          {"role": "tool", "content": {"text": 3}}]},
            "U", "", '[{"id": "1"}]\n{"text": 3}',
        ),
        ({"prompt": "U", "images": ["a.png"], "response": "A"}, "U", '["a.png"]', "A"),
        ({"question": [[{"role": "user", "content": "U"}]]}, "U", "", ""),
        ({"prompt": 7, "completion": True}, "7", "", "true"),
    ],
)  # fmt: skip
def test_the_texts_of_a_row(fields: dict[str, Any], prompt: str, given: str, answer: str) -> None:
    found = texts_of(fields)
    assert found is not None
    assert (found.prompt, found.given, found.answer) == (prompt, given, answer)


def test_the_column_that_is_named() -> None:
    fields = {"instruction": "I", "body": "B", "output": "O", "score": 3}
    found = texts_of(fields, "body")
    assert found is not None
    assert (found.prompt, found.answer) == ("B", "O")
    assert texts_of(fields, "title") is None
    assert texts_of({"a": 1}) is None
    assert texts_of({"question": "Q", "score": 3}, less="score") == texts_of({"question": "Q"})
    assert user_turns({"messages": [{"role": "user", "content": "U"}, {"role": "user", "content": "V"}]}) == ["U", "V"]
    assert user_turns({"instruction": "I", "input": "x"}) == ["I\nx"]
    assert user_turns({"instruction": " ", "input": "x"}) == ["x"]
    assert user_turns({"other": "I"}) == []
    pair = {
        key: [{"role": "user", "content": "U"}, {"role": "assistant", "content": key}] for key in ("chosen", "rejected")
    }
    assert (user_turns(pair), answers(pair)) == (["U"], ["chosen", "rejected"])
    assert texts_of({"chosen": 3, "rejected": 4}) is None

"""JSON arrays are read in pieces: the same rows, texts, lines and faults as in one, wherever a piece ends."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.rows import Fault, Row, document, scan_rows
from synthgen.rows.document import Document

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
space = st.sampled_from(["", " ", "\n", "\r\n  ", "\t\n\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Arrays in odd layouts, with and without escapes; some of them cut or with a stroke too many."""
    ascii_ = draw(st.booleans())
    rows = [json.dumps(value, ensure_ascii=ascii_) for value in draw(st.lists(values, max_size=6))]
    inner = f"{draw(space)},{draw(space)}".join(rows)
    text = f"{draw(space)}[{draw(space)}{inner}{draw(space)}]{draw(space)}"
    at = draw(st.integers(0, len(text)))
    stroke = draw(st.sampled_from(["", "", "", ",", "]", '"', "NaN", "\\", "{", "-", "tru"]))
    text = text[:at] + stroke + text[at:]
    return text if draw(st.booleans()) else text[: draw(st.integers(text.index("[") + 1, len(text)))]


def read(path: Path, piece_bytes: int) -> tuple[list[tuple[str, ...]], str]:
    """(where, text, what stands before) of each element, a fault as it is told; and what stands after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "_PIECE_BYTES", piece_bytes)
        patch.setattr(document._Text._more, "__defaults__", (piece_bytes,))
        whole = Document(path)
        found = [(str(one),) if isinstance(one, Fault) else (one.where, one.text, one.before) for one in whole]
    return found, whole.after


@settings(max_examples=600, derandomize=True, deadline=None)
@given(text=documents(), piece_bytes=st.sampled_from([1, 2, 3, 7, 20]))
def test_pieces_change_nothing(tmp_path_factory: pytest.TempPathFactory, text: str, piece_bytes: int) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.json"
    path.write_text(text, encoding="utf-8", newline="")
    found, after = read(path, piece_bytes)
    assert (found, after) == read(path, 1 << 20)
    try:
        wanted = json.loads(text, parse_constant=lambda name: json.loads(f"!{name}"))
    except json.JSONDecodeError:
        assert len(found[-1]) == 1
    else:
        assert [json.loads(one[1]) for one in found] == wanted
        assert after == text or "".join(one[2] + one[1] for one in found) + after == text


@settings(max_examples=200, derandomize=True, deadline=None)
@given(rows=st.lists(values, max_size=5), gap=space, at=st.integers(0, 200), piece_bytes=st.sampled_from([1, 3, 20]))
def test_a_byte_of_another_encoding_is_named(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object], gap: str, at: int, piece_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    data = f"[{gap}{f'{gap},'.join(json.dumps(row, ensure_ascii=False) for row in rows)}{gap}]".encode()
    data = data[:at] + b"\xff" + data[at:]
    path.write_bytes(data)
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode()
    first = caught.value.start
    line, byte = data[:first].count(b"\n") + 1, first - data.rfind(b"\n", 0, first)
    told = read(path, piece_bytes)[0][-1][0]
    assert told.startswith(f"{path}:{line}: not UTF-8 (byte 0x{data[first]:02X} at byte {byte} of the line)")


def test_memory_does_not_grow_with_the_array(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    row = json.dumps({"text": "word " * 400}) + ",\n"
    path.write_text("[" + row * 8000 + "{}]")
    assert path.stat().st_size > 15_000_000
    tracemalloc.start()
    try:
        assert sum(isinstance(one, Row) for one in scan_rows(path)) == 8001
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_no_two_rows_of_an_array_have_one_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a":1},{"a":2}, {"a":3},\n{"a":4}\n,{"a":5},5,{"a":6}]')
    found = [row.where.removeprefix(f"{path}:") for row in scan_rows(path)]
    assert found == ["1", "1#2", "1#3", "2", "3", "3#6", "3#7"]


def test_an_array_as_the_first_line_of_many_is_a_row_at_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('[{"a":1}, 2]\n{"a":2}\n')
    first, second = scan_rows(path)
    assert isinstance(first, Fault)
    assert first.where == f"{path}:1"
    assert second == Row({"a": 2}, f"{path}:2")
    path.write_text('[{"a":1}, {"a":2}]\n\n')
    assert [row.fields for row in scan_rows(path) if isinstance(row, Row)] == [{"a": 1}, {"a": 2}]
    path.write_text('[{"a":[1]\n}, {"a":2}]\n\n')
    assert [row.fields for row in scan_rows(path) if isinstance(row, Row)] == [{"a": [1]}, {"a": 2}]

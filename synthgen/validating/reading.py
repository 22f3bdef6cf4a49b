"""The rows of a file as they stand, each with its line and bytes, whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, row_files, scan_rows
from synthgen.rows.document import Document, is_document
from synthgen.rows.packed import PACKED, kind_of
from synthgen.rows.text import decoded, from_line, lines, not_json

# (line, bytes of the file before the row, the row's bytes or b"" where it has none, value, rule and detail of what
# makes it unreadable): a plain tuple, since a file has millions. The line is `12#3` for the third row of an array
# where more than one begins on line 12.
Piece = tuple[int | str, int, bytes, Any, tuple[str, str] | None]

_PACKED = (*PACKED, ".bz2", ".xz")
# How the readers' messages begin, and the rule each is a case of.
_RULES = (
    ("not UTF-8", "not-utf8"),
    ("this is UTF-", "not-utf8"),
    ("half a surrogate", "half-pair"),
    ("a NUL", "nul"),
    ("one line of", "long-line"),
    ("no rows in it", "no-rows"),
    ("not parquet", "unreadable"),
    ("not Arrow", "unreadable"),
    ("the archive is damaged", "unreadable"),
    ("is no gzip", "unreadable"),
    ("is no zstd", "unreadable"),
    ("is a gzip", "unreadable"),
    ("is a zstd", "unreadable"),
    ("a part of it cannot be read", "unreadable"),
    ("two columns of the same name", "unreadable"),
)


def is_packed(path: Path) -> bool:
    """Whether the name says that the file is compressed."""
    return path.suffix.lower() in _PACKED


def can_read(path: Path) -> bool:
    """Whether rows can be read out of such a file."""
    try:
        row_files(path)
    except UsageError:
        return False
    return True


def is_lines(path: Path) -> bool:
    """Whether the file is JSON lines, which `datasets` reads in pieces of 10 MB."""
    if kind_of(path) not in (".jsonl", ".ndjson", ".json"):
        return False
    try:
        return not is_document(path)
    except UsageError:  # another encoding: told by `pieces`
        return True


def is_table(path: Path) -> bool:
    """Whether the file is CSV, whose readers step over a byte order mark."""
    return kind_of(path) in (".csv", ".tsv")


def pieces(path: Path) -> Iterator[Piece]:
    """Every row, and every place where none can be read; UsageError where there is no such file of rows."""
    row_files(path)
    found = False
    try:
        for piece in _of_lines(path) if is_lines(path) else _of_others(path):
            found = True
            yield piece
    except UsageError as error:
        line, message = _apart(str(error), path)
        if (rule := _rule_of(message)) is None:
            raise
        yield line, 0, b"", None, (rule, message.partition(";")[0])
        return
    if not found:
        yield 1, 0, b"", None, ("no-rows", "no rows in it")


def _of_lines(path: Path) -> Iterator[Piece]:
    offset = 0
    for number, line in lines(path):
        if isinstance(line, Fault):
            yield number, offset, b"", None, _found(line)
            continue
        start, offset = offset, offset + len(line)
        try:
            value = from_line(line)
        except json.JSONDecodeError as error:
            if line.strip():
                yield number, start, line, None, _broken(line, error)
            continue
        if type(value) is dict:
            yield number, start, line, value, None
        else:
            yield number, start, line, None, ("not-an-object", f"{_kind(value)} where a row must be an object")


def _broken(line: bytes, error: json.JSONDecodeError) -> tuple[str, str]:
    text = decoded(line, "")
    if isinstance(text, Fault):
        return _found(text)
    if error.doc.startswith(("NaN", "Infinity", "-Infinity"), error.pos):
        return "nan", f"NaN or an infinity at column {error.colno}"
    return _found(not_json("", error, "fix it"))


def _of_others(path: Path) -> Iterator[Piece]:
    if kind_of(path) in (".jsonl", ".ndjson", ".json"):
        for element in Document(path):
            if isinstance(element, Fault):
                yield _line(element.where), 0, b"", None, _found(element)
                return
            raw = element.text.encode("utf-8", "surrogatepass")
            problem = None
            if type(element.value) is not dict:
                problem = "not-an-object", f"{_kind(element.value)} where a row must be an object"
            elif b"\\ud" in raw or b"\\uD" in raw:
                problem = _half_pair(element.value)
            yield _line(element.where), 0, raw, None if problem else element.value, problem
        return
    for row in scan_rows(path, as_text=True):  # as other loaders see them
        if isinstance(row, Row):
            yield _line(row.where), 0, b"", row.fields, None
        else:
            yield _line(row.where), 0, b"", None, _found(row, parsed=True)


def _half_pair(value: Any) -> tuple[str, str] | None:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "surrogate" in str(error):
            return "half-pair", "half a surrogate pair"
    return None


def _line(where: str) -> int | str:
    line = where.rpartition(":")[2]
    return int(line) if line.isdigit() else line


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a bare value")


def _rule_of(message: str) -> str | None:
    return next((rule for start, rule in _RULES if message.startswith(start)), None)


def _found(fault: Fault, *, parsed: bool = False) -> tuple[str, str]:
    """`parsed`: the row could be read, and is not given for what stands in it."""
    rule = _rule_of(fault.message) or "not-json"
    rule = "not-json" if rule == "nul" and not parsed else rule
    detail = fault.message.partition(";")[0]
    return rule, f"{detail}; nothing after it can be read" if fault.ends else detail


def _apart(message: str, path: Path) -> tuple[int | str, str]:
    """The line that a reader's message begins with, 1 where it is about the file, and the rest."""
    line, _, rest = message.removeprefix(str(path)).partition(": ")
    return _line(line) or 1, rest

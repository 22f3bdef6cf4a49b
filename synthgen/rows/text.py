"""Rows out of text: encoding, lines and JSON, each row with its `file:line`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import UsageError
from synthgen.rows.packed import BrokenError, unpacked

# A row is one task or one conversation: what is longer is a file that lost its line ends, and would fill the memory.
MAX_LINE_BYTES = 8_000_000
HALF_PAIR = "half a surrogate pair (such as \\ud800), which is no text; fix or delete the row"
_COMMA_AFTER = "a comma after the row"
_WIDE = float(1 << 63)
_NUL = "a NUL character, which is no text to most tools; fix or delete the row"
# UTF-32 first: its little-endian mark begins with that of UTF-16. Under a name with LE, iconv would keep the mark.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file; `where` is `file:line`, counted from 1, and no two rows have the same."""

    fields: dict[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used: where, and what to do about it; `ends`: no row of the file after it can be read."""

    where: str
    message: str
    ends: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def opened(path: Path) -> BufferedReader:
    """The file after its mark of UTF-8, if any, of an archive what is in it; no seeking.

    UsageError when it is in another encoding; reading raises BrokenError where an archive is damaged.
    """
    file = unpacked(path)
    try:
        head = file.peek(4096)
    except BrokenError:  # told by the read that meets it
        return file
    if encoding := _foreign(head[:4096]):
        file.close()
        raise UsageError(f"{path}: this is {encoding}; convert it: iconv -f {encoding} -t UTF-8 {path.name} > new")
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    return file


def _foreign(head: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark: in UTF-16 every second byte of ASCII is NUL, and JSON and CSV are full of ASCII.
    for start, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        half = head[start::2]
        if half.count(0) * 4 > len(half) and head.count(0) == half.count(0):
            return encoding
    return None


def lines(path: Path) -> Iterator[tuple[int, bytes | Fault]]:
    """Number and bytes of each line, at most MAX_LINE_BYTES of it in memory."""
    number = 0
    with opened(path) as file:
        try:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
                    yield number, line
                    continue
                size = len(line)
                while not line.endswith(b"\n") and (line := file.readline(MAX_LINE_BYTES)):
                    size += len(line)
                message = f"one line of {size / 1e6:.1f} MB, at most {MAX_LINE_BYTES / 1e6:.0f} MB are read; "
                yield number, Fault(f"{path}:{number}", message + "split it, or end each row with a newline")
        except BrokenError as error:
            yield number + 1, broken(f"{path}:{number + 1}", error)


def broken(where: str, error: BrokenError) -> Fault:
    """Where an archive breaks off: no row after it can be read."""
    return Fault(where, f"the archive is damaged from here on ({error}); fetch or pack it again", ends=True)


def decoded(line: bytes, where: str) -> str | Fault:
    """The line as text, or why it is none."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return not_utf8(where, error, 0)


def not_utf8(where: str, error: UnicodeDecodeError, line_start: int, *, ends: bool = False) -> Fault:
    """Which byte is none of UTF-8; `line_start` is that of its line in the bytes of the error."""
    byte = f"byte 0x{error.object[error.start]:02X} at byte {error.start - line_start + 1} of the line"
    return Fault(where, f"not UTF-8 ({byte}); convert the file, say iconv -f GB18030 -t UTF-8 old > new", ends)


def line_rows(path: Path) -> Iterator[Row | Fault]:
    """The rows of JSON lines."""
    name = str(path)
    for number, line in lines(path):
        if isinstance(line, Fault):
            yield line
        elif line.strip():
            yield _json_row(line, f"{name}:{number}")


def from_json(text: str) -> Any:
    """The value; ValueError where it is no JSON. Python's own reader, since whole numbers may be of any length."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def from_line(line: bytes) -> Any:
    """The value of a JSON text, with every digit of its whole numbers; json.JSONDecodeError where it is none."""
    value = orjson.loads(line)
    if not _is_wide(value):
        return value
    try:
        return json.loads(line)
    except ValueError:  # more digits than Python reads
        raise json.JSONDecodeError("a number of too many digits", line.decode(), 0) from None


def _is_wide(value: Any) -> bool:
    """Whether it has a float beyond 64 bits, which is what orjson makes of whole numbers there."""
    waiting = [value]
    for inner in waiting:  # which grows: rows may be nested deeper than calls
        kind = type(inner)
        if kind is dict:
            waiting.extend(inner.values())
        elif kind is list:
            waiting.extend(inner)
        elif kind is float and not -_WIDE < inner < _WIDE:
            return True
    return False


def _json_row(line: bytes, where: str) -> Row | Fault:
    try:
        value = from_line(line)
    except json.JSONDecodeError as error:
        text = decoded(line, where)
        if isinstance(text, Fault):
            return text
        path = where.rpartition(":")[0]
        mend = f"synthgen validate {path} --fix -o PATH cuts it"
        return not_json(where, error, mend if _comma(error) == _COMMA_AFTER else "fix or delete the line")
    return checked(value, where, maybe_nul=b"\\u0000" in line)


def not_json(where: str, error: json.JSONDecodeError, fix: str, *, ends: bool = False) -> Fault:
    """Why this is no JSON, and what to do."""
    if "surrogate" in error.msg:
        return Fault(where, f"{HALF_PAIR} (column {error.colno})", ends)
    if error.doc.startswith("\0", error.pos):
        return Fault(where, _NUL, ends)
    return Fault(where, f"not JSON ({_comma(error) or error.msg} at column {error.colno}); {fix}", ends)


def _comma(error: json.JSONDecodeError) -> str:
    """What is wrong where it is a comma too many, which readers tell as anything else."""
    before, after = error.doc[max(0, error.pos - 100) : error.pos].rstrip(), error.doc[error.pos :][:100].lstrip()
    if before.endswith("}") and after.startswith(","):
        return _COMMA_AFTER
    if (before + after[:1]).endswith((",]", ",}")) or (before.endswith(",") and not after):
        return "a comma with nothing after it"
    return "a comma with nothing after it" if after[:2] in (",]", ",}") else ""


def checked(value: Any, where: str, *, maybe_nul: bool) -> Row | Fault:
    """The value as a row, or why it is none; `maybe_nul` says whether its strings are worth a look."""
    if not isinstance(value, dict):
        what = {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a bare value")
        return Fault(where, f"{what} where a row must be an object {{...}}; fix or delete it")
    if maybe_nul and any("\0" in text for text in texts(value)):
        return Fault(where, _NUL)
    return Row(value, where)


def texts(value: Any) -> Iterator[str]:
    """Every string in a value of JSON, the keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def half_pair(text: str) -> bool:
    """Whether the text has a lone surrogate, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False

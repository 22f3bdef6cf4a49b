"""Rows out of files, one at a time, each with its `file:line`; what is wrong with a row is one line of text."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from synthgen.errors import UsageError

# A row is one task or one conversation: what is longer is a file that lost its line ends, and would fill the memory.
MAX_LINE_BYTES = 8_000_000
_INSTALL = 'pip install "synthgen[hub]"'
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32LE"),
    (codecs.BOM_UTF32_BE, "UTF-32BE"),
    (codecs.BOM_UTF16_LE, "UTF-16LE"),
    (codecs.BOM_UTF16_BE, "UTF-16BE"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file; `where` is `file:line`, counted from 1."""

    fields: dict[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used: where, and what to do about it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def read_rows(source: str | Path) -> Iterator[Row]:
    """Every row of a file, a folder or `hf:owner/name[:split]`; UsageError at the first that is at fault."""
    for row in scan_rows(source):
        if isinstance(row, Fault):
            raise UsageError(str(row))
        yield row


def scan_rows(source: str | Path) -> Iterator[Row | Fault]:
    """As `read_rows`, but a row at fault is handed over and reading goes on; a file at fault is a UsageError."""
    if isinstance(source, str) and source.startswith("hf:"):
        yield from _hub_rows(source)
        return
    for path in row_files(Path(source)):
        found = False
        for row in _READERS[path.suffix.lower()](path):
            found = True
            yield row
        if not found:
            raise UsageError(f"{path}: no rows in it; give a file with at least one")


def count_rows(source: str | Path) -> int:
    """How many rows there are, faulty ones included, in the memory of one of them where the file has lines."""
    if isinstance(source, str) and source.startswith("hf:"):
        return sum(1 for _ in _hub_rows(source))
    return sum(_count(path) for path in row_files(Path(source)))


def row_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder that can hold rows, by name; UsageError when there is none."""
    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if _readable(file) and file.is_file())
            if not found:
                raise UsageError(f"{path}: no file with rows in this folder; it takes {', '.join(_READERS)}")
            return found
        if not path.exists():
            raise UsageError(f"{path}: no such file{_near(path)}")
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    if path.suffix.lower() not in _READERS:
        raise UsageError(f"{path}: cannot read rows from this kind of file; it takes {', '.join(_READERS)}")
    return [path]


def _readable(path: Path) -> bool:
    return path.suffix.lower() in _READERS and not path.name.startswith(".")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    close = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


def _open(path: Path) -> BinaryIO:
    """The file after its mark of UTF-8, if any; UsageError when it is in another encoding."""
    try:
        file = path.open("rb")
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    head = file.read(4096)
    if encoding := _foreign(head):
        file.close()
        raise UsageError(f"{path}: this is {encoding}; convert it: iconv -f {encoding} -t UTF-8 {path.name} > new")
    file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
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


def _lines(path: Path) -> Iterator[tuple[int, bytes | Fault]]:
    """Number and bytes of each line that is not blank, at most MAX_LINE_BYTES of it in memory."""
    with _open(path) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                size = len(line)
                while rest := file.readline(MAX_LINE_BYTES):
                    size += len(rest)
                    if rest.endswith(b"\n"):
                        break
                message = f"one line of {size / 1e6:.1f} MB, at most {MAX_LINE_BYTES / 1e6:.0f} MB are read; "
                yield number, Fault(f"{path}:{number}", message + "split it, or end each row with a newline")
            elif line.strip():
                yield number, line


def _decoded(line: bytes, where: str) -> str | Fault:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        byte = f"byte 0x{line[error.start]:02X} at byte {error.start + 1} of the line"
        return Fault(where, f"not UTF-8 ({byte}); convert the file, say iconv -f GB18030 -t UTF-8 old > new")


def _json_lines(path: Path) -> Iterator[Row | Fault]:
    for number, line in _lines(path):
        yield line if isinstance(line, Fault) else _json_row(line, f"{path}:{number}")


def _json_row(line: bytes, where: str) -> Row | Fault:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if isinstance(text := _decoded(line, where), Fault):
            return text
        return _not_json(where, error.msg, error.colno, text)
    return _checked(value, where, maybe_nul=b"\\u0000" in line)


def _not_json(where: str, message: str, column: int, text: str) -> Fault:
    if "surrogate" in message:
        return _half_pair(where, f" at column {column}")
    if "\0" in text:
        return _nul(where)
    return Fault(where, f"not JSON ({message} at column {column}); fix or delete the line")


def _half_pair(where: str, place: str = "") -> Fault:
    message = f"half a surrogate pair (such as \\ud800){place}, no server accepts it; fix or delete the row"
    return Fault(where, message)


def _nul(where: str) -> Fault:
    return Fault(where, "a NUL character, no server accepts it; fix or delete the row")


def _checked(value: Any, where: str, *, maybe_nul: bool) -> Row | Fault:
    if not isinstance(value, dict):
        what = {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a bare value")
        return Fault(where, f"{what} where a row must be an object {{...}}; fix or delete the line")
    if maybe_nul and any("\0" in text for text in _texts(value)):
        return _nul(where)
    return Row(value, where)


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value of JSON, the keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _json(path: Path) -> Iterator[Row | Fault]:
    """An array, one object, or JSON lines, whatever the name says: data sets come in all three as `.json`."""
    with _open(path) as file:
        start = file.tell()
        while (head := file.read(1)).isspace():
            pass
        file.seek(start)
        if head == b"[" or (head == b"{" and not _whole(file.readline(MAX_LINE_BYTES))):
            file.seek(start)
            data = file.read()
        else:
            data = b""
    yield from _document(path, data) if data else _json_lines(path)


def _whole(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        # A broken first line of JSON lines still looks like one: it closes what it opened.
        return line.rstrip().endswith(b"}")
    return True


def _document(path: Path, data: bytes) -> Iterator[Row | Fault]:
    """The elements of an array, or one object; read whole, since JSON has no lines to stop at."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line, at = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        byte = f"byte 0x{data[error.start]:02X} at byte {at} of the line"
        message = f"not UTF-8 ({byte}); convert the file, say iconv -f GB18030 -t UTF-8 old > new"
        raise UsageError(f"{path}:{line}: {message}") from None
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    array = text.lstrip().startswith("[")
    line, last = 1, 0
    try:
        for value, start, end in _elements(text, decoder, array=array):
            line, last = line + text.count("\n", last, start), start
            raw = text[start:end]
            where = f"{path}:{line}"
            if "\\ud" in raw.lower() and any(map(_is_half_pair, _texts(value))):
                yield _half_pair(where)
            else:
                yield _checked(value, where, maybe_nul="\\u0000" in raw)
    except json.JSONDecodeError as error:
        kind = "not JSON" if "\0" not in text else "a NUL character, not JSON"
        raise UsageError(
            f"{path}:{error.lineno}: {kind} ({error.msg} at column {error.colno}); fix the file"
        ) from None
    except RecursionError:
        raise UsageError(f"{path}:{line}: nested too deep; fix or delete the row") from None


def _elements(text: str, decoder: json.JSONDecoder, *, array: bool) -> Iterator[tuple[Any, int, int]]:
    """Each value with where its text starts and ends."""
    at = _space(text, 0)
    if not array:
        value, end = decoder.raw_decode(text, at)
        yield value, at, end
        if (rest := _space(text, end)) < len(text):
            raise json.JSONDecodeError("unexpected content after the object", text, rest)
        return
    at = _space(text, at + 1)
    while text[at : at + 1] != "]":
        value, end = decoder.raw_decode(text, at)
        yield value, at, end
        at = _space(text, end)
        if text[at : at + 1] == ",":
            at = _space(text, at + 1)
            if text[at : at + 1] == "]":
                raise json.JSONDecodeError("a comma before ]", text, at)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("expected , or ]", text, min(at, len(text) - 1))
    if (rest := _space(text, at + 1)) < len(text):
        raise json.JSONDecodeError("unexpected content after the array", text, rest)


_SPACE = re.compile(r"[ \t\r\n]*")


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _no_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no JSON value", name, 0)


def _is_half_pair(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False

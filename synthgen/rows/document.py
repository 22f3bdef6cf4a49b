"""One JSON value of many rows, an array or a single object: read in pieces, each row with its text and its line."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from synthgen.rows.packed import BrokenError, kind_of
from synthgen.rows.text import (
    HALF_PAIR,
    MAX_LINE_BYTES,
    Fault,
    Row,
    broken,
    checked,
    half_pair,
    not_json,
    not_utf8,
    opened,
    texts,
)

_PIECE_BYTES = 1 << 20
_LONGEST_TOKEN = 16  # what can stand cut at the end of a piece: a constant, an escaped pair
_SPACE = re.compile(r"[ \t\r\n]*")


def is_document(path: Path) -> bool:
    """Whether the file is one JSON value, an array of rows or a single one, rather than JSON lines."""
    lines = kind_of(path) != ".json"
    with opened(path) as file:
        try:
            while (head := file.read(1)).isspace():
                pass
            if head == b"[":
                return not lines or _goes_on(head + file.readline(MAX_LINE_BYTES), file)
            rest = file.readline(MAX_LINE_BYTES) if head == b"{" and not lines else b"}"
        except BrokenError:  # within the first line: told by either reader
            return not lines
    # A line that closes what it opens is JSON lines, even where it is broken; one that does not is an object.
    return not rest.rstrip().endswith(b"}")


def _goes_on(line: bytes, file: BufferedReader) -> bool:
    """Whether an array is no mere first line of others: that one is a row at fault."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return not file.read(_PIECE_BYTES).strip()


def document_rows(path: Path) -> Iterator[Row | Fault]:
    """The rows of an array, or one object; a fault that ends it comes last."""
    for one in Document(path):
        if isinstance(one, Fault):
            yield one
        elif "\\ud" in one.text.lower() and any(map(half_pair, texts(one.value))):
            yield Fault(one.where, HALF_PAIR)
        else:
            yield checked(one.value, one.where, maybe_nul="\\u0000" in one.text)


@dataclass(frozen=True, slots=True)
class Element:
    """A row as it stands, with what stands between the row before and it.

    `where` is `file:line`, with `#number` of the row where the row before begins on that line too.
    """

    value: Any
    text: str
    before: str
    where: str


class Document:
    """The elements in order, or the fault that ends them; `after` is what stands after the last, known at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.after = ""

    def __iter__(self) -> Iterator[Element | Fault]:
        with opened(self._path) as file:
            text = _Text(file)
            try:
                yield from self._elements(text)
            except json.JSONDecodeError as error:
                where = f"{self._path}:{text.line(error.pos)}"
                error.colno += text.column if "\n" not in error.doc[: error.pos] else 0
                yield not_json(where, error, "fix the file: nothing after this can be read", ends=True)
            except UnicodeDecodeError as error:
                line, start = text.line_of(error)
                yield not_utf8(f"{self._path}:{line}", error, start, ends=True)
            except BrokenError as error:
                yield broken(f"{self._path}:{text.line(len(text.text))}", error)
            except (RecursionError, ValueError) as error:
                where = f"{self._path}:{text.line(text.start)}"
                # Of numbers that are too long for an int, Python says no more than a ValueError.
                what = "is nested too deep" if isinstance(error, RecursionError) else "has a number of too many digits"
                yield Fault(where, f"a row after this one {what}; delete it", ends=True)

    def _elements(self, text: _Text) -> Iterator[Element]:
        array = text.past("[")
        more = not (array and text.at_mark("]"))
        number = line_before = 0
        while more:
            value, end = text.value()
            raw, before = text.text[text.at : end], text.text[text.start : text.at]
            number, line = number + 1, text.line(text.at)
            # An array on one line is as common as one with a line a row: there the line alone names none of them.
            also = f"#{number}" if line == line_before else ""
            yield Element(value, raw, before, f"{self._path}:{line}{also}")
            line_before = line
            text.start = text.at = end
            more = array and text.past(",")
            if array and not more and not text.at_mark("]"):
                raise json.JSONDecodeError("expected , or ]", text.text, text.at)
        text.past("]" if array else "")
        if text.at < len(text.text):
            raise json.JSONDecodeError("unexpected content after the end", text.text, text.at)
        self.after = text.text[text.start :]


class _Text:
    """The text of a file, of which there is what is being read: from `start`, the end of the element before, on."""

    def __init__(self, file: BufferedReader) -> None:
        self.text = ""
        self.start = self.at = 0
        self.column = 0  # characters of the first line that are no longer there
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8")()
        self._lines = self._counted = 0  # newlines before the position that was asked for last
        self._fed = self._newlines = self._line_start = 0  # of the bytes that were decoded

    def past(self, mark: str) -> bool:
        """Whether the mark comes next; it and the white space around it are stepped over."""
        if not self.at_mark(mark):
            return False
        self.at += len(mark)
        return self.at_mark("")

    def at_mark(self, mark: str) -> bool:
        """Whether the mark comes next, after white space."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not self._more():
                return self.text.startswith(mark, self.at)

    def value(self) -> tuple[Any, int]:
        """The value that comes next, and its end. Raises JSONDecodeError, RecursionError, UnicodeDecodeError."""
        size = _PIECE_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except _NotANumberError as error:
                at = self.text.find(str(error), self.at)
                raise json.JSONDecodeError(f"{error} is no number of JSON", self.text, at) from None
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _LONGEST_TOKEN
                if not cut or not self._more(size):
                    raise
                size *= 2  # an element of many pieces is not begun again for each
            else:
                whole = isinstance(value, dict | list | str) or end < len(self.text) - _LONGEST_TOKEN
                if whole or not self._more():  # of 1.5e3 there may be 1 so far
                    return value, end

    def line(self, at: int) -> int:
        """The number of the line of a position that is not before those asked for."""
        self._lines += self.text.count("\n", self._counted, at)
        self._counted = at
        return self._lines + 1

    def line_of(self, error: UnicodeDecodeError) -> tuple[int, int]:
        """The line of a byte that is none of UTF-8, and where in the error's bytes it starts."""
        begin = error.object.rfind(b"\n", 0, error.start) + 1
        line = 1 + self._newlines + error.object.count(b"\n", 0, begin)
        return line, begin or self._line_start - self._fed

    def _more(self, size: int = _PIECE_BYTES) -> bool:
        """Read on, and let go of what is before `start`; False at the end."""
        data = self._file.read1(size)  # of more than one, an error would lose what the first has brought
        new = self._decoder.decode(data, final=not data)
        if not data:
            return False
        self.line(self.start)
        newline = self.text.rfind("\n", 0, self.start)
        self.column = self.start - newline - 1 if newline >= 0 else self.column + self.start
        self.text = self.text[self.start :] + new
        self.at -= self.start
        self.start = self._counted = 0
        pending = len(self._decoder.getstate()[0])
        return self._count(data, pending)

    def _count(self, data: bytes, pending: int) -> bool:
        newline = data.rfind(b"\n")
        before = self._file.tell() - len(data)
        if newline >= 0:
            self._newlines += data.count(b"\n")
            self._line_start = before + newline + 1
        self._fed = self._file.tell() - pending
        return True


class _NotANumberError(ValueError):
    """NaN or an infinity, which Python would read and no other loader."""


def _no_constant(name: str) -> Any:
    raise _NotANumberError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)

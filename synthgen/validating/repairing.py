"""A repaired copy of a file: each repair with its line, and each row that had to be left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.formats.turns import to_json
from synthgen.formats.write import replacing
from synthgen.validating.checking import Checked, breaks, mixed, stamp
from synthgen.validating.columns import Columns
from synthgen.validating.kinds import KINDS, UNKNOWN, Kind, kind_of
from synthgen.validating.mending import mended
from synthgen.validating.reading import pieces
from synthgen.validating.turns import Found

HOLD_ROWS = ("not-json", "nan")  # lines that may
_LINES, _ARRAY = (".jsonl", ".ndjson"), (".json",)
_MOST_COLUMNS = 100  # more are no columns but keys of one object; no row gets all of them


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done to a row, or why it could not be kept."""

    where: str
    what: str
    left_out: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"event": "left out" if self.left_out else "repair", "where": self.where, "message": self.what}


@dataclass(slots=True)
class Repaired:
    """How many rows were written, of these how many changed, and how many left out."""

    rows: int = 0
    changed: int = 0
    left_out: int = 0


class Repairing:
    """The second pass over a file that was checked."""

    def __init__(self, checked: Checked, out: Path, tell: Callable[[Repair], object]) -> None:
        self.counts = Repaired()
        self._checked, self._out, self._tell = checked, out, tell
        self._path = Path(checked.path)
        self._kind: Kind = checked.kind or UNKNOWN
        if checked.columns is None:
            self._learn()
        self._columns = self._wanted()
        self._told: set[str] = set()

    def _learn(self) -> None:
        """What the rows are where none could be read as it stands: each line ends in a comma, say."""
        checked, columns = self._checked, Columns(in_pieces=False, read=(), plain=())
        kinds: Counter[str] = Counter()
        for _, _, raw, _, problem in pieces(self._path):
            for row in unbroken(raw, []) if problem and problem[0] in HOLD_ROWS else ():
                columns.look(row, 0)
                kinds.update(kind.name for kind in [kind_of(row)] if kind)
        checked.columns = columns
        if kinds and not checked.named:
            self._kind = KINDS[kinds.most_common(1)[0][0]]

    @staticmethod
    def check(path: Path, out: Path) -> None:
        """Raises UsageError where OUT cannot take the rows, or is the file itself."""
        if out.suffix.lower() not in (*_LINES, *_ARRAY):
            raise UsageError(f"{out}: must end in .jsonl (JSON lines) or .json (an array)")
        if out.is_dir():
            raise UsageError(f"{out}: is a folder; give -o the name of a file")
        if out.exists() and out.samefile(path):
            raise UsageError(f"{out}: is the file that is read; give another -o")

    def line(self) -> str:
        """How far it is, for a progress line."""
        return f"repair · {self.counts.rows:,} rows · {self.counts.left_out:,} left out"

    def run(self) -> Repaired:
        """Writes OUT, whole or not at all; UsageError where the file changed since it was checked."""
        array = self._out.suffix.lower() in _ARRAY
        with replacing(self._out) as write:
            for text in self._texts():
                if array:
                    write(b",\n" if self.counts.rows else b"[\n")
                write(text if array else text + b"\n")
                self.counts.rows += 1
            if array:
                write(b"\n]\n" if self.counts.rows else b"[]\n")
            if stamp(self._path) != self._checked.stamp:
                raise UsageError(f"{self._path}: changed while it was read; give the same command again")
        return self.counts

    def _wanted(self) -> list[str]:
        """The columns that every row gets, in the order of their appearance."""
        names = self._checked.names
        if self._kind.name.endswith("alpaca"):
            if "output" not in names:
                names = ["output" if name == "response" else name for name in names]
            if "input" not in names and "instruction" in names:
                names.insert(names.index("instruction") + 1, "input")
        return names if len(names) <= _MOST_COLUMNS else []

    def _texts(self) -> Iterator[bytes]:
        """The JSON of each row that is kept."""
        for line, _, raw, row, problem in pieces(self._path):
            where = f"{self._path}:{line}"
            if problem is not None and problem[0] == "no-rows":
                return
            self._of_file(raw, where)
            done: list[str] = []
            rows = [row] if problem is None else list(unbroken(raw, done)) if problem[0] in HOLD_ROWS else []
            if not rows and problem is not None:
                self._leave(where, [problem])
            for what in done if rows else ():
                self._tell(Repair(where, what))
            for one in rows:
                if (text := self._text(one, where, raw if problem is None else b"")) is not None:
                    yield text

    def _of_file(self, raw: bytes, where: str) -> None:
        """What concerns the file is told once."""
        if self._checked.counts["bom"] and "bom" not in self._told:
            self._told.add("bom")
            self._tell(Repair(f"{self._path}:1", "the byte order mark is gone"))
        if raw.endswith(b"\r\n") and "crlf" not in self._told:
            self._told.add("crlf")
            self._tell(Repair(where, "lines end in a newline alone, here and after"))

    def _text(self, row: dict[str, Any], where: str, raw: bytes) -> bytes | None:
        """The row's JSON after repairs, None where it is left out. A row that needs none stays as it stands.

        `raw` is what it stood as, or nothing where that was no JSON.
        """
        done: list[str] = []
        kind = self._kind
        found = [] if self._checked.named else mixed(kind, row)
        made = row if found else self._made(row, kind, done)
        if found := found or breaks(kind, made, raw):
            self._leave(where, found)
            return None
        if raw and not done and b"\n" not in raw.strip():
            return raw.strip()
        try:
            text = to_json(made).encode()
        except (ValueError, TypeError, RecursionError) as error:
            self._leave(where, [("not-json", f"JSON cannot hold it ({error})")])
            return None
        self.counts.changed += bool(done)
        for what in done:
            self._tell(Repair(where, what))
        return text

    def _made(self, row: dict[str, Any], kind: Kind, done: list[str]) -> dict[str, Any]:
        mend = mended(row, kind, done.append)
        more: list[str] = []
        made = self._arranged(mend, more.append)
        if more and breaks(kind, made, b"") and not breaks(kind, mend, b""):
            return mend  # a column of other rows is a fault in this one: a second label
        after = kind_of(made)
        if not self._checked.named and after is not None and after.name != kind.name:
            return mend  # a column that a row at fault alone has would make it one of another kind
        done += more
        return made

    def _arranged(self, row: dict[str, Any], tell: Callable[[str], object]) -> dict[str, Any]:
        """The same columns in the same order; text that is missing is "", all else null."""
        if not self._columns or (list(row) == self._columns and None not in row.values()):
            return row
        if "response" in row and "response" not in self._columns:
            tell("response is now called output")
            row = {"output" if name == "response" else name: value for name, value in row.items()}
        made: dict[str, Any] = {}
        for name in self._columns:
            if name not in row and name in self._kind.needs:
                continue  # its absence is a fault, which nothing can mend
            value = row.get(name)
            if value is None and self._is_text(name):
                value = ""
                tell(f'{name} is now "", was {"null" if name in row else "missing"}')
            elif name not in row:
                tell(f"{name} is now null, was missing")
            made[name] = value
        for name in row:
            if name not in made and name not in self._columns:  # of a line that could not be read before
                tell(f"{name} is cut, as no other row has it: {to_json(row[name])[:60]}")
        if list(made) != list(row) and made.keys() == row.keys():
            tell("the keys have the order of the first row")
        return made

    def _is_text(self, name: str) -> bool:
        """Whether the column is of text that may be empty."""
        if name in self._kind.needs or name == "tools" or name not in self._kind.reads:
            return False
        columns = self._checked.columns
        return name in ("input", "system") or (columns is not None and columns.text(name))

    def _leave(self, where: str, found: list[Found]) -> None:
        self.counts.left_out += 1
        self._tell(Repair(where, "; ".join(f"{rule}: {what}" for rule, what in found), left_out=True))


def unbroken(raw: bytes, done: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a line that is not JSON but holds some: numbers that are none, junk after an object."""
    try:
        text = raw.decode().strip().lstrip("\ufeff")
    except UnicodeDecodeError:
        return
    numbers: list[str] = []

    def number(digits: str, kind: type[int] | type[float]) -> float | None:
        if isfinite(float(digits)):
            return kind(digits)
        numbers.append(digits[:20])
        return None

    decoder = json.JSONDecoder(
        parse_constant=numbers.append,
        parse_float=lambda digits: number(digits, float),
        parse_int=lambda digits: number(digits, int),
    )
    found: list[dict[str, Any]] = []
    while text.startswith("{"):
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            break
        found.append(value)
        text = text[end:].lstrip(" \t,")
    if "{" in text:  # there may be a row in it
        return
    if not found:
        return
    if len(found) > 1:
        done.append(f"{len(found)} rows were on the line")
    if numbers:
        done.append(f"{numbers[0]} is now null")
    if text or (len(found) == 1 and not numbers):
        done.append(f"what stood after the row is cut: {text[:60] or ','!r}")
    yield from found

"""One pass over a file: every row held against the rules, every finding told with its line, counts kept."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import UsageError
from synthgen.rows.packed import BrokenError, unpacked
from synthgen.validating.cells import Cells
from synthgen.validating.columns import Columns
from synthgen.validating.content import length, looks, marks
from synthgen.validating.kinds import KINDS, UNKNOWN, Kind, kind_of, notes
from synthgen.validating.reading import can_read, is_lines, is_packed, is_table, pieces
from synthgen.validating.rules import RULES, Effect, Loader, Rule
from synthgen.validating.turns import OPENAI_COLUMNS, Found

_SNIFFED_ROWS, _KEPT_ROWS = 1000, 20
_ONE_BY_VALUE = frozenset({"label", "text", "completion"})  # columns whose value says what kind a row is
_UNLABELLED = {"kto": ("prompt-completion", "prompt-completion-text"), "kto-swift": ("messages",)}
_KIN = ({"text", "chatml", "chatml-sep"}, {"prompts", "rl"})  # differ in their markup alone, or in what may be left out


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that something in a file breaks: where, and what stands there."""

    path: str
    line: int | str
    rule: Rule
    what: str
    effects: Mapping[Loader, Effect]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        rule = self.rule
        about = {"where": self.where, "level": rule.level, "rule": rule.name, "message": self.what, "hint": rule.hint}
        return {"event": "finding", **about, "effects": dict(self.effects.items())}


Tell = Callable[[Finding], object]


@dataclass(slots=True)
class Checked:
    """What came of a file. `hurt` counts rows by what a trainer does with them; `roles` who or what is in them."""

    path: str
    kind: Kind | None = None
    named: bool = False  # the user said what the rows are
    rows: int = 0
    size: int = 0
    stamp: tuple[int, int] = (0, 0)  # by which a change is known
    columns: Columns | None = None
    roles: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    hurt: Counter[tuple[Loader, Effect]] = field(default_factory=Counter)
    notes: tuple[Rule, ...] = ()
    # The first rows at fault, for what helps: the row where it could be read, its bytes, the rule of what could not.
    at_fault: list[tuple[Mapping[str, Any] | None, bytes, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The columns."""
        return self.columns.names if self.columns else []

    def effects(self, rule: Rule) -> dict[Loader, Effect]:
        """What the trainers do that read such files."""
        readers = (self.kind or UNKNOWN).readers
        return {loader: effect for loader, effect in rule.effects.items() if loader in readers}

    def of_level(self, level: str) -> int:
        """How many findings there are of a level."""
        return sum(count for name, count in self.counts.items() if RULES[name].level == level)


class Check:
    """`kind` is None where the file is to be asked for it; `mapped`: a registry has an entry for it."""

    def __init__(self, path: Path, tell: Tell, *, kind: Kind | None = None, mapped: bool = False) -> None:
        self.found = Checked(str(path), kind, named=kind is not None)
        self._path, self._tell, self._mapped = path, tell, mapped
        self._kinds: dict[tuple[str, ...], Kind | None] = {}
        self._mixture = ""  # what the rows are where no kind is that of most

    def run(self) -> Checked:
        """Raises UsageError where there is no such file, or none of rows."""
        found = self.found
        found.stamp = stamp(self._path)
        found.size = found.stamp[0]
        if is_packed(self._path):
            self._say(1, [("compressed", f"the name ends in {self._path.suffix}")])
            if not can_read(self._path):
                return found
        found.kind = found.kind or self._sniffed()
        kind = found.kind or UNKNOWN
        if not is_table(self._path) and self._has_mark():
            self._say(1, [("bom", "a byte order mark")])
        in_pieces = is_lines(self._path)
        cells = Cells(self._path) if is_table(self._path) else None
        if cells is not None:
            self._say(1, cells.found(kind.reads))
        for line, offset, raw, whole, problem in pieces(self._path):
            if problem is not None:
                self._say(line, [problem])
                self._keep(None, raw, problem[0])
                found.rows += problem[0] != "no-rows"
                continue
            found.rows += 1
            row = cells.row(whole) if cells else whole
            if found.columns is None:
                plain = ("tools",) if kind.name == "messages" and row.keys() <= OPENAI_COLUMNS else ()
                found.columns = Columns(in_pieces=in_pieces, read=kind.reads, plain=plain)
            told = self._row(kind, row, raw, offset)
            if cells is not None:
                told += cells.nulls(whole, kind.reads)
            if told:
                self._say(line, told)
                if any(RULES[name].level == "fault" for name, _ in told):
                    self._keep(whole, raw, "")
            elif found.kind is None:
                self._keep(whole, raw, "")
        self._end(kind)
        return found

    def _sniffed(self) -> Kind | None:
        """What most of the first rows are, so that one at fault does not speak for all."""
        first = islice(pieces(self._path), _SNIFFED_ROWS)
        kinds = Counter(kind.name for piece in first if piece[4] is None and (kind := kind_of(piece[3])) is not None)
        if not kinds:
            return None
        usual, count = kinds.most_common(1)[0]
        shapes = {KINDS[name].reads for name in kinds}  # ChatML is text to those that read it
        if len(kinds) > 2 and len(shapes) > 1 and count * 2 < kinds.total():
            self._mixture = ", ".join(f"{number} of {name}" for name, number in kinds.most_common())
            return None
        return KINDS[usual]

    def _keep(self, row: Mapping[str, Any] | None, raw: bytes, rule: str) -> None:
        if len(self.found.at_fault) < _KEPT_ROWS:
            self.found.at_fault.append((row, raw, rule))

    def _has_mark(self) -> bool:
        try:
            with unpacked(self._path) as file:
                return file.read(3) == codecs.BOM_UTF8
        except (OSError, UsageError, BrokenError):  # told where its rows are read
            return False

    def _row(self, kind: Kind, row: Mapping[str, Any], raw: bytes, offset: int) -> list[Found]:
        """Every rule that the row breaks."""
        found: list[Found] = []
        if kind is not UNKNOWN and not self.found.named and (other := self._other(kind, row)):
            return [("mixed-shapes", f"a row of {other.name} in a file of {kind.name}")]
        found.extend(kind.check(row, self.found.roles))
        alien = kind.reads and not self.found.named and row.keys().isdisjoint(kind.reads)
        if alien and not found and kind_of(row) is None:
            return [("mixed-shapes", f"a row of no known format in a file of {kind.name}")]
        if kind.name != "samples" and self.found.columns is not None:
            found.extend(self.found.columns.look(row, offset))
        if not raw or looks(raw):
            found.extend(marks(row, kind.reads, chat=kind.name.startswith("chatml")))
        if kind.reads and (long := length(row, kind.reads, len(raw))) is not None:
            found.append(long)
        if raw and (key := _key_twice(row, raw)):
            found.append(("duplicate-key", f"the key {key!r} comes twice"))
        return found

    def _other(self, kind: Kind, row: Mapping[str, Any]) -> Kind | None:
        """The kind of a row that is of another than the file."""
        keys = tuple(row)
        try:
            return self._kinds[keys]
        except KeyError:
            pass
        one = kind_of(row)
        if one is not None and not _is_other(one, kind, row):
            one = None
        if not _ONE_BY_VALUE & row.keys() and len(self._kinds) < _SNIFFED_ROWS:
            self._kinds[keys] = one
        return one

    def _end(self, kind: Kind) -> None:
        found = self.found
        names = found.names
        if found.columns is not None and found.kind is None:
            self._say(1, [self._unknown(found.columns)])
        if found.columns is not None and kind.name != "samples":
            self._say(1, found.columns.ended())
        if kind.name.endswith("alpaca") and names and not self._mapped:
            if "input" not in names:
                self._say(1, [("no-input-column", "no row has the column input")])
            if "output" not in names and "response" in names:
                self._say(1, [("other-output-column", "the answers are in response")])
        extra = [name for name in names if name not in OPENAI_COLUMNS]
        if kind.name == "messages" and extra:
            self._say(1, [("extra-column", ", ".join(extra[:12]))])
        told = notes(kind, names, found.roles, found.rows, found.size)
        found.notes = tuple(RULES[name] for name in told)

    def _say(self, line: int | str, found: Iterable[Found]) -> None:
        """Tells each rule that a row breaks once, and counts what the trainers that read such rows do with it."""
        by_rule: dict[str, list[str]] = {}
        for name, what in found:
            by_rule.setdefault(name, []).append(what)
        hurt: set[tuple[Loader, Effect]] = set()
        for name, whats in by_rule.items():
            rule = RULES[name]
            effects = self.found.effects(rule)
            if rule.level == "warning" and rule.effects and not effects:
                continue  # it would hurt in trainers alone that do not read the format
            self.found.counts[name] += 1
            hurt.update(effects.items())
            more = f" (and {len(whats) - 1} more)" if len(whats) > 1 else ""
            self._tell(Finding(self.found.path, line, rule, whats[0] + more, effects))
        self.found.hurt.update(hurt)

    def _unknown(self, columns: Columns) -> Found:
        """Why trainers do not know what the rows are."""
        if self._mixture:
            return "mixed-shapes", f"the first rows are {self._mixture}"
        names = columns.names
        if self.found.rows == 1 and len(names) == 1:
            return "unknown-format", f"one row with one column, {names[0]}; are the rows inside it?"
        return "unknown-format", f"the columns are {', '.join(names[:12])}"[:200]


def stamp(path: Path) -> tuple[int, int]:
    """The size of a file, and when it was written; UsageError where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; is it still there?") from None
    return found.st_size, found.st_mtime_ns


def breaks(kind: Kind, row: Mapping[str, Any], raw: bytes) -> list[Found]:
    """The faults of a row by itself; `raw` are its bytes, or none where it was made anew."""
    found = [one for one in kind.check(row, set()) if RULES[one[0]].level == "fault"]
    if raw and (key := _key_twice(row, raw)):
        found.append(("duplicate-key", f"the key {key!r} comes twice"))
    return found


def mixed(kind: Kind, row: Mapping[str, Any]) -> list[Found]:
    """The one fault of a row that is of another kind than its file."""
    other = kind_of(row)
    if kind is UNKNOWN or other is None or not _is_other(other, kind, row):
        return []
    return [("mixed-shapes", f"a row of {other.name} in a file of {kind.name}")]


def _is_other(one: Kind, kind: Kind, row: Mapping[str, Any]) -> bool:
    """Whether a row is of another kind than the file, rather than one of its own that is at fault."""
    if one.name in (kind.name, "prompts") or any({one.name, kind.name} <= kin for kin in _KIN):
        return False
    if kind.name.startswith("kto") and one.name in _UNLABELLED.get(kind.name, (kind.name[4:],)):
        return False  # the label is missing, or says nothing
    return not set(one.needs) < set(kind.needs) <= row.keys()


def _key_twice(row: Mapping[str, Any], raw: bytes) -> str | None:
    """A key that an object of the row has twice: of the values, readers take the last, or none."""
    keys, spaced = raw.count(b'":'), b'" :' in raw  # as some writers have it, and nobody can count those
    if keys == len(row) and not spaced:
        return None
    try:
        # Quotes inside texts are escaped the same, so the bytes have more only where a key was overwritten.
        if keys <= orjson.dumps(row).count(b'":') and not spaced:
            return None
    except orjson.JSONEncodeError:  # numbers past 64 bits, or nested too deep
        return None
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice.extend(key for key, count in counts.items() if count > 1)
        return made

    json.loads(raw, object_pairs_hook=once)
    return twice[0] if twice else None

"""Rows that a command on files cannot judge: they are kept as they stand, counted, and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from synthgen.cleaning.texts import COLUMNS
from synthgen.errors import UsageError
from synthgen.rows import Fault, Row

_MOST_COLUMNS = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """Rows of one kind that the user should know of: how many, and the first."""

    count: int = 0
    first: str = ""

    def one_more(self, what: str) -> Told:
        return Told(self.count + 1, self.first or what)

    def line(self, said: str) -> Iterator[str]:
        """In one line, where there is one."""
        if self.count:
            yield f"{self.count} {'row' if self.count == 1 else 'rows'} {said}, the first: {self.first}"


@dataclass(slots=True)
class Untouched:
    """Those without text in the column that is looked at, and those that cannot be read."""

    without: Told = Told()
    unreadable: Told = Told()
    _columns: dict[str, None] = field(default_factory=dict)  # of rows that have no text, for a message

    def fault(self, row: Fault) -> None:
        self.unreadable = self.unreadable.one_more(str(row))

    def no_text(self, row: Row, *, column_missing: bool = True) -> None:
        self.without = self.without.one_more(row.where)
        if column_missing and len(self._columns) < _MOST_COLUMNS:
            self._columns.update(dict.fromkeys(row.fields))

    def told(self, what: str) -> Iterator[str]:
        """What the user should know of them, a line each."""
        yield from self.without.line(f"without {what}, kept as they are")
        yield from self.unreadable.line("that cannot be read, kept as they are")

    def check(self, rows: int, column: str | None, *, wanted: str = "") -> None:
        """Raises UsageError when it is all `rows`, since none has the column; `wanted` says it in other words."""
        if self.without.count + self.unreadable.count < rows or not self._columns:
            return
        there = ", ".join(list(self._columns)[:12])
        if wanted:
            raise UsageError(f"{self.without.first}: {wanted} (columns: {there})")
        if column is None:
            none = f"none of the columns {', '.join(COLUMNS)}"
            raise UsageError(f"{self.without.first}: {none}; name one with --field (columns: {there})")
        close = get_close_matches(column, self._columns, n=1)
        near = f"did you mean {close[0]}?" if close else f"columns: {there}"
        raise UsageError(f"{self.without.first}: no row has the column {column!r}; {near}")

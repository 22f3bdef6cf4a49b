"""What `datasets` would infer of rows: the keys and types of the first 10 MB, and what a later row would break.

Tried on datasets 5.2: a key or a type that comes late stops it, and an object that lacks a key there gets it as null.
What differs within the first part is kept as it is (its type Json), so one row of each sort there is enough.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any

FIRST_BYTES = 10 << 20  # `chunksize` of datasets' reader of JSON lines
_FLAT = frozenset({str, int, float, bool, type(None)})
_MOST_KNOWN, _MOST_DEPTH = 1000, 12
# The items of lists of turns, whose keys are few.
_TURN = re.compile(r"((input\.)?messages|conversations|prompt|completion|chosen|rejected|\w+_(messages|output))\[\]")
# What pyarrow takes for a timestamp in JSON (tried on 25.0), fractions of seconds not among them.
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d(?::\d\d(?::\d\d)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?")


def is_date(value: Any) -> bool:
    """Whether a column of such values becomes one of timestamps."""
    if type(value) is not str or not _DATE.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


class Shapes:
    """Rows are shown in order, and where a part that `datasets` reads at once ends."""

    def __init__(self) -> None:
        self._root, self._part = _Place(""), _Place("")  # of all rows, and of those of this part
        self._known: set[Hashable] = set()  # shapes of rows that bring nothing new
        self._undecided: list[str] = []  # places of text in this part, and every one of them a date
        self._dates: dict[str, None] = {}

    def meet(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has a key or a type in a place where no row before it had that."""
        shape = _shape(row, 0)
        if shape in self._known and not self._undecided:
            return False
        if len(self._known) < _MOST_KNOWN:
            self._known.add(shape)
        self._part.meet(row, 0)
        self._undecided = list(self._part.dates())
        return self._root.meet(row, 0)

    def lacks(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of another file has what none of these has, nor those that were asked about before."""
        return self._root.meet(row, 0)

    def end_part(self) -> None:
        """The rows that follow are in another part, which `datasets` looks at by itself."""
        self._dates |= dict.fromkeys(self._undecided)
        self._part, self._known, self._undecided = _Place(""), set(), []

    def dates(self) -> list[str]:
        """The places where each text of a part was a date: `datasets` makes them timestamps."""
        return list(self._dates | dict.fromkeys(self._undecided))


def _shape(value: Any, depth: int) -> Any:
    """Keys and types, without the order and number of a list's items."""
    kind = type(value)
    if kind in _FLAT or depth > _MOST_DEPTH:
        return kind
    if kind is dict:
        kinds = tuple(map(type, value.values()))
        if _FLAT.issuperset(kinds):
            return (*value, *kinds)
        return tuple([(key, _shape(inner, depth + 1)) for key, inner in value.items()])
    if kind is list or kind is tuple:
        return frozenset([_shape(inner, depth + 1) for inner in value])
    return _shape(dict(value), depth) if isinstance(value, Mapping) else kind


class _Place:
    """A column, a key of its objects or the items of its lists.

    `free` once what stands there differs in its keys or its type: `datasets` takes it as JSON then, whatever it is.
    """

    __slots__ = ("children", "free", "items", "keys", "kinds", "only_dates", "path", "seen")

    def __init__(self, path: str) -> None:
        self.path = path
        self.kinds: set[str] = set()
        self.keys: frozenset[str] | None = None
        self.seen: set[str] = set()
        self.children: dict[str, _Place] = {}
        self.items: _Place | None = None
        self.free = self.only_dates = False

    def meet(self, value: Any, depth: int) -> bool:
        """Whether the value has anything new here or below."""
        if self.free or value is None:
            return isinstance(value, Mapping) and self._meet_keys(value)
        kind = "object" if isinstance(value, Mapping) else "list" if isinstance(value, tuple) else type(value).__name__
        new = kind not in self.kinds
        self.kinds.add(kind)
        keys = frozenset(value) if kind == "object" else None
        other_keys = keys is not None and self.keys is not None and keys != self.keys
        if keys is not None:
            self._meet_keys(keys)
        if other_keys or depth > _MOST_DEPTH or (len(self.kinds) > 1 and self.kinds != {"int", "float"}):
            self.free, self.only_dates, self.children, self.items = True, False, {}, None
            return True
        if keys is not None:
            self.keys = keys
            return self._meet_values(value, depth) or new
        if kind == "list":
            self.items = items = self.items or _Place(f"{self.path}[]")
            return max([items.meet(item, depth + 1) for item in value], default=False) or new  # each of them is met
        return self._meet_text(value, new) if kind == "str" else new

    def _meet_keys(self, keys: Collection[str]) -> bool:
        """Whether a turn has a key that none before it had, which stops a `datasets` that has no type Json."""
        if not _TURN.fullmatch(self.path) or self.seen.issuperset(keys):
            return False
        self.seen.update(keys)
        return True

    def _meet_values(self, value: Mapping[str, Any], depth: int) -> bool:
        new = False
        for key, inner in value.items():
            child = self.children.get(key)
            if child is None:
                child = self.children[key] = _Place(f"{self.path}.{key}" if self.path else key)
            new |= child.meet(inner, depth + 1)
        return new

    def _meet_text(self, text: str, first: bool) -> bool:
        """A text that is no date after dates alone is new as much as the first text is."""
        if not first and not self.only_dates:
            return False
        was, self.only_dates = self.only_dates, is_date(text)
        return first or was != self.only_dates

    def dates(self) -> Iterator[str]:
        """The places of text, here and below, that hold nothing but dates."""
        if self.only_dates:
            yield self.path
        for below in (*self.children.values(), *([self.items] if self.items else [])):
            yield from below.dates()

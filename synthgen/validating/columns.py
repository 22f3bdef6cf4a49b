"""The columns of a file over all its rows: what `datasets` infers from the first 10 MB, and what breaks it later."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from synthgen.formats.shapes import FIRST_BYTES, is_date
from synthgen.validating.turns import Found

_MOST_KEYS, _MOST_DEPTH, _MOST_SHAPES = 1000, 12, 1000
_TURNS = frozenset({"messages", "conversations", "prompt", "completion", "chosen", "rejected", "history", "input"})
_NULL = type(None)
_WORDS = {str: "text", int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
_Shape = tuple[tuple[str, ...], tuple[type, ...]]


class _Node:
    """One place in the rows, `meta.score` or the items of `tools`: what was seen there."""

    __slots__ = ("children", "closed", "free", "items", "path", "shapes", "types")

    def __init__(self, path: str) -> None:
        self.path = path
        self.types: set[type] = set()
        self.children: dict[str, _Node] = {}
        self.items: _Node | None = None
        self.shapes: dict[_Shape, tuple[str, ...]] = {}  # the keys of each whose values are looked into
        self.free = self.closed = False


class Columns:
    """Rows are shown in order. `in_pieces`: the file is JSON lines, of which datasets reads 10 MB at a time.

    `read` are the columns that are trained on: a date elsewhere does no harm. `plain` may have objects with any keys.
    """

    def __init__(self, *, in_pieces: bool, read: Collection[str], plain: Collection[str]) -> None:
        self._in_pieces, self._read, self._plain = in_pieces, read, plain
        self._root = _Node("")
        self._dates: list[str] = []  # columns whose texts have all been dates
        self._found: list[Found] = []
        self._told: set[Found] = set()

    @property
    def names(self) -> list[str]:
        """Every column, in the order of appearance."""
        return list(self._root.children)

    def text(self, name: str) -> bool:
        """Whether the column is of text wherever it is not null."""
        child = self._root.children.get(name)
        return child is not None and child.types <= {str, _NULL} and str in child.types

    def look(self, row: Mapping[str, Any], offset: int) -> list[Found]:
        """What this row is the first to break."""
        late = self._in_pieces and offset >= FIRST_BYTES
        self._walk_object(self._root, row, late, 0)
        if self._dates and not late:
            self._dates = [name for name in self._dates if row.get(name) is None or is_date(row[name])]
        if not self._found:
            return self._found
        found, self._found = self._found, []
        return found

    def ended(self) -> Iterator[Found]:
        """What is known after the last row."""
        if dates := [name for name in self._dates if str in self._root.children[name].types]:
            yield "date-column", f"every text of {', '.join(dates)} is a date"

    def _walk_object(self, node: _Node, value: Mapping[str, Any], late: bool, depth: int) -> None:
        if node.closed:
            return
        shape = tuple(value), tuple(map(type, value.values()))
        inside = node.shapes.get(shape)
        if inside is None:
            inside = self._learn(node, value, shape, late)
        for key in inside:
            self._walk(node.children[key], value[key], late, depth + 1)

    def _walk(self, node: _Node, value: Any, late: bool, depth: int) -> None:
        if node.closed or depth > _MOST_DEPTH:
            return
        if type(value) is dict:
            self._walk_object(node, value, late, depth)
            return
        items = node.items
        if items is None:
            items = node.items = _Node(f"{node.path}[]")
        for item in value:
            kind = type(item)
            if kind not in items.types:
                self._meet(items, kind, late)
            if kind is dict or kind is list:
                self._walk(items, item, late, depth + 1)

    def _learn(self, node: _Node, value: Mapping[str, Any], shape: _Shape, late: bool) -> tuple[str, ...]:
        """A set of keys and types that was not here before."""
        is_row = node is self._root  # a column may be called ""
        if not is_row and node.shapes and not node.free and value.keys() != node.children.keys():
            if not late or value.keys() <= node.children.keys():
                self._tell(node, "free-keys", f"{node.path} has other keys from row to row")
            node.free = True
            if _column(node) not in _TURNS:  # what is inside is of one place with it
                node.closed = True
        for key, inner in value.items():
            child = node.children.get(key)
            if child is None:
                if len(node.children) >= _MOST_KEYS:
                    node.closed = not is_row
                    continue
                child = node.children[key] = _Node(key if is_row else f"{node.path}.{key}")
                if late and (node.shapes or node.types):
                    self._tell(node, "late-key", f"{child.path} first appears after {FIRST_BYTES >> 20} MB")
                    child.types.add(_NULL)
                    child.types.add(type(inner))
                elif is_row and (not self._read or key in self._read):
                    self._dates.append(key)
            if type(inner) not in child.types:
                self._meet(child, type(inner), late)
        inside = tuple(key for key, inner in value.items() if type(inner) in (dict, list) and key in node.children)
        if len(node.shapes) < _MOST_SHAPES:
            node.shapes[shape] = inside
        return inside

    def _meet(self, node: _Node, kind: type, late: bool) -> None:
        """A type that was not here before."""
        before = node.types - {_NULL}
        node.types.add(kind)
        if kind is _NULL:
            return
        if not before:
            if late:
                what = "an empty list" if node.path.endswith("[]") else "null"
                self._tell(node, "late-type", f"{node.path.removesuffix('[]')} is {what} for the first 10 MB")
        elif before <= {int} and kind is float:
            if late:
                self._tell(node, "late-type", f"{node.path} is a whole number for the first 10 MB, then has a fraction")
        elif not (before | {kind}) <= {int, float}:
            words = f"{_WORDS[next(iter(before))]}, here {_WORDS[kind]}"
            self._tell(node, "mixed-types", f"{node.path} is {words}")

    def _tell(self, node: _Node, rule: str, what: str) -> None:
        """Once for each place; turns have keys that some have, and some columns are a format's own affair."""
        column = _column(node)
        if column in self._plain or (rule == "free-keys" and column in _TURNS):
            return
        if rule == "mixed-types" and node.path in self._read:
            return  # each of these has a rule of its own for its type
        if (rule, what) not in self._told and len(self._told) < _MOST_KEYS:
            self._told.add((rule, what))
            self._found.append((rule, what))


def _column(node: _Node) -> str:
    return node.path.partition(".")[0].partition("[")[0]

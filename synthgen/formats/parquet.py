"""Parquet of rows whose shape is known at the end: they wait as JSON lines on the disk until then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import orjson

from synthgen.formats.turns import to_json
from synthgen.rows.table import OURS
from synthgen.rows.text import from_json, from_line

_GROUP_ROWS, _GROUP_BYTES = 10_000, 16_000_000
# Objects whose keys differ from row to row: as columns, each would get the keys of all, and trainers would read them.
_FREE = frozenset({"tools", "meta"})
_INT64, _EXACT = 1 << 63, 1 << 53  # whole numbers of a column, and those that a fraction's type holds exactly


class Parquet:
    """Lists and objects are columns of their own, as far as all rows agree on what they are; the rest is JSON text."""

    guessed: Literal["", "in parts", "at once"] = ""
    spelled: Collection[str] = ()  # what is, no trainer minds

    def __init__(self, write: Callable[[bytes], object], folder: Path) -> None:
        """`folder` is where the rows wait, which has the space for them if it has it for the file."""
        self._write, self._shape = write, Shape()
        self._lines = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`

    def add(self, row: Mapping[str, Any], line: bytes) -> int:
        self._shape.look(row)
        return self._lines.write(line + b"\n")

    def end(self, columns: Sequence[str]) -> None:
        from pyarrow.parquet import ParquetWriter

        for name in columns:
            self._shape.part(name)
        schema = self._schema()
        self._lines.seek(0)
        with ParquetWriter(Sink(self._write), schema) as writer:
            while lines := self._group():
                rows = [{name: part.fit(row[name]) for name, part in self._shape.parts.items()} for row in lines]
                writer.write_table(_table(rows, schema))

    def _schema(self) -> Any:
        import pyarrow as pa

        texts = [name for name, part in self._shape.parts.items() if part.is_json]
        fields = [pa.field(name, part.type()) for name, part in self._shape.parts.items()]
        return pa.schema(fields, metadata={OURS: orjson.dumps({"json": texts})})

    def _group(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        size = 0
        while len(rows) < _GROUP_ROWS and size < _GROUP_BYTES and (line := self._lines.readline()):
            size += len(line)
            rows.append(_value(line))
        return rows

    def close(self) -> None:
        with suppress(OSError):  # it flushes, and fails again on a full disk: the first error has been told
            self._lines.close()


def _value(line: bytes) -> Any:
    try:
        return from_line(line)
    except orjson.JSONDecodeError:  # numbers that only Python reads
        return from_json(line.decode())


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=schema)


class Shape:
    """What the values of one column, or of one key, are."""

    def __init__(self, *, free: bool = False) -> None:
        self.parts: dict[str, Shape] = {}  # of objects
        self._kinds: set[str] = set()
        self._items: Shape | None = None
        self._free = free

    def look(self, value: Any) -> None:
        """Take one more value into account."""
        if value is None:
            return
        if isinstance(value, Mapping):
            self._kinds.add("empty" if not value else "object")
            for name, inner in () if self._free else value.items():  # keys without end, and all of it is JSON text
                self.part(name).look(inner)
        elif isinstance(value, list | tuple):
            self._kinds.add("list")
            if self._free:
                return
            self._items = self._items or Shape()
            for inner in value:
                self._items.look(inner)
        elif isinstance(value, int) and not isinstance(value, bool):
            self._kinds.add("int" if abs(value) <= _EXACT else "wide" if -_INT64 <= value < _INT64 else "long")
        else:
            self._kinds.add(type(value).__name__)

    def part(self, name: str) -> Shape:
        """The shape of what objects have under a key."""
        if name not in self.parts:
            self.parts[name] = Shape(free=name in _FREE)
        return self.parts[name]

    @property
    def is_json(self) -> bool:
        """Whether it can be nothing but JSON text: free keys, or values of several kinds here or below."""
        nested = bool(self._kinds & {"object", "list", "empty"})
        return self._ragged or (self._free and nested)

    @property
    def _ragged(self) -> bool:
        mixed = len(self._kinds) > 1 and self._kinds not in ({"int", "float"}, {"int", "wide"})
        below = [part for part in (*self.parts.values(), *([self._items] if self._items else [])) if not part._free]
        return mixed or bool(self._kinds & {"empty", "long"}) or any(part._ragged for part in below)

    def type(self) -> Any:
        """The type of Arrow."""
        import pyarrow as pa

        if self.is_json or not self._kinds or "str" in self._kinds:
            return pa.string()
        if "object" in self._kinds:
            return pa.struct([pa.field(name, part.type()) for name, part in self.parts.items()])
        if "list" in self._kinds and self._items is not None:
            return pa.list_(self._items.type())
        return pa.float64() if "float" in self._kinds else pa.bool_() if "bool" in self._kinds else pa.int64()

    def fit(self, value: Any) -> Any:
        """The value as a column of this type holds it."""
        if value is None:
            return None
        if self.is_json:
            return to_json(value)
        if isinstance(value, dict):
            return {name: self.parts[name].fit(inner) for name, inner in value.items()}
        if isinstance(value, list) and self._items is not None:
            return [self._items.fit(inner) for inner in value]
        return value


class Sink:
    """A file that can be written and nothing else, which is what pyarrow asks for."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self._at, self.closed = write, 0, False

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._write(block)
        self._at += len(block)
        return len(block)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True

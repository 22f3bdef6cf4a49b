"""What rows lie in, a class a kind: their rows in order, and a copy of those that are kept, each as it stood."""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from synthgen import output
from synthgen.errors import UsageError
from synthgen.formats import open_format
from synthgen.formats.parquet import Sink
from synthgen.formats.turns import to_json
from synthgen.rows import Fault, Row, scan_rows
from synthgen.rows.document import Document, Element
from synthgen.rows.packed import kind_of, unpacked
from synthgen.rows.text import MAX_LINE_BYTES
from synthgen.types import Sample

Kept = Callable[[int], bool]  # whether the row of this number, counted from 0 over all files, is copied
Write = Callable[[bytes], object]


class Container(Protocol):
    """Files of one kind. `copy` asks in the order of `rows`, which must have been read to its end before."""

    kind: str
    suffixes: tuple[str, ...]  # what a copy may be called

    def __init__(self, sources: Sequence[str]) -> None: ...

    def rows(self) -> Iterator[Row | Fault]: ...

    def copy(self, kept: Kept, write: Write) -> None: ...


class Lines:
    """JSON lines, byte for byte: a row reaches up to the line before the next row's."""

    kind: str = "JSON lines"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson", ".json")

    def __init__(self, sources: Sequence[str]) -> None:
        self._paths = [Path(source) for source in sources]
        self._starts: list[array[int]] = []

    def rows(self) -> Iterator[Row | Fault]:
        self._starts = []
        for path in self._paths:
            starts = array("Q")
            self._starts.append(starts)
            for row in scan_rows(path):
                starts.append(int(row.where.rpartition(":")[2]))
                yield row

    def copy(self, kept: Kept, write: Write) -> None:
        number, newline, cut = 0, b"\n", False
        for path, starts in zip(self._paths, self._starts, strict=True):
            keep, row = path is self._paths[0], 0  # what stands before the first row is the header of a table
            data = b""
            for line, data in _raw_lines(path, mark=keep):
                if line == 1 and data.endswith(b"\r\n"):
                    newline = b"\r\n"
                if row < len(starts) and starts[row] == line:
                    keep, row, number = kept(number), row + 1, number + 1
                if keep:
                    write(newline + data if cut else data)
                    cut = False
            cut = cut or (keep and not data.endswith(b"\n"))


class Table(Lines):
    """CSV, byte for byte, under the header of the first file."""

    kind = "CSV"

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__(sources)
        first = self._paths[0]
        self.suffixes = (kind_of(first),)
        for path in self._paths:
            if _header(path) != _header(first):
                message = f"another header than {first}; rows are copied as they stand: give both the same columns"
                raise UsageError(f"{path}:1: {message}")


def _header(path: Path) -> bytes:
    return next((data.rstrip(b"\r\n") for _, data in _raw_lines(path, mark=False)), b"")


def _raw_lines(path: Path, *, mark: bool) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, one that is too long in several pieces; with the mark of UTF-8 or without it."""
    with unpacked(path) as file:
        if file.peek(3).startswith(codecs.BOM_UTF8) and not mark:
            file.read(len(codecs.BOM_UTF8))
        number = 1
        while data := file.readline(MAX_LINE_BYTES):
            yield number, data
            number += data.endswith(b"\n")


class Documents:
    """JSON arrays, or objects of one row each: every row as its text stood, several files as one array."""

    kind: str = "a JSON array"
    suffixes: tuple[str, ...] = (".json",)

    def __init__(self, sources: Sequence[str]) -> None:
        self._paths = [Path(source) for source in sources]

    def rows(self) -> Iterator[Row | Fault]:
        for path in self._paths:
            yield from scan_rows(path)

    def copy(self, kept: Kept, write: Write) -> None:
        if len(self._paths) == 1:
            self._copy_one(self._paths[0], kept, write)
            return
        number, written = 0, False
        for path in self._paths:
            for element in _elements(Document(path)):
                if kept(number):
                    write(f"{',' if written else '['}\n{element.text}".encode())
                    written = True
                number += 1
        write(b"\n]\n" if written else b"[]\n")

    def _copy_one(self, path: Path, kept: Kept, write: Write) -> None:
        """What stands between the rows stays too."""
        document, head, written = Document(path), "", False
        with unpacked(path) as file:
            mark = file.read(3)
        if mark == codecs.BOM_UTF8:
            write(mark)
        for number, element in enumerate(_elements(document)):
            head = head if number else element.before
            if kept(number):
                write(f"{element.before if written else head}{element.text}".encode())
                written = True
        if written:
            write(document.after.encode())
        else:
            write(f"{head}{document.after}".encode() if "[" in head else b"[]\n")


def _elements(document: Document) -> Iterator[Element]:
    for element in document:
        if isinstance(element, Fault):
            raise UsageError(str(element))
        yield element


class Parquet:
    """Parquet with the same schema, metadata, compression and row groups."""

    kind: str = "parquet"
    suffixes: tuple[str, ...] = (".parquet",)

    def __init__(self, sources: Sequence[str]) -> None:
        self._paths = [Path(source) for source in sources]

    def rows(self) -> Iterator[Row | Fault]:
        schema = None
        for path in self._paths:
            rows = scan_rows(path)
            first = next(rows)  # raises where the file is none
            schema = schema or _open_parquet(self._paths[0]).schema_arrow
            if not _open_parquet(path).schema_arrow.equals(schema):
                message = f"other columns than {self._paths[0]}; rows are copied as they stand: give both one schema"
                raise UsageError(f"{path}: {message}")
            yield first
            yield from rows

    def copy(self, kept: Kept, write: Write) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        first = _open_parquet(self._paths[0])
        column = first.metadata.row_group(0).column(0) if first.metadata.num_row_groups else None
        compression = column.compression if column is not None else "SNAPPY"
        compression = "NONE" if compression == "UNCOMPRESSED" else compression  # one word to read, another to write
        number = 0
        with ParquetWriter(Sink(write), first.schema_arrow, compression=compression) as writer:
            for path in self._paths:
                file = _open_parquet(path)
                for group in range(file.metadata.num_row_groups):
                    table = file.read_row_group(group)
                    mask = [kept(number + row) for row in range(table.num_rows)]
                    number += table.num_rows
                    if any(mask):
                        writer.write_table(table.filter(pa.array(mask)).cast(first.schema_arrow))


def _open_parquet(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path)


class Hub:
    """A data set of the hub, read twice; a copy of it is JSON lines."""

    kind: str = "a data set of the hub"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources

    def rows(self) -> Iterator[Row | Fault]:
        for source in self._sources:
            yield from scan_rows(source)

    def copy(self, kept: Kept, write: Write) -> None:
        for number, row in enumerate(self.rows()):
            if isinstance(row, Fault):
                raise UsageError(f"{row}; a row of the hub that cannot be read cannot be copied either")
            if kept(number):
                try:
                    write(to_json(row.fields).encode() + b"\n")
                except (TypeError, ValueError) as error:
                    message = f"JSON lines cannot hold it ({error}); download the data set and give its files"
                    raise UsageError(f"{row.where}: {message}") from None


class Arrow(Hub):
    """Arrow files, read twice; a copy of them is JSON lines."""

    kind: str = "an Arrow file"


class Runs:
    """Run folders: their accepted samples; a copy is JSON lines of the format `samples`."""

    kind: str = "a run folder"
    suffixes: tuple[str, ...] = (".jsonl", ".ndjson")

    def __init__(self, sources: Sequence[str]) -> None:
        self._folders = [Path(source) for source in sources]
        self._counts: list[int | None] = [None] * len(sources)  # a run that goes on has more rows in the second pass
        self._format = open_format("samples")
        self._kinds: dict[tuple[str, ...], Sample] = {}  # one sample for each set of columns

    def rows(self) -> Iterator[Row | Fault]:
        for where, sample in self._samples():
            columns = self._format.columns((sample,))
            self._kinds.setdefault(columns, sample)
            yield Row(self._format.row(sample, columns), where)

    def copy(self, kept: Kept, write: Write) -> None:
        columns = self._format.columns(self._kinds.values())
        for number, (_, sample) in enumerate(self._samples()):
            if kept(number):
                write(to_json(self._format.row(sample, columns)).encode() + b"\n")

    def _samples(self) -> Iterator[tuple[str, Sample]]:
        for place, folder in enumerate(self._folders):
            number = 0
            for number, sample in enumerate(islice(output.samples_of(folder)(), self._counts[place]), start=1):
                yield f"{folder}:{number}", sample
            if not number:
                raise UsageError(f"{folder}: no accepted samples in this run; let it go on: synthgen status {folder}")
            self._counts[place] = number

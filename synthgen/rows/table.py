"""Rows out of tables: csv, parquet and the hub's data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows.text import MAX_LINE_BYTES, Fault, Row, checked, decoded, lines

_INSTALL = 'pip install "synthgen[hub]"'


def csv_rows(path: Path) -> Iterator[Row | Fault]:
    """Rows under the header's names; a cell may run over lines, so the first unreadable one ends the file."""
    csv.field_size_limit(MAX_LINE_BYTES)
    text = _text_lines(path)
    if (first := next(text, None)) is None:
        return
    reader = csv.reader(chain([first], text), delimiter=_delimiter(first), strict=True)
    columns: list[str] = []
    while True:
        start = reader.line_num + 1
        where = f"{path}:{start}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(where, f"not CSV ({error}); fix the row: nothing after it can be read", ends=True)
            return
        if not columns:
            columns = [cell.strip() for cell in cells]
            if len(set(columns)) < len(columns):
                raise UsageError(f"{where}: two columns of the same name in the header; rename one")
        elif cells and len(cells) != len(columns):
            count = f"{len(cells)} cells under {len(columns)} columns"
            yield Fault(where, f'{count}; put "..." around cells that hold a comma or a newline')
        elif cells:
            yield checked(dict(zip(columns, cells, strict=True)), where, maybe_nul=True)


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in lines(path):
        text = line if isinstance(line, Fault) else decoded(line, f"{path}:{number}")
        if isinstance(text, Fault):
            raise UsageError(str(text))
        yield text


def _delimiter(header: str) -> str:
    try:
        return csv.Sniffer().sniff(header[:10_000], delimiters=",;\t|").delimiter
    except csv.Error:  # one column
        return ","


def parquet_rows(path: Path) -> Iterator[Row | Fault]:
    """`file:row` instead of a line: parquet has none."""
    with _parquet_file(path) as file:
        number = 0
        for values in _batches(file, path):
            for value in values:
                number += 1
                yield checked(value, f"{path}:{number}", maybe_nul=True)


def _batches(file: Any, path: Path) -> Iterator[list[Any]]:
    from pyarrow import ArrowException

    try:
        for batch in file.iter_batches(batch_size=1000):
            yield batch.to_pylist()
    except (ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8, dates beyond Python's
        raise UsageError(f"{path}: a part of it cannot be read ({_first_line(error)}); is the file whole?") from None


def _parquet_file(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError(f"{path}: parquet needs more packages: {_INSTALL}") from None
    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise UsageError(f"{path}: not parquet ({_first_line(error)}); is the file whole?") from None


def hub_rows(source: str) -> Iterator[Row | Fault]:
    """`hf:owner/name[:split]`, streamed; `where` is the source and the number of the row."""
    name, _, split = source.removeprefix("hf:").partition(":")
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(f"{source}: the hub needs more packages: {_INSTALL}") from None
    try:
        for number, value in enumerate(load_dataset(name, split=split or "train", streaming=True), start=1):
            yield checked(dict(value), f"{source}:{number}", maybe_nul=True)
    except (OSError, ValueError) as error:  # the hub's own errors are of these two, offline among them
        message = f"cannot be read from the hub ({_first_line(error)}); is it hf:owner/name[:split]?"
        raise UsageError(f"{source}: {message}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

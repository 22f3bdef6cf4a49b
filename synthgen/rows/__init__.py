"""Rows out of files, folders and the hub, one at a time, each with its `file:line`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from synthgen.errors import UsageError
from synthgen.rows.document import document_rows, is_document
from synthgen.rows.table import csv_rows, hub_rows, parquet_rows
from synthgen.rows.text import Fault, Row, line_rows

__all__ = ["Fault", "Row", "nearest_path", "read_rows", "row_files", "scan_rows"]


def read_rows(source: str | Path) -> Iterator[Row]:
    """Every row of a file, a folder or `hf:owner/name[:split]`; UsageError at the first that is at fault."""
    for row in scan_rows(source):
        if isinstance(row, Fault):
            raise UsageError(str(row))
        yield row


def scan_rows(source: str | Path) -> Iterator[Row | Fault]:
    """As `read_rows`, but a row at fault is handed over and reading goes on; a file at fault is a UsageError."""
    if isinstance(source, str) and source.startswith("hf:"):
        yield from hub_rows(source)
        return
    for path in row_files(Path(source)):
        found = False
        for row in _READERS[path.suffix.lower()](path):
            found = True
            yield row
        if not found:
            raise UsageError(f"{path}: no rows in it; give a file with at least one")


def row_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder that can hold rows, by name; UsageError when there is none."""
    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if _readable(file) and file.is_file())
            if not found:
                raise UsageError(f"{path}: no file with rows in this folder; it takes {', '.join(_READERS)}")
            return found
        if not path.exists():
            raise UsageError(f"{path}: no such file{nearest_path(path)}")
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    if path.suffix.lower() not in _READERS:
        raise UsageError(f"{path}: cannot read rows from this kind of file; it takes {', '.join(_READERS)}")
    if not path.is_file():  # rows are read more than once
        raise UsageError(f"{path}: is a pipe or a device; write what comes out of it to a file, and give that")
    return [path]


def _readable(path: Path) -> bool:
    return path.suffix.lower() in _READERS and not path.name.startswith(".")


def nearest_path(path: Path) -> str:
    """What may have been meant by a path that is not there, as the end of a message."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    close = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


def _json_rows(path: Path) -> Iterator[Row | Fault]:
    """JSON lines, an array or one object, whatever the name says: data sets come in all three as `.json`."""
    return document_rows(path) if is_document(path) else line_rows(path)


_READERS: dict[str, Callable[[Path], Iterator[Row | Fault]]] = {
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".json": _json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": parquet_rows,
}

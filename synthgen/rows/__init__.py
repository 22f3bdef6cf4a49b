"""Rows out of files, folders and the hub, one at a time, each with its `file:line`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from synthgen.errors import UsageError
from synthgen.rows.document import document_rows, is_document
from synthgen.rows.folder import folder_files
from synthgen.rows.hub import hub_rows
from synthgen.rows.packed import PACKED, is_packed, kind_of
from synthgen.rows.shapes import is_registry
from synthgen.rows.table import arrow_rows, csv_rows, parquet_rows
from synthgen.rows.text import Fault, Row, line_rows

__all__ = ["Fault", "Row", "nearest_path", "read_rows", "row_files", "scan_rows"]


def read_rows(source: str | Path) -> Iterator[Row]:
    """Every row of a file, a folder or `hf:owner/name[:config][:split]`; UsageError at the first that is at fault."""
    for row in scan_rows(source):
        if isinstance(row, Fault):
            raise UsageError(str(row))
        yield row


def scan_rows(source: str | Path, *, as_text: bool = False) -> Iterator[Row | Fault]:
    """As `read_rows`, but a row at fault is handed over and reading goes on; a file at fault is a UsageError.

    `as_text`: what tables hold as the JSON text of lists stays text, as it is for any other reader.
    """
    if str(source).startswith("hf:"):
        yield from hub_rows(str(source))
        return
    paths = row_files(Path(source))
    for path in paths:
        read = _READERS[kind_of(path)]
        found = False
        for row in read(path, as_text=True) if as_text and read is not _json_rows else read(path):
            if not found and isinstance(row, Row) and is_registry(row.fields):
                if len(paths) > 1:  # it lies beside the files that it names
                    found = True
                    break
                message = "LLaMA-Factory's registry of data sets, no rows; give one of the files that it names"
                raise UsageError(f"{path}: {message} (synthgen validate checks it)")
            found = True
            yield row
        if not found:
            raise UsageError(f"{path}: no rows in it; give a file with at least one")


def row_files(path: Path, *, by_card: bool = True) -> list[Path]:
    """The file itself, or those of a folder that hold its rows; UsageError when there is none.

    `by_card`: where the README.md of a folder names its files, these alone.
    """
    try:
        if path.is_dir():
            found = folder_files(path, _READABLE, by_card=by_card)
            if not found:
                raise UsageError(f"{path}: no file with rows in this folder; it takes {', '.join(_READERS)}")
            return [one for file in found for one in _checked(file)]
        if not path.exists():
            raise UsageError(f"{path}: no such file{nearest_path(path)}")
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    return _checked(path)


def _checked(path: Path) -> list[Path]:
    if kind_of(path) not in _READERS or (is_packed(path) and kind_of(path) not in _OF_TEXT):
        kinds = f"{', '.join(_READERS)}, of text also {' and '.join(PACKED)}"
        if path.suffix.lower() in _SHEETS:
            raise UsageError(f"{path}: a spreadsheet; save it as CSV UTF-8 and give that")
        raise UsageError(f"{path}: cannot read rows from this kind of file; it takes {kinds}")
    if not path.is_file():  # rows are read more than once
        raise UsageError(f"{path}: is a pipe or a device; write what comes out of it to a file, and give that")
    return [path]


def nearest_path(path: Path) -> str:
    """What may have been meant by a path that is not there, as the end of a message."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    close = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


def _json_rows(path: Path) -> Iterator[Row | Fault]:
    """JSON lines, an array or one object, whatever the name says: data sets come in all three as `.json`."""
    return document_rows(path) if is_document(path) else line_rows(path)


_READERS: dict[str, Callable[..., Iterator[Row | Fault]]] = {
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".json": _json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
    ".parquet": parquet_rows,
    ".arrow": arrow_rows,
}
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_OF_TEXT = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv"})
_READABLE = frozenset({*_READERS, *(f"{kind}{packed}" for kind in _OF_TEXT for packed in PACKED)})

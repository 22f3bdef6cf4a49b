"""Rows out of tables: csv, parquet and Arrow."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from itertools import chain
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows.packed import INSTALL
from synthgen.rows.text import MAX_LINE_BYTES, Fault, Row, checked, decoded, lines

# In the metadata of a parquet file of ours: {"json": the columns with JSON text}. In others a null is a null; in these,
# that of an object is a key which only other rows have.
OURS = b"synthgen"
# Text in some formats and turns in others: a text that happens to spell turns is taken for them only where all do.
_MAYBE, _ANSWERS = frozenset({"prompt", "completion", "chosen", "rejected"}), frozenset({"chosen", "rejected"})
_OPENAI = frozenset({"input", "preferred_output", "non_preferred_output"})


def csv_rows(path: Path, *, as_text: bool = False) -> Iterator[Row | Fault]:
    """Rows under the header's names; a cell may run over lines, so the first unreadable one ends the file.

    Turns, spans and labels, which csv holds as JSON text, are what that spells, unless `as_text`.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    text = _text_lines(path)
    reader, columns = None, list[str]()
    while True:
        where = f"{path}:{reader.line_num + 1 if reader else 1}"
        try:
            if reader is None:
                if (first := next(text, None)) is None:
                    return
                reader = csv.reader(chain([first], text), delimiter=_delimiter(first), strict=True)
            cells = next(reader)
        except StopIteration:
            return
        except _EndedError as error:
            yield error.fault
            return
        except csv.Error as error:
            yield Fault(where, f"not CSV ({error}); fix the row: nothing after it can be read", ends=True)
            return
        if not columns:
            columns = _header(cells, where)
        elif cells and len(cells) != len(columns):
            count = f"{len(cells)} cells under {len(columns)} columns"
            yield Fault(where, f'{count}; put "..." around cells that hold a comma or a newline')
        elif cells:
            row = dict(zip(columns, cells, strict=True))
            yield checked(row if as_text else _spelled(row), where, maybe_nul=True)


def separator(path: Path) -> str:
    """What stands between the cells of a file; UsageError where it cannot be read."""
    try:
        return _delimiter(next(_text_lines(path), ""))
    except _EndedError:
        return ","


def _header(cells: list[str], where: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if len(set(columns)) < len(columns):
        raise UsageError(f"{where}: two columns of the same name in the header; rename one")
    return columns


class _EndedError(Exception):
    """What carries a fault through the reader of the standard library."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in lines(path):
        text = line if isinstance(line, Fault) else decoded(line, f"{path}:{number}")
        if isinstance(text, Fault):
            raise _EndedError(text) if text.ends else UsageError(str(text))
        yield text


def _delimiter(header: str) -> str:
    try:
        return csv.Sniffer().sniff(header[:10_000], delimiters=",;\t|").delimiter
    except csv.Error:  # one column
        return ","


def _spelled(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what csv has no words for; columns of nothing but turns are for `canonical`."""
    maybe = {column: _json(row[column]) for column in _MAYBE & row.keys()}
    if all(_is_turns(value) or (name in _ANSWERS and _is_turn(value)) for name, value in maybe.items()):
        row |= maybe
    if "spans" in row and isinstance(spans := _json(row["spans"]), list):
        row["spans"] = spans
    if row.keys() >= _OPENAI:
        pair = {column: _json(row[column]) for column in _OPENAI}
        row |= pair if None not in pair.values() else {}
    for tag in ("kto_tag", "label") if {"kto_tag", "completion", "messages"} & row.keys() else ():
        row |= {tag: row[tag] == "true"} if row.get(tag) in ("true", "false") else {}
    return row


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and bool({"role", "from"} & value.keys())


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_turn, value))


def _json(text: str) -> Any:
    """The list or the object that a text spells, or None."""
    if not text.startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def parquet_rows(path: Path, *, as_text: bool = False) -> Iterator[Row | Fault]:
    """`file:row` instead of a line: parquet has none. JSON text that we wrote is what it spells, unless `as_text`."""
    with _needs_pyarrow(path):
        from pyarrow.parquet import ParquetFile
    with _is_whole(path, "parquet"):
        file = ParquetFile(path)
        spelled = _spelled_columns(file.schema_arrow, as_text)
    with file:
        yield from _table_rows(path, spelled, file.iter_batches(batch_size=1000))


def arrow_rows(path: Path, *, as_text: bool = False) -> Iterator[Row | Fault]:
    """The same of an Arrow file: a stream, as `datasets` writes it, or one with an index (feather)."""
    with _needs_pyarrow(path):
        import pyarrow as pa
    with path.open("rb") as head:
        indexed = head.read(6) == b"ARROW1"
    with _is_whole(path, "Arrow"):
        source = pa.memory_map(str(path))
        file = pa.ipc.open_file(source) if indexed else pa.ipc.open_stream(source)
        spelled = _spelled_columns(file.schema, as_text)
    with source:
        batches = map(file.get_batch, range(file.num_record_batches)) if indexed else iter(file)
        pieces = (b.slice(start, 1000) for b in batches for start in range(0, b.num_rows, 1000))
        yield from _table_rows(path, spelled, pieces)


@contextmanager
def _needs_pyarrow(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise UsageError(f"{path}: {path.suffix.lower()[1:]} needs more packages: {INSTALL}") from None


@contextmanager
def _is_whole(path: Path, what: str) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # names and metadata of other bytes
        raise UsageError(f"{path}: not {what} ({_first_line(error)}); is the file whole?") from None


def _table_rows(
    path: Path, spelled: Mapping[str, Callable[[Any], Any]], batches: Iterator[Any]
) -> Iterator[Row | Fault]:
    number = 0
    for values in _lists(path, batches):
        for value in values:
            number += 1
            for column, meaning in spelled.items():
                value[column] = meaning(value[column])
            yield checked(value, f"{path}:{number}", maybe_nul=True)


def _lists(path: Path, batches: Iterator[Any]) -> Iterator[list[Any]]:
    from pyarrow import ArrowException

    try:
        for batch in batches:
            batch.validate(full=True)  # pyarrow trusts the offsets of a file, and reads anything anywhere by them
            yield batch.to_pylist()
    except (ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8, dates beyond Python's
        message = f"a part of it cannot be read ({_first_line(error)}); is the file whole?"
        raise UsageError(f"{path}: {message}") from None


def _spelled_columns(schema: Any, as_text: bool) -> dict[str, Callable[[Any], Any]]:
    """The columns with JSON text in them: Arrow's own type for it, which `datasets` uses, and what we wrote."""
    ours = None if as_text else (schema.metadata or {}).get(OURS)
    found = {field.name: _meaning(field.type, as_text) for field in schema}
    if ours is not None:
        texts = json.loads(ours)["json"]
        found = {name: _of_json if name in texts else _without_padding for name in found}
    return {name: meaning for name, meaning in found.items() if meaning is not None}


def _meaning(kind: Any, as_text: bool) -> Callable[[Any], Any] | None:
    from pyarrow import types

    if not as_text and (types.is_temporal(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind)):
        return plain
    if not as_text and (types.is_binary(kind) or types.is_large_binary(kind)):
        return plain
    if str(kind).startswith("extension<arrow.json"):
        return _of_json
    if types.is_list(kind) or types.is_large_list(kind):
        inner = _meaning(kind.value_type, as_text)
        return inner and (lambda value: value if value is None else [inner(one) for one in value])
    if types.is_struct(kind):
        parts = {part.name: meaning for part in kind if (meaning := _meaning(part.type, as_text)) is not None}
        return (lambda value: _of_parts(value, parts)) if parts else None
    if not as_text and (types.is_nested(kind) or types.is_dictionary(kind)):  # maps, lists of one length, categories
        return plain
    return None


def plain(value: Any) -> Any:
    """What JSON has no word for, as text: times in ISO 8601, decimals digit by digit, bytes in UTF-8 or else base64."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if not isinstance(value, bytes):
        return str(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    return base64.b64encode(value).decode() if "\0" in text else text


def _of_parts(value: Any, parts: dict[str, Callable[[Any], Any]]) -> Any:
    return value and {name: parts[name](one) if name in parts else one for name, one in value.items()}


def _without_padding(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_padding(one) for name, one in value.items() if one is not None}
    return [_without_padding(one) for one in value] if isinstance(value, list) else value


def _of_json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):  # not what the type promises: text like any other
        return value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

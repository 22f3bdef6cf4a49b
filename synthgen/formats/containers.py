"""What rows are written into, by the suffix of the file: JSON lines, one array, csv, parquet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from synthgen.errors import UsageError
from synthgen.formats import Format
from synthgen.formats.turns import to_json
from synthgen.rows.packed import INSTALL, is_packed

Write = Callable[[bytes], int]
Guessed = Literal["", "in parts", "at once"]


class Container(Protocol):
    """One file in the making: rows one by one, each with its JSON, then the end.

    `guessed`: how `datasets` looks for the types of its columns, "" where it has no need to.
    """

    guessed: Guessed
    spelled: Collection[str]  # columns of lists and objects, which it holds as JSON text

    def add(self, row: Mapping[str, Any], line: bytes) -> int:
        """Returns how many bytes that was."""

    def end(self, columns: Sequence[str]) -> None:
        """The rest of the file; `columns` are those of all rows, also where there is none."""

    def close(self) -> None:
        """Whatever else it holds; the file may have been given up."""


class _Marks(NamedTuple):
    """What stands around the rows."""

    before: bytes
    between: bytes
    after: bytes
    empty: bytes


class _Json:
    """JSON lines, or an array with a row a line."""

    guessed: Guessed = "in parts"
    spelled: Collection[str] = ()
    marks = _Marks(b"", b"\n", b"\n", b"")

    def __init__(self, write: Write, folder: Path) -> None:
        self._write, self._any = write, False

    def add(self, row: Mapping[str, Any], line: bytes) -> int:
        before = self.marks.between if self._any else self.marks.before
        self._any = True
        return self._write(before + line)

    def end(self, columns: Sequence[str]) -> None:
        self._write(self.marks.after if self._any else self.marks.empty)

    def close(self) -> None: ...


class _Array(_Json):
    guessed: Guessed = "at once"
    marks = _Marks(b"[\n", b",\n", b"\n]\n", b"[]\n")


class _Csv:
    """A header, then a row a record: text as it is, null as nothing, all else as JSON."""

    guessed: Guessed = ""

    def __init__(self, write: Write, folder: Path) -> None:
        self._write, self._any = write, False
        self.spelled: Collection[str] = ()

    def add(self, row: Mapping[str, Any], line: bytes) -> int:
        head = 0 if self._any else self._record(list(row))
        self._any = True
        lists = [name for name, value in row.items() if isinstance(value, list | dict)]
        self.spelled = dict.fromkeys([*self.spelled, *lists])
        return head + self._record([_cell(value) for value in row.values()])

    def end(self, columns: Sequence[str]) -> None:
        if not self._any:
            self._record(columns)

    def close(self) -> None: ...

    def _record(self, cells: Sequence[str]) -> int:
        return self._write((",".join(map(_quoted, cells)) + "\n").encode())


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else to_json(value)


def _quoted(cell: str) -> str:
    """An empty cell is quoted, since a line of nothing is no row."""
    plain = cell and cell == cell.strip() and not any(mark in cell for mark in ',;"\t\r\n')
    return cell if plain else '"' + cell.replace('"', '""') + '"'


def _parquet(write: Write, folder: Path) -> Container:
    from synthgen.formats.parquet import Parquet

    return Parquet(write, folder)


_KINDS: Mapping[str, Callable[[Write, Path], Container]] = {
    ".jsonl": _Json, ".ndjson": _Json, ".json": _Array, ".csv": _Csv, ".parquet": _parquet,
}  # fmt: skip


_NOT_CSV = ("samples", "mt-bench", "seed-tasks")


def container(path: Path, into: Format, write: Write) -> Container:
    """The container of a file's name; of any other name, or where readers take one array alone, the format's own."""
    own = Path(into.file_name).suffix
    suffix = path.suffix.lower()
    array = own == ".json" and suffix in (".jsonl", ".ndjson")
    kind = _KINDS[own if array or suffix not in _KINDS else suffix]
    return kind(write, path.resolve().parent)


def check_name(path: Path, into: Format) -> None:
    """Raises UsageError where a file of this name cannot hold rows of the format, or where nobody would read it."""
    suffix = path.suffix.lower()
    if is_packed(path):
        raise UsageError(f"{path}: LLaMA-Factory and ms-swift read no {suffix} files; call it {path.stem}")
    if suffix not in _KINDS:
        raise UsageError(f"{path}: must end in .jsonl or .ndjson (JSON lines), .json (an array), .csv or .parquet")
    if into.file_name.endswith(".json") and suffix != ".json":
        raise UsageError(f"{path}: readers of {into.name} take one JSON array; call it {path.stem}.json")
    if into.name in _NOT_CSV and suffix == ".csv":
        raise UsageError(f"{path}: csv cannot tell empty from missing, and {into.name} rows need that; take .jsonl")
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError(f"{path}: parquet needs more packages: {INSTALL}") from None

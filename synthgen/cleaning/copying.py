"""Files of one kind, read row by row, and the same rows written again as they stood, less those that are dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import orjson

from synthgen import output
from synthgen.cleaning.containers import Arrow, Container, Documents, Hub, Kept, Lines, Parquet, Runs, Table, Write
from synthgen.errors import UsageError
from synthgen.formats.write import check_place
from synthgen.rows import Fault, Row, nearest_path, row_files
from synthgen.rows.document import is_document
from synthgen.rows.packed import kind_of

_Stamp = tuple[int, int, int]


class Files:
    """The rows of what was given, in order, as often as they are asked for: never all of them in memory.

    A folder stands for its files by name, all of which end up in one OUT; a run folder for its samples. Raises
    UsageError where a source cannot be read, or where they are of different kinds.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        self.sources = [str(source) for source in sources]
        self._paths: list[Path] = []
        self._places: set[object] = set()
        kinds: dict[type[Container], list[str]] = {}
        for source in self.sources:
            for kind, place in self._expand(source):
                kinds.setdefault(kind, []).append(place)
        if len(kinds) > 1:
            (one, a), (other, b) = list(kinds.items())[:2]
            message = f"{b[0]} is {other.kind} and {a[0]} {one.kind}; rows are copied as they stand, so give one kind"
            raise UsageError(f"{message} (synthgen export {b[0]} --to alpaca -o new.jsonl converts)")
        (kind,) = kinds
        self._container = kind(kinds[kind])
        self._stamps: list[_Stamp] = []

    def _expand(self, source: str) -> Iterator[tuple[type[Container], str]]:
        path = Path(source)
        if source.startswith("hf:"):
            self._once(source)
            yield Hub, source
            return
        if not path.exists():
            raise UsageError(f"{path}: no such run or file{nearest_path(path)}")
        found = [path] if output.is_run(path) else row_files(path)
        for file in found:
            self._once(str(file))
            self._paths.append(file)
            yield (Runs if output.is_run(file) else _kind_of(file)), str(file)

    def _once(self, place: str) -> None:
        if self.reads(place):
            raise UsageError(f"{place}: given twice; each of its rows would be a duplicate of itself")
        self._places.add(identity(place))

    def rows(self) -> Iterator[Row | Fault]:
        """Each row, or why it cannot be read; UsageError where nothing after a fault can be, or nothing at all."""
        self._stamps = self._now()
        readable, first = False, None
        for row in self._container.rows():
            if isinstance(row, Fault):
                if row.ends:
                    raise UsageError(str(row))
                first = first or row
            else:
                readable = True
            yield row
        if first is not None and not readable:
            raise UsageError(f"{first} (no row of the input can be read)")

    def check(self, out: Path) -> None:
        """Raises UsageError when OUT cannot take these rows, or would destroy what is read."""
        kind = self._container
        check_place(out)
        if out.is_dir():
            raise UsageError(f"{out}: is a folder; give -o the name of a file")
        if out.suffix.lower() not in kind.suffixes:
            wanted = " or ".join(kind.suffixes)
            message = f"the input is {kind.kind}, and so is what comes out: call it {out.stem}{kind.suffixes[0]}"
            raise UsageError(f"{out}: must end in {wanted}: {message} (synthgen export converts)")
        for source in self.sources:
            if not source.startswith("hf:") and out.resolve().is_relative_to(Path(source).resolve()):
                what = "lies in the folder" if Path(source).is_dir() else "is the file"
                raise UsageError(f"{out}: {what} that is read; give another -o")
        if self.reads(str(out)):
            raise UsageError(f"{out}: is the file that is read; give another -o")
        if out.name.startswith(("run.", ".run.")) and output.is_run(out.parent):
            raise UsageError(f"{out}: belongs to the run itself; give another -o")

    def reads(self, place: str) -> bool:
        """Whether a file, a run or `hf:owner/name` is among what is read."""
        return identity(place) in self._places

    def copy(self, kept: Kept, write: Write) -> None:
        """The rows whose number is kept, as they stood; `rows` must have been read to its end before."""
        if self._now() != self._stamps:
            raise UsageError(f"{', '.join(self.sources)}: changed while it was read; give the same command again")
        self._container.copy(kept, write)

    def _now(self) -> list[_Stamp]:
        """What tells that a file has changed; a run that goes on adds at its end, which its count cuts off."""
        found = [path.stat() for path in self._paths if path.is_file()]
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found]


def _kind_of(path: Path) -> type[Container]:
    suffix = kind_of(path)
    if suffix in (".csv", ".tsv"):
        return Table
    if suffix in (".parquet", ".arrow"):
        return Parquet if suffix == ".parquet" else Arrow
    return Documents if is_document(path) else Lines


def identity(place: str) -> object:
    """What two names of one file, or of one folder, have in common."""
    path = Path(place)
    if place.startswith("hf:") or not path.exists():
        return place
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def check_evidence(out: Path, name: str, command: str, columns: Collection[str], read: Callable[[str], bool]) -> None:
    """Raises UsageError when the evidence beside OUT would take the place of something else, or of what is `read`.

    Evidence that was there before is known by the columns of its first row.
    """
    path = out.parent / name
    if out.name == name:
        raise UsageError(f"{out}: the evidence gets this name; give another -o")
    check_place(path)
    if not path.exists():
        return
    if read(str(path)):
        raise UsageError(f"{path}: is read, and the evidence gets this name; give an -o in another folder")
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    if first and not _has(first, columns):
        raise UsageError(f"{path}: is there and no evidence of {command}; move it away, or write to another folder")


def _has(line: bytes, columns: Collection[str]) -> bool:
    """Whether a line is a row with these columns."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(row, dict) and row.keys() >= set(columns)

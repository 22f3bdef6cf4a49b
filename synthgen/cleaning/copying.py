"""Files of one kind, read row by row, and the same rows written again as they stood, less those that are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from synthgen import output
from synthgen.cleaning.containers import Container, Documents, Hub, Kept, Lines, Parquet, Runs, Table, Write
from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, nearest_path, row_files
from synthgen.rows.document import is_document

_Stamp = tuple[int, int, int]


class Files:
    """The rows of what was given, in order, as often as they are asked for: never all of them in memory.

    A folder stands for its files by name, all of which end up in one OUT; a run folder for its samples. Raises
    UsageError where a source cannot be read, or where they are of different kinds.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        self.sources = [str(source) for source in sources]
        self._paths: list[Path] = []
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
            yield Hub, source
            return
        if not path.exists():
            raise UsageError(f"{path}: no such run or file{nearest_path(path)}")
        found = [path] if output.is_run(path) else row_files(path)
        for file in found:
            if any(file.samefile(other) for other in self._paths):
                raise UsageError(f"{file}: given twice; each of its rows would be a duplicate of itself")
            self._paths.append(file)
            yield (Runs if output.is_run(file) else _kind_of(file)), str(file)

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
        if out.suffix.lower() not in kind.suffixes:
            wanted = " or ".join(kind.suffixes)
            message = f"the input is {kind.kind}, and so is what comes out: call it {out.stem}{kind.suffixes[0]}"
            raise UsageError(f"{out}: must end in {wanted}: {message} (synthgen export converts)")
        for source in self.sources:
            if not source.startswith("hf:") and out.resolve().is_relative_to(Path(source).resolve()):
                what = "lies in the folder" if Path(source).is_dir() else "is the file"
                raise UsageError(f"{out}: {what} that is read; give another -o")
        if out.exists() and any(out.samefile(path) for path in self._paths):
            raise UsageError(f"{out}: is the file that is read; give another -o")
        if out.name.startswith(("run.", ".run.")) and output.is_run(out.parent):
            raise UsageError(f"{out}: belongs to the run itself; give another -o")
        if out.is_dir():
            raise UsageError(f"{out}: is a folder; give -o the name of a file")

    def reads(self, place: str) -> bool:
        """Whether a file, a run or `hf:owner/name` is among what is read."""
        path = Path(place)
        return any(path.samefile(mine) for mine in self._paths) if path.exists() else place in self.sources

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
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return Table
    if suffix == ".parquet":
        return Parquet
    return Documents if is_document(path) else Lines


def check_evidence(out: Path, name: str, command: str) -> None:
    """Raises UsageError when the evidence beside OUT would take the place of something else."""
    path = out.parent / name
    if out.name == name:
        raise UsageError(f"{out}: the evidence gets this name; give another -o")
    if not path.exists():
        return
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    if first and not first.startswith(b'{"row":'):
        raise UsageError(f"{path}: is there and no evidence of {command}; move it away, or write to another folder")

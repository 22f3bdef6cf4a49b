"""Samples into a file that other tools load: whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from synthgen.errors import StoreError, UsageError
from synthgen.formats import Format
from synthgen.formats.containers import container
from synthgen.formats.shapes import FIRST_BYTES, Shapes
from synthgen.formats.splits import REST, Splitter
from synthgen.formats.turns import SPELLINGS, media_fault, to_line
from synthgen.formats.written import CannotCarryError, Written
from synthgen.rows.text import texts
from synthgen.types import Sample


def write_samples(
    samples: Collection[Sample] | Callable[[], Iterable[Sample]],
    into: Format,
    path: Path,
    *,
    strict: bool = False,
    some: bool = False,
    where: Callable[[], str] | None = None,
) -> Written:
    """Samples in the container that the path names: UTF-8, LF, no NaN, each row with the same columns.

    Give a collection, or a function that starts over each time. `where` tells the place of the sample at hand.
    CannotCarryError and no file where `strict`, if any would be left out or lose a part; where `some`, if all would.
    """
    (written,) = write_all(samples, [(into, path)], strict=strict, some=some, where=where)
    return written


def write_all(
    samples: Collection[Sample] | Callable[[], Iterable[Sample]],
    targets: Sequence[tuple[Format, Path]],
    *,
    strict: bool = False,
    some: bool = False,
    where: Callable[[], str] | None = None,
) -> list[Written]:
    """The same into several formats, from one pass, and another for files whose later rows need what is not there.

    That is more columns, or a row at the front that shows `datasets` a key or a type in time.
    """
    again = samples if callable(samples) else lambda: samples
    files = {path: _File(into, path, where=where) for into, path in targets}
    try:
        _fill(files.values(), again())
        while wider := {file.path: file.start_over() for file in files.values() if file.unfit}:
            files |= wider
            _fill(wider.values(), again())
        _check(files.values(), strict=strict, some=some)
        return [files[path].close() for _, path in targets]
    finally:
        for file in files.values():
            file.abandon()


def write_splits(
    samples: Callable[[], Iterable[Sample]],
    into: Format,
    paths: Mapping[str, Path],
    splitter: Splitter,
    *,
    strict: bool = False,
    some: bool = False,
    where: Callable[[], str] | None = None,
) -> dict[str, Written]:
    """Each sample into the file of its split, all with the same columns; a split without rows gets none.

    `datasets` takes the types of all splits from the first, train. What would stop it in another is moved to train.
    """
    files = {split: _File(into, path, where=where) for split, path in paths.items()}
    try:
        again = files
        while again:
            for sample in samples():
                if (file := again.get(splitter.split_of(sample))) is not None:
                    file.add(sample)
            columns = into.columns(kind for file in files.values() for kind in file.kinds)
            again = {split: file.start_over(columns) for split, file in files.items() if file.lacks(columns)}
            unlike = (one for file in files.values() for one in files[REST].unlike(file))
            if not again and files[REST].rows and splitter.move(unlike):
                again = {split: file.afresh(columns) for split, file in files.items()}
            files |= again
        _check(files.values(), strict=strict, some=some)
        none = not any(file.rows for file in files.values())
        return {split: file.close(keep=file.rows > 0 or (none and split == REST)) for split, file in files.items()}
    finally:
        for file in files.values():
            file.abandon()


_MOST_PLACES = 3  # of a reason
# What is new after this has come late. Two MB are left for the rows that go to the front.
_EARLY_BYTES = FIRST_BYTES - (2 << 20)


def _fill(files: Collection[_File], samples: Iterable[Sample]) -> None:
    for sample in samples:
        for file in files:
            file.add(sample)


def _check(files: Collection[_File], *, strict: bool, some: bool) -> None:
    """Raises CannotCarryError where a sample was left out or lost a part; where `some`, if all were left out."""
    hurt = sum(file.hurt for file in files)
    none = some and hurt and not any(file.rows for file in files)
    if (strict and hurt) or none:
        raise CannotCarryError("; ".join(file.fault(strict=not none) for file in files if file.hurt))


class _File:
    """One file in the making, in the columns of its first row until a row needs more.

    `front`: samples that go before all others, by the numbers of the rows that they would be.
    """

    def __init__(
        self,
        into: Format,
        path: Path,
        columns: tuple[str, ...] | None = None,
        front: Mapping[int, Sample] | None = None,
        *,
        where: Callable[[], str] | None = None,
    ) -> None:
        self.path, self._where = path, where
        self._narrow = False
        self._into, self._columns = into, columns
        self._wide = columns is not None  # the columns of all rows, which need not hold those of each
        self._apart: Callable[[Sample], Sequence[Sample]] | None = getattr(into, "apart", None)
        self._kinds: dict[tuple[str, ...], Sample] = {}  # one sample for each set of columns
        self._left_out: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}
        self.hurt = self._total = self._rows = self._size = 0
        self._temporary = _Temporary(path)
        with _told(path):
            self._container = container(path, into, self._temporary.write)
        self._shapes, self._part_ends = Shapes(), FIRST_BYTES
        self._news: list[tuple[dict[str, Any], Sample]] = []  # the first row of each sort
        self._late: dict[int, Sample] = {}
        self._front = front or {}
        for sample in self._front.values():
            self._put(sample, columns or into.columns((sample,)))

    @property
    def unfit(self) -> bool:
        """Whether the file is to be started over."""
        return self._narrow or bool(self._late)

    def add(self, sample: Sample) -> None:
        if self._apart is None:
            self._add(sample)
            return
        for one in self._apart(sample):
            self._add(one)

    def _add(self, sample: Sample) -> None:
        self._total += 1
        reason = self._into.carries(sample) or (media_fault(sample, self._into.name) if sample.meta else None)
        if reason is None:
            columns = self._into.columns((sample,))
            if columns not in self._kinds:
                self._meet(columns, sample)
            if self._narrow:
                return
            if self._rows + 1 not in self._front:
                reason = self._put(sample, self._columns or columns)
            if reason is None:
                self._rows += 1
                if lost := self._into.loses(sample):
                    self._lost.update(lost)
                    self.hurt += not SPELLINGS.issuperset(lost)
                return
        self._left_out[reason] += 1
        self.hurt += 1
        if self._where and len(places := self._places.setdefault(reason, [])) < _MOST_PLACES:
            places.append(self._where())

    def _put(self, sample: Sample, columns: tuple[str, ...]) -> str | None:
        """Writes the row, or says why no file can hold it."""
        made = _line(self._into, sample, columns)
        if isinstance(made, str):
            return made
        row, line = made
        guessed = self._container.guessed
        if guessed and self._shapes.meet(row):
            self._news.append((row, sample))
            if guessed == "in parts" and self._size >= _EARLY_BYTES:
                self._late[self._rows + 1] = sample
        try:  # and no `with _told`, which would take longer than the writing itself
            self._size += self._container.add(row, line)
        except OSError as error:
            raise _failure(self.path, error) from None
        if self._size >= self._part_ends:  # with the newline that is still to come, as `datasets` counts
            self._shapes.end_part()
            self._part_ends = self._size + 1 + FIRST_BYTES
        return None

    def _meet(self, columns: tuple[str, ...], sample: Sample) -> None:
        self._kinds[columns] = sample
        self._columns = self._columns or columns
        self._narrow |= not self._wide and not set(columns) <= set(self._columns)

    @property
    def rows(self) -> int:
        """How many it has."""
        return self._rows

    @property
    def kinds(self) -> Collection[Sample]:
        """One sample for each set of columns."""
        return self._kinds.values()

    def lacks(self, columns: tuple[str, ...]) -> bool:
        """Whether the file is to be started over to have these."""
        return self.unfit or (bool(self._kinds) and self._columns != columns)

    def start_over(self, columns: tuple[str, ...] | None = None) -> _File:
        """The same file with the columns of all rows, or these, and with those at the front that came late."""
        self.abandon()
        columns = columns or self._into.columns(self._kinds.values())
        return _File(self._into, self.path, columns, {**self._front, **self._late}, where=self._where)

    def afresh(self, columns: tuple[str, ...]) -> _File:
        """The same file with these columns, for other samples."""
        self.abandon()
        return _File(self._into, self.path, columns, where=self._where)

    def unlike(self, other: _File) -> Iterator[Sample]:
        """Of another file, the samples that have a key or a type which no row here has."""
        return (sample for row, sample in other._news if self._shapes.lacks(row))

    def fault(self, *, strict: bool) -> str:
        """What is wrong with the samples that were left out, or lost a part."""
        counts = (self._left_out + self._lost).most_common()
        reasons = ", ".join(f"{reason} ({count})" for reason, count in counts if reason not in SPELLINGS)
        if not strict:
            none = f"{self._into.name} cannot hold any of the {self._total} samples: {reasons}"
            return f"{self.path}: {none}; nothing was written, give another --to"
        message = f"{self._into.name} cannot hold {self.hurt} of {self._total} samples whole: {reasons}"
        return f"{self.path}: {message}; nothing was written, leave --strict out to write the rest"

    def close(self, *, keep: bool = True) -> Written:
        """What came of it; `keep=False` counts, and leaves no file."""
        columns = self._into.columns(()) if self._columns is None else self._columns
        if keep:
            with _told(self.path):
                self._container.end(columns)
            self._temporary.commit()
        lost = {reason: count for reason, count in self._lost.items() if reason not in SPELLINGS}
        mapped = {reason: count for reason, count in self._lost.items() if reason in SPELLINGS}
        dates, spelled = tuple(self._shapes.dates()), tuple(self._container.spelled)
        counts = (dict(self._left_out), lost, mapped, self._places)
        return Written(self.path, self._rows, columns, *counts, tuple(self._front), dates, spelled)

    def abandon(self) -> None:
        self._container.close()
        self._temporary.abandon()


def _line(into: Format, sample: Sample, columns: tuple[str, ...]) -> tuple[dict[str, Any], bytes] | str:
    """The row and its line, or why no file can hold it; our own reader refuses the same things."""
    try:
        row = into.row(sample, columns)
        line = to_line(row)
    except UnicodeEncodeError:
        return "half a surrogate pair"
    except ValueError:
        return "NaN or an infinity"
    except RecursionError:
        return "nested too deep"
    if b"\\u0000" in line and any("\0" in text for text in texts(row)):
        return "a NUL character"
    return row, line


def write_bytes(path: Path, data: bytes) -> None:
    """The file with this content, whole or as it was; StoreError when the disk does not take it."""
    with replacing(path) as write:
        write(data)


def check_place(path: Path) -> None:
    """Raises UsageError for a device or a pipe: a file would take its place, and `/dev/null` be gone."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path}: is a device or a pipe; give the name of a file")


@contextmanager
def replacing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """A function that takes the new bytes of the file; they are there under its name at the end, or never."""
    temporary = _Temporary(path)
    try:
        yield temporary.write
        temporary.commit()
    finally:
        temporary.abandon()


class _Temporary:
    """The new bytes of a file until they take its name.

    In the same folder, because renaming is atomic only within one file system.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._target = _followed(path)
        self._name = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        check_place(path)
        with _told(path):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._clear()
            self._file = self._name.open("wb")
        with suppress(OSError):  # there are file systems without locks, where nothing is cleared either
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _clear(self) -> None:
        """Remove what processes that were killed have left; what another is writing now is locked."""
        for left in self._target.parent.glob(f".{glob.escape(self._target.name)}.*.tmp"):
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            raise _failure(self._path, error) from None

    def commit(self) -> None:
        """On the disk before it is renamed."""
        with _told(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._name.replace(self._target)  # before it is closed, which ends the lock
            self._file.close()

    def abandon(self) -> None:
        """Closing flushes, and fails again on a full disk: the first error has been told."""
        with suppress(OSError):
            self._file.close()
        self._name.unlink(missing_ok=True)


def _followed(path: Path) -> Path:
    """The file that a link names, so that it stays a link."""
    try:
        return path.resolve()
    except RuntimeError:  # which Python 3.13 has made an OSError
        raise _failure(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from None


_ADVICE = {
    errno.ENOSPC: "disk full; free some space and give the same command again",
    errno.EDQUOT: "disk quota full; free some space and give the same command again",
    errno.EACCES: "permission denied; choose a folder that you can write to",
    errno.EROFS: "the file system is read-only; choose another folder",
}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk says, as one line."""
    try:
        yield
    except OSError as error:
        raise _failure(path, error) from None


def _failure(path: Path, error: OSError) -> StoreError:
    advice = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another place")
    return StoreError(f"{path}: cannot be written: {advice}")

"""Samples into a file that other tools load: whole or not at all."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from synthgen.errors import StoreError, SynthgenError
from synthgen.formats import Format
from synthgen.formats.turns import to_json
from synthgen.rows.text import texts
from synthgen.types import Sample


class CannotCarryError(SynthgenError):
    """A strict conversion found samples that the format cannot hold whole; nothing was written."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a file: its rows, and how many samples were left out, or lost a part, for which reason."""

    path: Path
    rows: int
    columns: tuple[str, ...]
    left_out: Mapping[str, int]
    lost: Mapping[str, int]


def write_samples(
    samples: Collection[Sample] | Callable[[], Iterable[Sample]], into: Format, path: Path, *, strict: bool = False
) -> Written:
    """Samples as JSON lines: UTF-8, LF, no NaN, the same columns in the same order in each row.

    Two passes, the first for the columns: give a collection, or a function that starts over each time.
    `strict`: CannotCarryError and no file where any sample would be left out or lose a part.
    """
    again = samples if callable(samples) else lambda: samples
    left_out: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    hurt = total = rows = 0

    def carried() -> Iterator[Sample]:
        nonlocal hurt, total
        for sample in again():
            total += 1
            reason = into.carries(sample)
            parts = () if reason else into.loses(sample)
            hurt += bool(reason or parts)
            lost.update(parts)
            if reason:
                left_out[reason] += 1
            else:
                yield sample

    def check() -> None:
        if strict and hurt:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in (left_out + lost).most_common())
            message = f"{into.name} cannot hold {hurt} of {total} samples whole: {reasons}"
            raise CannotCarryError(f"{path}: {message}; nothing was written, leave --strict out to write the rest")

    columns = into.columns(carried())
    check()
    with replacing(path) as write:
        for sample in again():
            if into.carries(sample) is None:
                line = _line(into, sample, columns)
                if isinstance(line, bytes):
                    write(line)
                    rows += 1
                else:
                    left_out[line] += 1
                    hurt += 1
        check()
    return Written(path, rows, columns, dict(left_out), dict(lost))


def _line(into: Format, sample: Sample, columns: tuple[str, ...]) -> bytes | str:
    """The row's line, or why no file can hold it; our own reader refuses the same things."""
    try:
        row = into.row(sample, columns)
        line = to_json(row).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    except ValueError:
        return "NaN or an infinity"
    if b"\\u0000" in line and any("\0" in text for text in texts(row)):
        return "a NUL character"
    return line + b"\n"


def write_bytes(path: Path, data: bytes) -> None:
    """The file with this content, whole or as it was; StoreError when the disk does not take it."""
    with replacing(path) as write:
        write(data)


@contextmanager
def replacing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """A function that takes the new bytes of the file; they are there under its name at the end, or never.

    A temporary file in the same folder, because renaming is atomic only within one file system.
    """
    target = path.resolve()  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with _told(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("wb")
    try:
        with _closing(file, path):

            def write(data: bytes) -> None:
                with _told(path):
                    file.write(data)

            yield write
        with _told(path):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _closing(file: BinaryIO, path: Path) -> Iterator[None]:
    """On the disk before it is renamed. Closing flushes, and fails again on a full disk: the first error is told."""
    try:
        yield
        with _told(path):
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            file.close()


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
        advice = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another place")
        raise StoreError(f"{path}: cannot be written: {advice}") from None

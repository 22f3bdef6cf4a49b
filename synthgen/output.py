"""The files of a run folder, written from the store: the same bytes for the same completions."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from synthgen import bodies, store
from synthgen.errors import UsageError
from synthgen.formats import open_format
from synthgen.formats.write import replacing, write_all, write_bytes
from synthgen.formats.written import Written
from synthgen.types import Sample

SURPLUS = "surplus"


@dataclass(slots=True)
class Waterfall:
    """How many samples came in, what took how many away, how many are left."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0

    @property
    def candidates(self) -> int:
        return self.accepted + sum(self.rejected.values())


def decisions(db: sqlite3.Connection, count: int | None) -> Iterator[tuple[str, str | None, bytes]]:
    """(task, reason, body) as the dataset of `count` rows sees them.

    What is accepted beyond `count` in the task that reached it is surplus; later tasks are not part of it.
    """
    accepted = 0
    end = places(db, count)
    for place, task, stored, body in store.samples(db):
        if end is not None and place >= end:
            return
        accepted += stored is None
        beyond = stored is None and count is not None and accepted > count
        yield task, SURPLUS if beyond else stored, body


def accepted(db: sqlite3.Connection, count: int | None) -> Iterator[Sample]:
    """The samples of the dataset, in order."""
    return (bodies.load(body) for _, reason, body in decisions(db, count) if reason is None)


def waterfall(db: sqlite3.Connection, count: int | None) -> Waterfall:
    """The counts of a run."""
    falls = Waterfall()
    for _, reason, _body in decisions(db, count):
        if reason is None:
            falls.accepted += 1
        else:
            falls.rejected[reason] += 1
    falls.failed = len(store.failures(db, places(db, count)))
    return falls


def places(db: sqlite3.Connection, count: int | None) -> int | None:
    """How many tasks the dataset of `count` rows needs; None where it needs all that there are."""
    if count is None:
        return None
    row = db.execute(
        "select place from sample where reason is null order by ord limit 1 offset ?", (count - 1,)
    ).fetchone()
    return None if row is None else int(row[0]) + 1


def write_failures(db: sqlite3.Connection, count: int | None, folder: Path) -> int:
    """failures.jsonl: {task, error, attempts}; returns the number of rows."""
    rows = store.failures(db, places(db, count))
    with replacing(folder / "failures.jsonl") as write:
        for task, error, attempts in rows:
            # Several requests of one task can fail: the store tells them apart by what follows the mark.
            write(_line({"task": task.rpartition("#")[0], "error": error, "attempts": attempts}))
    return len(rows)


def write_dataset(
    db: sqlite3.Connection, count: int | None, folder: Path, names: Sequence[str]
) -> tuple[Waterfall, dict[str, Written]]:
    """One file a format, and rejected.jsonl, {task, sample or null, reason, detail}: one pass over the decisions."""
    falls = Waterfall()
    into = [open_format(name) for name in names]
    with replacing(folder / "rejected.jsonl") as write:

        def first() -> Iterator[Sample]:
            for task, reason, body in decisions(db, count):
                if reason is None:
                    falls.accepted += 1
                    yield bodies.load(body)
                    continue
                falls.rejected[reason] += 1
                sample, detail = bodies.parse(body)
                write(_line({"task": task, "sample": sample, "reason": reason, "detail": detail}))

        def samples() -> Iterator[Sample]:
            return accepted(db, count) if falls.candidates else first()

        written = write_all(samples, [(one, folder / one.file_name) for one in into])
    falls.failed = len(store.failures(db, places(db, count)))
    return falls, dict(zip(names, written, strict=True))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """One object, indented, whole or not at all."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises UsageError when it is none."""
    path = folder / "run.json"
    try:
        found = orjson.loads(path.read_bytes())
    except OSError:
        raise UsageError(f"{folder}: not a run folder (no run.json in it)") from None
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path}: not JSON ({error}); run the same generate command again to rewrite it") from None
    if not isinstance(found, dict) or not {"recipe", "lang"} <= found.keys():
        raise UsageError(f"{path}: no description of a run; run the same generate command again to rewrite it")
    return found


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run."""
    return (path / "run.sqlite").is_file()


def reading(folder: Path) -> AbstractContextManager[sqlite3.Connection]:
    """A read-only connection to a run, which may be live.

    Raises UsageError when the folder is no run, StoreError when what is in it cannot be read.
    """
    if not is_run(folder):
        raise UsageError(f"{folder}: not a run folder (no run.sqlite in it)")
    return _reading(folder)


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(store.connect(folder / "run.sqlite", read_only=True)) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise store.explain(error, folder) from error


class RunReader:
    """The accepted samples of a run as often as it is iterated over; `where` names the task of the one at hand."""

    def __init__(self, run: Path) -> None:
        self.where = ""
        self._run, self._count = run, read_run(run).get("count")

    def __iter__(self) -> Iterator[Sample]:
        with reading(self._run) as db:
            for task, reason, body in decisions(db, self._count):
                if reason is None:
                    self.where = f"{self._run}: task {task}"
                    yield bodies.load(body)


def samples_of(path: Path) -> Callable[[], Iterable[Sample]]:
    """A function that starts over the accepted samples of a run or the rows of a file each time it is called."""
    if is_run(path):
        return RunReader(path).__iter__

    def from_file() -> Iterator[Sample]:
        from synthgen.formats import read_samples

        yield from read_samples(path)

    return from_file


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

"""A run on disk: one SQLite file in WAL mode; a completion is in it before anyone uses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import StoreError
from synthgen.lock import LOCK, lock
from synthgen.queries import Paid, paid
from synthgen.types import Completion, ToolCall

SCHEMA = 1
PULSE_SECONDS = 1.0
_PRAGMAS = (
    "page_size=8192", "journal_mode=wal", "synchronous=full",
    "wal_autocheckpoint=2000", "cache_size=-2000", "busy_timeout=5000",
)  # fmt: skip
# Bodies stand apart from the index: inside a table without rowid they cost six times the write time.
_TABLES = f"""
begin immediate;
create table if not exists meta(name text primary key, value) without rowid;
create table if not exists identity(key blob primary key, n integer not null) without rowid;
create table if not exists completion(n integer primary key, task text not null, model text, text text, finish text,
                                      prompt_tokens int, completion_tokens int, extra blob);
create table if not exists sample(ord integer primary key, place int not null, task text not null, reason text,
                                  body blob not null);
create table if not exists failure(task text primary key, place int not null, error text, attempts int);
create index if not exists sample_place on sample(place);
create table if not exists batch(id text primary key, backend text, state text, keys blob);
insert or ignore into meta values ('schema', {SCHEMA});
commit;
"""
_STOP = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one sample of a task: reason None is accepted; `body` is JSON."""

    reason: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _Saved:
    key: bytes
    task: str
    model: str
    completion: Completion
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Decided:
    task: str
    rows: tuple[Decision, ...]
    failures: tuple[tuple[str, str, int], ...]
    decided: int


class Store:
    """The one writer of a run folder; a second live run on it is refused with the process that holds it."""

    def __init__(self, folder: Path) -> None:
        """Open or create `folder/run.sqlite`. Raises StoreError when it is locked, foreign or not writable."""
        self.folder = folder
        self.path = folder / "run.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock(folder / LOCK)
        except OSError as error:
            raise explain(error, folder) from error
        try:
            self._reader = connect(self.path)
            self.was_empty = self._one("select 1 from identity limit 1") is None
            self._next = int(self._one("select coalesce(max(n), 0) from completion") or 0) + 1
        except (StoreError, sqlite3.Error) as error:
            self._lock.close()
            raise explain(error, folder) from error
        self.pulse: Callable[[], bytes] | None = None  # stored beside the answers, for who looks at a live run
        self._next_pulse = 0.0
        self._error: Exception | None = None
        self._queue: queue.SimpleQueue[_Saved | _Decided | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._thread.start()

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._reader.execute(sql, values).fetchone()
        return row[0] if row else None

    def meta(self, name: str) -> Any:
        """A value that belongs to the run as a whole, None if it was never set."""
        return self._one("select value from meta where name = ?", name)

    @property
    def completions(self) -> int:
        """How many answers were stored when the run was opened, or since."""
        return self._next - 1

    def find(self, key: bytes) -> Completion | None:
        """The stored answer to a request, None if it was never answered."""
        row = self._reader.execute(
            "select text, finish, prompt_tokens, completion_tokens, extra from identity join completion using (n) "
            "where key = ?",
            (key,),
        ).fetchone()
        return None if row is None else _completion(row)

    async def save(self, key: bytes, task: str, model: str, completion: Completion) -> None:
        """Returns when the completion is on disk. Raises StoreError when it cannot be."""
        if self._error is not None:
            raise self._error
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(_Saved(key, task, model, completion, done))
        await done

    def decide(
        self, task: str, rows: Sequence[Decision], failures: Sequence[tuple[str, str, int]], decided: int
    ) -> None:
        """Record what became of a task; `decided` tasks are then settled. Written behind, in order."""
        if self._error is not None:
            raise self._error
        self._queue.put(_Decided(task, tuple(rows), tuple(failures), decided))

    def flush(self) -> None:
        """Wait until everything handed in is on disk. Raises StoreError when something could not be written."""
        event = threading.Event()
        self._queue.put(event)
        event.wait()
        if self._error is not None:
            raise self._error

    def start(self, **meta: Any) -> None:
        """Set values of the run before it works; not for use while requests are under way."""
        self.flush()
        with self._writing() as db:
            db.executemany("insert or replace into meta values (?, ?)", list(meta.items()))

    def forget_decisions(self, place: int) -> None:
        """Undo what was decided from the task at `place` on: it is run again, from stored answers where there are."""
        self.flush()
        with self._writing() as db:
            db.execute("delete from sample where place >= ?", (place,))
            db.execute("delete from failure where place >= ?", (place,))
            db.execute("insert or replace into meta values ('decided', ?)", (place,))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The reader's connection, in a transaction: only while the writer thread is idle."""
        try:
            self._reader.execute("begin immediate")
            yield self._reader
            self._reader.execute("commit")
        except sqlite3.Error as error:
            raise explain(error, self.folder) from error

    def paid(self, after: int = 0) -> list[Paid]:
        """What the models were paid, by model."""
        return paid(self._reader, after)

    def samples(self) -> Iterator[tuple[int, str, str | None, bytes]]:
        """(place, task, reason, body) of every decided sample, in task order."""
        return samples(self._reader)

    def reasons(self) -> tuple[int, Counter[str], int]:
        """(accepted samples, rejected ones by reason, tasks up to the last that gave an accepted one)."""
        rows = self._reader.execute("select reason, count(*), max(place) from sample group by reason").fetchall()
        accepted, last = next(((n, place + 1) for reason, n, place in rows if reason is None), (0, 0))
        return accepted, Counter({reason: n for reason, n, _ in rows if reason is not None}), last

    def places(self, reason_start: str, *, since: int) -> int:
        """Tasks from a place on whose samples were rejected for a reason that begins so."""
        counted = "select count(distinct place) from sample where place >= ? and substr(reason, 1, ?) = ?"
        found = self._reader.execute(counted, (since, len(reason_start), reason_start)).fetchone()
        return int(found[0])

    def failures(self) -> list[tuple[str, str, int]]:
        """(task, error, attempts), in task order."""
        return failures(self._reader)

    def first_failure(self, *, after_accepted: bool) -> int | None:
        """The place of the first task that failed; `after_accepted`: not before the last task that gave a sample."""
        after = "where place >= (select coalesce(max(place), -1) from sample where reason is null)"
        place = self._one(f"select min(place) from failure {after if after_accepted else ''}")
        return None if place is None else int(place)

    def close(self) -> None:
        """Write what is left, fold the log into the file, give the folder free."""
        self._queue.put(_STOP)
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):  # a full disk leaves the log beside the file, which is whole too
            self._reader.execute("pragma wal_checkpoint(truncate)")
        self._reader.close()
        self._lock.close()

    def _write(self) -> None:
        """The writer thread: takes what has gathered, commits, wakes everyone of the batch at once."""
        db: sqlite3.Connection | None = None
        last = False
        while not last:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            last = _STOP in batch
            if self._error is None:
                try:
                    db = db or connect(self.path)
                    self._commit(db, batch)
                except (sqlite3.Error, OSError) as error:
                    self._error = explain(error, self.folder)
                except (TypeError, ValueError, OverflowError) as error:  # a value that SQLite cannot hold: a bug,
                    self._error = error  # raised where it was handed in
            self._wake(batch)
        if db is not None:
            db.close()

    def _commit(self, db: sqlite3.Connection, batch: Sequence[object]) -> None:
        saved = [b for b in batch if isinstance(b, _Saved)]
        decided = [b for b in batch if isinstance(b, _Decided)]
        if not saved and not decided:
            return
        db.execute("begin immediate")
        try:
            first, self._next = self._next, self._next + len(saved)
            db.executemany(
                "insert or replace into identity values (?, ?)", [(s.key, first + i) for i, s in enumerate(saved)]
            )
            db.executemany(
                "insert into completion values (?, ?, ?, ?, ?, ?, ?, ?)",
                [(first + i, s.task, s.model, *_columns(s.completion)) for i, s in enumerate(saved)],
            )
            if decided:
                rows = [(d.decided - 1, d.task, r.reason, r.body) for d in decided for r in d.rows]
                db.executemany("insert into sample(place, task, reason, body) values (?, ?, ?, ?)", rows)
                failed = [(name, d.decided - 1, error, n) for d in decided for name, error, n in d.failures]
                db.executemany("insert or replace into failure values (?, ?, ?, ?)", failed)
                db.execute("insert or replace into meta values ('decided', ?)", (decided[-1].decided,))
            if self.pulse is not None and time.monotonic() >= self._next_pulse:
                self._next_pulse = time.monotonic() + PULSE_SECONDS
                db.execute("insert or replace into meta values ('pulse', ?)", (self.pulse(),))
            db.execute("commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("rollback")
            raise

    def _wake(self, batch: Sequence[object]) -> None:
        for event in batch:
            if isinstance(event, threading.Event):
                event.set()
        waiting = [b.done for b in batch if isinstance(b, _Saved)]
        if waiting:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                waiting[0].get_loop().call_soon_threadsafe(_settle, waiting, self._error)


def _settle(waiting: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in waiting:
        if error is None and not future.done():
            future.set_result(None)
        elif error is not None and not future.done():
            future.set_exception(error)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a run. Raises StoreError when the file is of another version or no run at all."""
    try:
        if read_only:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?{_mode(path)}", uri=True, isolation_level=None)
        else:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise explain(error, path.parent) from error
    try:
        _check(db, path, new=not read_only)  # before anything is written: it may be somebody else's
        for pragma in ("query_only=1",) if read_only else _PRAGMAS:
            db.execute(f"pragma {pragma}")
        if not read_only:
            db.executescript(_TABLES)
    except (StoreError, sqlite3.Error) as error:
        db.close()
        raise explain(error, path.parent) from error
    return db


def _mode(path: Path) -> str:
    """How a reader opens it: the last one that may write clears SQLite's files away, one that may not leaves them."""
    if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
        return "mode=rw"
    # SQLite may have no place for its shared memory here: without a log beside the file it may be taken as it stands.
    return "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"


def _check(db: sqlite3.Connection, path: Path, *, new: bool) -> None:
    """Whether the file is a run of this version; an empty one is, where it may be a `new` one."""
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if new and not tables:
        return
    if not {"meta", "completion"} <= tables:
        raise StoreError(f"{path}: not a run of synthgen; use another --out")
    found = db.execute("select value from meta where name = 'schema'").fetchone()
    if found is None or found[0] != SCHEMA:
        version = found[0] if found else "unknown"
        raise StoreError(f"{path}: written by another version (schema {version}, this is {SCHEMA}); use another --out")


def samples(db: sqlite3.Connection) -> Iterator[tuple[int, str, str | None, bytes]]:
    """(place, task, reason, body) in task order."""
    yield from db.execute("select place, task, reason, body from sample order by ord")


def failures(db: sqlite3.Connection, places: int | None = None) -> list[tuple[str, str, int]]:
    """(task, error, attempts) in task order, of the first `places` tasks."""
    first = "" if places is None else f"where place < {int(places)}"
    return list(db.execute(f"select task, error, attempts from failure {first} order by place, rowid"))


def explain(error: BaseException, folder: Path) -> StoreError:
    """One line for the user from what SQLite or the file system says."""
    if isinstance(error, StoreError):
        return error
    text, name = str(error), getattr(error, "sqlite_errorname", "")
    # SHMSIZE: on a full disk the first thing that finds no room may be the index of the log.
    if "full" in text or getattr(error, "errno", None) == 28 or name == "SQLITE_IOERR_SHMSIZE":
        return StoreError(f"{folder}: the disk is full; free some space and run the same command again")
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{folder}/run.sqlite: not a run of synthgen ({text}); use another --out")
    if isinstance(error, OSError):
        return StoreError(f"{folder}: not writable ({error.strerror}); choose another --out")
    if "readonly" in text or "unable to open" in text or "Read-only" in text:
        return StoreError(f"{folder}: not writable ({text}); choose another --out")
    return StoreError(f"{folder}: {text}")


def _columns(completion: Completion) -> tuple[str, str, int | None, int | None, bytes | None]:
    extra: dict[str, Any] = {"estimated": True} if completion.estimated else {}  # first: see usage()
    if completion.tool_calls:
        extra["tool_calls"] = [{"name": c.name, "arguments": c.arguments, "id": c.id} for c in completion.tool_calls]
    if completion.reasoning:
        extra["reasoning"] = completion.reasoning
    return (
        completion.text,
        completion.finish_reason,
        completion.prompt_tokens,
        completion.completion_tokens,
        orjson.dumps(extra) if extra else None,
    )


def _completion(row: Sequence[Any]) -> Completion:
    text, finish, prompt_tokens, completion_tokens, extra = row
    more = orjson.loads(extra) if extra else {}
    return Completion(
        text=text,
        finish_reason=finish,
        tool_calls=tuple(ToolCall(**c) for c in more.get("tool_calls", ())),
        reasoning=more.get("reasoning"),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        estimated=more.get("estimated", False),
    )

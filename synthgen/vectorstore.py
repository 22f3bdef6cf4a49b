"""Embeddings on disk: one SQLite file, keyed by model and text, so that no text is ever paid for twice."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import NotAllowed, StoreError

SCHEMA = 1
_PRAGMAS = ("page_size=8192", "journal_mode=wal", "synchronous=full", "cache_size=-8000", "busy_timeout=10000")
_TABLES = f"""
begin immediate;
create table if not exists meta(name text primary key, value) without rowid;
create table if not exists model(name text primary key, dimensions int not null) without rowid;
create table if not exists vector(key blob primary key not null, body blob not null);
insert or ignore into meta values ('schema', {SCHEMA});
commit;
"""
_AT_ONCE = 500  # keys in one question


class VectorStore:
    """Vectors by key, float32. Several processes may use one file; what two of them ask at once is kept once."""

    def __init__(self, path: Path) -> None:
        """Open or create it; a folder that is made for it is left out of version control.

        Raises StoreError when it is foreign or not writable.
        """
        self.path = path
        self._waiting: list[tuple[str, Sequence[tuple[bytes, bytes]], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                (path.parent / ".gitignore").write_text("*\n")
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from error
        try:
            self._check()
            for pragma in _PRAGMAS:
                self._db.execute(f"pragma {pragma}")
            self._db.executescript(_TABLES)
            self._reader = sqlite3.connect(path, isolation_level=None)  # sees what is on disk, and no more
        except (StoreError, sqlite3.Error) as error:
            self._db.close()
            raise self._explain(error) from error

    def dimensions(self, model: str) -> int | None:
        """How many numbers the vectors of a model have; None where there is none yet."""
        return _dimensions(self._reader, model)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The vectors that are there."""
        found: dict[bytes, bytes] = {}
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            found.update(self._reader.execute(f"select key, body from vector where key in ({marks})", some))
        return found

    async def save(self, model: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Returns when the (key, vector) are on disk. Raises StoreError, or NotAllowed for another length than before.

        What is handed in while a commit is under way goes with the next.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((model, rows, done))
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            for (_, _, done), error in zip(batch, await asyncio.to_thread(self._commit, batch), strict=True):
                if error is not None and not done.done():
                    done.set_exception(error)
                elif not done.done():
                    done.set_result(None)
        self._writing = None

    def _commit(
        self, batch: Sequence[tuple[str, Sequence[tuple[bytes, bytes]], asyncio.Future[None]]]
    ) -> list[NotAllowed | StoreError | None]:
        """One transaction; what was wrong with each."""
        found: list[NotAllowed | StoreError | None] = []
        try:
            self._db.execute("begin immediate")
            for model, rows, _ in batch:
                found.append(self._fault(model, rows))
                if found[-1] is None:
                    self._db.executemany("insert or ignore into vector values (?, ?)", rows)
            self._db.execute("commit")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")
            return [self._explain(error)] * len(batch)
        return found

    def _fault(self, model: str, rows: Sequence[tuple[bytes, bytes]]) -> NotAllowed | None:
        """Whether these can be the same model's as those that are there."""
        now = len(rows[0][1]) // 4
        self._db.execute("insert or ignore into model values (?, ?)", (model, now))
        before = _dimensions(self._db, model)
        if before == now:
            return None
        return NotAllowed(
            f"{model} gives {now} numbers a text, but gave {before} before: another model under one name; "
            f"name it as what it is, or delete {self.path}"
        )

    def close(self) -> None:
        """Fold the log into the file."""
        self._reader.close()
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("pragma wal_checkpoint(truncate)")
        self._db.close()

    def _check(self) -> None:
        tables = {name for (name,) in self._db.execute("select name from sqlite_master where type = 'table'")}
        if not tables:
            return
        if not {"meta", "model", "vector"} <= tables:
            raise StoreError(f"{self.path}: no store of embeddings; move it away")
        found = self._db.execute("select value from meta where name = 'schema'").fetchone()
        if found is None or found[0] != SCHEMA:
            version = found[0] if found else "unknown"
            raise StoreError(f"{self.path}: written by another version (schema {version}, this is {SCHEMA}); delete it")

    def _explain(self, error: BaseException) -> StoreError:
        if isinstance(error, StoreError):
            return error
        text = str(error)
        if "full" in text or getattr(error, "errno", None) == 28:
            return StoreError(f"{self.path}: the disk is full; free some space and run the same command again")
        if "not a database" in text or "malformed" in text:
            return StoreError(f"{self.path}: no store of embeddings ({text}); move it away")
        return StoreError(f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or text})")


def key(body: bytes) -> bytes:
    """16 bytes that name the vector of one text: of the request that would ask for it alone."""
    return hashlib.blake2b(body, digest_size=16).digest()


def _dimensions(db: sqlite3.Connection, model: str) -> int | None:
    row = db.execute("select dimensions from model where name = ?", (model,)).fetchone()
    return int(row[0]) if row else None

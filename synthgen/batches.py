"""The batches of a run on disk: which requests a batch API has, so that no later life of the run asks them again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing

import orjson

from synthgen.backends.batch import Batch, Entry
from synthgen.store import Store, connect, explain
from synthgen.types import Backend

_KEY_BYTES = 16


class Batches:
    """A `backends.batch.Ledger` in the file of a run, over a connection of its own; the lock is the store's."""

    def __init__(self, store: Store) -> None:
        self._folder = store.folder
        self._db = connect(store.path)

    def close(self) -> None:
        self._db.close()

    def unfinished(self, backend: str) -> list[Entry]:
        """Batches with a request that has no answer in the store; the others are forgotten."""
        found = []
        for name, state, keys in self._all("select id, state, keys from batch where backend = ?", backend):
            entry = Entry(name, _split(keys), orjson.loads(state))
            if all(self._all("select 1 from identity where key = ?", bytes.fromhex(key)) for key in entry.keys):
                self.forget(name)
            else:
                found.append(entry)
        return found

    def remember(self, backend: str, entry: Entry) -> None:
        keys = b"".join(bytes.fromhex(key) for key in entry.keys)
        self._all("insert or replace into batch values (?, ?, ?, ?)", entry.name, backend, _dump(entry), keys)

    def forget(self, name: str) -> None:
        self._all("delete from batch where id = ?", name)

    def _all(self, sql: str, *values: str | bytes) -> list[tuple[str, str, bytes]]:
        """Each statement is a transaction of its own, and on disk when it returns. Raises StoreError."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self._folder) from error


@asynccontextmanager
async def remembering(store: Store, backends: Iterable[Backend]) -> AsyncIterator[None]:
    """Those of the backends that work in batches remember them in this run, until the end of the block."""
    batches = [backend for backend in dict.fromkeys(backends) if isinstance(backend, Batch)]
    if not batches:
        yield
        return
    with closing(Batches(store)) as ledger:
        for backend in batches:
            backend.attach(ledger)
        try:
            yield
        finally:
            for backend in batches:
                await backend.detach()


def _dump(entry: Entry) -> str:
    return orjson.dumps(entry.state).decode()


def _split(keys: bytes) -> tuple[str, ...]:
    return tuple(keys[at : at + _KEY_BYTES].hex() for at in range(0, len(keys), _KEY_BYTES))

"""A backend that gathers requests into files for a batch API, and finds each answer by its identity hours later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import orjson

from synthgen.backends import Note, wire
from synthgen.backends.batch import lines
from synthgen.backends.batch.lines import Line
from synthgen.backends.dialect import Dialect
from synthgen.backends.http import read, refusal
from synthgen.errors import BackendError, NotYet, RequestRefused, SynthgenError
from synthgen.types import Capabilities, Completion, Request

MOST_LINES = 50_000  # OpenAI's limits of an input file
MOST_BYTES = 190 << 20  # 200 MB are allowed
# The conveyor has started all that it may when nothing new has come for so long.
QUIET_SECONDS = 1.0
_MOST_REPAIRS = 5
_FRAME_BYTES = 128  # of a line around its body
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch on disk: our name for it, what its way knows of it, and the identities of its requests.

    `state` has `created` (seconds) from the start, `id` once it exists at the other side, `taken` once it has ended.
    """

    name: str
    keys: tuple[str, ...]
    state: dict[str, Any]

    @property
    def shown(self) -> str:
        return str(self.state.get("id", self.name))


class Ledger(Protocol):
    """The memory of batches. What `remember` was given is on disk when it returns."""

    def unfinished(self, backend: str) -> list[Entry]:
        """Those of which some answers are not stored yet."""
        ...

    def remember(self, backend: str, entry: Entry) -> None: ...

    def forget(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a batch ended. Requests without a line were not tried: `again` says whether a new batch is to try them."""

    lines: dict[str, Line] = field(default_factory=dict)
    why: str = ""
    again: bool = True
    too_large: bool = False  # refused as a whole, for its size


class Way(Protocol):
    """How a file of requests gets to a server and its answers back."""

    name: str
    model: str
    strict: bool
    chats_only: bool

    async def probe(self) -> Capabilities: ...

    async def submit(self, entry: Entry, file: bytes) -> str:
        """Its id at the other side. Raises BackendError where the batch was not created, and will not be."""
        ...

    async def find(self, entry: Entry) -> str | None:
        """The id of a batch of which we do not know whether it was ever created."""
        ...

    async def wait(self, entry: Entry) -> Ended: ...

    def leave(self, entry: Entry) -> str:
        """What becomes of a batch that nobody waits for any more, in one line."""
        ...

    async def aclose(self) -> None: ...


class Batch:
    """A `Backend` over one way. `attach` gives it its memory before the first request, `detach` ends the waiting."""

    most_at_once = MOST_LINES

    def __init__(self, way: Way, note: Note, *, quiet_seconds: float = QUIET_SECONDS) -> None:
        self.name, self.model = way.name, way.model
        self._way, self._note, self._quiet_seconds = way, note, quiet_seconds
        self._dialect = Dialect(strict=way.strict, note=note)
        self._ledger: Ledger | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._asked: dict[str, tuple[Request, asyncio.Future[Line]]] = {}
        self._gathered: dict[str, dict[str, Request]] = {}  # by path
        self._gathered_bytes = 0
        self._last_gathered = 0.0
        self._filled = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._place: dict[str, Entry] = {}  # the batch that has a request
        self._followed: dict[str, tuple[Entry, asyncio.Task[None]]] = {}
        self._kept: dict[str, Line] = {}  # answers that nobody has asked for yet
        self._room: dict[str, int] = {}  # max_tokens where the request's own was too large
        self._repairs: dict[str, int] = {}
        self._most_lines = MOST_LINES
        self._one_at_a_time = False

    def attach(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def detach(self) -> None:
        """Wait no longer; batches under way stay with their server, and the ledger knows them."""
        followed = list(self._followed.values())
        tasks = [t for t in (self._recovering, self._sender, *(task for _, task in followed)) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry, _ in followed:
            self._note(self._way.leave(entry))
        self._ledger = self._recovering = self._sender = None

    async def probe(self) -> Capabilities:
        return await self._way.probe()

    async def aclose(self) -> None:
        await self.detach()
        await self._way.aclose()

    async def complete(self, request: Request) -> Completion:
        """The answer of a batch, hours later perhaps; errors of its line are those of a live server."""
        if self._way.chats_only and isinstance(request.prompt, str):
            raise RequestRefused(f"{self.name} answers chats alone, and this prompt is a bare text")
        if self._recovering is None:
            self._recovering = asyncio.create_task(self._recover())
        await asyncio.shield(self._recovering)
        line = self._kept.pop(request.id, None)
        while True:
            if line is None:
                line = await self._answer(request)
            if line.status == 200:
                return read(200, {}, line.body, request)
            if not self._repair(request, line):
                error = refusal(line.status, {}, line.body)
                if isinstance(error, BackendError):
                    error.busy = False  # the file was taken: the next one need not wait
                raise error
            line = None

    async def _answer(self, request: Request) -> Line:
        future: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._asked[request.id] = request, future
        entry = self._place.get(request.id)
        if entry is None:
            self._gather(request)
        else:
            self._follow(entry)
        try:
            return await future
        finally:
            self._asked.pop(request.id, None)

    def _repair(self, request: Request, line: Line) -> bool:
        """Whether the request, refused for one field, goes into the next batch without it or with a smaller one."""
        if line.status not in (400, 422) or self._repairs.get(request.id, 0) >= _MOST_REPAIRS:
            return False
        self._repairs[request.id] = self._repairs.get(request.id, 0) + 1
        said = wire.fault(line.body)
        limit = request.sampling.max_tokens
        left = None if limit is None else wire.room_left(said, self._room.get(request.id, limit))
        if left is not None:
            self._room[request.id] = left
            return True
        return self._dialect.learn(said, {**orjson.loads(request.body), "seed": request.sampling.seed})

    async def _recover(self) -> None:
        """Take up the batches of earlier lives; one that was being created is looked for by its name."""
        for entry in self._memory.unfinished(self.name):
            known = entry
            if "id" not in entry.state:
                found = await self._way.find(entry)
                if found is None:
                    self._memory.forget(entry.name)
                    continue
                known = self._remember(replace(entry, state={**entry.state, "id": found}))
            self._place.update(dict.fromkeys(known.keys, known))

    @property
    def _memory(self) -> Ledger:
        assert self._ledger is not None, "attach() comes before the first request"
        return self._ledger

    def _remember(self, entry: Entry) -> Entry:
        self._memory.remember(self.name, entry)
        return entry

    def _gather(self, request: Request) -> None:
        self._gathered.setdefault(wire.endpoint(request), {})[request.id] = request
        self._gathered_bytes += len(request.body) + _FRAME_BYTES
        self._last_gathered = asyncio.get_running_loop().time()
        if self._full():
            self._filled.set()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
            self._sender.add_done_callback(self._fail_gathered)

    def _fail_gathered(self, sender: asyncio.Task[None]) -> None:
        if not sender.cancelled() and sender.exception() is not None:
            waiting = [key for requests in self._gathered.values() for key in requests]
            self._gathered, self._gathered_bytes = {}, 0
            self._fail(waiting, sender)

    async def _send(self) -> None:
        """Hand over what has gathered, whenever nothing new has come for a moment or a file is full."""
        loop = asyncio.get_running_loop()
        while self._gathered:
            while not self._full() and (left := self._last_gathered + self._quiet_seconds - loop.time()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._filled.wait(), left)
            self._filled.clear()
            if self._one_at_a_time and self._followed:
                followed = [task for _, task in self._followed.values()]
                await asyncio.wait(followed, return_when=asyncio.FIRST_COMPLETED)
                continue
            await self._send_one()

    def _full(self) -> bool:
        most = max((len(requests) for requests in self._gathered.values()), default=0)
        return most >= self._most_lines or self._gathered_bytes >= MOST_BYTES

    async def _send_one(self) -> None:
        """One file of what has gathered for one path. It is on disk that it may exist before it can."""
        path, requests = next(iter(self._gathered.items()))
        file, keys = self._file(f"/v1/{path}", requests)
        if keys:
            state = {"created": time.time(), "url": f"/v1/{path}"}
            entry = self._remember(Entry(f"synthgen-{uuid4().hex}", tuple(keys), state))
            try:
                shown = await self._way.submit(entry, file)
            except BackendError:  # it does not exist, for certain
                self._memory.forget(entry.name)
                raise
            entry = self._remember(replace(entry, state={**state, "id": shown}))
            self._place.update(dict.fromkeys(keys, entry))
            self._note(f"{shown}: {len(keys):,} requests handed over")
            self._follow(entry)
        for key in keys:
            self._gathered_bytes -= len(requests.pop(key).body) + _FRAME_BYTES
        if not requests:
            del self._gathered[path]

    def _file(self, url: str, requests: dict[str, Request]) -> tuple[bytes, list[str]]:
        """Lines up to the limits of a file, in order of asking; what nobody waits for any more is dropped."""
        file = bytearray()
        keys: list[str] = []
        for key in [key for key in requests if key not in self._asked]:
            self._gathered_bytes -= len(requests.pop(key).body) + _FRAME_BYTES
        for key, request in requests.items():
            line = lines.write(key, url, self._dialect.write(request, self._room.get(key)))
            if len(keys) == self._most_lines or (keys and len(file) + len(line) > MOST_BYTES):
                break
            file += line
            keys.append(key)
        return bytes(file), keys

    def _follow(self, entry: Entry) -> None:
        if entry.name not in self._followed:
            following = asyncio.create_task(self._take_in(entry))
            self._followed[entry.name] = entry, following
            following.add_done_callback(partial(self._unfollow, entry))

    def _unfollow(self, entry: Entry, following: asyncio.Task[None]) -> None:
        self._followed.pop(entry.name, None)
        self._fail(entry.keys, following)

    async def _take_in(self, entry: Entry) -> None:
        """Wait for the end of a batch and hand out its answers."""
        ended = await self._way.wait(entry)
        earlier = "taken" in entry.state  # it ended in an earlier life: what failed then is asked anew
        if ended.too_large and len(entry.keys) > 1:
            self._one_at_a_time, self._most_lines = True, max(1, len(entry.keys) // 2)
        if ended.lines:  # before anyone sees an answer
            self._remember(replace(entry, state={**entry.state, "taken": True}))
        else:
            self._memory.forget(entry.name)
        missing = []
        for number, key in enumerate(entry.keys, 1):
            if number % _AT_ONCE == 0:  # what has been handed out is worked on, stored and freed
                await asyncio.sleep(0)
            self._place.pop(key, None)
            line = ended.lines.pop(key, None)
            if line is not None and earlier and line.status != 200:
                line = None
            if key not in self._asked:
                if line is not None and line.status == 200:
                    self._kept[key] = line
            elif line is None:
                missing.append(key)
            else:
                _settle(self._asked[key][1], line)
        self._try_again(entry, ended, missing, earlier=earlier)

    def _try_again(self, entry: Entry, ended: Ended, missing: list[str], *, earlier: bool) -> None:
        if missing and not earlier and not ended.again:
            raise NotYet(f"{entry.shown}: {ended.why}; the same command asks the remaining {len(missing):,} anew")
        if missing and ended.why:
            self._note(f"{entry.shown}: {ended.why}; {len(missing):,} requests go into a new batch")
        for key in missing:
            self._gather(self._asked[key][0])

    def _fail(self, keys: Iterable[str], task: asyncio.Task[None]) -> None:
        """Who waits for these hears what ended the task that worked for them."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        for key in keys:
            waiting = self._asked.get(key)
            if waiting is not None and not waiting[1].done():
                # each its own: the pool writes the attempts on it
                waiting[1].set_exception(copy(error) if isinstance(error, SynthgenError) else error)


def _settle(future: asyncio.Future[Line], line: Line) -> None:
    if not future.done():
        future.set_result(line)

"""How much, and where: requests wait for a place, go to the least loaded server, and come again when it failed them."""

from __future__ import annotations

import asyncio
import resource
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from random import uniform
from zlib import crc32

from synthgen.errors import BackendError, NotAllowed, SynthgenError, UsageError
from synthgen.types import Backend, Completion, Request

LONGEST_BACKOFF_SECONDS = 30.0
FILES_BESIDE = 64  # the store, the data files, libraries that load late
ERRORS_TO_LEAVE_OUT = 3
# For servers that queue what they cannot take yet; the embedded engine has 32 slots.
DEFAULT_PLACES = 64
Place = tuple["Server", bool]  # and whether this is its trial
RATE_SLACK_SECONDS = 0.1  # a late timer is made up for, a pause is not


def allow_files(connections: int) -> None:
    """Raise the soft limit of open files as far as may be. Raises UsageError where `connections` do not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY or soft != resource.RLIM_INFINITY:
        soft = hard if hard != resource.RLIM_INFINITY else 10_240
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and connections + FILES_BESIDE > soft:
        most = max(1, soft - FILES_BESIDE)
        raise UsageError(
            f"{connections} requests at once need more open files than the {soft} allowed here; "
            f"give --concurrency {most} or raise the limit (ulimit -n)"
        )


Keep = Callable[[Completion], Awaitable[None]]


class Places:
    """How many requests one server is given at once; another limiter overrides `may` and hears of every answer."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0

    def may(self, now: float) -> bool:
        return self.in_flight < self.limit

    def take(self, now: float) -> None:
        self.in_flight += 1

    def give(self, now: float, seconds: float, error: BackendError | None) -> None:
        """A request came back after `seconds`, with an error or without."""
        self.in_flight -= 1

    @property
    def load(self) -> float:
        return (self.in_flight + 1) / self.limit


class Server:
    """One backend with its places, and whether it is left out: for good, or until its next trial."""

    def __init__(self, backend: Backend, places: Places) -> None:
        self.backend = backend
        self.places = places
        self.refused: NotAllowed | None = None  # for good
        self.error: BackendError | None = None  # the last of a row
        self.errors = 0
        self.out_seconds = 0.0  # 0: it serves
        self.out_since = 0.0
        self.next_trial = 0.0

    @property
    def out(self) -> bool:
        return self.out_seconds > 0

    @property
    def silent(self) -> bool:
        """Left out because no answer came at all; a server that answers with errors is not."""
        return self.out and self.error is not None and self.error.__cause__ is not None

    def may(self, now: float, *, alone: bool) -> bool:
        """`alone`: no other server serves, so one that at least answers is asked as if it did."""
        free = not self.out or now >= self.next_trial or (alone and not self.silent)
        return free and self.places.may(now)

    def take(self, now: float) -> bool:
        """Give a place away; True when the request is the trial of a server that is out."""
        self.places.take(now)
        if self.out:
            self.next_trial = inf  # one at a time
        return self.out

    def give(self, now: float, seconds: float, error: BackendError | None) -> None:
        self.places.give(now, seconds, error)

    def answered(self) -> None:
        self.errors, self.out_seconds, self.error = 0, 0.0, None

    def failed(self, error: BackendError, now: float, *, trial: bool) -> bool:
        """Count one more of a row; True when it is the one that leaves the server out."""
        self.errors += 1
        self.error = error
        if self.out and trial:
            self.out_seconds = min(2 * self.out_seconds, LONGEST_BACKOFF_SECONDS)
            self.next_trial = now + self.out_seconds
        elif not self.out and self.errors >= ERRORS_TO_LEAVE_OUT:
            self.out_since, self.out_seconds, self.next_trial = now, 1.0, now + 1.0
            return True
        return False


class Pool:
    """Servers of one model behind one `complete`. `notes` holds what a user should know, one line each.

    Three errors in a row leave a server out for 1, 2, 4 .. 30 s, after which one request tries it; the others serve
    meanwhile. While no server answers at all (a BackendError with a cause: an exception, no answer), requests wait, and
    trials are no attempts of theirs; after `timeout_seconds` of that they fail with the server's last error.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        concurrency: int | None,
        retries: int = 5,
        timeout_seconds: float = 600,
        rate_per_second: float | None = None,
    ) -> None:
        """`concurrency` is a server's; `timeout_seconds` is a request's in all, from its first sending on."""
        self.notes: list[str] = []
        self.answered = False  # by anything at all, an error among it
        self._servers = [Server(backend, Places(concurrency or DEFAULT_PLACES)) for backend in backends]
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._seconds_between = 1 / rate_per_second if rate_per_second else 0.0
        self._next_sending = 0.0
        self._waiting: deque[tuple[asyncio.Future[Place], str]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._refused: SynthgenError | None = None

    @property
    def in_flight(self) -> int:
        return sum(server.places.in_flight for server in self._servers)

    @property
    def width(self) -> int:
        """How many tasks are worth running at once."""
        return sum(server.places.limit for server in self._servers)

    @property
    def most_at_once(self) -> int:
        """The most connections that it will ever hold."""
        return self.width

    @property
    def left_out(self) -> list[str]:
        """Names of the servers that get no requests now, but for a trial."""
        return [server.backend.name for server in self._servers if server.out or server.refused is not None]

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def aclose(self) -> None:
        """Fail what waits, and close every backend."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._fail_waiting(BackendError("the pool is closed"))
        for server in self._servers:
            await server.backend.aclose()

    def refuse(self, error: SynthgenError) -> None:
        """Send nothing more: what waits fails with `error`, and what asks. What is in flight may come back."""
        self._refused = error
        self._fail_waiting(error)

    async def complete(self, request: Request, key: str = "", keep: Keep | None = None) -> Completion:
        """One completion; of equally loaded servers, requests of one `key` go to the same, for its prefix cache.

        `keep` is given the completion while the request still has its place: what is in flight is never more than the
        places, and all of it is either unanswered or not yet kept.
        Raises the last error, with `attempts`: BackendError after the retries, RequestRefused and NotAllowed at once.
        """
        loop = asyncio.get_running_loop()
        attempts, at_once = 0, True
        deadline: float | None = None
        error: BackendError | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    server, trial = await self._place(key, first=error is None)
            except TimeoutError:
                assert error is not None
                raise error from error.__cause__
            deadline = deadline or loop.time() + self._timeout_seconds
            answer, was_silent = await self._send(server, request, deadline, keep, trial=trial)
            if isinstance(answer, Completion):
                return answer
            error = answer
            if isinstance(error, NotAllowed) and server.refused is not None:
                continue  # another server may
            if at_once and error.retry_after_seconds == 0:
                at_once = False
                continue
            attempts += not was_silent  # else it is the server's state, not an attempt of the request
            error.attempts = max(1, attempts)
            pause_seconds = 0.0 if server.silent else _pause_seconds(error, attempts)
            if error.fate != "retry" or attempts > self._retries or loop.time() + pause_seconds >= deadline:
                raise error from error.__cause__
            await asyncio.sleep(pause_seconds)

    async def _send(
        self, server: Server, request: Request, deadline: float, keep: Keep | None, *, trial: bool
    ) -> tuple[Completion | BackendError, bool]:
        """What came back, and whether the server was known to be silent before that."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer: Completion | BackendError | None = None
        try:
            async with asyncio.timeout_at(deadline) as limit:
                answer = await server.backend.complete(request)
            if keep is not None:
                await keep(answer)
        except BackendError as error:
            answer = error
        except TimeoutError as error:
            if not limit.expired():
                raise
            answer = BackendError(f"{server.backend.name}: no answer within {self._timeout_seconds:g} s")
            answer.__cause__ = error
        finally:
            was_silent = server.silent
            self._came_back(server, answer, started, trial=trial)
        return answer, was_silent

    def _came_back(
        self, server: Server, answer: Completion | BackendError | None, started: float, *, trial: bool
    ) -> None:
        now = asyncio.get_running_loop().time()
        error = answer if isinstance(answer, BackendError) else None
        self.answered |= isinstance(answer, Completion) or (error is not None and error.__cause__ is None)
        server.give(now, now - started, error)
        if isinstance(error, NotAllowed):
            self._refuse(server, error)
        elif error is None or error.fate != "retry":
            if answer is not None:
                server.answered()
        elif error.retry_after_seconds != 0:
            out = server.failed(error, now, trial=trial)
            if out and (server.silent or len(self._servers) > 1):
                self._note(f"{server.backend.name} is left out for now: {error}")
        if trial and server.next_trial == inf:  # cancelled, or dropped by the server: the next one may try
            server.next_trial = now
        self._dispatch()

    def _refuse(self, server: Server, error: NotAllowed) -> None:
        """Leave a server out for good, unless it is the last."""
        if any(other.refused is None for other in self._servers if other is not server):
            server.refused = error
            self._note(f"{server.backend.name} is left out: {error}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    async def _place(self, key: str, *, first: bool) -> Place:
        """Wait for a server that may take one more; requests that come again go before new ones."""
        if self._refused is not None:
            raise type(self._refused)(str(self._refused))
        loop = asyncio.get_running_loop()
        if not self._waiting or not first:
            server = self._pick(key, loop.time())
            if server is not None:
                return self._take(server, loop.time())
        future: asyncio.Future[Place] = loop.create_future()
        entry = future, key
        if first:
            self._waiting.append(entry)
        else:
            self._waiting.appendleft(entry)
        self._dispatch()
        try:
            return await future
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not future.cancelled() and future.exception() is None:
                server, trial = future.result()
                self._came_back(server, None, loop.time(), trial=trial)
            raise

    def _pick(self, key: str, now: float) -> Server | None:
        if now < self._next_sending:
            return None
        live = [server for server in self._servers if server.refused is None]
        alone = all(server.out for server in live)
        free = [server for server in live if server.may(now, alone=alone)]
        if len(free) < 2:
            return free[0] if free else None
        return min(free, key=lambda server: (server.places.load, crc32(f"{key} {server.backend.name}".encode())))

    def _take(self, server: Server, now: float) -> Place:
        if self._seconds_between:
            self._next_sending = max(self._next_sending, now - RATE_SLACK_SECONDS) + self._seconds_between
        return server, server.take(now)

    def _dispatch(self) -> None:
        """Give places to those that wait, in order; what time alone will change sets the alarm."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            future, key = self._waiting[0]
            server = None if future.done() else self._pick(key, now)
            if server is not None:
                future.set_result(self._take(server, now))
            elif not future.done():
                break
            self._waiting.popleft()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._waiting:
            return
        live = [server for server in self._servers if server.refused is None]
        ends = [server.out_since + self._timeout_seconds for server in live if server.silent]
        if live and len(ends) == len(live) and max(ends) <= now and live[0].error is not None:
            self._fail_waiting(live[0].error)
            return
        times = [self._next_sending, *(server.next_trial for server in live if server.out), *ends]
        ahead = [time for time in times if now < time < inf]
        if ahead:
            self._alarm = loop.call_at(min(ahead), self._dispatch)

    def _fail_waiting(self, error: SynthgenError) -> None:
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                again = type(error)(str(error))  # one exception raised many times grows a traceback each time
                again.__cause__ = error.__cause__
                future.set_exception(again)


def _pause_seconds(error: BackendError, attempts: int) -> float:
    """Full jitter, or what the server asked for and a little more, so that not all come back at once."""
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds * uniform(1, 1.3)
    return uniform(0, min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** max(0, attempts - 1)))

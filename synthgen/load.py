"""How much, and where: requests wait for a place, go to the least loaded server, and come again when it failed them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from random import uniform
from zlib import crc32

from synthgen.errors import BackendError, NotAllowed
from synthgen.types import Backend, Completion, Request

LONGEST_BACKOFF_SECONDS = 30.0
ERRORS_TO_LEAVE_OUT = 3
RATE_SLACK_SECONDS = 0.1  # a late timer is made up for, a pause is not


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
        self.error: BackendError | None = None  # the last of a row of transport errors
        self.errors = 0
        self.out_since = 0.0
        self.out_seconds = 0.0
        self.next_trial = 0.0
        self.on_trial = False

    @property
    def out(self) -> bool:
        return self.out_seconds > 0

    def may(self, now: float) -> bool:
        if self.refused is not None or not self.places.may(now):
            return False
        return not self.out or (now >= self.next_trial and not self.on_trial)

    def take(self, now: float) -> None:
        self.on_trial = self.out
        self.places.take(now)

    def answered(self) -> None:
        """It speaks, whatever it said."""
        self.errors, self.out_seconds, self.error = 0, 0.0, None

    def broke(self, error: BackendError, now: float, *, trial: bool) -> bool:
        """Count a transport error; True when it leaves the server out that was not so before."""
        self.errors += 1
        self.error = error
        if self.out:
            if trial:
                self.out_seconds = min(2 * self.out_seconds, LONGEST_BACKOFF_SECONDS)
                self.next_trial = now + self.out_seconds
            return False
        if self.errors < ERRORS_TO_LEAVE_OUT:
            return False
        self.out_since, self.out_seconds, self.next_trial = now, 1.0, now + 1.0
        return True


class Pool:
    """Servers of one model behind one `complete`. `notes` holds what a user should know, one line each.

    A transport error is a BackendError that was raised from an exception: no answer came. Three in a row leave a server
    out for 1, 2, 4 .. 30 s, after which one request tries it. While all servers are out, requests wait, and trials are
    no attempts of theirs; once that has lasted `timeout_seconds` they fail with what the server last failed with.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        concurrency: int,
        retries: int = 5,
        timeout_seconds: float = 600,
        rate_per_second: float | None = None,
    ) -> None:
        """`concurrency` is a server's; `timeout_seconds` a request's in all, from its first sending on."""
        self.notes: list[str] = []
        self._servers = [Server(backend, Places(concurrency)) for backend in backends]
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._seconds_between = 1 / rate_per_second if rate_per_second else 0.0
        self._next_sending = 0.0
        self._waiting: deque[tuple[asyncio.Future[Server], str]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._last_answer = 0.0

    @property
    def in_flight(self) -> int:
        return sum(server.places.in_flight for server in self._servers)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def aclose(self) -> None:
        """End what waits, and close every backend."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._fail_waiting(BackendError("the pool is closed"))
        for server in self._servers:
            await server.backend.aclose()

    async def complete(self, request: Request, key: str = "") -> Completion:
        """One completion; requests of one `key` like the same server, for its prefix cache.

        Raises the last error, with `attempts`: BackendError after the retries, RequestRefused and NotAllowed at once.
        """
        loop = asyncio.get_running_loop()
        attempts, deadline, at_once = 0, 0.0, True
        while True:
            server = await self._place(key, again=deadline > 0)
            started = loop.time()
            deadline = deadline or started + self._timeout_seconds
            was_out = server.out
            completion, error = await self._send(server, request, deadline)
            if completion is not None:
                return completion
            assert error is not None
            if isinstance(error, NotAllowed) and server.refused is not None:
                continue  # this server alone is out
            if at_once and error.retry_after_seconds == 0:
                at_once = False
                continue
            # A server that is out fails its trials, not the requests that try it.
            attempts += not (was_out or (server.out and server.error is not error))
            error.attempts = max(1, attempts)
            if error.fate != "retry" or attempts > self._retries:
                raise error
            pause = 0.0 if server.out else _pause_seconds(error, attempts)
            if loop.time() + pause >= deadline:
                raise error
            await asyncio.sleep(pause)

"""Hours of load in a moment: an event loop with a clock of its own, and a server with slots, a queue and faults."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from synthgen.errors import BackendError
from synthgen.load import Pool
from synthgen.types import Capabilities, Completion, Gauge, Request

T = TypeVar("T")


class _Instant(selectors.SelectSelector):
    """Nothing ever comes from outside: instead of waiting, the clock moves to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits, and no timer is set")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now


def run(main: Awaitable[T]) -> T:
    """As asyncio.run, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


class Server:
    """Works on `slots` requests at once, each for `seconds(rng)`; the others stand in its queue."""

    def __init__(
        self,
        slots: int,
        seconds: float | Callable[[Random], float] = 1.0,
        *,
        name: str = "server",
        gauge: bool = False,
        lag_seconds: float = 0.0,
        per_second: float | None = None,
        retry_after: float | None = None,
        most_queued: int | None = None,
        health: bool = True,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.slots, self.rng = slots, Random(seed)
        self.seconds = seconds if callable(seconds) else lambda _: float(seconds)
        self.running: dict[asyncio.Future[None], None] = {}
        self.queue: deque[asyncio.Future[None]] = deque()
        self.asked: list[Request] = []
        self.done = self.refused = self.most_waiting = self.most_in_flight = 0
        self.dead = self.hangs = False
        self.answers: Callable[[Request], Any] = lambda _: Completion("ok")
        self.probes = 0
        self._gauge, self._lag, self._health = gauge, lag_seconds, health
        self._shown = Gauge(0, 0)
        self._shown_at = -1.0
        self._per_second, self._retry_after, self._most_queued = per_second, retry_after, most_queued
        self._bucket, self._filled = per_second or 0.0, 0.0

    async def probe(self) -> Capabilities:
        return Capabilities(models=(self.name,))

    async def aclose(self) -> None:
        pass

    async def gauge(self) -> Gauge | None:
        await asyncio.sleep(0.002)
        now = asyncio.get_running_loop().time()
        if self.dead:
            raise broken(self.name)
        if now - self._shown_at >= self._lag:
            self._shown, self._shown_at = Gauge(len(self.running), len(self.queue)), now
        return self._shown if self._gauge else None

    async def healthy(self) -> bool | None:
        self.probes += 1
        await asyncio.sleep(0.002)
        return not self.dead if self._health else None

    async def complete(self, request: Request) -> Completion:
        loop = asyncio.get_running_loop()
        self.asked.append(request)
        await asyncio.sleep(0.001)
        if self.dead and not self.hangs:
            raise broken(self.name)
        self._admit(loop.time())
        mine: asyncio.Future[None] = loop.create_future()
        self.queue.append(mine)
        self._start()
        self.most_waiting = max(self.most_waiting, len(self.queue))
        self.most_in_flight = max(self.most_in_flight, len(self.queue) + len(self.running))
        try:
            await mine
        finally:
            if mine in self.running:
                del self.running[mine]
            elif mine in self.queue:
                self.queue.remove(mine)
            self._start()
        answer = self.answers(request)
        if isinstance(answer, BaseException):
            raise answer
        self.done += 1
        assert isinstance(answer, Completion)
        return answer

    def die(self, *, hangs: bool = False) -> None:
        """The process is killed; or it hangs: what is in flight stays without a byte, the port refuses."""
        self.dead, self.hangs = True, hangs
        for one in () if hangs else (*self.running, *self.queue):
            if not one.done():
                one.set_exception(broken(self.name))

    def _admit(self, now: float) -> None:
        if self._per_second is not None:
            self._bucket = min(max(1.0, self._per_second), self._bucket + (now - self._filled) * self._per_second)
            self._filled = now
            if self._bucket < 1:
                self.refused += 1
                raise BackendError("HTTP 429: slow down", retry_after_seconds=self._retry_after, busy=True)
            self._bucket -= 1
        if self._most_queued is not None and len(self.queue) >= self._most_queued:
            self.refused += 1
            raise BackendError("HTTP 503: the queue is full", busy=True)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self.queue and len(self.running) < self.slots and not self.dead:
            one = self.queue.popleft()
            if one.done():
                continue
            self.running[one] = None
            loop.call_later(self.seconds(self.rng), self._end, one)

    def _end(self, one: asyncio.Future[None]) -> None:
        if not one.done() and not self.dead:
            one.set_result(None)


def broken(name: str) -> BackendError:
    """A transport error: one with a cause."""
    error = BackendError(f"no connection to {name}: connection refused")
    error.__cause__ = ConnectionRefusedError(111, "refused")
    return error


async def work(pool: Pool, requests: int, *, until: float = 1e9, prefixes: int = 1) -> list[float]:
    """Send so many requests as a conveyor does, `pool.width` tasks at a time; when each was answered, in seconds."""
    loop = asyncio.get_running_loop()
    ended: list[float] = []
    failed: list[BaseException] = []
    running: set[asyncio.Task[None]] = set()
    wake = asyncio.Event()
    pool.users[wake.set] = None

    async def one(n: int) -> None:
        await pool.complete(Request("m", f"{n % prefixes:04} " + "x" * 40), str(n))
        ended.append(loop.time())

    def finished(task: asyncio.Task[None]) -> None:
        running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            failed.append(task.exception())  # type: ignore[arg-type]
        wake.set()

    started = 0
    while (started < requests or running) and loop.time() < until and not failed:
        while started < requests and len(running) < pool.width:
            task = asyncio.create_task(one(started))
            running.add(task)
            task.add_done_callback(finished)
            started += 1
            pool.users[wake.set] = requests - started
        await wake.wait()
        wake.clear()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await pool.aclose()
    if failed:
        raise failed[0]
    return ended

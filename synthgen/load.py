"""How much, and where: requests wait for a place, go to the least loaded server, and come again when it failed them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from math import inf
from typing import NamedTuple

from synthgen.errors import BackendError, NotAllowed, SynthgenError
from synthgen.limit import limit_of
from synthgen.line import Asked, Line
from synthgen.server import Server, pause_seconds_after
from synthgen.types import Backend, Completion, Request

RATE_SLACK_SECONDS = 0.1  # a late timer is made up for, a pause is not
MOST_HOMES = 16_384  # tasks whose server is remembered: more than can be under way
# How much fuller, in shares of a limit, a server may be that has the prefix, or the task.
SIMILAR_LOAD, HOME_LOAD = 0.1, 0.5
MUCH_FASTER = 0.7

Keep = Callable[[Completion], Awaitable[None]]


class Load(NamedTuple):
    """One server as the progress line shows it."""

    name: str
    in_flight: int
    limit: int
    out: bool


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
        """`concurrency` is a server's, None finds it out; `timeout_seconds` is a request's, from its first sending."""
        self.notes: list[str] = []
        self.answered = False  # by anything at all, an error among it
        # Who is told when `width` has grown, and the requests that each has still to come; None: it cannot know yet.
        self.users: dict[Callable[[], None], int | None] = {}
        self._learns = concurrency is None
        self._servers = [Server(backend, limit_of(backend, concurrency)) for backend in backends]
        self._retries = retries
        self._timeout_seconds = timeout_seconds
        self._seconds_between = 1 / rate_per_second if rate_per_second else 0.0
        self._next_sending = 0.0
        self._line: Line[Server] = Line(several=len(backends) > 1)
        self._homes: OrderedDict[str, Server] = OrderedDict()
        self._alarm: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._beside: set[asyncio.Task[None]] = set()  # readers of gauges, questions after health
        self._refused: SynthgenError | None = None

    @property
    def in_flight(self) -> int:
        return sum(server.limit.in_flight for server in self._servers)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def servers(self) -> list[Load]:
        return [
            Load(s.backend.name, s.limit.in_flight, s.limit.most_now, s.out or s.refused is not None)
            for s in self._servers
        ]

    @property
    def width(self) -> int:
        """How many tasks are worth running at once: a quarter more than there are places, so that none is empty.

        Rounded down, so that one place is one task at a time.
        """
        serving = [s for s in self._servers if s.serves] or [s for s in self._servers if s.refused is None]
        return max(1, int(1.25 * sum(server.limit.most_now for server in serving)))

    @property
    def most_at_once(self) -> int:
        """The most connections that it will ever hold."""
        return sum(server.limit.most for server in self._servers)

    def allow(self, connections: int) -> int:
        """Share out so many connections among servers whose limit is found out; how many it may hold now."""
        if self._learns and self._servers:
            for server in self._servers:
                server.limit.allow(max(1, connections // len(self._servers)))
        return self.most_at_once

    async def aclose(self) -> None:
        """Fail what waits, and close every backend."""
        for timer in (self._alarm, self._sweep):
            if timer is not None:
                timer.cancel()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        self._fail_waiting(BackendError("the pool is closed"))
        for server in self._servers:
            await server.backend.aclose()

    def leave_out(self, backend: Backend, error: NotAllowed) -> None:
        """Until it answers a trial: at the start nobody was at this address."""
        self._gone(next(s for s in self._servers if s.backend is backend), BackendError(str(error)))

    def refuse(self, error: SynthgenError) -> None:
        """Send nothing more: what waits fails with `error`, and what asks. What is in flight may come back."""
        self._refused = error
        self._fail_waiting(error)

    async def complete(self, request: Request, key: str = "", keep: Keep | None = None) -> Completion:
        """One completion; requests of one `key` go to one server while it serves, for its prefix cache.

        `keep` is given the completion while the request still has its place: what is in flight is never more than the
        places, and all of it is either unanswered or not yet kept.
        Raises the last error, with `attempts`: BackendError after the retries, RequestRefused and NotAllowed at once.
        """
        asked: Asked[Server] = Asked(key, request)
        while True:
            await self._place(asked)
            answer = await self._send(asked, request, keep)
            if isinstance(answer, Completion):
                return answer
            asked.error = answer
            if answer.died:
                await self._doubt(asked)
            pause_seconds = self._pause(asked, answer)
            if pause_seconds is None:
                raise answer from answer.__cause__
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
            server = asked.server
            if server is not None and server.deaths > asked.deaths_before:
                asked.met_death(server.backend.name, server.deaths)

    def _pause(self, asked: Asked[Server], error: BackendError) -> float | None:
        """Seconds until a request comes again that met this error; None when it does not."""
        server = asked.server
        assert server is not None
        if isinstance(error, NotAllowed) and server.refused is not None:
            return 0.0  # another server may
        if asked.at_once and error.retry_after_seconds == 0:
            asked.at_once = False
            return 0.0
        asked.attempts += not asked.excused
        error.attempts = max(1, asked.attempts)
        pause_seconds = 0.0 if server.silent else pause_seconds_after(error, asked.attempts)
        late = asyncio.get_running_loop().time() + pause_seconds >= asked.deadline
        return None if error.fate != "retry" or asked.attempts > self._retries or late else pause_seconds

    async def _place(self, asked: Asked[Server]) -> None:
        """Wait for a server that may take one more; requests that come again go before new ones."""
        if self._refused is not None:
            raise type(self._refused)(str(self._refused))
        loop = asyncio.get_running_loop()
        now = loop.time()
        first = asked.error is None
        if not self._line or not first:
            server = self._pick(asked, now)
            if server is not None:
                self._take(asked, server, now)
                return
        asked.since = now
        asked.future = loop.create_future()
        self._line.add(asked, self._best(asked) if first else None)
        self._dispatch()
        try:
            await asked.future
        except asyncio.CancelledError:
            if not self._line.remove(asked) and not asked.future.cancelled() and asked.future.exception() is None:
                self._came_back(asked, None)
            raise
        finally:
            asked.future = None

    async def _send(self, asked: Asked[Server], request: Request, keep: Keep | None) -> Completion | BackendError:
        server, task = asked.server, asyncio.current_task()
        assert server is not None
        assert task is not None
        cancelling = task.cancelling()
        asked.stopped, asked.task = None, task
        answer: Completion | BackendError | None = None
        try:
            answer = await server.backend.complete(request)
            asked.task = None
            if keep is not None:
                await keep(answer)
        except BackendError as error:
            answer = error
        except asyncio.CancelledError:
            if asked.stopped is None or task.uncancel() > cancelling:
                raise
            answer = asked.stopped
        finally:
            asked.task = None
            self._came_back(asked, answer)
        return answer

    def _take(self, asked: Asked[Server], server: Server, now: float) -> None:
        if self._seconds_between:
            self._next_sending = max(self._next_sending, now - RATE_SLACK_SECONDS) + self._seconds_between
        server.take(asked, now)
        if asked.deadline == inf:
            asked.deadline = now + self._timeout_seconds
        if asked.key and len(self._servers) > 1:
            self._homes[asked.key] = server
            self._homes.move_to_end(asked.key)
            if len(self._homes) > MOST_HOMES:
                self._homes.popitem(last=False)
        if self._sweep is None:
            self._sweep_later()
        if server.gauge is not None and not server.watched:
            server.watched = True
            self._begin(server.watch(self._grown))

    def _came_back(self, asked: Asked[Server], answer: Completion | BackendError | None) -> None:
        """A place is free again; `answer` is None for a request that was cancelled."""
        server = asked.server
        assert server is not None
        now = asyncio.get_running_loop().time()
        before, was_out = server.limit.most_now, server.out
        if isinstance(answer, Completion):
            self.answered = True
            server.answered(asked, now)
        else:
            self.answered |= answer is not None and answer.__cause__ is None
            if server.failed(asked, now, answer) and server.error is not None:
                self._fell(server, server.error)
            if isinstance(answer, NotAllowed):
                self._refuse(server, answer)
        if server.limit.most_now > before or server.out != was_out:
            self._grown()
        elif self._line:
            self._dispatch()

    def _fell(self, server: Server, error: BackendError) -> None:
        """A server is left out from now on; when it died, what it had to do goes elsewhere."""
        if server.silent or len(self._servers) > 1:
            self._note(f"{server.backend.name} is left out for now: {error}")
        if error.died:
            for asked in server.under_way:
                asked.stop(error)

    def _refuse(self, server: Server, error: NotAllowed) -> None:
        """Leave a server out for good, unless it is the last."""
        if any(other.refused is None for other in self._servers if other is not server):
            server.refused = error
            self._note(f"{server.backend.name} is left out: {error}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _best(self, asked: Asked[Server]) -> Server:
        """Where its task has been, or where its prefix belongs (rendezvous hashing: each server draws a number)."""
        if len(self._servers) == 1:
            return self._servers[0]
        if (home := self._homes.get(asked.key)) is not None and home.serves:
            return home
        serving = [server for server in self._servers if server.serves] or self._servers
        return max(serving, key=lambda server: (asked.prefix ^ server.salt) * 0x9E3779B1 & 0xFFFFFFFF)

    def _free(self, now: float) -> list[Server]:
        """Servers that may be given one more."""
        if now < self._next_sending:
            return []
        live = [s for s in self._servers if s.limit.in_flight < s.limit.most_now and s.refused is None]
        if not live:
            return live
        alone = any(server.out for server in live) and not any(server.serves for server in self._servers)
        free = [server for server in live if server.may(now, alone=alone)]
        if len(self._servers) > 1 and self.users and None not in self.users.values():
            free = [server for server in free if not self._too_slow(server, now)]
        return free

    def _pick(self, asked: Asked[Server], now: float) -> Server | None:
        free = self._free(now)
        if len(free) < 2:
            return free[0] if free else None
        if asked.error is not None:
            free = [server for server in free if server is not asked.server] or free
        least = min(free)
        best = self._best(asked)
        more = HOME_LOAD if self._homes.get(asked.key) is best else SIMILAR_LOAD
        return best if best in free and best.limit.load <= least.limit.load + more else least

    def _too_slow(self, server: Server, now: float) -> bool:
        """Near the end: whether a request would end later here than if it waited for a faster server."""
        faster = [o for o in self._servers if o.serves and 0 < o.seconds < MUCH_FASTER * server.seconds]
        if not faster:
            return False
        per_second = sum(other.limit.most_now / other.seconds for other in faster)
        wait_seconds = (len(self._line) + sum(filter(None, self.users.values()))) / per_second
        return server.next_seconds(now) > wait_seconds + min(other.worst_seconds for other in faster)

    def _dispatch(self) -> None:
        """Give places to those that wait, in order; what time alone will change sets the alarm."""
        now = asyncio.get_running_loop().time()
        while self._line:
            free = self._free(now)
            if not free:
                break
            server = min(free)
            asked = self._line.next(server, now)
            if asked.future is not None and not asked.future.done():
                self._take(asked, server, now)
                asked.future.set_result(None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._line and not (self._next_sending <= now and all(s.plain(now) for s in self._servers)):
            self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        live = [server for server in self._servers if server.refused is None]
        ends = [server.out_since + self._timeout_seconds for server in live if server.silent]
        if live and len(ends) == len(live) and max(ends) <= now and live[0].error is not None:
            self._fail_waiting(live[0].error)
            return
        times = [self._next_sending, *ends, *(server.limit.pace.next for server in live)]
        times += [server.next_trial for server in live if server.out]
        ahead = [time for time in times if now < time < inf]
        if ahead:
            self._alarm = asyncio.get_running_loop().call_at(min(ahead), self._dispatch)

    def _fail_waiting(self, error: SynthgenError) -> None:
        for asked in self._line.drain():
            asked.fail(error)

    def _sweep_later(self) -> None:
        seconds = min(1.0, max(0.01, self._timeout_seconds / 20))
        self._sweep = asyncio.get_running_loop().call_later(seconds, self._sweep_now)

    def _sweep_now(self) -> None:
        """Deadlines, and servers that owe answers: one timer for all requests."""
        now = asyncio.get_running_loop().time()
        self._sweep = None
        for server in self._servers:
            for asked in server.under_way:
                if now >= asked.deadline:
                    asked.stop(server.too_late(self._timeout_seconds))
            if server.healthy is not None and not server.asked_health and server.overdue(now):
                self._begin(self._ask_health(server))
        for asked in [asked for asked in self._line.again if now >= asked.deadline]:
            self._line.remove(asked)
            if asked.error is not None:
                asked.fail(asked.error)
        if self._line or self.in_flight:
            self._sweep_later()

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task

    def _grown(self) -> None:
        for tell in self.users:
            tell()
        self._dispatch()

    async def _doubt(self, asked: Asked[Server]) -> None:
        """An answer said that the server's engine is dead: its health says whether that is so, once for all who ask."""
        server = asked.server
        assert server is not None
        if not server.out and server.doubt is None:
            server.doubt = self._begin(self._ask_health(server, doubted=True))
        if server.doubt is not None:
            await asyncio.shield(server.doubt)
            server.doubt = None
        asked.excused |= server.silent

    async def _ask_health(self, server: Server, *, doubted: bool = False) -> None:
        """Where nobody is there any more, what a server had to do goes elsewhere."""
        if not await server.is_gone(doubted=doubted):
            return
        self._gone(server, BackendError(f"{server.backend.name}: it is gone, with requests unanswered", died=True))
        self._dispatch()

    def _gone(self, server: Server, error: BackendError) -> None:
        if not server.out:
            server.fall(error, asyncio.get_running_loop().time(), gone=True)
        self._fell(server, error)

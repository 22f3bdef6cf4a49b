"""Who waits for a place, and who is next: each server has its own line, in which those of one prefix stand together."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from math import inf
from typing import Generic, TypeVar
from zlib import crc32

from synthgen.errors import BackendError, RequestRefused, SynthgenError
from synthgen.types import Request

TURN_SECONDS = 1.0  # that one prefix is given out before the next has its turn
PATIENCE_SECONDS = 2.0  # that a line may be behind another before any server helps it
PREFIX_CHARS = 1000

S = TypeVar("S", bound=Hashable)


class Asked(Generic[S]):
    """One request over all its attempts: where it is, and what it has met."""

    __slots__ = (
        *("key", "prefix", "since", "future", "deadline", "attempts", "at_once", "error"),
        *("server", "sent", "trial", "task", "stopped", "answers_before", "deaths_before", "deaths", "excused"),
    )  # fmt: skip

    def __init__(self, key: str, request: Request) -> None:
        self.key, self.prefix = key, prefix(request)
        self.since = 0.0  # waiting since
        self.future: asyncio.Future[None] | None = None
        self.deadline = inf  # from its first sending on
        self.attempts, self.at_once = 0, True
        self.error: BackendError | None = None  # the last
        self.server: S | None = None
        self.sent, self.trial = 0.0, False
        self.task: asyncio.Task[object] | None = None  # that may be cancelled, while it awaits the server
        self.stopped: BackendError | None = None  # why it was
        self.answers_before = self.deaths_before = 0  # of the server, when it was sent
        self.deaths: tuple[str, ...] = ()  # servers that died with it in flight
        self.excused = False  # the last error was the server's state, not an attempt of the request

    def stop(self, error: BackendError) -> None:
        """End what it awaits of its server; it goes on as if that had raised `error`."""
        if self.task is not None and self.stopped is None:
            self.stopped = _again(error)
            self.task.cancel()

    def fail(self, error: SynthgenError) -> None:
        """End its waiting for a place."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(_again(error) if isinstance(error, BackendError) else type(error)(str(error)))

    def met_death(self, server: str, deaths: int) -> None:
        """It was in flight when a server died, and so is suspect. Raises RequestRefused at the second."""
        error = self.error
        if error is None or not (error.died or error.__cause__ is not None):
            return
        self.deaths_before = deaths
        self.deaths += (server,)
        if len(self.deaths) >= 2:
            given_up = RequestRefused(
                f"given up: {' and then '.join(self.deaths)} died while this request was in flight ({error})"
            )
            given_up.attempts = max(2, self.attempts)
            raise given_up from error.__cause__


def _again(error: BackendError) -> BackendError:
    """One exception raised many times grows a traceback each time."""
    again = BackendError(str(error), retry_after_seconds=error.retry_after_seconds, died=error.died)
    again.attempts, again.__cause__ = error.attempts, error.__cause__
    return again


def prefix(request: Request) -> int:
    """A number that requests of one beginning share: of the text, or of the first message."""
    prompt = request.prompt
    text = prompt if isinstance(prompt, str) else prompt[0].content if prompt else ""
    return crc32(text[:PREFIX_CHARS].encode("utf-8", "surrogatepass"))


class Line(Generic[S]):
    """Requests that wait, by the server that each would best go to; those that come again are before all others."""

    def __init__(self, *, several: bool) -> None:
        """`several` servers: what failed at one is better tried at another."""
        self._several = several
        self.again: deque[Asked[S]] = deque()
        self._lines: dict[S, OrderedDict[int, deque[Asked[S]]]] = {}
        self._turns: dict[S, tuple[int, float]] = {}  # the prefix that a server is given out, and until when
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, asked: Asked[S], best: S | None) -> None:
        """`best` is None for one that comes again."""
        self._count += 1
        if best is None:
            self.again.append(asked)
            return
        groups = self._lines.get(best)
        if groups is None:
            groups = self._lines[best] = OrderedDict()
        group = groups.get(asked.prefix)
        if group is None:
            groups[asked.prefix] = deque((asked,))
        else:
            group.append(asked)

    def remove(self, asked: Asked[S]) -> bool:
        """Take one out that gave up; False when it was not here any more."""
        places = [self.again, *(g[asked.prefix] for g in self._lines.values() if asked.prefix in g)]
        for place in places:
            if asked in place:
                place.remove(asked)
                self._count -= 1
                for groups in self._lines.values():
                    if not groups.get(asked.prefix, True):
                        del groups[asked.prefix]
                return True
        return False

    def next(self, server: S, now: float) -> Asked[S]:
        """The one that this server should be given; there must be one."""
        self._count -= 1
        if self.again:
            first = self.again[0]
            elsewhere = self._several and first.server is server and now - first.since < TURN_SECONDS
            if not elsewhere or self._count < len(self.again):
                return self.again.popleft()
        groups = self._lines.get(server)
        if len(self._lines) > 1 or not groups:
            oldest, longest = self._oldest()
            if not groups or _since(groups) > longest + PATIENCE_SECONDS:
                groups = oldest
        turn, until = self._turns.get(server, (0, -inf))
        if turn not in groups or (now >= until and len(groups) > 1):
            if turn in groups:
                groups.move_to_end(turn)
            turn = next(iter(groups))
            self._turns[server] = turn, now + TURN_SECONDS
        group = groups[turn]
        asked = group.popleft()
        if not group:
            del groups[turn]
        return asked

    def drain(self) -> list[Asked[S]]:
        """Take out all."""
        found = [*self.again, *(a for groups in self._lines.values() for group in groups.values() for a in group)]
        self.again.clear()
        self._lines.clear()
        self._count = 0
        return found

    def _oldest(self) -> tuple[OrderedDict[int, deque[Asked[S]]], float]:
        """The line whose first has waited longest, and since when."""
        found: OrderedDict[int, deque[Asked[S]]] = OrderedDict()
        longest = inf
        for groups in self._lines.values():
            if groups and (since := _since(groups)) < longest:
                found, longest = groups, since
        return found, longest


def _since(groups: OrderedDict[int, deque[Asked[S]]]) -> float:
    return next(iter(groups.values()))[0].since

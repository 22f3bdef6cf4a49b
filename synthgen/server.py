"""One server of a pool: its places, its pace, and whether it is left out, for good or until its next trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import exp, inf, log
from random import uniform
from zlib import crc32

from synthgen.errors import BackendError, NotAllowed
from synthgen.limit import Limit
from synthgen.line import Asked
from synthgen.types import Backend

LONGEST_BACKOFF_SECONDS = 30.0
ERRORS_TO_LEAVE_OUT, ERRORS_SHARE = 3, 0.1  # in a row, of what is in flight: an error comes sooner than an answer
# Retries that a server may cause: a share of its answers over about a minute, and a few for a start.
RETRY_SHARE, RETRIES_FREE = 0.2, 20.0
_HALF_LIFE_SECONDS = 30.0
FALLS_AGAIN_SECONDS = 60.0  # so soon after it fell last: it is left out for twice as long
OVERDUE_SECONDS = 3.0  # without any answer, or twice what one takes: then /health is asked
MISSED_GAUGES = 3  # in a row: then latency decides again


class Server:
    """One backend behind its limit. What it answers is an answer, be it an error; silence is an error with a cause."""

    def __init__(self, backend: Backend, limit: Limit) -> None:
        self.backend, self.limit = backend, limit
        self.salt = crc32(backend.name.encode())
        self.gauge = getattr(backend, "gauge", None)
        self.healthy = getattr(backend, "healthy", None)
        self.watched = self.asked_health = False
        self.doubt: asyncio.Task[None] | None = None  # the question whether its engine is dead, as an answer said
        self.under_way: dict[Asked[Server], None] = {}  # in order of sending
        self.refused: NotAllowed | None = None  # for good
        self.error: BackendError | None = None  # the last of a row
        self.errors = 0
        self.out_seconds = 0.0  # 0: it serves
        self._silent = False
        self._backoff_seconds = 0.0  # for which it was left out last
        self.out_since = 0.0
        self.next_trial = 0.0
        self.answers = self.deaths = 0
        self.heard = 0.0  # when it last answered, or began to have something to answer
        self.seconds = self.worst_seconds = 0.0  # of an answer, lately: the mean, and nearly the longest
        self._answered = self._retried = self._counted = 0.0  # lately: they fade
        self._since = -inf  # when counting began

    def __lt__(self, other: Server) -> bool:
        """Less of its limit is in use."""
        return self.limit.load < other.limit.load

    @property
    def out(self) -> bool:
        return self.out_seconds > 0

    @property
    def serves(self) -> bool:
        return not self.out and self.refused is None

    def plain(self, now: float) -> bool:
        """Nothing but its places bounds what it is given: time alone changes nothing."""
        return not self.out_seconds and self.refused is None and self.limit.pace.next <= now

    @property
    def silent(self) -> bool:
        """Left out because no answer came at all; a server that answers with errors is not."""
        return self.out and self._silent

    def may(self, now: float, *, alone: bool) -> bool:
        """`alone`: no other server serves, so one that at least answers is asked as if it did."""
        free = not self.out or now >= self.next_trial or (alone and not self.silent)
        return free and self.limit.may(now)

    def too_late(self, seconds: float) -> BackendError:
        error = BackendError(f"{self.backend.name}: no answer within {seconds:g} s")
        error.__cause__ = TimeoutError()
        return error

    def overdue(self, now: float) -> bool:
        return bool(self.under_way) and now - self.heard > max(OVERDUE_SECONDS, 2 * self.seconds)

    def next_seconds(self, now: float) -> float:
        """What one more request may take here: as long as others did, or as all that are in flight at its pace."""
        age = now - self._since
        if not self._answered or age < 1:
            return self.worst_seconds
        seen = 1 - exp(-age * log(2) / _HALF_LIFE_SECONDS)
        per_second = self._answered * log(2) / _HALF_LIFE_SECONDS / seen
        return max(self.worst_seconds, (self.limit.in_flight + 1) / per_second)

    def take(self, asked: Asked[Server], now: float) -> None:
        """Give a place away; to a server that is out it is the trial, one at a time."""
        if not self.under_way:
            self.heard = now
            if self._since == -inf:
                self._since = now
        asked.server, asked.sent = self, now
        self.limit.take(now)
        asked.answers_before, asked.deaths_before, asked.trial = self.answers, self.deaths, self.out
        if self.out:
            self.next_trial = inf
        self.under_way[asked] = None

    def answered(self, asked: Asked[Server], now: float) -> None:
        del self.under_way[asked]
        took = now - asked.sent
        self.limit.answered(asked.sent, now)
        self.seconds += (took - self.seconds) * 0.1 if self.answers else took
        self.worst_seconds = max(took, self.worst_seconds + (took - self.worst_seconds) * 0.003)
        self.answers += 1
        self.heard = now
        self._count(now)
        self._answered += 1
        if not self.out:
            self.errors = 0
        elif asked.sent >= self.out_since:  # what was sent before says nothing of how it is now
            self._well()

    def failed(self, asked: Asked[Server], now: float, error: BackendError | None) -> bool:
        """`error` is None for one that was cancelled. True when it is the one that leaves the server out."""
        del self.under_way[asked]
        self.limit.failed(asked.sent, now, error)
        fell = False
        if error is not None:
            if error.__cause__ is None:
                self.heard = now
            since = self.answers > asked.answers_before
            asked.excused = self.silent or (error.busy and since)
            if isinstance(error, NotAllowed):
                pass  # the pool decides what that means
            elif error.fate != "retry":
                self._well()
            elif error.retry_after_seconds != 0 and not (error.busy and since):
                fell = self._fail(error, now, trial=asked.trial)
        if asked.trial and self.next_trial == inf:  # cancelled, or dropped by the server: the next one may try
            self.next_trial = now
        return fell

    async def watch(self, grown: Callable[[], None]) -> None:
        """Read the gauge while there is something to do; `grown` hears when the limit has."""
        missed = 0
        while self.under_way and self.gauge is not None:
            try:
                gauge = await self.gauge()
                missed = 0
            except BackendError:
                gauge, missed = None, missed + 1
            if gauge is not None:
                before = self.limit.most_now
                self.limit.read(gauge)
                if self.limit.most_now > before:
                    grown()
            elif not missed:
                self.gauge = None  # it has none
            if not missed or missed >= MISSED_GAUGES:
                self.limit.gauged = gauge is not None
            await asyncio.sleep(self.limit.gauge_seconds * max(1, min(missed, 20)))
        self.watched = False

    async def is_gone(self, *, doubted: bool = False) -> bool:
        """Whether nobody is there any more, while answers are overdue or, `doubted`, after an answer that said so."""
        if self.healthy is None:
            return False
        self.asked_health = True
        try:
            healthy = await self.healthy()
        finally:
            self.asked_health = False
        if healthy is None:
            self.healthy = None
        return healthy is False and (doubted or self.overdue(asyncio.get_running_loop().time()))

    def fall(self, error: BackendError, now: float, *, gone: bool = False) -> None:
        """Leave it out from now on, until a trial."""
        self.error, self._silent = error, gone or error.__cause__ is not None
        soon = now - self.out_since < FALLS_AGAIN_SECONDS and self._backoff_seconds
        self._backoff_seconds = min(2 * self._backoff_seconds, LONGEST_BACKOFF_SECONDS) if soon else 1.0
        self.out_since, self.out_seconds = now, self._backoff_seconds
        self.next_trial = now + self.out_seconds
        self.deaths += self.silent

    def _fail(self, error: BackendError, now: float, *, trial: bool) -> bool:
        """Count one more of a row; True when it is the one that leaves the server out."""
        self.errors += 1
        self._count(now)
        self._retried += 1
        if self.out:
            self.error = error
            self._silent = error.__cause__ is not None or (self._silent and error.died)
            if trial:
                self.out_seconds = min(2 * self.out_seconds, LONGEST_BACKOFF_SECONDS)
                self.next_trial = now + self.out_seconds
            return False
        spent = self._retried > RETRIES_FREE + RETRY_SHARE * self._answered and not error.busy
        if self.errors >= max(ERRORS_TO_LEAVE_OUT, ERRORS_SHARE * len(self.under_way)) or spent:
            self.fall(error, now)
            return True
        return False

    def _well(self) -> None:
        if self.out:
            self._answered = self._retried = 0.0
            self._since = self.heard
        self.errors, self.out_seconds, self.error = 0, 0.0, None

    def _count(self, now: float) -> None:
        passed = now - self._counted
        if passed >= 1:
            fade = 0.5 ** (passed / _HALF_LIFE_SECONDS)
            self._answered, self._retried, self._counted = self._answered * fade, self._retried * fade, now


def pause_seconds_after(error: BackendError, attempts: int) -> float:
    """Full jitter, or what the server asked for and a little more, so that not all come back at once."""
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds * uniform(1, 1.3)
    return uniform(0, min(LONGEST_BACKOFF_SECONDS, 0.5 * 2 ** max(0, attempts - 1)))

"""How many requests a server is given at once: three laws that listen to its gauge, its latency and its refusals."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from synthgen.errors import BackendError
from synthgen.types import Backend, Gauge

START, MOST = 16, 2048
GAUGE_RAMP_SECONDS, GAUGE_SECONDS = 0.1, 0.25
FEW_REFUSED = 0.04
SLACK_SECONDS = 0.1  # a late timer is made up for, a pause is not


def by_gauge(limit: float, in_flight: int, gauge: Gauge, before: Gauge, *, ramp: bool) -> tuple[float, bool]:
    """The limit that keeps a tenth of what runs in the server's queue, and whether it may still grow in leaps.

    A queue is believed when it is seen twice: what has just come waits for the next step of the engine.
    """
    goal = max(2.0, 0.1 * gauge.running)
    if gauge.waiting > goal:
        if before.waiting <= goal:
            return limit, ramp
        return max(1.0, min(limit, in_flight - min(gauge.waiting, before.waiting) + goal)), False
    ramp = ramp and not (gauge.waiting and before.waiting)
    if gauge.running + gauge.waiting < 0.8 * in_flight:
        return limit, ramp  # it lags, or shows one replica of many
    if gauge.waiting <= goal / 2 and in_flight >= 0.9 * limit:
        return limit * (2 if ramp else 1.1) + 1, ramp
    return limit, ramp


class Cohort(NamedTuple):
    """Answers to requests that were sent together: how many, and what they took (mean, lower eighth, last)."""

    n: float
    seconds: float
    quick_seconds: float
    slow_seconds: float


def cohort_of(n: int, took: Sequence[float]) -> Cohort:
    """Of nine tenths of a cohort, those that are back."""
    ordered = sorted(took)
    mean = max(sum(ordered) / len(ordered), 1e-6)
    return Cohort(n, mean, ordered[len(ordered) // 8], max(ordered[-1], 1e-6))


def gain(now: Cohort, before: Cohort, *, even: bool) -> float:
    """Elasticity of throughput: 1 where twice as many at once are twice as many a second, 0 where all of them queue.

    Where all answers are of one length, the last of a cohort shows the queue. Where they differ, means are noise, but a
    queue delays the shortest like the longest: the lower eighth shows it best.
    """
    more = now.n / before.n - 1
    if even:
        return (now.n / now.slow_seconds / (before.n / before.slow_seconds) - 1) / more
    by_mean = (now.n / now.seconds / (before.n / before.seconds) - 1) / more
    by_quick = 1 - (now.quick_seconds - before.quick_seconds) / before.seconds / more
    return 0.25 * by_mean + 0.75 * by_quick


class Edge:
    """The law without a gauge: more at once is worth it while throughput follows.

    What is sent after a change of the limit is a cohort, and decides when nine in ten of it are back: the first to
    come back are the short ones. In the ramp cohorts are compared; later the mean time is held near that of the last
    one that paid.
    """

    def __init__(self, limit: float) -> None:
        self.ramp = True
        self.reference_seconds = self._quick_seconds = 0.0  # without a queue: the mean, and the lower eighth
        self._even = True  # answers are of one length
        self._before: Cohort | None = None
        self._settled = False
        self._streak = self._lowered = 0
        self._since, self._until, self._until_first = -inf, inf, inf
        self._wanted, self._sent, self._n = limit, 0, 0
        self._took: list[float] = []
        self._after: list[float] = []  # of those that were sent when the first cohort was whole

    def sent(self, n: int, now: float) -> None:
        """A request was sent as the `n`th in flight."""
        if self._sent < self._wanted:
            self._sent += 1
            self._n = max(self._n, n)
            if self._sent >= self._wanted:
                self._until = now

    def lost(self, sent: float) -> None:
        """A request came back without an answer."""
        if self._since <= sent <= self._until and self._sent:
            self._sent -= 1
            self._wanted = max(1.0, self._wanted - 1)

    def answered(self, limit: float, sent: float, now: float) -> float:
        """The limit after one more answer, to a request that was `sent` then."""
        if not self._since <= sent <= self._until:
            if self._before is None and sent > self._until:
                self._after.append(now - sent)
            return limit
        self._took.append(now - sent)
        if self._until == inf or len(self._took) < self._share() * self._wanted:
            return limit
        if self._n < 0.75 * limit:  # there was too little to do
            self._begin(self._wanted, now)
            return limit
        cohort = cohort_of(self._n, self._took)
        first = self._before is None
        new = self._ramp(limit, cohort) if self.ramp else self._steady(limit, cohort)
        self._before = cohort
        self._begin(max(16.0, new) if self.ramp else max(24.0, 1.2 * new), now)
        if first and new == limit:  # the second cohort is on its way already
            self._since, self._until, self._sent, self._n = self._until_first, now, int(new), int(limit)
            self._took = self._after
        return new

    def _share(self) -> float:
        """Of a cohort that must be back; in the ramp the quick ones tell enough where answers differ."""
        return 0.75 if self.ramp and not self._even else 0.9

    def _begin(self, wanted: float, now: float) -> None:
        self._until_first = self._until
        self._since, self._until, self._wanted, self._sent, self._n = now, inf, wanted, 0, 0
        self._took = []

    def _refer(self, seconds: float, quick_seconds: float) -> None:
        self.reference_seconds, self._quick_seconds = seconds, quick_seconds

    def _ramp(self, limit: float, cohort: Cohort) -> float:
        before = self._before
        if before is None:
            self._refer(cohort.seconds, cohort.quick_seconds)
            self._even = max(cohort.slow_seconds, cohort.seconds) < 1.5 * cohort.quick_seconds
            return 3 * limit if self._even else limit  # else a second one tells queue from length
        if cohort.n <= 1.05 * before.n:
            return self._second(limit, cohort, before)
        gained = gain(cohort, before, even=self._even)
        if gained > 0.35:
            self._refer(cohort.seconds, cohort.quick_seconds)
            leap = 4.0 if self._even and limit > 2 * START else 3.0
            return limit * (leap if gained > 0.9 else 2.0 if gained > 0.6 else 1.4)
        self.ramp = False
        return max(2.0, 1.15 * cohort.n / cohort.seconds * self.reference_seconds)

    def _second(self, limit: float, cohort: Cohort, before: Cohort) -> float:
        """As many again, but the first cohort found all places empty: what the quick ones wait now is the queue."""
        queued_seconds = cohort.quick_seconds - before.quick_seconds
        queue = queued_seconds / before.seconds
        if queue < 0.3:
            self._refer(cohort.seconds, cohort.quick_seconds)
            return (2.0 if queue < 0.15 else 1.5) * limit
        self.ramp = False
        self._refer(max(cohort.seconds - queued_seconds, before.quick_seconds), before.quick_seconds)
        return max(2.0, 1.15 * cohort.n * self.reference_seconds / cohort.seconds)

    def _steady(self, limit: float, cohort: Cohort) -> float:
        before, seconds = self._before, cohort.seconds
        if not self._settled:
            self._settled = True
            self.reference_seconds = max(self.reference_seconds, min(seconds, 1.3 * self.reference_seconds))
        elif limit <= 2:  # so few never wait for each other
            self._refer(max(self.reference_seconds, seconds), max(self._quick_seconds, cohort.quick_seconds))
        elif before is not None and cohort.n < 0.97 * before.n:
            self._lowered = self._lowered + 1 if gain(cohort, before, even=self._even) > 0.6 else 0
            if self._lowered >= 2:
                self._lowered = 0
                self._refer(max(self.reference_seconds, seconds), max(self._quick_seconds, cohort.quick_seconds))
        self._refer(1.002 * self.reference_seconds, 1.002 * self._quick_seconds)
        queued = seconds / self.reference_seconds - 1
        if not self._even:
            queued = (cohort.quick_seconds - self._quick_seconds) / self.reference_seconds
        if queued < 0.25:
            free = queued < 0.05 and seconds < 1.1 * self.reference_seconds
            self._streak = self._streak + 1 if free else 0  # a ramp that ended too early is made up for
            return limit * min(1.5, 1 + 0.08 * 2.0**self._streak) + 0.5
        self._streak = 0
        return max(1.0, limit * 0.88)


class Pace:
    """Requests a second after a server said that they are too many; None while it never did."""

    def __init__(self) -> None:
        self.per_second: float | None = None
        self.pause_until = -inf
        self._next = -inf
        self._top = 0.0
        self._cut = self._grown = self._refused = -inf
        self._row, self._quiet_seconds = 0, 5.0
        self._second, self._sent, self._sent_before = 0.0, 0, 0
        self._refusals = self._refusals_before = 0

    @property
    def next(self) -> float:
        """When one more may be sent."""
        return max(self.pause_until, self._next) if self.per_second else self.pause_until

    def sent(self, now: float) -> None:
        passed = now - self._second
        if passed >= 1:
            self._sent_before = self._sent if passed < 2 else 0
            self._refusals_before = self._refusals if passed < 2 else 0
            self._second, self._sent, self._refusals = now, 0, 0
        self._sent += 1
        if self.per_second is not None:
            self._grow(now)
            if self.per_second is not None:
                self._next = max(self._next, now - SLACK_SECONDS) + 1 / self.per_second

    def answered(self) -> None:
        self._row = 0

    def refused(self, now: float, retry_after_seconds: float | None) -> None:
        """A 429 or 503: slower, at most once a second; a pause where it refuses all, or asks for a long one.

        A few in a hundred are no limit that was met, and cost less than to be slower.
        """
        self._sent = max(0, self._sent - 1)
        self._refusals += 1
        self._row += 1
        self._refused = now
        asked = retry_after_seconds or 0.0
        self._quiet_seconds = max(5.0, 4 * asked)
        if self._row >= 8 or asked >= 5:
            self.pause_until = max(self.pause_until, now + max(1.0, asked))
            self._row = 0
        few = 1 + FEW_REFUSED * (self._sent + self._sent_before)
        if now - self._cut < 1 or self._refusals + self._refusals_before <= few:
            return
        self._cut = self._grown = now
        rate = self._sent + self._sent_before * max(0.0, 1 - (now - self._second))
        before, self._top = self._top, max(0.5, min(rate, self.per_second or inf))
        known = abs(self._top - before) < 0.2 * before
        self.per_second = max(0.5, (0.93 if known else 0.85) * self._top)

    def _grow(self, now: float) -> None:
        """Fast below what was just refused; above it after a while, and the faster the longer nothing is refused."""
        assert self.per_second is not None
        passed, quiet = min(2.0, now - self._grown), now - self._refused
        if passed < 0.5:
            return
        self._grown = now
        if quiet >= 120:
            self.per_second = None
        elif self.per_second < 0.97 * self._top:
            self.per_second = min(0.97 * self._top, self.per_second * 1.2**passed)
        elif quiet >= self._quiet_seconds:
            self.per_second *= (1 + min(0.25, 0.01 * quiet)) ** passed


class Limit:
    """The limit of one server, and what it has in flight."""

    def __init__(self, start: int, most: int, *, learns: bool) -> None:
        """`learns`: the latency of answers moves the limit; a gauge does so for every server that has one."""
        self.most = most
        self.in_flight = 0
        self.most_now = start
        self.pace = Pace()
        self.gauged = False
        self.gauge_ramp = learns
        self._exact = float(start)
        self._read = Gauge(0, 0)
        self._edge = Edge(start) if learns else None

    @property
    def load(self) -> float:
        return (self.in_flight + 1) / self.most_now

    @property
    def gauge_seconds(self) -> float:
        """How long until the gauge is worth reading again."""
        return GAUGE_RAMP_SECONDS if self.gauge_ramp and self.most_now < self.most else GAUGE_SECONDS

    def may(self, now: float) -> bool:
        return self.in_flight < self.most_now and now >= self.pace.next

    def take(self, now: float) -> None:
        """Give a place away."""
        self.in_flight += 1
        self.pace.sent(now)
        if self._edge is not None and not self.gauged:
            self._edge.sent(self.in_flight, now)

    def answered(self, sent: float, now: float) -> None:
        """The answer came to a request that was `sent` then."""
        self.in_flight -= 1
        self.pace.answered()
        if self._edge is not None and not self.gauged:
            self._set(self._edge.answered(self._exact, sent, now))

    def failed(self, sent: float, now: float, error: BackendError | None) -> None:
        """A request came back without an answer; `error` is None where we cancelled it."""
        self.in_flight -= 1
        if self._edge is not None:
            self._edge.lost(sent)
        if error is not None and error.busy:
            self.pace.refused(now, error.retry_after_seconds)

    def read(self, gauge: Gauge) -> None:
        """The server's own gauge, which from now on decides."""
        self.gauged = True
        exact, self.gauge_ramp = by_gauge(self._exact, self.in_flight, gauge, self._read, ramp=self.gauge_ramp)
        self._read = gauge
        self._set(exact)

    def allow(self, most: int) -> None:
        """Lower the ceiling, where this machine cannot hold so many connections."""
        self.most = min(self.most, most)
        self._set(self._exact)

    def _set(self, exact: float) -> None:
        self._exact = min(float(self.most), exact)
        self.most_now = max(1, int(self._exact))


def limit_of(backend: Backend, concurrency: int | None) -> Limit:
    """What the user asked for, what the backend knows of itself, or what will be found out."""
    most: int | None = concurrency or getattr(backend, "most_at_once", None)
    return Limit(most or START, most or MOST, learns=most is None)

"""The limiter: its laws one by one, then against servers of every size, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from virtual import Server, run, work

from synthgen.errors import BackendError
from synthgen.limit import MOST, START, Cohort, Edge, Limit, Pace, by_gauge, gain
from synthgen.load import Pool
from synthgen.types import Gauge

NONE = Gauge(0, 0)


def exponential(rng: Random) -> float:
    return rng.expovariate(1.0)


def short_and_long(rng: Random) -> float:
    """A mean of one second, of answers that differ by a factor of 21."""
    return 0.2 if rng.random() < 0.8 else 4.2


def test_the_gauge_law() -> None:
    assert by_gauge(16, 16, Gauge(16, 0), NONE, ramp=True) == (33, True), "room: twice as many"
    assert by_gauge(100, 100, Gauge(100, 0), NONE, ramp=False) == (pytest.approx(111), False), "later a tenth more"
    assert by_gauge(16, 16, Gauge(8, 8), NONE, ramp=True) == (16, True), "a queue is believed when seen twice"
    assert by_gauge(16, 16, Gauge(8, 8), Gauge(8, 8), ramp=True) == (10, False), "and then two are left in it"
    assert by_gauge(64, 64, Gauge(20, 0), NONE, ramp=True) == (64, True), "it lags, or shows one replica of many"
    assert by_gauge(64, 30, Gauge(30, 0), NONE, ramp=True) == (64, True), "there is too little to do"
    assert by_gauge(4, 4, Gauge(0, 400), Gauge(0, 400), ramp=False)[0] == 1, "somebody else's queue"


def test_elasticity() -> None:
    base = Cohort(16, 1.0, 1.0, 1.0)
    assert gain(Cohort(48, 1.0, 1.0, 1.0), base, even=True) == pytest.approx(1)
    assert gain(Cohort(48, 3.0, 3.0, 3.0), base, even=True) == pytest.approx(0)
    noisy = Cohort(16, 1.0, 0.3, 3.0)
    assert gain(Cohort(48, 1.4, 0.3, 4.0), noisy, even=False) > 0.8, "a mean that drifted is not a queue"
    assert gain(Cohort(48, 3.0, 2.3, 5.0), noisy, even=False) < 0.1, "the quick ones wait as well"


def test_what_was_sent_before_a_change_decides_nothing() -> None:
    edge = Edge(16)
    for n in range(1, 17):
        edge.sent(n, 0.0)
    limits = [edge.answered(16, 0.0, 1.0) for _ in range(15)]
    assert limits == [*[16] * 14, 48]
    assert edge.answered(48, 0.5, 9.0) == 48
    for n in range(1, 49):
        edge.sent(n, 1.0)
    assert [edge.answered(48, 1.0, 2.0) for _ in range(44)][-1] == 192


def test_requests_that_are_lost_do_not_hold_the_ramp_up() -> None:
    edge = Edge(16)
    for n in range(1, 17):
        edge.sent(n, 0.0)
    for _ in range(6):
        edge.lost(0.0)
    assert [edge.answered(16, 0.0, 1.0) for _ in range(10)][-2] == 48


def test_pace_is_cut_once_a_second_and_comes_back() -> None:
    pace = Pace()
    for k in range(100):
        pace.sent(k / 100)
    for _ in range(5):
        pace.refused(1.0, None)
    assert pace.per_second == pytest.approx(0.85 * 99, rel=0.05)
    cut, now = pace.per_second or 0.0, 1.0
    while now < 4:
        now = max(now + 0.001, pace.next)
        pace.sent(now)
    assert cut < (pace.per_second or 0.0) < 99, "back to just below what was refused"
    while now < 20:
        now = max(now + 0.001, pace.next)
        pace.sent(now)
    assert (pace.per_second or 0.0) > 110, "nothing was refused for long: more is tried"


def test_refusals_in_a_row_or_a_long_retry_after_are_a_pause() -> None:
    pace = Pace()
    pace.refused(10.0, 30.0)
    assert pace.next >= 40
    pace = Pace()
    for _ in range(8):
        pace.refused(10.0, None)
    assert pace.pause_until == 11
    pace = Pace()
    for k in range(20):
        pace.refused(10.0 + k / 100, None)
        pace.answered()
    assert pace.pause_until < 10, "others were answered in between"


def test_a_given_number_stays_what_it_is() -> None:
    limit = Limit(7, 7, learns=False)
    for k in range(200):
        limit.take(k)
        limit.answered(k, k + 1 + k / 10)
    assert limit.most_now == 7
    for _ in range(9):
        limit.take(300)
    limit.read(Gauge(1, 8))
    limit.read(Gauge(1, 8))
    assert limit.most_now < 7, "a server that says that they queue is believed"


def test_no_more_than_this_machine_may_hold() -> None:
    limit = Limit(START, MOST, learns=True)
    limit.allow(5)
    assert (limit.most, limit.most_now) == (5, 5)


class Ran:
    """So many requests against one server, nothing said about how many at once."""

    def __init__(self, server: Server, requests: int, until: float = 1e9) -> None:
        async def main() -> tuple[list[float], int]:
            pool = Pool([server], concurrency=None)
            ended = await work(pool, requests, until=until)
            return ended, pool.servers[0].limit

        self.server = server
        self.ended, self.limit = run(main())

    @property
    def per_second(self) -> float:
        return len(self.ended) / max(self.ended)


GAUGE = pytest.mark.parametrize("gauge", [True, False], ids=["with /metrics", "without"])


@GAUGE
def test_512_slots_are_in_use_within_three_seconds(gauge: bool) -> None:
    ran = Ran(Server(512, 1.0, gauge=gauge), 3000)
    assert len(ran.ended) == 3000
    assert ran.per_second >= (450 if gauge else 320)
    in_use = 1.1 if gauge else 3.1
    assert sum(1 for at in ran.ended if in_use < at <= in_use + 1) >= 500
    assert ran.server.most_waiting <= 256


@GAUGE
@pytest.mark.parametrize("slots", [1, 2, 4, 8, 12, 16, 17, 32, 40, 64, 100, 128, 256])
def test_servers_of_every_size_work_at_their_pace_with_short_queues(slots: int, gauge: bool) -> None:
    ran = Ran(Server(slots, 1.0, gauge=gauge), 40 * slots)
    assert ran.per_second >= 0.94 * slots
    # With twelve slots the first sixteen take one second or two, which looks like answers of two lengths.
    most = 4.5 if slots == 12 and not gauge else 2.2
    assert ran.server.most_waiting <= max(15, most * slots)


@GAUGE
@pytest.mark.parametrize("seconds", [1.0, 0.05, 10.0, exponential, short_and_long], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_eight_slots_never_have_more_than_sixteen_waiting(
    seed: int, seconds: float | Callable[[Random], float], gauge: bool
) -> None:
    ran = Ran(Server(8, seconds, gauge=gauge, seed=seed), 480)
    assert ran.server.most_waiting <= 16


@GAUGE
@pytest.mark.parametrize("seconds", [exponential, short_and_long])
@pytest.mark.parametrize(("slots", "share"), [(8, 0.9), (32, 0.85), (128, 0.8), (256, 0.75)])
def test_answers_of_any_length(slots: int, share: float, seconds: Callable[[Random], float], gauge: bool) -> None:
    """The share over the first 40 s, the ramp among it."""
    ran = Ran(Server(slots, seconds, gauge=gauge, seed=5), 50 * slots, until=40)
    assert len(ran.ended) >= share * slots * 40


@GAUGE
@pytest.mark.parametrize(("slots", "share"), [(8, 0.99), (64, 0.9), (512, 0.8)])
def test_slow_answers(slots: int, share: float, gauge: bool) -> None:
    ran = Ran(Server(slots, 10.0, gauge=gauge), 15 * slots)
    assert ran.per_second >= share * slots / 10


def test_a_gauge_that_lags_is_not_run_away_from() -> None:
    assert Ran(Server(8, 1.0, gauge=True, lag_seconds=1.0), 400).server.most_waiting <= 16
    ran = Ran(Server(512, 1.0, gauge=True, lag_seconds=1.0), 512 * 20)
    assert ran.per_second >= 0.8 * 512
    assert ran.server.most_waiting <= 512


@GAUGE
@pytest.mark.parametrize("retry_after", [None, 1.0])
def test_a_rate_limit_is_found(retry_after: float | None, gauge: bool) -> None:
    ran = Ran(Server(512, 1.0, gauge=gauge, per_second=60, retry_after=retry_after), 60 * 60)
    assert len(ran.ended) == 3600, "refusals of a server that answers others fail nothing"
    assert ran.per_second >= 0.93 * 60
    assert ran.server.refused <= 0.1 * 3600


def test_a_server_that_refuses_to_queue_is_kept_busy() -> None:
    ran = Ran(Server(32, 1.0, most_queued=8), 32 * 60)
    assert ran.per_second >= 0.85 * 32
    assert ran.server.refused <= 0.1 * 32 * 60


def test_a_gauge_that_goes_away_leaves_the_law_without_one() -> None:
    async def main() -> int:
        server = Server(64, 1.0, gauge=True)
        pool = Pool([server], concurrency=None)
        asked = asyncio.ensure_future(work(pool, 64 * 30))
        await asyncio.sleep(5)
        server._gauge = False
        await asked
        return pool._servers[0].answers

    assert run(main()) == 64 * 30


def test_an_error_that_is_no_refusal_leaves_the_pace_alone() -> None:
    limit = Limit(4, 4, learns=False)
    limit.take(0.0)
    limit.failed(0.0, 1.0, BackendError("HTTP 500"))
    assert limit.pace.per_second is None
    for _ in range(2):  # one alone is no limit that was met
        assert limit.pace.per_second is None
        limit.take(1.0)
        limit.failed(1.0, 2.0, BackendError("HTTP 429", busy=True))
    assert limit.pace.per_second is not None

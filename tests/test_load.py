"""The pool: places, retries, deadlines, servers that are left out and come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_server import FakeServer

from synthgen import load
from synthgen.backends.http import Http
from synthgen.backends.recording import Recording
from synthgen.errors import BackendError, NotAllowed, RequestRefused
from synthgen.load import Pool
from synthgen.types import Completion, Request

ASK = Request("m", "x")


class Slow(Recording):
    """Takes its time, and knows how many it served at once."""

    def __init__(self, seconds: float, answer: Callable[[Request], Any] = lambda _: "ok", model: str = "slow") -> None:
        super().__init__(answer, model=model)
        self.seconds = seconds
        self.at_once = self.most_seen = 0

    async def complete(self, request: Request) -> Completion:
        self.at_once += 1
        self.most_seen = max(self.most_seen, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            return await super().complete(request)
        finally:
            self.at_once -= 1


def broken(message: str = "broke") -> BackendError:
    """A transport error: one with a cause."""
    error = BackendError(message)
    error.__cause__ = ConnectionRefusedError(111, "refused")
    return error


def first(*answers: Any, then: Any = "ok") -> Callable[[Request], Any]:
    rest = list(answers)
    return lambda _: rest.pop(0) if rest else then


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No jitter and no waiting between attempts; the pauses that were meant."""
    found: list[float] = []
    real = load.pause_seconds_after

    def pause(error: BackendError, attempts: int) -> float:
        found.append(real(error, attempts))
        return 0.0

    monkeypatch.setattr(load, "pause_seconds_after", pause)
    return found


def ask(pool: Pool, request: Request = ASK) -> Completion:
    async def main() -> Completion:
        try:
            return await pool.complete(request)
        finally:
            await pool.aclose()

    return asyncio.run(main())


def test_places_bound_what_is_in_flight() -> None:
    async def main() -> None:
        backend = Slow(0.01)
        pool = Pool([backend], concurrency=4)
        tasks = [asyncio.create_task(pool.complete(ASK)) for _ in range(20)]
        await asyncio.sleep(0.005)
        assert (pool.in_flight, pool.waiting) == (4, 16)
        assert [c.text for c in await asyncio.gather(*tasks)] == ["ok"] * 20
        assert (pool.in_flight, pool.waiting) == (0, 0)
        assert backend.most_seen == 4
        await pool.aclose()
        assert backend.closed

    asyncio.run(main())


def test_those_who_wait_go_in_order() -> None:
    async def main() -> list[str]:
        backend = Slow(0.001)
        pool = Pool([backend], concurrency=1)
        await asyncio.gather(*(pool.complete(Request("m", str(i))) for i in range(8)))
        return [str(r.prompt) for r in backend.requests]

    assert asyncio.run(main()) == [str(i) for i in range(8)]


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def main() -> None:
        backend = Slow(0.01)
        pool = Pool([backend], concurrency=1)
        tasks = [asyncio.create_task(pool.complete(ASK)) for _ in range(4)]
        await asyncio.sleep(0.001)
        tasks[0].cancel()  # in flight
        tasks[2].cancel()  # waiting
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(d, Completion) for d in done] == [False, True, False, True]
        assert (pool.in_flight, pool.waiting) == (0, 0)

    asyncio.run(main())


def test_a_request_cancelled_between_its_turn_and_its_sending_gives_its_place_back() -> None:
    async def main() -> None:
        backend = Slow(0.01)
        pool = Pool([backend], concurrency=1)
        held = asyncio.create_task(pool.complete(ASK))
        waits = asyncio.create_task(pool.complete(ASK))
        await asyncio.sleep(0.001)
        held.add_done_callback(lambda _: waits.cancel())
        held.cancel()
        await asyncio.gather(held, waits, return_exceptions=True)
        assert pool.in_flight == 0
        assert (await pool.complete(ASK)).text == "ok"

    asyncio.run(main())


def test_the_least_loaded_server_is_asked() -> None:
    async def main() -> None:
        fast, slow = Slow(0.001, model="fast"), Slow(0.02, model="slow")
        pool = Pool([fast, slow], concurrency=4)

        async def worker() -> None:
            for _ in range(10):
                await pool.complete(ASK)

        await asyncio.gather(*(worker() for _ in range(6)))
        assert len(fast.requests) > 3 * len(slow.requests) > 0

    asyncio.run(main())


def test_one_key_one_server() -> None:
    async def main() -> None:
        servers = [Recording(lambda _: "ok", model=f"s{i}") for i in range(4)]
        pool = Pool(servers, concurrency=4)
        for key in ("a", "b", "c", "d", "e"):
            for server in servers:
                server.requests.clear()
            for _ in range(5):
                await pool.complete(ASK, key)
            assert sorted(len(s.requests) for s in servers) == [0, 0, 0, 5]

    asyncio.run(main())


def test_retries_and_their_pauses(pauses: list[float]) -> None:
    backend = Recording(lambda _: BackendError("HTTP 500"))
    with pytest.raises(BackendError, match="HTTP 500") as caught:
        ask(Pool([backend], concurrency=2, retries=5))
    assert caught.value.attempts == len(backend.requests) == 6
    assert all(0 <= pause <= 0.5 * 2**k for k, pause in enumerate(pauses))
    assert len(set(pauses)) == len(pauses), "full jitter"
    assert ask(Pool([Recording(first(BackendError("x"), BackendError("y")))], concurrency=1, retries=2)).text == "ok"


def test_no_retries() -> None:
    backend = Recording(lambda _: BackendError("HTTP 500"))
    with pytest.raises(BackendError):
        ask(Pool([backend], concurrency=1, retries=0))
    assert len(backend.requests) == 1


def test_retry_after_is_obeyed(pauses: list[float]) -> None:
    backend = Recording(first(BackendError("429", retry_after_seconds=7), BackendError("429", retry_after_seconds=300)))
    ask(Pool([backend], concurrency=1))
    assert 7 <= pauses[0] <= 7 * 1.3
    assert 300 <= pauses[1] <= 300 * 1.3


def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    backend = Recording(lambda _: BackendError("429", retry_after_seconds=300))
    began = time.monotonic()
    with pytest.raises(BackendError, match="429"):
        ask(Pool([backend], concurrency=1, timeout_seconds=10))
    assert time.monotonic() - began < 1
    assert len(backend.requests) == 1


def test_at_once_is_no_attempt_the_first_time() -> None:
    backend = Recording(lambda _: BackendError("disconnected", retry_after_seconds=0))
    with pytest.raises(BackendError) as caught:
        ask(Pool([backend], concurrency=1, retries=1))
    assert len(backend.requests) == 3
    assert caught.value.attempts == 2


@pytest.mark.parametrize("error", [RequestRefused("too long"), NotAllowed("no key")])
def test_what_is_final_is_raised_at_once(error: BackendError) -> None:
    backend = Recording(lambda _: error)
    with pytest.raises(type(error)) as caught:
        ask(Pool([backend], concurrency=1))
    assert caught.value is error
    assert (len(backend.requests), error.attempts) == (1, 1)


def test_a_bug_of_a_backend_is_raised_and_frees_the_place() -> None:
    async def main() -> None:
        pool = Pool([Recording(first(KeyError("bug"), TimeoutError("not ours")))], concurrency=1)
        with pytest.raises(KeyError):
            await pool.complete(ASK)
        with pytest.raises(TimeoutError, match="not ours"):
            await pool.complete(ASK)
        assert (await pool.complete(ASK)).text == "ok"

    asyncio.run(main())


def test_the_deadline() -> None:
    backend = Slow(5)
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"slow: no answer within 0\.05 s") as caught:
        ask(Pool([backend], concurrency=1, timeout_seconds=0.05))
    assert 0.04 < time.monotonic() - began < 1
    assert caught.value.attempts == 1
    assert backend.at_once == 0


def test_waiting_for_a_first_place_is_not_the_servers_fault() -> None:
    async def main() -> None:
        pool = Pool([Slow(0.03)], concurrency=1, timeout_seconds=0.06)
        assert len(await asyncio.gather(*(pool.complete(ASK) for _ in range(5)))) == 5

    asyncio.run(main())


def test_the_rate() -> None:
    async def main() -> float:
        pool = Pool([Recording(lambda _: "ok")], concurrency=64, rate_per_second=200)
        began = time.monotonic()
        await asyncio.gather(*(pool.complete(ASK) for _ in range(100)))
        return time.monotonic() - began

    # 0.5 s, less the slack that a start is given
    assert 0.35 < asyncio.run(main()) < 0.9


def test_a_server_that_refuses_us_is_left_out_and_named() -> None:
    async def main() -> None:
        bad, good = Recording(lambda _: NotAllowed("unknown model"), model="bad"), Slow(0.001, model="good")
        pool = Pool([bad, good], concurrency=2)
        answers = await asyncio.gather(*(pool.complete(ASK) for _ in range(10)))
        assert [a.text for a in answers] == ["ok"] * 10
        assert len(bad.requests) <= 2
        assert pool.notes == ["bad is left out: unknown model"]

    asyncio.run(main())


def test_when_all_servers_refuse_us_it_is_said() -> None:
    async def main() -> None:
        servers = [Recording(lambda _: NotAllowed("no key"), model=name) for name in "ab"]
        pool = Pool(servers, concurrency=2)
        with pytest.raises(NotAllowed, match="no key"):
            await pool.complete(ASK)

    asyncio.run(main())


@pytest.mark.parametrize("error", [broken(), BackendError("HTTP 500: engine dead")])
def test_a_server_that_fails_in_a_row_is_left_out_while_others_serve(error: BackendError, pauses: list[float]) -> None:
    async def main() -> None:
        dead, good = Recording(lambda _: error, model="dead"), Slow(0.002, model="good")
        pool = Pool([dead, good], concurrency=4)
        answers = await asyncio.gather(*(pool.complete(ASK) for _ in range(200)))
        assert len(answers) == 200
        assert len(dead.requests) <= 8, "those in flight when it fell, no more"
        assert pool.notes == [f"dead is left out for now: {error}"]

    asyncio.run(main())


def test_one_trial_then_the_server_is_back(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        alive = False
        back = Slow(0.001, lambda _: "ok" if alive else broken(), model="back")
        good = Slow(0.001, model="good")
        pool = Pool([back, good], concurrency=2)
        await asyncio.gather(*(pool.complete(ASK) for _ in range(20)))
        server = pool._servers[0]
        assert server.out
        assert (server.out_seconds, now() < server.next_trial) == (1.0, True)
        for seconds in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            seen = len(back.requests)
            server.next_trial = now()
            await asyncio.gather(*(pool.complete(ASK) for _ in range(10)))
            assert len(back.requests) == seen + 1
            assert server.out_seconds == seconds
        alive = True
        server.next_trial = now()
        await asyncio.gather(*(pool.complete(ASK) for _ in range(30)))
        assert not server.out
        assert back.most_seen == 2

    asyncio.run(main())


def test_an_outage_of_the_only_server_costs_no_task() -> None:
    """Over HTTP: the server goes away in the middle, and is back before the deadline."""

    async def main() -> None:
        server = FakeServer(script="echo", delay=0.01)
        async with server:
            http = Http(server.base_url, model="fake", api_key=None)
            pool = Pool([http], concurrency=8, retries=3, timeout_seconds=30)
            tasks = [asyncio.create_task(pool.complete(Request("fake", f"say {i}"))) for i in range(60)]
            await asyncio.sleep(0.05)
            await server.stop()
            await asyncio.sleep(0.6)
            seen = server.count
            async with server:
                answers = await asyncio.gather(*tasks)
            assert len(answers) == 60
            assert seen < 60
            assert len(pool.notes) == 1
            assert "connection refused" in pool.notes[0] or "broke" in pool.notes[0]
            await pool.aclose()

    asyncio.run(main())


def test_an_outage_ends_in_the_servers_error_after_the_timeout() -> None:
    async def main() -> None:
        backend = Recording(lambda _: broken("no connection to http://h"), model="gone")
        pool = Pool([backend], concurrency=4, retries=5, timeout_seconds=0.3)
        began = time.monotonic()
        done = await asyncio.gather(*(pool.complete(ASK) for _ in range(50)), return_exceptions=True)
        assert {str(d) for d in done} == {"no connection to http://h"}
        assert all(isinstance(d, BackendError) and d.fate == "retry" and d.attempts == 1 for d in done)
        assert time.monotonic() - began < 1.5
        assert len(backend.requests) < 12, "a dead server is not hammered"
        with pytest.raises(BackendError, match="no connection"):
            await pool.complete(ASK)
        await pool.aclose()

    asyncio.run(main())


def test_few_retries_end_before_the_server_counts_as_gone(pauses: list[float]) -> None:
    backend = Recording(lambda _: broken())
    with pytest.raises(BackendError) as caught:
        ask(Pool([backend], concurrency=1, retries=2))
    assert caught.value.attempts == len(backend.requests) == 3


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        pool = Pool([Slow(0.05)], concurrency=1)
        tasks = [asyncio.create_task(pool.complete(ASK)) for _ in range(3)]
        await asyncio.sleep(0.01)
        await pool.aclose()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(d) for d in done[1:]] == ["the pool is closed"] * 2

    asyncio.run(main())


def test_faults_for_the_first_requests_cost_nothing(pauses: list[float]) -> None:
    async def main(fault: str) -> None:
        async with FakeServer(script="echo", fault=fault, times=2) as server:
            pool = Pool([Http(server.base_url, model="fake", api_key=None)], concurrency=4)
            try:
                assert (await pool.complete(Request("fake", "say"))).text
                assert server.count == 3
            finally:
                await pool.aclose()

    for fault in ("500", "429", "html", "half", "disconnect", "cut", "no-choices"):
        asyncio.run(main(fault))

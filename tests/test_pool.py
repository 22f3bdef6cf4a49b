"""The pool in virtual time: where requests go, what becomes of those of a server that dies, and what it costs."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from virtual import Server, broken, run, work

from synthgen.errors import BackendError, RequestRefused
from synthgen.load import MOST_HOMES, Pool
from synthgen.types import Completion, Message, Request

ASK = Request("m", "x")
GAUGE = pytest.mark.parametrize("gauge", [True, False], ids=["with /metrics", "without"])


async def until(true: object, seconds: float = 60) -> None:
    """Wait in virtual time until a function is true."""
    assert callable(true)
    for _ in range(int(seconds * 100)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never")


@GAUGE
@pytest.mark.parametrize("hangs", [False, True], ids=["killed", "hangs"])
@pytest.mark.parametrize("spread", [0.0, 0.5], ids=["even", "uneven"])
@pytest.mark.parametrize(("requests", "share"), [(20_000, 0.92), (6_000, 0.88)])
def test_four_servers_one_slow_one_dying(requests: int, share: float, spread: float, hangs: bool, gauge: bool) -> None:
    """Against the ideal of what is alive, the ramp and the tail among it; nothing is lost."""
    slots = 64

    def seconds(mean: float) -> object:
        return lambda rng: mean * (1 + spread * (2 * rng.random() - 1))

    async def main() -> tuple[list[float], float, list[Server], Pool]:
        servers = [
            Server(slots, seconds(mean), name=f"s{k}", gauge=gauge, seed=k) for k, mean in enumerate((1, 1, 5, 1))
        ]  # type: ignore[arg-type]
        pool = Pool(servers, concurrency=None)

        async def death() -> float:
            await until(lambda: sum(s.done for s in servers) >= requests / 2, 1000)
            servers[3].die(hangs=hangs)
            return asyncio.get_running_loop().time()

        dying = asyncio.ensure_future(death())
        ended = await work(pool, requests)
        return ended, await dying, servers, pool

    ended, died, servers, pool = run(main())
    assert len(ended) == requests
    could = slots * (2.2 * max(ended) + died)
    if requests == 6000 and spread and not gauge:
        share = 0.82  # the ramps of lengths that differ, without a gauge, are a larger part of so few
    assert requests >= share * could
    assert servers[2].done < 0.3 * servers[0].done, "five times slower: about a fifth"
    assert len(pool.notes) == 1
    assert pool.notes[0].startswith("s3 is left out for now")
    assert [load.out for load in pool.servers] == [False, False, False, True]


def test_a_slow_server_gets_a_fifth_though_its_limit_is_the_same() -> None:
    fast, slow = Server(32, 1.0, name="fast"), Server(32, 5.0, name="slow")
    run(work(Pool([fast, slow], concurrency=32), 3000))
    assert slow.done / fast.done == pytest.approx(0.2, abs=0.03)


def test_at_the_tail_a_slow_server_is_given_nothing_that_a_fast_one_would_end_sooner() -> None:
    fast, slow = Server(8, 1.0, name="fast"), Server(8, 20.0, name="slow")
    ended = run(work(Pool([fast, slow], concurrency=8), 400))
    assert max(ended) <= 51, "400 requests at 8.4 a second are 48 s"
    assert slow.done == 16


def test_what_hangs_on_a_server_that_is_gone_goes_elsewhere_long_before_the_timeout() -> None:
    async def main() -> None:
        one, other = Server(8, 2.0, name="one"), Server(8, 2.0, name="other")
        pool = Pool([one, other], concurrency=8, timeout_seconds=600)
        asked = [asyncio.ensure_future(pool.complete(ASK, str(n))) for n in range(16)]
        await asyncio.sleep(0.5)
        one.die(hangs=True)
        await asyncio.gather(*asked)
        assert asyncio.get_running_loop().time() < 15
        assert pool.notes == ["one is left out for now: one: it is gone, with requests unanswered"]
        assert pool.in_flight == 0
        await pool.aclose()

    run(main())


def test_a_server_that_is_only_slow_is_asked_after_its_health_and_left_alone() -> None:
    async def main() -> None:
        server = Server(4, 50.0)
        pool = Pool([server], concurrency=4)
        assert len(await asyncio.gather(*(pool.complete(ASK) for _ in range(4)))) == 4
        assert 10 < server.probes < 50
        assert len(server.asked) == 4
        await pool.aclose()

    run(main())


def test_a_server_without_health_is_asked_for_it_once() -> None:
    async def main() -> None:
        server = Server(4, 50.0, health=False)
        pool = Pool([server], concurrency=4)
        await pool.complete(ASK)
        assert server.probes == 1
        await pool.aclose()

    run(main())


def test_a_dead_engine_sends_all_that_it_had_elsewhere_at_once() -> None:
    async def main() -> None:
        one, other = Server(8, 5.0, name="one"), Server(8, 5.0, name="other")
        pool = Pool([one, other], concurrency=8, retries=0)
        asked = [asyncio.ensure_future(pool.complete(ASK, str(n))) for n in range(15)]
        await asyncio.sleep(1)
        one.answers = lambda _: BackendError("HTTP 500: EngineCore encountered an issue", died=True)
        first = next(iter(one.running))
        first.set_result(None)
        one.dead = True
        await asyncio.sleep(0.1)
        assert pool.servers[0].out
        assert pool.servers[0].in_flight == 0
        assert len(await asyncio.gather(*asked)) == 15, "no attempt of theirs, though none is left to them"
        assert len(one.asked) <= 8 + 6
        await pool.aclose()

    run(main())


def test_one_that_says_its_engine_is_dead_and_is_well_is_believed_by_its_health() -> None:
    async def main() -> None:
        server = Server(8, 1.0)
        pool = Pool([server], concurrency=8)
        said = iter(range(100))
        server.answers = lambda _: (
            BackendError("HTTP 500: EngineCore encountered an issue", died=True)
            if next(said) % 9 == 4
            else Completion("ok")
        )
        assert len(await asyncio.gather(*(pool.complete(ASK, str(n)) for n in range(60)))) == 60
        assert len(server.asked) < 60 + 10, "nothing else was asked again"
        assert not pool.servers[0].out
        await pool.aclose()

    run(main())


def test_a_request_that_meets_two_deaths_is_given_up_and_says_so() -> None:
    """Its neighbours are not: they met one."""

    async def main() -> None:
        servers = [Server(4, 1.0, name=f"s{k}") for k in range(3)]
        pool = Pool(servers, concurrency=4)

        def answer(server: Server) -> object:
            def answers(request: Request) -> object:
                if request.prompt != "poison":
                    return Completion("ok")
                server.die()
                return BackendError("HTTP 500: EngineCore encountered an issue", died=True)

            return answers

        for server in servers:
            server.answers = answer(server)  # type: ignore[assignment]
        poison = asyncio.ensure_future(pool.complete(Request("m", "poison"), "poison"))
        others = [asyncio.ensure_future(pool.complete(ASK, str(n))) for n in range(5)]
        with pytest.raises(RequestRefused, match=r"given up: s\d and then s\d died while this request was in flight"):
            await poison
        assert len(await asyncio.gather(*others)) == 5
        assert sum(server.dead for server in servers) == 2
        await pool.aclose()

    run(main())


def test_a_restart_of_the_only_server_costs_nothing_and_hammers_nobody() -> None:
    async def main() -> None:
        server = Server(32, 1.0)
        pool = Pool([server], concurrency=None)
        asked = asyncio.ensure_future(work(pool, 2000))
        await asyncio.sleep(10)
        server.die()
        seen = len(server.asked)
        await asyncio.sleep(60)
        assert len(server.asked) - seen < 60, "those that were under way, and trials"
        server.dead = False
        assert len(await asked) == 2000

    run(main())


def test_half_of_the_answers_are_errors_so_the_retry_budget_leaves_the_server_out() -> None:
    async def main() -> None:
        rng = Random(1)
        bad, good = Server(16, 1.0, name="bad"), Server(16, 1.0, name="good")
        bad.answers = lambda _: BackendError("HTTP 500: sometimes") if rng.random() < 0.4 else Completion("ok")
        pool = Pool([bad, good], concurrency=16, retries=10)
        assert len(await work(pool, 3000)) == 3000
        assert len(bad.asked) < 0.5 * len(good.asked)
        assert pool.notes == ["bad is left out for now: HTTP 500: sometimes"]

    run(main())


def test_later_requests_of_a_task_go_where_its_first_went() -> None:
    async def main() -> None:
        servers = [Server(16, lambda rng: rng.uniform(0.5, 1.5), name=f"s{k}", seed=k) for k in range(4)]
        pool = Pool(servers, concurrency=16)
        where: dict[str, set[str]] = {}
        for server in servers:
            server.answers = lambda r, name=server.name: (
                where.setdefault(str(r.prompt), set()).add(name) or Completion("")
            )

        async def task(n: int) -> None:
            for _ in range(4):
                await pool.complete(Request("m", f"task {n}"), str(n))

        running = [asyncio.ensure_future(task(n)) for n in range(80)]
        await asyncio.gather(*running)
        assert sum(len(servers) == 1 for servers in where.values()) >= 0.85 * 80
        await pool.aclose()

    run(main())


def test_a_task_whose_server_is_out_goes_on_elsewhere() -> None:
    async def main() -> None:
        servers = [Server(4, 1.0, name=f"s{k}") for k in range(2)]
        pool = Pool(servers, concurrency=4)
        await pool.complete(ASK, "task")
        first, other = sorted(servers, key=lambda s: -s.done)
        first.die()
        for _ in range(4):
            assert (await pool.complete(ASK, "task")).text == "ok"
        assert other.done == 4
        await pool.aclose()

    run(main())


def test_requests_of_one_prefix_prefer_one_server_and_come_together() -> None:
    """Twelve prefixes, interleaved, four servers: as vLLM's cache would like to have them."""

    async def main() -> None:
        servers = [Server(8, lambda rng: rng.uniform(0.5, 1.5), name=f"s{k}", seed=k) for k in range(4)]
        pool = Pool(servers, concurrency=8)
        shared = ["abcdefghijkl"[k] * 2000 for k in range(12)]
        requests = [Request("m", (Message("user", f"{shared[n % 12]} {n}"),)) for n in range(960)]
        await asyncio.gather(*(pool.complete(r, str(n)) for n, r in enumerate(requests)))
        turns = changes = 0
        for server in servers:
            prefixes = [r.prompt[0].content[:1] for r in server.asked]  # type: ignore[union-attr]
            turns += len(prefixes)
            changes += sum(a != b for a, b in pairwise(prefixes))
        assert turns == 960
        assert changes < 0.25 * turns, "interleaved it is 11 in 12"
        await pool.aclose()

    run(main())


def test_nobody_waits_long_for_those_of_another_prefix() -> None:
    async def main() -> None:
        server = Server(4, 0.1)
        pool = Pool([server], concurrency=4)
        loop, ended = asyncio.get_running_loop(), {}

        async def one(n: int, prefix: str) -> None:
            await pool.complete(Request("m", prefix), str(n))
            ended[n] = loop.time()

        many = [asyncio.ensure_future(one(n, "common")) for n in range(400)]
        await asyncio.sleep(0)
        rare = asyncio.ensure_future(one(1000, "rare"))
        await rare
        assert ended[1000] < 2
        await asyncio.gather(*many)
        await pool.aclose()

    run(main())


def test_one_common_prefix_leaves_no_server_idle() -> None:
    servers = [Server(8, 1.0, name=f"s{k}") for k in range(4)]
    ended = run(work(Pool(servers, concurrency=8), 640, prefixes=1))
    assert max(ended) < 21.5, "640 requests at 32 a second"
    assert Counter(s.done for s in servers) == {160: 4}


@pytest.mark.parametrize("left", [None, 1000])
def test_the_end_of_one_step_is_not_that_of_another_on_the_same_servers(left: int | None) -> None:
    fast, slow = Server(8, 1.0, name="fast"), Server(8, 20.0, name="slow")
    pool = Pool([fast, slow], concurrency=8)
    pool.users[lambda: None] = left
    run(work(pool, 400))
    assert slow.done > 16


def test_memory_of_homes_is_bounded() -> None:
    async def main() -> None:
        pool = Pool([Server(64, 0.001, name=f"s{k}") for k in range(2)], concurrency=64)
        for start in range(0, MOST_HOMES + 2000, 500):
            await asyncio.gather(*(pool.complete(ASK, str(start + n)) for n in range(500)))
        assert len(pool._homes) == MOST_HOMES
        assert all(not server.under_way for server in pool._servers)
        assert len(pool._line) == 0
        await pool.aclose()

    run(main())


def test_the_width_follows_the_servers_and_is_told() -> None:
    async def main() -> None:
        servers = [Server(64, 1.0, name=f"s{k}", gauge=True) for k in range(2)]
        pool = Pool(servers, concurrency=None)
        assert pool.width == 40
        told: list[int] = []
        others: list[int] = []
        pool.users = {lambda: told.append(pool.width): None, lambda: others.append(pool.width): None}
        asked = [asyncio.ensure_future(pool.complete(ASK, str(n))) for n in range(400)]
        await asyncio.sleep(0.9)
        assert pool.width > 160
        assert max(told) >= pool.width
        assert others == told, "steps that share a pool all hear of it"
        servers[0].die()
        await asyncio.sleep(0.5)
        assert pool.width < 120
        await asyncio.gather(*asked)
        await pool.aclose()

    run(main())
    assert Pool([Server(1)], concurrency=1).width == 1


def test_a_cancelled_run_leaves_nothing_behind() -> None:
    async def main() -> None:
        pool = Pool([Server(8, 1.0, gauge=True, name=f"s{k}") for k in range(3)], concurrency=None)
        asked = [asyncio.ensure_future(pool.complete(ASK, str(n))) for n in range(500)]
        await asyncio.sleep(1.5)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (pool.in_flight, pool.waiting) == (0, 0)
        await pool.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_cancel_from_outside_wins_over_a_move() -> None:
    """A request that is moved in the moment in which its task is cancelled ends, it does not go on."""

    async def main() -> None:
        server = Server(1, 100.0)
        pool = Pool([server], concurrency=1)
        asked = asyncio.ensure_future(pool.complete(ASK))
        await asyncio.sleep(1)
        next(iter(pool._servers[0].under_way)).stop(broken("server"))
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert pool.in_flight == 0
        await pool.aclose()

    run(main())

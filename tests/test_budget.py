"""A budget is used up, never exceeded by more than one answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from synthgen.budget import Budget, Hold, Price
from synthgen.errors import BudgetSpent, UsageError
from synthgen.types import Completion

PRICE = Price(2.0, 8.0)


class Clients:
    """Coroutines of several roles that ask within one budget until it is spent; latencies are turns of the loop."""

    def __init__(self, budget: Budget, rng: Random, *, bounded: bool = True) -> None:
        self.budget, self.rng, self.bounded = budget, rng, bounded
        self.limits = {"default": rng.choice((50, 400, 2000)), "judge": rng.choice((3, 100))}
        self.shortest = rng.choice((0.0, 0.5, 1.0))
        self.in_flight = self.most_in_flight = 0
        self.returned: list[tuple[int, float]] = []

    async def client(self, role: str, errors: float) -> None:
        rng = self.rng
        while True:
            limit = rng.randint(1, self.limits[role])
            estimate = rng.randint(1, 500)
            hold = Hold(role, PRICE, estimate, 4 * estimate, limit if self.bounded or rng.random() < 0.5 else None)
            await self.budget.admit(hold)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            for _ in range(rng.choice((0, 1, 3, 30))):
                await asyncio.sleep(0)
            self.in_flight -= 1
            answer = None
            if rng.random() >= errors:
                completion_tokens = rng.randint(int(self.shortest * limit), limit)
                answer = Completion("", prompt_tokens=rng.randint(1, estimate), completion_tokens=completion_tokens)
                self.returned.append(hold.cost(answer))
            self.budget.settle(hold, answer)

    async def run(self, clients: int, errors: float = 0.1) -> None:
        roles = [self.rng.choice(("default", "judge")) for _ in range(clients)]
        ended = await asyncio.gather(*(self.client(role, errors) for role in roles), return_exceptions=True)
        assert [type(e) for e in ended] == [BudgetSpent] * clients


def limited(rng: Random) -> Budget:
    tokens, usd = rng.randint(1, 200_000), rng.random()
    return rng.choice((Budget(tokens=tokens), Budget(usd=usd), Budget(usd, tokens)))


@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("chance", range(60))
def test_a_budget_is_used_up_and_exceeded_by_one_answer_at_most(chance: int, bounded: bool) -> None:
    rng = Random(chance)
    budget = limited(rng)
    clients = Clients(budget, rng, bounded=bounded)
    asyncio.run(asyncio.wait_for(clients.run(rng.randint(1, 100)), 60))
    tokens, usd = (sum(part) for part in zip(*clients.returned, strict=True))
    assert (budget.spent_tokens, budget.in_flight) == (tokens, 0)
    assert budget.spent_usd == pytest.approx(usd)
    over_tokens = tokens - (budget.tokens or tokens)
    over_usd = usd - (budget.usd or usd)
    assert max(over_tokens, over_usd) >= 0, "something was left"
    assert over_tokens <= max(t for t, _ in clients.returned)
    assert over_usd <= max(u for _, u in clients.returned)


def test_far_from_the_limit_nobody_waits() -> None:
    clients = Clients(Budget(tokens=3_000_000), Random(0))
    asyncio.run(clients.run(100, errors=0))
    assert clients.most_in_flight == 100


def test_a_prompt_that_was_estimated_too_low_is_learnt_of() -> None:
    """Estimates that are off by a factor of three must not add up over all that is in flight."""

    async def main() -> Budget:
        budget = Budget(tokens=100_000)

        async def client() -> None:
            while True:
                hold = Hold("m", None, 100, 400, 10)
                await budget.admit(hold)
                await asyncio.sleep(0)
                budget.settle(hold, Completion("", prompt_tokens=300, completion_tokens=10))

        await asyncio.gather(*(client() for _ in range(200)), return_exceptions=True)
        return budget

    assert 100_000 <= asyncio.run(main()).spent_tokens < 100_310


def test_a_server_that_writes_more_than_max_tokens_is_learnt_of() -> None:
    async def main() -> Budget:
        budget = Budget(tokens=100_000)

        async def client() -> None:
            while True:
                hold = Hold("m", None, 10, 40, 100)
                await budget.admit(hold)
                await asyncio.sleep(0)
                budget.settle(hold, Completion("", prompt_tokens=10, completion_tokens=250))

        await asyncio.gather(*(client() for _ in range(100)), return_exceptions=True)
        return budget

    assert 100_000 <= asyncio.run(main()).spent_tokens <= 100_260


def hold(max_tokens: int | None = 10) -> Hold:
    return Hold("m", PRICE, 1, 1, max_tokens)


def counted(tokens: int) -> Completion:
    return Completion("", prompt_tokens=0, completion_tokens=tokens)


def test_who_waits_goes_in_order_and_a_large_one_is_not_overtaken() -> None:
    async def main() -> list[str]:
        budget, order = Budget(tokens=100), []
        first = hold(90)
        await budget.admit(first)

        async def one(name: str, max_tokens: int) -> None:
            mine = hold(max_tokens)
            await budget.admit(mine)
            order.append(name)
            budget.settle(mine, counted(1))

        tasks = [asyncio.create_task(one(*who)) for who in (("large", 80), ("small", 2), ("smaller", 1))]
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == []
        budget.settle(first, counted(5))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(main()) == ["large", "small", "smaller"]


def test_whoever_gives_up_waiting_holds_nobody_up() -> None:
    async def main() -> None:
        budget = Budget(tokens=100)
        first, second = hold(60), hold(20)
        await budget.admit(first)
        large = asyncio.create_task(budget.admit(hold(90)))
        small = asyncio.create_task(budget.admit(second))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait({large})
        await asyncio.wait_for(small, 5)  # it fits beside the first
        assert budget.in_flight == 2
        # let through and cancelled in the same breath: what was held back is free again
        third = asyncio.create_task(budget.admit(hold(90)))
        await asyncio.sleep(0)
        budget.settle(first, None)
        budget.settle(second, None)
        third.cancel()
        await asyncio.wait({third})
        assert budget.in_flight == 0

    asyncio.run(main())


def test_a_request_of_unknown_length_goes_alone_and_says_so() -> None:
    async def main() -> None:
        budget = Budget(tokens=1000)
        alone = hold(None)
        await budget.admit(alone)
        other = asyncio.create_task(budget.admit(hold(1)))
        await asyncio.sleep(0)
        assert not other.done()
        budget.settle(alone, counted(5))
        await other
        assert len(budget.notes) == 1
        assert "--max-tokens" in budget.notes[0]

    asyncio.run(main())


def test_minutes_alone_hold_nobody_back() -> None:
    async def main() -> None:
        budget = Budget(minutes=1)
        for _ in range(50):
            await budget.admit(hold(None))
        assert budget.in_flight == 50
        assert not budget.notes
        budget.carry(0.0, 0, 60.0)
        with pytest.raises(BudgetSpent, match=r"1 of 1 minutes"):
            await budget.admit(hold())

    asyncio.run(main())


def test_what_was_spent_before_counts() -> None:
    async def main() -> None:
        budget = Budget(tokens=100, usd=1)
        budget.carry(0.25, 100, 0)
        with pytest.raises(BudgetSpent, match=r"\$0.25 of \$1, 100 of 100 tokens"):
            await budget.admit(hold())

    asyncio.run(main())


def test_a_role_without_a_price_costs_nothing() -> None:
    async def main() -> None:
        budget = Budget(usd=0.001)
        free = Hold("local", None, 10**6, 10**6, None)
        await budget.admit(free)
        budget.settle(free, counted(10**9))
        assert (budget.spent_usd, budget.notes) == (0.0, [])

    asyncio.run(main())


def test_the_words_of_the_command_line() -> None:
    budget = Budget.parse("usd=5, tokens=2e6,minutes=30")
    assert (budget.usd, budget.tokens, budget.minutes) == (5.0, 2e6, 30.0)
    assert Price.parse("in=0.15,out=0.6") == Price(0.15, 0.6) == Price.of({"in": 0.15, "out": 0.6}, "models.default")
    assert Price(0.15, 0.6).usd(1e6, 2e6) == pytest.approx(1.35)
    assert Budget.of({"minutes": 60}, "budget").minutes == 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "NAME=NUMBER"), ("5", "NAME=NUMBER"), ("usd=", "NAME=NUMBER"), ("=5", "NAME=NUMBER"), ("usd=5,", "NAME=NUMBER"),
        ("usd=five", "usd=five is not a number"), ("tokens=nan", "tokens=nan"), ("tokens=inf", "tokens=inf"),
        ("usd=-1", "usd=-1"), ("usd=0", "usd must be more than 0"), ("token=5", "did you mean tokens?"),
        ("eur=5", "known are usd, tokens, minutes"), ("usd=1,usd=2", "usd is given twice"), ("minutes=1e400", "minutes=1e400"),
    ],
)  # fmt: skip
def test_what_is_no_budget_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        Budget.parse(text)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith("--budget")


@pytest.mark.parametrize("given", [{"in": 1}, {"in": -1, "out": 1}, {"in": True, "out": 1}, [1], None, {}])
def test_what_is_no_price_is_told_in_one_line(given: Any) -> None:
    with pytest.raises(UsageError, match=r"models\.judge\.price"):
        Price.of(given, "models.judge.price")


def test_dollars_need_a_price() -> None:
    with pytest.raises(UsageError, match=r"--budget usd=5.*--price"):
        Budget(usd=5).check_prices({})
    Budget(usd=5).check_prices({"judge": PRICE})
    Budget(tokens=5).check_prices({})

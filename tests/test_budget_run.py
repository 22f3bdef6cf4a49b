"""A run within a budget: it stops with exit 6, everything whole, and the same command goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import environment
from faulty import Faulty, generate, said, synthgen
from kit import run
from test_run import ANSWERS, chance, files

from synthgen import spending
from synthgen.backends.recording import Recording
from synthgen.budget import Budget, Price
from synthgen.errors import BudgetSpent
from synthgen.load import Pool
from synthgen.queries import paid
from synthgen.store import Store, connect
from synthgen.types import Completion, Request


def priced(recipe: str) -> Callable[[Request], Completion]:
    """Answers with token counts that are a function of the request, as a server's are."""

    def answer(request: Request) -> Completion:
        text, rng = ANSWERS[recipe](request), chance(request)
        assert request.sampling.max_tokens is not None
        return Completion(
            text, prompt_tokens=rng.randint(50, 400), completion_tokens=rng.randint(1, request.sampling.max_tokens)
        )

    return answer


@pytest.mark.parametrize("recipe", ANSWERS)
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_budget_after_budget_ends_in_the_same_bytes(tmp_path: Path, recipe: str, concurrency: int) -> None:
    answer, tokens, longest = priced(recipe), 4_000, 400 + 3072
    count = {"alpaca": 60, "self-instruct": 15}[recipe]
    whole = run(tmp_path / "whole", answer, recipe=recipe, count=count)
    assert whole.ending.code == 0
    commands = 0
    while True:
        budget = Budget(tokens=tokens)
        part = run(tmp_path / "parts", answer, recipe=recipe, count=count, concurrency=concurrency, budget=budget)
        usage, commands = part.asking.usage, commands + 1
        assert budget.spent_tokens == usage.prompt_tokens + usage.completion_tokens
        assert budget.spent_tokens < tokens + longest
        if part.ending.code != 6:
            break
        assert budget.spent_tokens >= tokens, "something was left"
        assert f"{budget.spent_tokens:,} of 4,000 tokens" in part.ending.line
        assert budget.in_flight == 0
    assert (part.ending.code, commands > 2) == (0, True)
    assert files(tmp_path / "parts", count) == files(tmp_path / "whole", count)


def test_what_was_answered_in_order_is_decided_before_the_end(tmp_path: Path) -> None:
    done = run(tmp_path, priced("alpaca"), count=500, concurrency=8, budget=Budget(tokens=40_000))
    assert done.ending.code == 6
    decided = len({s.meta["id"].partition(".")[0] for s in done.samples})
    assert decided >= 0.5 * len(done.backend.requests)


class Stuck(Recording):
    """Answers so many requests and leaves the others without a word; `late` ones come when `release` is set."""

    def __init__(self, answers: int, release: asyncio.Event | None = None) -> None:
        super().__init__(ANSWERS["alpaca"])
        self.answers, self.release = answers, release

    async def complete(self, request: Request) -> Completion:
        completion = await super().complete(request)
        if len(self.requests) > self.answers:
            await (self.release or asyncio.Event()).wait()
        return completion


def test_when_the_minutes_are_over_what_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "GRACE_SECONDS", 0.05)
    backend, budget = Stuck(5), Budget(minutes=2 / 60)
    done = run(tmp_path, ANSWERS["alpaca"], count=500, concurrency=8, budget=budget, backend=backend)
    assert (done.ending.code, len(backend.requests)) == (6, 13)
    assert "of 0.0333333 minutes" in done.ending.line
    assert done.samples


def test_when_the_minutes_are_over_what_is_in_flight_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of those in flight are stored, and nothing is sent for what waited for a place."""
    monkeypatch.setattr(spending, "GRACE_SECONDS", 60)
    release, budget = asyncio.Event(), Budget(minutes=2 / 60)
    refuse = Pool.refuse

    def refuse_and_release(pool: Pool, error: BudgetSpent) -> None:
        refuse(pool, error)
        release.set()

    monkeypatch.setattr(Pool, "refuse", refuse_and_release)
    backend = Stuck(5, release)
    done = run(tmp_path, ANSWERS["alpaca"], count=500, concurrency=8, budget=budget, backend=backend)
    assert (done.ending.code, len(backend.requests)) == (6, 13)
    assert done.asking.usage.requests == 13


def test_a_pool_that_is_told_to_refuse_sends_nothing_more() -> None:
    async def main() -> None:
        release = asyncio.Event()
        backend = Stuck(0, release)
        backend._answer = lambda _: "yes"
        pool = Pool([backend], concurrency=2)
        asked = [asyncio.create_task(pool.complete(Request("m", "x"))) for _ in range(4)]
        for _ in range(10):
            await asyncio.sleep(0)
        pool.refuse(BudgetSpent("over"))
        with pytest.raises(BudgetSpent, match="over"):
            await pool.complete(Request("m", "x"))
        release.set()
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(end) for end in ends] == [Completion, Completion, BudgetSpent, BudgetSpent]
        await pool.aclose()

    asyncio.run(main())


def test_a_missing_count_is_estimated_stored_as_such_and_spent(tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        return Completion(ANSWERS["alpaca"](request), completion_tokens=7)

    budget = Budget(tokens=3_000)
    done = run(tmp_path, answer, count=500, budget=budget)
    (count,) = done.asking.usage.by_role.values()
    assert (done.ending.code, count.estimated, count.completion_tokens) == (6, count.requests, 7 * count.requests)
    assert count.prompt_tokens > 100 * count.requests
    db = connect(tmp_path / "run.sqlite", read_only=True)
    (stored,) = paid(db)
    db.close()
    assert (stored.estimated, stored.prompt_tokens) == (count.requests, count.prompt_tokens)
    assert budget.spent_tokens == count.prompt_tokens + count.completion_tokens
    again = run(tmp_path, answer, count=1)
    assert (again.asking.usage.requests, again.ending.code) == (0, 0)


# An interruption does not end a budget; a clean end does.


def spend(store: Store, tokens: int, key: int) -> None:
    asyncio.run(
        store.save(b"%16d" % key, "t", "m", Completion("x", prompt_tokens=tokens, completion_tokens=2 * tokens))
    )


def test_the_books_of_a_budget(tmp_path: Path) -> None:
    prices = {"m": Price(1, 2)}

    def command(budget: Budget | None, tokens: int, key: int) -> str:
        store = Store(tmp_path)
        try:
            said = spending.take_up(store, budget, prices)
            if tokens:
                spend(store, tokens, key)
            return said
        finally:
            store.close()

    assert command(None, 1000, 1) == ""  # without a budget: nobody's
    first = Budget(tokens=10_000)
    assert (command(first, 100, 2), first.spent_tokens) == ("", 0)
    second = Budget(tokens=10_000, usd=1)  # the first was killed
    assert "300 of 10,000 tokens spent" in command(second, 10, 3)
    assert (second.spent_tokens, second.spent_usd) == (300, pytest.approx(0.0005))
    third = Budget(tokens=10_000)  # and so was the second
    command(third, 0, 4)
    assert third.spent_tokens == 330
    spending.settle_up([tmp_path])
    fourth = Budget(tokens=10_000)
    assert (command(fourth, 50, 5), fourth.spent_tokens) == ("", 0)
    command(None, 0, 6)  # the same without a budget: it is over
    fifth = Budget(tokens=10_000)
    assert (command(fifth, 0, 7), fifth.spent_tokens) == ("", 0)


def test_steps_share_their_minutes() -> None:
    budget = Budget(minutes=10)
    for seconds in (100.0, 250.0, 50.0):
        budget.carry(0, 0, seconds)
    assert 600 - budget.seconds_left == pytest.approx(250, abs=5)


def tokens_of(folder: Path) -> int:
    db = connect(folder / "run.sqlite", read_only=True)
    try:
        return sum(p.prompt_tokens + p.completion_tokens for p in paid(db))
    finally:
        db.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on_within_its_budget(tmp_path: Path, server: Faulty, number: signal.Signals) -> None:
    words = generate(
        server, "--count", "400", "--set", "listed=4", "--max-tokens", "500", "--budget", "tokens=30000", "--out", "run"
    )

    def hang(asked: int) -> None:
        server.hangs = server.hangs or asked > 12

    server.twist = hang
    process = subprocess.Popen(
        [sys.executable, "-m", "synthgen", *map(str, words)],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not server.hangs and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)  # the twelve are on disk
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    spent = tokens_of(tmp_path / "run")
    assert 0 < spent < 30_000
    server.reset()
    done = synthgen(*words, cwd=tmp_path)
    assert f"{spent:,} of 30,000 tokens spent" in done.err
    assert "stopped by the budget" in done.error(6)
    total = tokens_of(tmp_path / "run")
    assert 30_000 <= total < 30_000 + 1_500
    again = synthgen(*words, cwd=tmp_path)  # after exit 6 the whole budget is there again
    assert again.code == 6
    assert 60_000 <= tokens_of(tmp_path / "run") < 60_000 + 3_000


def test_the_words_that_are_refused(tmp_path: Path, server: Faulty) -> None:
    for words, said_ in (
        (("--budget", "usd=5"), "--budget usd=5: the price of a token is not known; give --price"),
        (("--budget", "token=5"), "did you mean tokens?"),
        (("--budget", "5"), "--budget 5: NAME=NUMBER is expected"),
        (("--price", "in=1"), "--price: both in and out are expected"),
    ):
        synthgen(*generate(server, *words), cwd=tmp_path).refused(2, said_)
    assert server.asked == 0


def test_cost_truncation_and_estimates_are_shown(tmp_path: Path, server: Faulty) -> None:
    server.twist = lambda number: None if number % 3 else said("1. Instruction: Name a river that is long.")
    done = synthgen(*generate(server, "--count", "20", "--price", "in=100,out=200", "--out", "run"), cwd=tmp_path)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    usd = (100 * report["prompt_tokens"] + 200 * report["completion_tokens"]) / 1e6
    assert report["usd"] == pytest.approx(usd)
    assert report["usage"][0]["roles"] == ["default"]
    assert f"${usd:,.2f}"[:4] in done.out
    assert "estimated for 20 samples: " in done.out
    assert report["measured"]["requests"] == report["requests"] == len(server.bodies)
    assert report["estimate"]["samples"] == 20

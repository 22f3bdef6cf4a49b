"""The budget of a command at work: carried over its interruptions, and ended when its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from synthgen.budget import Budget, Price
from synthgen.run import Conveyor, Ending
from synthgen.speakers import Speaker
from synthgen.store import Store

# What was sent before the minutes were over may still be answered for so long.
GRACE_SECONDS = 30.0
# Ends of a command after which the same command has its whole budget again.
CLEAN = (0, 5, 6, 7)


def take_up(store: Store, budget: Budget | None, prices: Mapping[str, Price]) -> str:
    """Count what the interrupted command before this one spent here; one line that says so, if it did.

    `prices` are by model. `budget_from` is the last completion before a command whose budget has not ended yet.
    """
    if budget is not None and store.folder in budget.carried:
        return ""
    if budget is not None:
        budget.carried.add(store.folder)
    mark = store.meta("budget_from")
    if budget is None or mark is None:
        now = None if budget is None else store.completions
        if now != mark:
            store.start(budget_from=now)
        return ""
    before = store.paid(after=int(mark))
    if not before:
        return ""
    tokens = sum(p.prompt_tokens + p.completion_tokens for p in before)
    usd = sum(prices[p.model].usd(p.prompt_tokens, p.completion_tokens) for p in before if p.model in prices)
    clock = (json.loads(store.meta("pulse") or b"{}").get("budget") or {}).get("seconds", 0.0)
    budget.carry(usd, tokens, clock)
    return f"{store.folder}: continuing within the budget of the interrupted command: {budget.line()} spent"


def settle_up(folders: Iterable[Path]) -> None:
    """A command with a budget has ended in good order (`CLEAN`): the next one has all of its own."""
    for folder in folders:
        store = Store(folder)
        try:
            store.start(budget_from=None)
        finally:
            store.close()


def by_model(prices: Mapping[str, Price], speakers: Mapping[str, Speaker]) -> dict[str, Price]:
    """The prices of the models that answer for the roles."""
    return {speakers[role].model: price for role, price in prices.items() if role in speakers}


@contextlib.asynccontextmanager
async def in_time(conveyor: Conveyor, budget: Budget | None) -> AsyncIterator[None]:
    """While it is open, the run ends when the minutes of the budget are over."""
    if budget is None or budget.minutes is None:
        yield
        return
    timer = asyncio.create_task(_end(conveyor, budget))
    try:
        yield
    finally:
        timer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await timer


async def _end(conveyor: Conveyor, budget: Budget) -> None:
    await asyncio.sleep(max(0.0, budget.seconds_left))
    error = budget.spent()
    ending = Ending(error.exit_code, str(error))
    conveyor.drain(ending)
    budget.expire()
    for speaker in conveyor.asking.speakers.values():
        speaker.pool.refuse(error)
    await asyncio.sleep(GRACE_SECONDS)
    conveyor.stop(ending)

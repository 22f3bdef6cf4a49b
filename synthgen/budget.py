"""What a command may spend: asked before each request, with everything in flight counted at its worst."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isfinite
from pathlib import Path
from typing import Any

from synthgen.errors import BudgetSpent, UsageError
from synthgen.types import Completion

# Until so many answers of a model have been counted, a prompt may have as many tokens as its request has bytes.
MEASURED_AFTER = 8
_MARGIN = 1.1  # above the largest prompt, by its estimate, that was measured


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of the prompt and of the answer."""

    prompt: float
    completion: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What one request costs; unlimited tokens that are free cost nothing."""
        return sum(
            price * tokens / 1e6
            for price, tokens in ((self.prompt, prompt_tokens), (self.completion, completion_tokens))
            if price
        )

    def as_dict(self) -> dict[str, float]:
        return {"in": self.prompt, "out": self.completion}

    @classmethod
    def parse(cls, text: str, where: str = "--price") -> Price:
        """`in=0.15,out=0.6`. Raises UsageError."""
        return cls.of(_pairs(text, where, _PRICE), where)

    @classmethod
    def of(cls, given: Any, where: str) -> Price:
        """The same from a mapping, as a job file has it. Raises UsageError."""
        found = _numbers(given, where, ("in", "out"), _PRICE)
        if len(found) < 2:
            raise UsageError(f"{where}: both in and out are expected, such as {_PRICE}")
        return cls(found["in"], found["out"])


_PRICE, _BUDGET = "in=0.15,out=0.6", "usd=5,tokens=2e6,minutes=30"


@dataclass(slots=True, eq=False)
class Hold:
    """What one request may cost, and what is held back for it while it is under way."""

    model: str
    price: Price | None
    prompt_tokens: int  # by estimate
    prompt_bytes: int  # no tokenizer makes more tokens of it
    max_tokens: int | None
    tokens: float = 0.0
    usd: float = 0.0

    def cost(self, completion: Completion) -> tuple[int, float]:
        """(tokens, dollars) of the answer to it."""
        read, written = completion.prompt_tokens or 0, completion.completion_tokens or 0
        return read + written, self.price.usd(read, written) if self.price else 0.0


@dataclass(slots=True)
class _Measured:
    """How far the answers of one model went beyond what was expected of them."""

    answers: int = 0
    prompt: float = 1.0  # tokens for each that was estimated, the most
    completion: float = 1.0  # tokens for each that max_tokens allowed: some servers take no notice of it


class Budget:
    """Dollars, tokens and minutes of one command, shared by all its roles and steps; None is unlimited.

    A request may go when it fits at its worst beside all that is in flight; else it waits, in order. When nothing is in
    flight and something is left, one may go alone: so the budget is used up, and exceeded by no more than that one.
    """

    def __init__(self, usd: float | None = None, tokens: float | None = None, minutes: float | None = None) -> None:
        """The minutes begin now."""
        self.usd, self.tokens, self.minutes = usd, tokens, minutes
        self.spent_usd, self.spent_tokens = 0.0, 0
        self.began = time.monotonic()
        self._carried_seconds = 0.0
        self.in_flight = 0
        self.notes: list[str] = []  # for the user, one line each
        self.carried: set[Path] = set()  # run folders whose earlier spending is counted
        self._held_usd = self._held_tokens = 0.0
        self._waiting: deque[tuple[asyncio.Future[None], Hold]] = deque()
        self._measured: dict[str, _Measured] = {}

    @classmethod
    def parse(cls, text: str, where: str = "--budget") -> Budget:
        """`usd=5,tokens=2e6,minutes=30`, at least one of them. Raises UsageError."""
        return cls.of(_pairs(text, where, _BUDGET), where)

    @classmethod
    def of(cls, given: Any, where: str) -> Budget:
        """The same from a mapping, as a job file has it. Raises UsageError."""
        found = _numbers(given, where, ("usd", "tokens", "minutes"), _BUDGET)
        for name, value in found.items():
            if not value:
                raise UsageError(f"{where}: {name} must be more than 0")
        if not found:
            raise UsageError(f"{where}: a limit is expected, such as {_BUDGET}")
        return cls(**found)

    def check_prices(self, prices: Mapping[str, Price], where: str = "--budget") -> None:
        """Dollars need a price of at least one role. Raises UsageError."""
        if self.usd is not None and not prices:
            raise UsageError(f"{where} usd={self.usd:g}: the price of a token is not known; give --price {_PRICE}")

    @property
    def seconds_left(self) -> float:
        """Until the minutes are over; infinite without any."""
        return inf if self.minutes is None else self.began + 60 * self.minutes - time.monotonic()

    def carry(self, usd: float, tokens: int, seconds: float) -> None:
        """Count what this command had spent in one run before it was interrupted; runs share their time."""
        self.spent_usd += usd
        self.spent_tokens += tokens
        more_seconds = max(0.0, seconds - self._carried_seconds)
        self._carried_seconds += more_seconds
        self.began -= more_seconds

    async def admit(self, hold: Hold) -> None:
        """Returns when the request may be sent; `settle` must follow. Raises BudgetSpent when none may be any more."""
        if self.seconds_left <= 0:
            raise self.spent()
        if not self._waiting and self._take(hold):
            return
        if not self.in_flight:  # then the first that waits would have gone
            raise self.spent()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, hold))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.settle(hold, None)  # it was let through in the same breath
            else:
                self._wake()  # it may have been what the others waited behind
            raise

    def settle(self, hold: Hold, completion: Completion | None) -> None:
        """The request is back, with an answer that has its token counts, or without one, which costs nothing."""
        self.in_flight -= 1
        self._held_tokens -= hold.tokens
        self._held_usd -= hold.usd
        if not self.in_flight:
            self._held_tokens = self._held_usd = 0.0  # sums of floats drift
        if completion is not None:
            tokens, usd = hold.cost(completion)
            self.spent_tokens += tokens
            self.spent_usd += usd
            if not completion.estimated:
                self._measure(hold, completion)
        self._wake()

    def as_dict(self) -> dict[str, Any]:
        """Limits, and what was spent of them."""
        return {
            "usd": self.usd,
            "tokens": self.tokens,
            "minutes": self.minutes,
            "spent_usd": round(self.spent_usd, 6),
            "spent_tokens": self.spent_tokens,
            "seconds": round(time.monotonic() - self.began, 1),
            "line": self.line(),
        }

    def expire(self) -> None:
        """The minutes are over: what waits fails."""
        self._fail_waiting()

    def spent(self) -> BudgetSpent:
        """The line that says what was spent, and how to go on."""
        return BudgetSpent(
            f"stopped by the budget: {self.line()}; the same command goes on, with as much again, or give more"
        )

    def line(self) -> str:
        """What was spent of what."""
        parts = []
        if self.usd is not None:
            parts.append(f"${self.spent_usd:.4g} of ${self.usd:g}")
        if self.tokens is not None:
            parts.append(f"{self.spent_tokens:,} of {self.tokens:,.0f} tokens")
        if self.minutes is not None:
            minutes = min((time.monotonic() - self.began) / 60, self.minutes)
            parts.append(f"{minutes:.3g} of {self.minutes:g} minutes")
        return ", ".join(parts)

    def _take(self, hold: Hold) -> bool:
        """Hold back the worst of a request, if it fits beside the others or may go alone."""
        tokens, usd = self._worst(hold)
        if self._used_up():
            return False
        over_tokens = self.tokens is not None and self.spent_tokens + self._held_tokens + tokens > self.tokens
        over_usd = self.usd is not None and self.spent_usd + self._held_usd + usd > self.usd
        if (over_tokens or over_usd) and self.in_flight:
            return False
        hold.tokens, hold.usd = tokens, usd
        self._held_tokens += tokens
        self._held_usd += usd
        self.in_flight += 1
        return True

    def _worst(self, hold: Hold) -> tuple[float, float]:
        """(tokens, dollars) at the most; what is not limited is not counted."""
        if self.tokens is None and self.usd is None:
            return 0.0, 0.0
        seen = self._measured.get(hold.model) or _Measured()
        prompt = hold.prompt_tokens * seen.prompt * _MARGIN
        if seen.answers < MEASURED_AFTER:
            prompt = max(prompt, hold.prompt_bytes)
        completion = inf if hold.max_tokens is None else hold.max_tokens * seen.completion
        tokens = prompt + completion if self.tokens is not None else 0.0
        usd = hold.price.usd(prompt, completion) if self.usd is not None and hold.price else 0.0
        if inf in (tokens, usd):  # more than is left, whatever that is; but a number that can be given back
            if not self.notes:
                self.notes.append(
                    "--budget without --max-tokens: one request at a time, as an answer may have any length"
                )
            tokens, usd = self.tokens or 0.0, self.usd or 0.0
        return tokens, usd

    def _measure(self, hold: Hold, completion: Completion) -> None:
        seen = self._measured.setdefault(hold.model, _Measured())
        seen.answers += 1
        seen.prompt = max(seen.prompt, (completion.prompt_tokens or 0) / max(1, hold.prompt_tokens))
        if hold.max_tokens:
            seen.completion = max(seen.completion, (completion.completion_tokens or 0) / hold.max_tokens)

    def _used_up(self) -> bool:
        return (self.tokens is not None and self.spent_tokens >= self.tokens) or (
            self.usd is not None and self.spent_usd >= self.usd
        )

    def _wake(self) -> None:
        """Let through what fits now, in order; when nothing is in flight and nothing left, it is over."""
        while self._waiting:
            future, hold = self._waiting[0]
            if not future.done():
                if not self._take(hold):
                    break
                future.set_result(None)
            self._waiting.popleft()
        if self._waiting and not self.in_flight:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(self.spent())


def _pairs(text: str, where: str, example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value:
            raise UsageError(f"{where} {text}: NAME=NUMBER is expected, such as {example}")
        if name in found:
            raise UsageError(f"{where} {text}: {name} is given twice")
        found[name] = value
    return found


def _numbers(given: Any, where: str, names: tuple[str, ...], example: str) -> dict[str, float]:
    """Finite numbers of at least 0 by known names."""
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}: names with numbers are expected, such as {example}")
    found = {}
    for name, value in given.items():
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
            raise UsageError(f"{where}: no such thing as {name!r}; {hint}")
        try:
            number = float(value) if not isinstance(value, bool) else inf
        except (TypeError, ValueError):
            number = inf
        if not isfinite(number) or not 0 <= number < 2**53:
            raise UsageError(f"{where}: {name}={value} is not a number that can be used, such as {example}")
        found[str(name)] = number
    return found

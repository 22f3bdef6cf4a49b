"""What a run would cost: from its prompts as they would be sent, and from what earlier runs of its recipe measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil, sqrt
from pathlib import Path
from random import Random
from typing import Any

import orjson

from synthgen.asking import prompt_tokens, room
from synthgen.budget import Price
from synthgen.dedup import Near
from synthgen.errors import ParseError, SynthgenError
from synthgen.growth import Grown
from synthgen.recipe import Recipe, Rehearse
from synthgen.speakers import Speaker
from synthgen.types import UNREAD, Completion, Message, SamplingParams, Seed, Task

REPORT = "report.json"
FEWEST_REQUESTS = 10  # that an earlier run must have made to count
_FEW, _MANY = 10, 5_000  # tasks that are rendered at the start of a run, and for --dry-run
_MOST_RUNS = 500
_WORST_YIELD, _SHORTEST_ANSWER, _NO_LIMIT_TOKENS = 0.25, 0.1, 1000  # assumed, where nothing was measured
Range = tuple[float, float]
Counts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do: `samples` to be accepted (None: all that come), `tasks` (None: no end) after `decided`."""

    recipe: Recipe
    seeds: Iterable[Seed]
    run_seed: int
    speakers: Mapping[str, Speaker]
    prices: Mapping[str, Price]
    folder: Path
    samples: int | None
    tasks: int | None
    decided: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Lowest and highest; None where nobody can say."""

    samples: int | None
    tasks: int | None
    requests: Counts
    prompt_tokens: Counts
    completion_tokens: Counts
    usd: Range | None
    seconds: Range | None
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON: whole requests and tokens."""
        found = asdict(self)
        for name, digits in (("usd", 6), ("seconds", 1)):
            if found[name] is not None:
                found[name] = [round(n, digits) for n in found[name]]
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it would be sent; `most_tokens` is the longest answer."""

    role: str
    messages: tuple[Message, ...]
    prompt_tokens: int
    most_tokens: int | None


@dataclass(frozen=True, slots=True)
class _Each:
    """What a task, or an accepted sample, takes of one role."""

    requests: float
    prompt_tokens: float
    completion_tokens: float

    def times(self, tokens: float) -> _Each:
        """The same with answers longer by a factor."""
        return _Each(self.requests, self.prompt_tokens, self.completion_tokens * tokens)


class _RehearsedError(SynthgenError):
    """Ends a task whose recipe does not say how a rehearsal goes on after the first answer."""


class _Rehearsal:
    """An `ask` that asks nobody and remembers what it would have asked."""

    def __init__(self, speakers: Mapping[str, Speaker], answer: str | Rehearse | None) -> None:
        self.asked: list[Asked] = []
        self._speakers, self._answer = speakers, answer

    async def __call__(
        self,
        prompt: str | Sequence[Message],
        *,
        role: str = "default",
        sampling: SamplingParams | None = None,
        schema: Any = None,
    ) -> Completion:
        asked_of, role = role, role if role in self._speakers else "default"
        speaker = self._speakers[role]
        turns = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        most = room(speaker, turns, sampling.max_tokens if sampling else None)
        self.asked.append(Asked(role, turns, prompt_tokens(speaker, turns), most))
        if self._answer is None:
            raise _RehearsedError("rehearsed")
        return Completion(self._answer if isinstance(self._answer, str) else self._answer(turns, asked_of))

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        return [None] * len(texts)


async def rehearse(work: Work, most: int = _MANY) -> list[list[Asked]]:
    """The requests of some tasks: the first ones, or tasks spread evenly over all where there is an end."""
    recipe = work.recipe
    tasks: Iterable[Task] = recipe.rounds(work.seeds, Grown(), Random(f"{work.run_seed}:{recipe.name}"))
    tasks = (task for task in tasks if UNREAD not in task.vars)
    if work.tasks is None:
        tasks = islice(tasks, _FEW)
    else:
        # At the start of a run the first will do: to reach those that are left takes reading all before them.
        first, step = (0, 1) if most <= _FEW else (work.decided, max(1, ceil(work.tasks / most)))
        tasks = islice(tasks, first, first + most * step, step)
    answer = recipe.rehearsed(work.seeds)
    found = []
    for task in tasks:
        rehearsal = _Rehearsal(work.speakers, answer)
        with contextlib.suppress(_RehearsedError, ParseError):
            await recipe.run(task, rehearsal)
        found.append(rehearsal.asked)
    return found


async def estimate(work: Work, rehearsed: Sequence[Sequence[Asked]] | None = None) -> Estimate | None:
    """What is left will take so much; None where nothing is left."""
    if work.samples == 0 or work.tasks == 0:
        return None
    rehearsed = await rehearse(work, _FEW) if rehearsed is None else rehearsed
    if not rehearsed:
        return None
    before = _earlier(work)
    if before is None:
        low, high = _assumed(rehearsed)
        few, many = _tasks(work, (1.0, _WORST_YIELD))
        under_way = (
            0 if work.samples is None else min(many, work.speakers["default"].pool.width)
        )  # at the end, unneeded
        units, basis = (few, many + under_way), _words_of_assumption(work)
    else:
        path, report, same_model = before
        spread = (0.1 + 1.5 / sqrt(report["requests"])) * (1 if same_model else 2)
        low, high, units = _measured(work, rehearsed, report, spread)
        basis = (
            f"measured on {path}: {report['accepted'] / max(1, report['candidates']):.2f} accepted a candidate, "
            f"{report['requests'] / report['accepted']:.2f} requests a sample"
            + ("" if same_model else f", with another model ({report['models'].get('default')})")
        )
    totals = [
        tuple(
            sum(getattr(each, name) for each in some.values()) * n for some, n in zip((low, high), units, strict=True)
        )
        for name in ("requests", "prompt_tokens", "completion_tokens")
    ]
    requests, prompts, completions = ((ceil(round(a, 3)), ceil(round(b, 3))) for a, b in totals)
    seconds = None
    if before is not None and before[2] and before[1].get("seconds_in_all"):
        pace = before[1]["requests"] / before[1]["seconds_in_all"]
        seconds = requests[0] / pace, requests[1] / pace
    usd = (_usd(work, low, units[0]), _usd(work, high, units[1])) if work.prices else None
    return Estimate(work.samples, work.tasks, requests, prompts, completions, usd, seconds, basis)


def _usd(work: Work, each: Mapping[str, _Each], units: float) -> float:
    priced = ((work.prices[role], e) for role, e in each.items() if role in work.prices)
    return units * sum(price.usd(e.prompt_tokens, e.completion_tokens) for price, e in priced)


def _tasks(work: Work, yields: Range) -> Range:
    """How many tasks it takes, at a good and at a bad yield (of what a task can give at most)."""
    end = float("inf") if work.tasks is None else float(work.tasks)
    if work.samples is None:
        return end, end
    most = work.samples / work.recipe.most_per_task()
    return min(end, ceil(most / yields[0])), min(end, ceil(most / yields[1]))


def _mean(rehearsed: Sequence[Sequence[Asked]]) -> dict[str, _Each]:
    """What a task takes by role, with the longest answers."""
    found = {}
    for role in dict.fromkeys(a.role for asked in rehearsed for a in asked):
        mine = [a for asked in rehearsed for a in asked if a.role == role]
        longest = sum(_NO_LIMIT_TOKENS if a.most_tokens is None else a.most_tokens for a in mine)
        n = len(rehearsed)
        found[role] = _Each(len(mine) / n, sum(a.prompt_tokens for a in mine) / n, longest / n)
    return found


def _assumed(rehearsed: Sequence[Sequence[Asked]]) -> tuple[dict[str, _Each], dict[str, _Each]]:
    high = _mean(rehearsed)
    return {role: each.times(_SHORTEST_ANSWER) for role, each in high.items()}, high


def _words_of_assumption(work: Work) -> str:
    yields = "" if work.samples is None else "all to a quarter of the samples accepted, "
    return f"assumed, as no earlier run was found: {yields}answers of a tenth of max_tokens to all of it"


def _measured(
    work: Work, rehearsed: Sequence[Sequence[Asked]], report: Mapping[str, Any], spread: float
) -> tuple[dict[str, _Each], dict[str, _Each], Range]:
    """By role, low and high, and how many units: tasks where prompts are given, else accepted samples."""
    paid = {(p["roles"] or ["default"])[0]: p for p in report["usage"]}
    if "seeds" not in work.recipe.takes or work.samples is None:
        each = {
            role: _Each(e.requests, e.prompt_tokens, e.requests * p["completion_tokens"] / max(1, p["requests"]))
            for role, e in _mean(rehearsed).items()
            if (p := paid.get(role))
        }
        rate = report["accepted"] / max(1, report["tasks"]) / work.recipe.most_per_task()
        units = _tasks(work, (min(1.0, rate * (1 + spread)), max(1e-3, rate / (1 + spread))))
        return (
            {r: e.times(1 / (1 + spread)) for r, e in each.items()},
            {r: e.times(1 + spread) for r, e in each.items()},
            units,
        )
    # What was answered and not needed in the end is no part of the yield, but comes once with every run.
    unused = max(0.0, 1 - report["tasks"] / report["tasks_asked"])
    got = report["accepted"] / (1 - unused)
    each = {
        role: _Each(p["requests"] / got, p["prompt_tokens"] / got, p["completion_tokens"] / got)
        for role, p in paid.items()
    }
    return each, each, (work.samples / (1 + spread), work.samples * (1 + spread) + unused * got)


def _earlier(work: Work) -> tuple[Path, dict[str, Any], bool] | None:
    """The run to learn from: this one's earlier lives, else one beside it, rather with the same model."""
    model = work.speakers["default"].model
    beside = islice(sorted(work.folder.parent.glob(f"*/{REPORT}")), _MOST_RUNS)
    found = []
    for file in dict.fromkeys((work.folder / REPORT, *beside)):
        report = read_report(file)
        alike = (report.get("recipe"), report.get("lang")) == (work.recipe.name, work.recipe.lang)
        if alike and report["requests"] >= FEWEST_REQUESTS and report["accepted"] and report["tasks"]:
            same = report["models"].get("default") == model
            found.append((file.parent == work.folder, same, report["requests"], file.parent, report))
    if not found:
        return None
    *_, path, report = best = max(found, key=lambda one: one[:3])
    return path, report, best[1]


def read_report(file: Path) -> dict[str, Any]:
    """A report as we write it, or nothing."""
    try:
        found = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    wanted = {"recipe", "lang", "requests", "accepted", "candidates", "tasks", "tasks_asked", "models", "usage"}
    return found if isinstance(found, dict) and wanted <= found.keys() else {}

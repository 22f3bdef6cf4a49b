"""What several tests need: a run in this process over a recording backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen import spending
from synthgen.asking import Asking
from synthgen.backends.recording import Recording
from synthgen.budget import Budget
from synthgen.dedup import NoveltyByScript, Seen
from synthgen.load import Pool
from synthgen.output import Waterfall, accepted, reading, waterfall
from synthgen.recipe import Recipe, Setting, thresholds
from synthgen.recipes import find
from synthgen.run import Conveyor, Ending, Plan
from synthgen.speakers import Speaker
from synthgen.store import Store
from synthgen.types import Capabilities, Completion, Request, Sample, Seed


@dataclass(slots=True)
class Ended:
    """What came of a run."""

    ending: Ending
    samples: list[Sample]
    falls: Waterfall
    backend: Recording
    asking: Asking

    def rows(self) -> list[tuple[str, str, str]]:
        """(instruction, input, output) of every accepted sample."""
        return [(*s.input_split, s.messages[-1].content) for s in self.samples if s.input_split]


def seed(name: str, instruction: str, given: str = "", output: str = "An answer.", **more: Any) -> Seed:
    """A seed as `read_seeds` makes it."""
    fields = {"instruction": instruction, "input": given, "output": output, "is_classification": None, **more}
    return Seed(name, {**fields, "instances": [{"input": given, "output": output}]})


SEEDS = (
    seed("s1", "Name three rivers that cross a border.", output="Rhine, Danube, Nile"),
    seed("s2", "Turn the sentence into a question.", "Bees make honey.", "Do bees make honey?"),
    seed("s3", "How much is twelve times eleven?", output="132"),
    seed("s4", "Suggest a polite way to decline an invitation.", output="Thank you, but I have other plans."),
)


def recipe_of(name: str, lang: str = "en", seeds: Sequence[Seed] = SEEDS, **given: Any) -> Recipe:
    """A recipe, fitted; `values` are knobs."""
    recipe = find(name)(Setting(lang=lang, **given))
    recipe.fit(seeds)
    return recipe


def run(
    folder: Path,
    answer: Callable[[Request], str | Completion | BaseException],
    *,
    recipe: str = "alpaca",
    lang: str = "en",
    seeds: Sequence[Seed] = SEEDS,
    count: int | None = 5,
    concurrency: int = 4,
    run_seed: int = 0,
    retries: int = 0,
    values: dict[str, Any] | None = None,
    context_tokens: int | None = None,
    budget: Budget | None = None,
    backend: Recording | None = None,
) -> Ended:
    """One run of a recipe over `answer`; the store stays in `folder`."""

    async def main() -> Ended:
        asked = backend or Recording(answer, context_tokens=context_tokens)
        store = Store(folder)
        speaker = Speaker("recording", Pool([asked], concurrency=concurrency, retries=retries), await asked.probe())
        made = recipe_of(
            recipe, lang, seeds, values=values or {}, context_tokens=context_tokens, count_tokens=speaker.count_tokens
        )
        asking = Asking(store, {"default": speaker}, run_seed, budget=budget)
        seen = Seen(NoveltyByScript(*thresholds(made)))
        for one in seeds if made.unlike_seeds else ():
            seen.add_instruction(one.id, one.fields["instruction"])
        conveyor = Conveyor(made, seeds, seen, asking, Plan(count, run_seed))
        try:
            conveyor.resume()
            async with spending.in_time(conveyor, budget):
                ending = await conveyor.run()
        finally:
            await speaker.pool.aclose()
            store.close()
        with reading(folder) as db:
            return Ended(ending, list(accepted(db, count)), waterfall(db, count), asked, asking)

    return asyncio.run(main())


def capabilities(**more: Any) -> Capabilities:
    """Capabilities of a server in a test."""
    return Capabilities(models=("recording",), **more)

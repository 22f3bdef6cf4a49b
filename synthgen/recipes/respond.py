"""Answers to given prompts, one sample a prompt: the plain work that most people start with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any

from synthgen.recipe import Ask, Outcome, Recipe, gather, knob
from synthgen.types import Message, Rejection, Sample, SamplingParams, Seed, Task


class Respond(Recipe):
    """Each prompt is asked as it stands; a conversation is answered turn by turn."""

    name = "respond"
    summary = "answers to given prompts (--input), one sample a prompt"
    source = "plain distillation of a model's answers"
    takes = ("prompts",)
    unlike_seeds = False
    several = True

    k = knob(1, "answers to each prompt", low=1, high=64)
    system = knob("", "a system message before each prompt that has none")
    cut = knob("reject", "what becomes of an answer that max_tokens cut", choices=("reject", "keep"))
    filtered = knob(False, "apply the text filters that other recipes have")
    novel = knob(False, "drop a prompt that is too close to an earlier one")

    def own_sampling(self) -> SamplingParams:
        return SamplingParams(max_tokens=2048)

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        for seed in seeds:
            yield Task(seed.id, seed.fields)

    def most_per_task(self) -> int:
        return self.k

    def rehearsed(self, seeds: Iterable[Seed]) -> str:
        return "An answer."  # so that the user's later turns follow

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        if self.k == 1:
            return [await self._answer(task, ask)]
        if task.vars["turns"]:  # equal answers make equal second requests, which only their order tells apart
            return [item for _ in range(self.k) for item in await gather([self._one(task, ask)])]
        return await gather(self._one(task, ask) for _ in range(self.k))

    async def _one(self, task: Task, ask: Ask) -> list[Outcome]:
        return [await self._answer(task, ask)]

    async def _answer(self, task: Task, ask: Ask) -> Outcome:
        """The conversation with all its answers; the user's later turns follow the first answer."""
        given: Mapping[str, Any] = task.vars
        said: tuple[Message, ...] = given["messages"]
        if self.system and said[0].role != "system":
            said = (Message("system", self.system), *said)
        cut = False
        for turn in (None, *given["turns"]):
            said = said if turn is None else (*said, Message("user", turn))
            reply = await ask(said, sampling=self.sampling)
            if not reply.text.strip():
                return Rejection("empty", "the answer has no text")
            said = (*said, Message("assistant", reply.text, reasoning=reply.reasoning))
            cut |= reply.finish_reason == "length"
        meta: dict[str, Any] = {"parents": [task.id], **({"truncated": True} if cut else {})}
        if "columns" in given:
            meta["row"] = given["columns"]
        answered = Sample(said, input_split=given["split"], reference=given["reference"], meta=meta)
        if cut and self.cut == "reject":
            return Rejection("truncated", f"cut at max_tokens {self.sampling.max_tokens}", answered)
        return answered

"""A recipe that judges: each prompt is answered, and the answer used where neither rule nor judge objects to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from synthgen.judging import CONSISTENCY, CONTRADICTION, Judge, scores
from synthgen.recipe import Ask, Outcome, Recipe, Setting, knob
from synthgen.types import Message, Rejection, Sample, SamplingParams, Seed, Task
from synthgen.verifiers.contradiction import contradiction


class Judged(Recipe):
    name = "judged"
    summary = "answers that a judge accepts"
    rubrics = ("consistency", "contradiction")
    takes = ("prompts",)
    unlike_seeds = False
    filtered = False
    novel = False

    raters = knob(1, "judges of each answer", low=1, high=9)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.judge = Judge(self.prompts, raters=self.raters)

    def own_sampling(self) -> SamplingParams:
        return SamplingParams(temperature=1.0, max_tokens=512)

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        for seed in seeds:
            yield Task(seed.id, seed.fields)

    def rehearsed(self, seeds: Iterable[Seed]) -> str:
        return '{"analysis": "so", "score": 5, "contradicts": "no"}'

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        source = task.vars["messages"][-1].content
        reply = await ask((Message("user", source),), sampling=self.sampling)
        sample = Sample((Message("user", source), Message("assistant", reply.text)))
        conflicts = contradiction(source, reply.text)  # costs nothing, so before any judge
        if conflicts:
            return [Rejection("contradiction", "; ".join(map(str, conflicts)), sample)]
        verdict = await self.judge.rate(ask, CONSISTENCY, source=source, rewrite=reply.text)
        sample = replace(sample, meta=scores([verdict]))
        if rejected := verdict.rejection("judge", sample, at_least=3):
            return [rejected]
        gate = await self.judge.rate(ask, CONTRADICTION, reference=source, rewrite=reply.text)
        sample = replace(sample, meta=scores([verdict, gate]))
        return [gate.rejection("contradiction", sample, word="no") or sample]

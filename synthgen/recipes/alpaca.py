"""Many tasks from one request: Stanford Alpaca's list of triples, and BELLE's nine-category list in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from random import Random
from statistics import median

from synthgen import parsing
from synthgen.errors import UsageError
from synthgen.recipe import Ask, Outcome, Recipe, demonstrations, knob, sample
from synthgen.types import Rejection, SamplingParams, Seed, Task

# BELLE strips "ask GPT to ..." from the front of an instruction, and drops what still speaks of GPT. A task about
# models is no wrapper: an order to one begins with a verb of asking, or addresses it before a comma.
_NAME = r"(?:(?:Chat)?GPT(?:模型|助手)?|(?:AI|人工智能|智能|大语言|语言|大)(?:模型|助手)|聊天机器人|助手)"
_WRAPPER = re.compile(
    rf"^(?:(?:请让|请使用|请|让|要求|命令|指示|叫|使用){_NAME}(?:来|去|帮忙|帮我|为我|给我)?[，,：:]?|{_NAME}[，,：:])(?=.{{4}})",
    re.IGNORECASE,
)


class Alpaca(Recipe):
    """One request shows a few seed tasks and asks for a list of new ones."""

    name = "alpaca"
    summary = "one request, many tasks: instruction, input and output together"
    source = "Stanford Alpaca (Taori et al., 2023); for Chinese BELLE (Ji et al., 2023)"
    templates = ("tasks",)
    endless = True

    shown = knob(3, "seed tasks shown in a request", low=1, high=20)
    listed = knob(20, "tasks in the list, those shown included", low=2, high=60, zh=10)

    def own_sampling(self) -> SamplingParams:
        # Alpaca's stop "20." and its logit bias are left out on purpose: the one cuts any text with "2020." or
        # "120.5", the other suppresses an arbitrary token of another vocabulary.
        return SamplingParams(temperature=1.0, top_p=1.0, max_tokens=1024 if self.lang == "zh" else 3072)

    def fit(self, seeds: Iterable[Seed]) -> None:
        usable = _usable(seeds)
        self.longest_tokens = 1 << 30
        if self.context_tokens is None:
            return
        rules = sum(self.count_tokens(m.content) for m in self.render("tasks", demonstrations=[], first=1, total=9))
        room = self.context_tokens - rules - 32
        sizes = [self._size(s) for s in usable]
        typical = median(sizes)
        shown, items = self.shown, self.listed
        if items * typical > room:
            shown = max(1, min(shown, int(0.35 * room / typical)))
            items = max(shown + 1, min(items, int(room / typical)))
        # Whatever is drawn, more than half of the room is left to the answer.
        self.longest_tokens = max(int(0.45 * room / shown), min(sizes))
        long = sum(1 for size in sizes if size > self.longest_tokens)
        fewer = [f"{shown} of {self.shown} demonstrations"] if shown < self.shown else []
        fewer += [f"lists of {items} instead of {self.listed}"] if items < self.listed else []
        fewer += [f"{long} long seeds not shown"] if long else []
        if fewer:
            self.notes.append(f"fitted to a context of {self.context_tokens:,} tokens: {', '.join(fewer)}")
        self.shown, self.listed = shown, items

    def _size(self, seed: Seed) -> int:
        fields = seed.fields
        return self.count_tokens(f"{fields['instruction']}\n{fields['input']}\n{fields['output']}") + 24

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        fitting = [s for s in _usable(seeds) if self._size(s) <= self.longest_tokens]
        for i in count():
            shown = demonstrations(rng, fitting, self.shown)
            vars_ = {"demonstrations": [dict(s.fields) for s in shown], "parents": [s.id for s in shown]}
            yield Task(f"{i:06d}", vars_)

    def most_per_task(self) -> int:
        return max(1, self.listed - self.shown)

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        shown = task.vars["demonstrations"]
        first = len(shown) + 1
        total = max(first, self.listed)
        prompt = self.render("tasks", demonstrations=shown, first=first, total=total)
        reply = await ask(prompt, sampling=self.sampling)
        found = parsing.triples(reply.text)
        if not found:
            return [Rejection("parse", f"no task in the answer: {reply.text[:200]!r}")]
        items = [self._item(t, task.vars["parents"]) for t in found]
        if reply.finish_reason == "length":
            items[-1] = Rejection("truncated", "the last task of an answer that was cut")
        return items[: total - first + 1]

    def _item(self, triple: parsing.Triple, parents: list[str]) -> Outcome:
        instruction = triple.instruction
        if self.lang == "zh":
            instruction = _WRAPPER.sub("", instruction)
        if not instruction or triple.output is None:
            return Rejection(
                "parse", f"a task without {'output' if instruction else 'instruction'}: {instruction[:200]}"
            )
        return sample(instruction, triple.input, triple.output, parents=parents)


def _usable(seeds: Iterable[Seed]) -> list[Seed]:
    usable = [s for s in seeds if s.fields.get("output")]
    if not usable:
        raise UsageError("none of the seeds has an output; this recipe shows whole tasks (see synthgen seeds show en)")
    return usable

"""The four-step bootstrap: instructions from a growing pool, classification or not, instances, filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from random import Random
from typing import Any

from synthgen import filters, parsing
from synthgen.data import folder
from synthgen.dedup import NoveltyByScript
from synthgen.errors import UsageError
from synthgen.recipe import Ask, Outcome, Pool, Recipe, gather, knob, sample, thresholds
from synthgen.seeds import read_seeds
from synthgen.types import Completion, Rejection, Sample, SamplingParams, Seed, Task

_YES_OR_NO = SamplingParams(temperature=0.0, max_tokens=3)


class SelfInstruct(Recipe):
    """Eight instructions in, up to seven new ones out; each new one is then given an instance."""

    name = "self-instruct"
    summary = "four steps with a pool that grows: instructions, classification or not, instances, filters"
    source = "Self-Instruct (Wang et al., arXiv 2212.10560)"
    templates = ("instructions", "classification", "input_first", "output_first")
    grows = True
    endless = True
    several = True

    human = knob(6, "seed instructions shown in a request", low=1, high=40)
    machine = knob(2, "instructions of the pool shown beside them", low=0, high=40)
    new = knob(7, "new instructions asked for in a request", low=1, high=40)
    classification_only = knob(False, "ask for classification tasks alone")
    instances = knob(1, "instances kept of a task", low=1, high=5)
    yes_shown = knob(12, "classification tasks shown in step 2", low=1, high=40)
    no_shown = knob(19, "other tasks shown in step 2", low=1, high=40)
    input_first_shown = knob(11, "tasks shown for input-first instances", low=1, high=40)
    output_first_shown = knob(16, "tasks shown for output-first instances", low=1, high=40)
    instance_tokens = knob(350, "longest answer with instances", low=16, high=32768)
    label_tokens = knob(300, "longest answer with instances of a classification task", low=16, high=32768)

    def own_sampling(self) -> SamplingParams:
        # The paper's stop at an empty line would end a chat model's answer at its greeting.
        return SamplingParams(
            temperature=0.7,
            top_p=0.5,
            presence_penalty=2.0,
            max_tokens=1024,
            stop=(f"\n{self.human + self.machine + self.new + 1}.",),
        )

    def fit(self, seeds: Iterable[Seed]) -> None:
        # Steps 2 and 3 show the same tasks every time: one prefix, which a server's cache serves.
        tasks = [dict(s.fields) for s in read_seeds([folder("seeds") / self.lang])]
        labelled = [t for t in tasks if t["is_classification"]]
        others = [t for t in tasks if not t["is_classification"]]
        yes_or_no = [{"instruction": t["instruction"], "answer": True} for t in labelled[: self.yes_shown]]
        yes_or_no += [{"instruction": t["instruction"], "answer": False} for t in others[: self.no_shown]]
        Random(0).shuffle(yes_or_no)
        wanted = {
            "classification": yes_or_no,
            "input_first": others[: self.input_first_shown],
            "output_first": labelled[: self.output_first_shown],
        }
        self._demonstrations = {part: self._fitting(shown) for part, shown in wanted.items()}
        fewer = [
            f"{len(self._demonstrations[part])} of {len(shown)} for {part.replace('_', '-')}"
            for part, shown in wanted.items()
            if len(self._demonstrations[part]) < len(shown)
        ]
        changes = [f"demonstrations {', '.join(fewer)}"] if fewer else []
        changes += self._fit_instructions(seeds)
        if changes:
            self.notes.append(f"fitted to a context of {self.context_tokens:,} tokens: {'; '.join(changes)}")

    def _fitting(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The first demonstrations that leave half of the context to the task and its answer."""
        if self.context_tokens is None:
            return tasks
        room = self.context_tokens // 2
        kept: list[dict[str, Any]] = []
        for task in tasks:
            size = self.count_tokens(_text(task)) + 12
            if size <= room:
                room -= size
                kept.append(task)
        return kept

    def _fit_instructions(self, seeds: Iterable[Seed]) -> list[str]:
        """Leave half of the context to the answer of step 1, and ask for no more than fits there."""
        sizes = sorted(self.count_tokens(s.fields["instruction"]) + 4 for s in seeds)
        if not sizes:
            raise UsageError("no seeds; self-instruct grows from at least one")
        self.longest_tokens = sizes[-1]
        shown, context, changes = self.human + self.machine, self.context_tokens, []
        if context is None:
            return []
        if shown * sizes[-1] > context // 2:
            self.longest_tokens = max(context // 2 // shown, sizes[0])
            left_out = sum(1 for size in sizes if size > self.longest_tokens)
            changes += [f"{left_out} long seeds not shown"] if left_out else []
        new = max(1, min(self.new, context // 2 // (sizes[len(sizes) // 2] + 4)))
        if new < self.new:
            changes.append(f"{new} of {self.new} new tasks asked for")
            self.new = new
        return changes

    def rounds(self, seeds: Iterable[Seed], pool: Pool, rng: Random) -> Iterator[Task]:
        human = [
            (s.id, _tidy(s.fields["instruction"]))
            for s in seeds
            if self.count_tokens(s.fields["instruction"]) + 4 <= self.longest_tokens
            and (not self.classification_only or s.fields["is_classification"])
        ]
        if not human:
            raise UsageError("classification_only needs seeds with is_classification: true")
        for i in count():
            machine = [pool[j] for j in rng.sample(range(len(pool)), min(self.machine, len(pool)))]
            # With fewer machine-made tasks than wanted, seeds fill the places, as in the first round.
            shown = rng.sample(human, min(self.human + self.machine - len(machine), len(human))) + machine
            rng.shuffle(shown)
            parents, texts = zip(*shown, strict=True)
            yield Task(f"{i:06d}", {"demonstrations": list(texts), "parents": list(parents)})

    def most_per_task(self) -> int:
        return self.new * self.instances

    def rehearsed(self, seeds: Iterable[Seed]) -> str:
        return "\n".join(f"{n}. {_tidy(s.fields['instruction'])}" for n, s in enumerate(islice(seeds, self.new), 1))

    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        shown = task.vars["demonstrations"]
        prompt = self.render(
            "instructions",
            demonstrations=shown,
            first=len(shown) + 1,
            last=len(shown) + self.new,
            classification=self.classification_only,
        )
        reply = await ask(prompt, sampling=self.sampling)
        found = parsing.numbered(reply.text)
        if reply.finish_reason == "length":
            found = found[:-1]
        if not found:
            return [Rejection("parse", f"no numbered instruction in the answer: {reply.text[:200]!r}")]
        items, fresh = self._sorted_out([_tidy(text) for text in found[: self.new]], ask)
        parents = task.vars["parents"]
        return items + await gather(self._instances(i, parents, ask) for i in fresh)

    def _sorted_out(self, instructions: list[str], ask: Ask) -> tuple[list[Outcome], list[str]]:
        """Those that nothing should be paid for, unfit or too close to what is there; and those that are left."""
        unfit: list[Outcome] = []
        fresh: list[str] = []
        reasons = [filters.instruction_reason(text, self.lang) for text in instructions]
        fit = [text for text, reason in zip(instructions, reasons, strict=True) if reason is None]
        met = dict(zip(fit, ask.nearest_many(fit), strict=True))
        local = NoveltyByScript(*thresholds(self))
        for text, reason in zip(instructions, reasons, strict=True):
            draft = Sample(input_split=(text, ""))
            near = None if reason else met[text] or local.nearest(text)
            if reason is not None:
                unfit.append(Rejection(reason, text, draft))
            elif near is not None:
                unfit.append(Rejection("novelty", near.evidence, draft))
            else:
                local.add("", text)
                fresh.append(text)
        return unfit, fresh

    async def _instances(self, instruction: str, parents: list[str], ask: Ask) -> list[Outcome]:
        known = self._demonstrations
        labelled = self.classification_only
        if not labelled:
            prompt = self.render("classification", demonstrations=known["classification"], instruction=instruction)
            labelled = parsing.yes((await ask(prompt, sampling=_YES_OR_NO)).text) is True
        if labelled:
            prompt = self.render("output_first", demonstrations=known["output_first"], instruction=instruction)
            reply = await ask(prompt, sampling=_greedy(self.label_tokens))
            pairs = parsing.labelled_instances(reply.text)
        else:
            prompt = self.render(
                "input_first", demonstrations=known["input_first"], instruction=instruction, most=self.instances
            )
            reply = await ask(prompt, sampling=_greedy(self.instance_tokens))
            pairs = parsing.instances(reply.text)
        meta: dict[str, Any] = {"parents": parents, "classification": labelled}
        return self._kept(instruction, pairs, reply, meta)

    def _kept(
        self, instruction: str, pairs: list[tuple[str, str]], reply: Completion, meta: dict[str, Any]
    ) -> list[Outcome]:
        """The instance filters of step 4, in the paper's order."""
        if reply.finish_reason == "length":
            pairs = pairs[:-1]
            if not pairs:
                return [Rejection("truncated", instruction)]
        if not pairs:
            return [Rejection("parse", f"no instance of {instruction!r}: {reply.text[:200]!r}")]
        outputs: dict[str, set[str]] = {}
        for given, output in pairs:
            outputs.setdefault(given, set()).add(output)
        if any(given and len(answers) > 1 for given, answers in outputs.items()):
            return [Rejection("conflicting instances", instruction)]
        if meta["classification"]:
            meta["labels"] = len({output for _, output in pairs})
            if meta["labels"] < 2:
                meta["flags"] = ["single label"]
        made = [sample(instruction, *pair, **meta) for pair in dict.fromkeys(pairs)]
        # The filters come before the choice: one bad instance does not cost a task that has a good one.
        fit = [s for s in made if filters.reason(s, self.lang) is None] or made[:1]
        order = Random(instruction).sample(range(len(fit)), min(self.instances, len(fit)))
        return [fit[i] for i in sorted(order)]


def _greedy(max_tokens: int) -> SamplingParams:
    # The reference sends top_p 0 with temperature 0, which some servers refuse: 1 means the same.
    return SamplingParams(
        temperature=0.0, top_p=1.0, presence_penalty=1.5, max_tokens=max_tokens, stop=("\nTask:", "\n任务：")
    )


def _tidy(instruction: str) -> str:
    """White space collapsed, the final colon gone; case is kept: NASA stays NASA."""
    return re.sub(r"\s+", " ", instruction).strip().rstrip(":：").strip()


def _text(task: Mapping[str, Any]) -> str:
    rows = task.get("instances", ())
    return "\n".join([task["instruction"], *(f"{r['input']}\n{r['output']}" for r in rows)])

"""The conveyor: tasks in, samples out; tasks end in any order and are decided in task order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random
from typing import Any

from synthgen import filters
from synthgen.asking import Asking, TaskAsk
from synthgen.bodies import dump, load
from synthgen.comparing import WINDOW, Comparing
from synthgen.dedup import Seen
from synthgen.errors import BackendError, BudgetSpent, ParseError, SynthgenError
from synthgen.growth import Grown, lag
from synthgen.recipe import Outcome, Recipe, as_outcome, asked_nothing
from synthgen.store import Decision
from synthgen.types import UNREAD_REASON, Failure, Rejection, Sample, Seed, Task

# How far a finished task may be ahead of the one to be decided next: bounds memory.
REORDER_WINDOW = 4096
# Tasks made before they are started, where they may be: what a fast server does while a slow one makes one answer.
AHEAD = 2048
BARREN_TASKS = 200
FAILING, OF_LAST = 20, 25
_YIELD_EVERY = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What the conveyor is to reach."""

    count: int | None
    run_seed: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    tasks: int | None = None  # that there are in all, where that is known


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: the exit code, one line that says why, empty when all is done; `whole`: no task is left."""

    code: int = 0
    line: str = ""
    whole: bool = False


@dataclass(slots=True)
class Board:
    """Live counters for the progress line and the closing table."""

    target: int | None = None
    tasks_in_all: int | None = None
    accepted: int = 0
    tasks: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0


class Conveyor:
    """One run of one recipe over one store."""

    def __init__(self, recipe: Recipe, seeds: Iterable[Seed], seen: Seen, asking: Asking, plan: Plan) -> None:
        self.recipe, self.asking, self.store, self.plan, self.seen = recipe, asking, asking.store, plan, seen
        self.board = Board(plan.count, plan.tasks)
        self._comparing = Comparing(seen, recipe.similar)
        self._pool = Grown()
        # Novelty entries after each decided task, where tasks are compared with what was there when they were made.
        self._entries_after = [len(seen.novelty)]
        self._tasks = self._numbered(recipe.rounds(seeds, self._pool, Random(f"{plan.run_seed}:{recipe.name}")))
        self._pools = tuple(dict.fromkeys(speaker.pool for speaker in asking.speakers.values()))
        self._first_pool = asking.speaker("default").pool
        self._ahead: deque[tuple[int, Task]] = deque()
        self._made_all = False
        self._next: tuple[int, Task] | None = None
        self._done: dict[int, tuple[Task, list[Outcome]]] = {}
        self._decided = self._started = 0
        self._exhausted = False
        self._last_accepted = self._unread = 0  # tasks up to the last that gave one, documents not used since then
        self._recent: deque[str] = deque(maxlen=OF_LAST)
        self._running: dict[asyncio.Task[list[Outcome]], tuple[int, Task]] = {}
        self._bug: BaseException | None = None
        self._wake = asyncio.Event()
        self._ending: Ending | None = None
        self._last: Ending | None = None  # how it will end when all that runs has ended

    def _numbered(self, tasks: Iterator[Task]) -> Iterator[tuple[int, Task]]:
        """Each task with its number, made only when the pool stands as it must see it."""
        for index in range(1 << 62):
            self._pool.visible_tasks = max(0, index - lag(index))
            task = next(tasks, None)
            if task is None:
                return
            yield index, task

    def resume(self) -> None:
        """Take up what was decided before: pool, novelty and counters from the store, not from the models.

        Tasks that failed are asked again: decisions from the first of them on are made anew from stored answers.
        In a growing recipe only those after which nothing was accepted, since later tasks were made without them.
        """
        decided = int(self.store.meta("decided") or 0)
        failed = self.store.first_failure(after_accepted=self.recipe.grows)
        if failed is not None:
            self.store.forget_decisions(failed)
            decided = failed
        if not self.recipe.novel:
            self._count_up(decided)
            return
        rows = self.store.samples()
        row = next(rows, None)
        for index, _ in islice(self._tasks, decided):
            mine = []
            while row is not None and row[0] == index:
                mine.append(row)
                row = next(rows, None)
            self._take_up(mine)
        self._taken_up()

    def _count_up(self, decided: int) -> None:
        """The same where nothing is compared with what was accepted before: counts are enough."""
        for _ in islice(self._tasks, decided):
            pass
        self.board.accepted, self.board.rejected, self._last_accepted = self.store.reasons()
        self._decided = self.board.tasks = decided
        self._taken_up()

    def _taken_up(self) -> None:
        self.board.failed = len(self.store.failures())
        self._unread = self.store.places(UNREAD_REASON, since=self._last_accepted)
        self._started = self._decided

    def _take_up(self, rows: Sequence[tuple[int, str, str | None, bytes]]) -> None:
        entered: list[tuple[str, str]] = []
        for _, _, reason, body in rows:
            if reason is not None:
                self.board.rejected[reason] += 1
                continue
            self._enter(load(body), entered)
        self._settle(entered)

    async def run(self) -> Ending:
        """Work until the target is reached, the tasks are used up, or there is a reason to stop."""
        for pool in self._pools:
            pool.users[self._wake.set] = None
        try:
            while self._ending is None:
                await self._start_some()
                if not self._running and self._decided not in self._done:
                    break
                await self._wake.wait()
                self._wake.clear()
                self._decide_ready()
        finally:
            for pool in self._pools:
                del pool.users[self._wake.set]
            await self.cancel()
        self.store.flush()
        if self._ending is not None and self._ending.code:
            return self._ending
        if self._last is not None and not self._reached():
            return self._last
        if self.board.failed:
            again = "those after which nothing was accepted" if self.recipe.grows else "them"
            said = f"{self.board.failed} requests failed for good; the same command asks {again} again"
            return Ending(5, said, whole=True)
        short = self.plan.count is not None and not self._reached()
        if self._exhausted and (short or not self.board.accepted):
            goal = "" if self.plan.count is None else f" of {self.plan.count}"
            return Ending(7, f"the tasks are used up, {self.board.accepted}{goal} samples accepted{self._why()}")
        return Ending()

    def _why(self) -> str:
        """The commonest reasons, and what would help against the first."""
        common = self.board.rejected.most_common(3)
        if not common:
            return ""
        hints = {
            "language": f"this run is for {self.recipe.lang}: see --lang",
            "truncated": "see --max-tokens",
            **dict.fromkeys(("parse", "pairs"), "the model does not write what the prompt asks for: try another model"),
            "unparsed": "the judge does not write the form that it is asked for: try another --judge-model",
        }
        hint = hints.get(common[0][0], "try other seeds, another model or a looser knob")
        return f" ({', '.join(f'{n} {reason}' for reason, n in common)}); {hint}"

    def stop(self, ending: Ending) -> None:
        """End as soon as may be; what is in flight is given up, what is stored stays."""
        self._ending = self._ending or ending
        self._wake.set()

    def drain(self, ending: Ending) -> None:
        """Start nothing more, and end when what runs has ended."""
        self._last = self._last or ending
        self._wake.set()

    async def cancel(self) -> None:
        for running in self._running:
            running.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()

    def _reached(self) -> bool:
        return self.plan.count is not None and self.board.accepted >= self.plan.count

    async def _start_some(self) -> None:
        if self._reached():
            self.stop(Ending())
            return
        since = 0
        while self._may_start():
            assert self._next is not None  # _may_start() has put it there
            index, task = self._next
            self._next = None
            self._started = index + 1
            before = self._entries_after[max(0, index - lag(index))] if self.recipe.grows else self._entries_after[0]
            running = asyncio.create_task(self._one(index, task, before))
            self._running[running] = (index, task)
            running.add_done_callback(self._finished)
            since += 1
            if since % _YIELD_EVERY == 0:  # answers from the store never suspend: let the others have a turn
                await asyncio.sleep(0)
                self._decide_ready()

    def _may_start(self) -> bool:
        if self._ending is not None or self._last is not None or self._exhausted or self._reached():
            return False
        ahead = self._started - self._decided
        if len(self._running) >= min(self._width(), self._worth_starting()) or ahead >= self._window():
            return False
        if self.recipe.grows and self._decided < self._started - lag(self._started):
            return False
        if self._next is None:
            self._next = self._following()
            self._exhausted = self._next is None
        return self._next is not None

    def _following(self) -> tuple[int, Task] | None:
        """The next task. Where none depends on what was accepted some are made ahead, to know when the end is near."""
        while not self._made_all and len(self._ahead) < (1 if self.recipe.grows else AHEAD):
            task = next(self._tasks, None)
            if task is None:
                self._made_all = True
            else:
                self._ahead.append(task)
        if self._made_all or self.plan.count is not None:
            left = len(self._ahead) if self._made_all else self._window()
            self._first_pool.users[self._wake.set] = min(left, max(0, self._worth_starting() - len(self._running)))
        return self._ahead.popleft() if self._ahead else None

    def _width(self) -> int:
        """Tasks worth running at once: some wait for one model while others wait for the next."""
        return sum(pool.width for pool in self._pools)

    def _window(self) -> int:
        """How far tasks may be ahead of the one to be decided next: a batch is to hold all that it can."""
        return max(REORDER_WINDOW, self._width())

    def _worth_starting(self) -> int:
        """Tasks that the rest of the target can need: at the end of a run nothing is asked for the bin."""
        if self.plan.count is None:
            return self._window()
        # Until the run's own yield is known, as if two tasks had yielded a third of what they can, or nearly all of it
        # where nothing but an answer is wanted.
        share = 0.3 if self.recipe.novel or self.recipe.filtered else 0.9
        guess = max(0.5, share * self.recipe.most_per_task())
        rate = (self.board.accepted + 2 * guess) / (self._decided + 2)
        left = self.plan.count - self.board.accepted - rate * len(self._done)
        return max(1, int(left / rate) + 1)

    async def _one(self, index: int, task: Task, before: int) -> list[Outcome]:
        try:
            return await self.recipe.run(task, TaskAsk(self.asking, task.id, self._comparing.asker(index, before)))
        except (ParseError, BackendError) as error:
            return [as_outcome(error)]

    def _finished(self, running: asyncio.Task[list[Outcome]]) -> None:
        place = self._running.pop(running, None)
        if place is None:
            return
        error = None if running.cancelled() else running.exception()
        if running.cancelled():  # `cancel` comes after the last decision: this is a recipe that cancelled itself
            self._bug = RuntimeError(f"the task {place[1].id} was cancelled by its own recipe")
        elif error is None:
            self._done[place[0]] = (place[1], running.result())
        elif isinstance(error, BudgetSpent):  # others may still be answered
            self.drain(Ending(error.exit_code, str(error)))
        elif isinstance(error, SynthgenError):
            self.stop(Ending(error.exit_code, str(error)))
        else:
            self._bug = error
        self._wake.set()

    def _decide_ready(self) -> None:
        """Hand on finished tasks in task order, up to the one that reaches the target."""
        if self._bug is not None:
            raise self._bug
        foreseen = self._decided
        while self._ending is None and not self._reached() and self._decided in self._done:
            if self.recipe.novel and self._decided >= foreseen:
                foreseen = self._foresee()
            task, items = self._done.pop(self._decided)
            self._decide(task, items)
            self._watch(items)

    def _foresee(self) -> int:
        """Compare the instructions of the tasks to be decided next in one go; the task after them."""
        ready: list[tuple[int, str]] = []
        index = self._decided
        while index in self._done and len(ready) < WINDOW:
            ready += [(index, filters.parts(item)[0]) for item in self._done[index][1] if isinstance(item, Sample)]
            index += 1
        self._comparing.foresee(ready)
        return index

    def _decide(self, task: Task, items: Sequence[Outcome]) -> None:
        rows: list[Decision] = []
        failures: list[tuple[str, str, int]] = []
        entered: list[tuple[str, str]] = []
        for n, item in enumerate(items):
            if isinstance(item, Failure):
                failures.append((f"{task.id}#{n}", item.error, item.attempts))
                continue
            verdict = self._verdict(item, task, n, entered)
            if isinstance(verdict, Rejection):
                self.board.rejected[verdict.reason] += 1
                rows.append(Decision(verdict.reason, dump(verdict.sample, verdict.detail)))
            else:
                self._enter(verdict, entered)
                rows.append(Decision(None, dump(verdict)))
        self.board.failed += len(failures)
        self._unread += asked_nothing(items)
        self._settle(entered)
        self.store.decide(task.id, rows, failures, self._decided)

    def _verdict(
        self, item: Sample | Rejection, task: Task, n: int, entered: Sequence[tuple[str, str]]
    ) -> Sample | Rejection:
        """The filters, then the exact copy, then novelty against everything accepted before."""
        if isinstance(item, Rejection):
            return item
        sample = replace(item, meta={"id": f"{task.id}.{n}", **self.plan.provenance, **item.meta})
        reason = filters.reason(sample, self.recipe.lang) if self.recipe.filtered else None
        if reason is not None:
            return Rejection(reason, "", sample)
        if not self.recipe.novel:
            return sample
        instruction, given, output = filters.parts(sample)
        near = self.seen.same(f"{instruction}\n{given}\n{output}")
        if near is None and not (self.recipe.several and instruction in (text for _, text in entered)):
            near = self._comparing.nearest(self._decided, instruction)
        if near is None and self.recipe.similar:
            similar = self._comparing.most_similar(instruction)
            return replace(sample, meta={**sample.meta, "most_similar_instructions": similar})
        if near is None:
            return sample
        return Rejection("duplicate" if near.by == "exact" else "novelty", near.evidence, sample)

    def _enter(self, sample: Sample, entered: list[tuple[str, str]]) -> None:
        """Count an accepted sample and remember it; several instances of a task share one instruction."""
        self.board.accepted += 1
        self._last_accepted, self._unread = self._decided + 1, 0
        if not self.recipe.novel:
            return
        instruction, given, output = filters.parts(sample)
        name = str(sample.meta.get("id", ""))
        self.seen.add_whole(name, f"{instruction}\n{given}\n{output}")
        if all(instruction != text for _, text in entered):
            self.seen.add_instruction(name, instruction)
            entered.append((name, instruction))

    def _settle(self, entered: Sequence[tuple[str, str]]) -> None:
        self._comparing.done(self._decided)
        if self.recipe.grows:
            self._pool.add(entered)
            self._entries_after.append(len(self.seen.novelty))
        self._decided += 1
        self.board.tasks = self._decided

    def _watch(self, items: Sequence[Outcome]) -> None:
        """Stop a run that fails all along, or that yields nothing any more."""
        # Long prompts may stand together in an input: where others were answered, a run goes on after them.
        answered = bool(self.board.accepted or self.board.rejected)
        errors = [i.error for i in items if isinstance(i, Failure) and not (answered and i.refused)]
        self._recent.append(errors[0] if errors and len(errors) == len(items) else "")
        # One reason, though the texts name different servers or seconds: their beginnings are the same.
        barren = self._decided - self._last_accepted - self._unread
        times = sum(1 for e in self._recent if e and errors and e[:40] == errors[0][:40])
        if times >= FAILING:
            self.stop(Ending(5, f"{times} of the last {len(self._recent)} tasks failed for one reason: {errors[0]}"))
        # At every two hundred, counted over all lives of the run: an interruption leaves no trace, and the same
        # command goes on for two hundred more.
        elif not self._reached() and barren and barren % BARREN_TASKS == 0 and not asked_nothing(items):
            self.stop(Ending(7, f"no sample accepted in the last {BARREN_TASKS} tasks{self._why()}"))

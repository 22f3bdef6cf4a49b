"""A job at work: steps whose inputs are ready run side by side on the same models, each into its own folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from synthgen import output, spending
from synthgen.backends import ModelSpec
from synthgen.bodies import dump
from synthgen.budget import Budget
from synthgen.errors import StoreError, SynthgenError, UsageError
from synthgen.finish import summarize
from synthgen.formats import open_format
from synthgen.jobs.fleets import Fleets
from synthgen.jobs.meaning import Meaning
from synthgen.jobs.mixing import Mixing
from synthgen.jobs.plan import EMBEDDING, Job, MixStep, RecipeStep, Step
from synthgen.lock import LOCK, holder, lock
from synthgen.report import Summary
from synthgen.run import Conveyor, Ending
from synthgen.serve import Serve
from synthgen.session import Session, Wish
from synthgen.speakers import Effort, Speakers
from synthgen.store import Store, explain

# The job's exit code is that of the step which ended worst: a user's stop, a bug, the disk, the file, the server, ...
SEVERITY = (143, 130, 70, 3, 2, 4, 6, 7, 5)


class Tells(Protocol):
    """How far something is that is no conveyor."""

    def line(self) -> str: ...


class Show(Protocol):
    """Where the user sees the steps."""

    def note(self, text: str, step: str = "") -> None: ...

    def showing(self, thing: Tells, step: str = "") -> AbstractContextManager[object]: ...

    async def conveyor(self, conveyor: Conveyor, label: str, step: str) -> Ending: ...


@dataclass(frozen=True, slots=True)
class Stepped:
    """How a step ended; `unchanged` was done before, and nothing was asked; without a summary it did not begin."""

    step: Step
    ending: Ending
    summary: Summary | None = None
    unchanged: bool = False


class Running:
    """Works a job off; `stop` ends all of it in good order."""

    def __init__(self, job: Job, show: Show, only: str | None = None) -> None:
        """`only` is a step's id. Raises UsageError where it is none, or where its inputs are not there."""
        self.job, self._show = job, show
        self.steps = job.steps if only is None else (_only(job, only),)
        self._tasks: dict[str, asyncio.Task[Stepped]] = {}
        self._speakers: dict[Effort, Speakers] = {}
        self._fleets = Fleets(job.folder, show.note, show.showing)
        self._live: dict[str, Conveyor | Mixing] = {}
        self._waiting: set[str] = set()  # for a server, for another step, for a file to be read
        self._ending: Ending | None = None
        self._record = _Record(job.folder / "job.json")
        self._budget: Budget | None = None

    async def run(self) -> list[Stepped]:
        """Every step, in the order of the file. A bug in one ends all of them, and is raised."""
        with self._alone():
            return await self._run()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else works on this job or in a folder of it: found out before a server is started for nothing."""
        for folder in (self.job.folder, *(step.folder for step in self.steps)):
            process = holder(folder)
            if process is not None:
                raise StoreError(f"{folder}: in use by process {process}; wait for it")
        try:
            self.job.folder.mkdir(parents=True, exist_ok=True)
            held = lock(self.job.folder / LOCK)
        except OSError as error:
            raise explain(error, self.job.folder) from error
        with held:
            yield

    async def _run(self) -> list[Stepped]:
        for step in self.steps:
            for serve in _served(step):
                self._fleets.need(serve)
        self._budget = self._spent_before()
        try:
            self._tasks = {step.id: asyncio.create_task(self._one(step)) for step in self.steps}
            return list(await asyncio.gather(*self._tasks.values()))
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            for speakers in self._speakers.values():
                await speakers.aclose()
            await self._fleets.aclose()

    def _spent_before(self) -> Budget | None:
        """The job's budget, less what this command spent in all of its steps before it was interrupted."""
        if not self.job.budget:
            return None
        budget = Budget(**self.job.budget)
        for folder in self._made():
            store = Store(folder)
            try:
                line = spending.take_up(store, budget, summarize(folder).prices)
            finally:
                store.close()
            if line:
                self._show.note(line)
        return budget

    def settle(self) -> None:
        """The command has ended in good order: the next one has all of its budget."""
        if self._budget is not None:
            spending.settle_up(self._made())

    def _made(self) -> list[Path]:
        """The folders of recipe steps that have begun."""
        steps = [step for step in self.steps if isinstance(step, RecipeStep)]
        return [step.folder for step in steps if (step.folder / "run.json").is_file() and output.is_run(step.folder)]

    def stop(self, ending: Ending) -> None:
        """End every step as soon as may be; what is stored stays."""
        self._ending = self._ending or ending
        for step in self.steps:
            live = self._live.get(step.id)
            if isinstance(live, Conveyor):
                live.stop(ending)
            elif live is not None:
                live.stop()
            elif step.id in self._waiting:
                self._tasks[step.id].cancel()

    async def _one(self, step: Step) -> Stepped:
        self._waiting.add(step.id)
        try:
            blocked = await self._inputs(step)
            if blocked is not None:
                return Stepped(step, blocked)
            return await (self._mix(step) if isinstance(step, MixStep) else self._generate(step))
        except SynthgenError as error:
            return Stepped(step, self._ending or Ending(error.exit_code, str(error)))
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            return Stepped(step, self._ending)
        finally:
            self._waiting.discard(step.id)
            self._live.pop(step.id, None)
            for serve in _served(step):
                await self._fleets.release(serve)

    async def _inputs(self, step: Step) -> Ending | None:
        """Waits for what a step reads; the ending that keeps it from beginning, if one does."""
        for other in dict.fromkeys(step.reads):
            if other not in self._tasks:  # --only: it was there
                continue
            await asyncio.wait([self._tasks[other]])
            before = self._tasks[other].result()
            ending, there = before.ending, before.summary is not None and before.summary.falls.accepted
            # A dataset with failed tasks is whole; after another ending it is not what was asked for.
            if ending.code and not (ending.whole and there):
                return Ending(ending.code, f"not begun, as {other} ended with {ending.code}")
            if ending.code:
                self._show.note(f"goes on with what {other} has, though some of its requests failed", step.id)
        return self._ending

    async def _mix(self, step: MixStep) -> Stepped:
        def note(text: str) -> None:
            self._show.note(text, step.id)

        meaning = None
        if step.embedding is not None:
            meaning = Meaning(step.embedding, lambda: self._embedded_at(step), self._budget, note)
        mixing = Mixing(step, note, meaning)
        self._live[step.id] = mixing
        try:
            with self._show.showing(mixing, step.id):
                ending, summary, unchanged = await asyncio.to_thread(mixing.work)
        finally:
            if meaning is not None:
                await meaning.aclose()
        return Stepped(step, ending, summary, unchanged)

    async def _embedded_at(self, step: MixStep) -> tuple[str, ...]:
        model = step.embedding
        assert model is not None
        return model.spec.base_urls if model.serve is None else await self._fleets.base_urls(model.serve, EMBEDDING)

    async def _generate(self, step: RecipeStep) -> Stepped:
        def note(text: str) -> None:
            self._show.note(text, step.id)

        specs = {role: step.spec(role) for role in step.models}
        # In a thread: long inputs are read whole here, and the other steps go on meanwhile.
        planned = await asyncio.to_thread(Session, replace(step.wish, models=specs), lambda _: None)
        asked = _digest([await asyncio.to_thread(planned.asked), _described(step)])
        if await asyncio.to_thread(self._record.holds, step, asked, planned.formats):
            return Stepped(step, Ending(), summarize(step.folder), unchanged=True)
        self._record.forget(step.id)
        wish = replace(step.wish, models=await self._reached(step, specs))
        session = await asyncio.to_thread(Session, wish, note, self._models(wish), self._budget)
        async with session:
            result = await session.generate(lambda conveyor: self._watched(conveyor, session, step))
        if not result.ending.code:
            await asyncio.to_thread(self._record.keep, step, asked)
        return Stepped(step, result.ending, result.summary)

    async def _watched(self, conveyor: Conveyor, session: Session, step: RecipeStep) -> Ending:
        if self._ending is not None:
            return self._ending
        self._live[step.id] = conveyor
        with contextlib.ExitStack() as stack:
            for serve in _served(step):
                stack.enter_context(self._fleets.used_by(serve, conveyor))
            return await self._show.conveyor(conveyor, f"{step.id} {session.kind.name} ({session.lang})", step.id)

    def _models(self, wish: Wish) -> Speakers:
        """Steps that work servers alike share their pools."""
        if wish.effort not in self._speakers:
            self._speakers[wish.effort] = Speakers(wish.effort, self._show.note)
        return self._speakers[wish.effort]

    async def _reached(self, step: RecipeStep, specs: Mapping[str, ModelSpec]) -> dict[str, ModelSpec]:
        """The specifications with the addresses of the servers that were started for them."""
        found = dict(specs)
        for role, model in step.models.items():
            if model.serve is not None:
                found[role] = replace(specs[role], base_urls=await self._fleets.base_urls(model.serve, role))
        return found


def exit_code(steps: Sequence[Stepped]) -> int:
    """That of the step which ended worst."""
    codes = {one.ending.code for one in steps}
    return next((code for code in SEVERITY if code in codes), 0)


def _only(job: Job, only: str) -> Step:
    step = next((step for step in job.steps if step.id == only), None)
    if step is None:
        raise UsageError(f"--only {only}: no such step; steps: {', '.join(step.id for step in job.steps)}")
    for other in step.reads:
        folder = job.folder / other
        if not output.is_run(folder) or next(iter(output.samples_of(folder)()), None) is None:
            raise UsageError(f"--only {only}: its input {other} is not there yet ({folder}); run {other} first")
    return step


def _served(step: Step) -> tuple[Serve, ...]:
    """The servers that a step needs, each once."""
    if isinstance(step, MixStep):
        return (step.embedding.serve,) if step.embedding and step.embedding.serve else ()
    return tuple(dict.fromkeys(model.serve for model in step.models.values() if model.serve is not None))


def _described(step: RecipeStep) -> list[Any]:
    """Who answers for each role; where, and on how many servers, changes no answer."""
    models = step.models.items()
    return [[role, m.spec.name or list(m.spec.base_urls), list(m.serve.args) if m.serve else []] for role, m in models]


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class _Record:
    """`job.json`: which steps are done, what was asked then, and what was made; nothing here is needed to go on."""

    path: Path

    def holds(self, step: RecipeStep, asked: str, formats: Sequence[str]) -> bool:
        """Whether the step is done, unchanged, with all its files there: then no server is needed to say so."""
        before = self._read().get(step.id)
        files = [step.folder / open_format(name).file_name for name in formats]
        if not isinstance(before, dict) or before.get("asked") != asked or not all(file.is_file() for file in files):
            return False
        return output.is_run(step.folder) and before.get("made") == _made(step.folder)

    def keep(self, step: RecipeStep, asked: str) -> None:
        self._write({**self._read(), step.id: {"asked": asked, "made": _made(step.folder)}})

    def forget(self, id_: str) -> None:
        there = self._read()
        if there.pop(id_, None) is not None:
            self._write(there)

    def _read(self) -> dict[str, Any]:
        try:
            found = orjson.loads(self.path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        steps = found.get("steps") if isinstance(found, dict) else None
        return steps if isinstance(steps, dict) else {}

    def _write(self, steps: Mapping[str, Any]) -> None:
        output.write_json(self.path, {"steps": dict(steps)})


def _made(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for sample in output.samples_of(folder)():
        digest.update(dump(sample) + b"\n")
    return digest.hexdigest()

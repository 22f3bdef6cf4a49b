"""One `generate` from wish to files: opens what it needs, runs the conveyor, writes the folder."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import shlex
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from synthgen import __version__, output, queries, recipes, runfolder, spending
from synthgen.asking import Asking
from synthgen.backends import ModelSpec
from synthgen.batches import remembering
from synthgen.budget import Budget, Price
from synthgen.dedup import NoveltyByScript, Seen
from synthgen.documents import Documents
from synthgen.errors import NotAllowed, UsageError
from synthgen.estimate import Asked, Estimate, Work, estimate, rehearse
from synthgen.finish import MOST_ROWS_AT_AN_INTERRUPT, About, counted, finish
from synthgen.formats import open_format
from synthgen.given import given
from synthgen.growth import LAST_LAG, Grown
from synthgen.inputs import Inputs, Scan, instructions, language
from synthgen.pulse import Pulse
from synthgen.recipe import Recipe, Setting, thresholds
from synthgen.report import Summary
from synthgen.rows import nearest_path
from synthgen.run import Conveyor, Ending, Plan
from synthgen.speakers import Effort, Speaker, Speakers
from synthgen.store import Store, explain
from synthgen.types import SamplingParams

# The target of a recipe that never runs out of tasks, when none is given.
DEFAULT_COUNT = 100
MOST_TASKS_COUNTED = 1_000_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user asked for, checked as far as words go."""

    recipe: str
    out: Path | None = None
    count: int | None = None
    seeds: tuple[str, ...] = ()
    input: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    lang: str = "auto"
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    sampling: SamplingParams = SamplingParams()
    seed: int = 0
    formats: tuple[str, ...] = ()
    prompts: tuple[Path, ...] = ()
    effort: Effort = Effort()
    novel_against: tuple[Path, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)  # by role
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """How it went: the exit code, one line why, and the counts."""

    ending: Ending
    summary: Summary
    folder: Path


class Session:
    """Holds what is open while one wish is being worked on; `async with` closes it."""

    def __init__(
        self,
        wish: Wish,
        note: Callable[[str], None],
        models: Speakers | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Checks everything that needs no server; `models` that are given stay open. Raises UsageError.

        Whoever gives a budget calls `spending.settle_up` when the command has ended.
        """
        self.wish, self._note, self.budget = wish, note, budget
        self.kind = recipes.find(wish.recipe)
        brought = {"seeds": wish.seeds, "prompts": wish.input, "documents": wish.documents}
        self._given = given(self.kind, brought, wish.lang, wish.values, note)
        self._scan, self.seeds = self._given.scan, self._given.seeds
        self.lang = wish.lang
        if wish.lang == "auto":
            self.lang = runfolder.settled_language(
                self.kind.name, wish.out, (*wish.input, *wish.documents), language(self.seeds)
            )
        self.out = wish.out or Path("runs") / f"{self.kind.name}-{self.lang}"
        self.count = wish.count or (DEFAULT_COUNT if self.kind.endless else None)
        self._own_prompts = recipes.prompts_beside(wish.recipe)
        for path in wish.prompts:
            self._check_prompts(path)
        for path in wish.novel_against:
            if not path.exists():
                raise UsageError(f"--novel-against {path}: no such run or file{nearest_path(path)}")
        recipe = self._recipe()  # a wrong knob or template is found before any server is asked
        self.formats = wish.formats or recipe.formats_for(self._given.what)
        for name in self.formats:
            open_format(name)
        # Formats that an earlier command wrote here.
        self._former = runfolder.check(self.out, self.kind.name, self.lang, (*wish.input, *wish.documents))
        self._warn_of_control_tokens()
        self._own_models = models is None
        self._models = models or Speakers(wish.effort, note)
        self.speakers: dict[str, Speaker] = {}

    def _check_prompts(self, path: Path) -> None:
        if not path.is_dir():
            raise UsageError(f"--prompts {path}: no such folder")
        names = self.kind.template_names().values()
        wanted = [f"{name}{end}" for name in names for end in (f".{self.lang}.jinja", ".jinja")]
        if not any((path / name).is_file() for name in wanted):
            raise UsageError(f"--prompts {path}: holds none of {', '.join(wanted[:4])} (synthgen prompts copy)")

    def _recipe(self, context_tokens: int | None = None, count_tokens: Callable[[str], int] = len) -> Recipe:
        folders = (*self.wish.prompts, *self._own_prompts)
        return self.kind(
            Setting(self.lang, context_tokens, count_tokens, folders, self.wish.sampling, self.wish.values)
        )

    def _warn_of_control_tokens(self) -> None:
        """Servers read what looks like a chat frame as one, wherever it stands; the text is sent as it is."""
        if self._scan is not None:
            number, where, what = self._scan.marked, self._scan.first_marked, self._given.what
        else:
            marked = [s.where for s in self.seeds if "<|im_" in "".join(map(str, s.fields.values()))]
            number, where, what = len(marked), marked[0] if marked else "", "seeds"
        if number:
            self._note(f"{where}: {number} {what} hold chat control tokens, which servers take as such")

    async def __aenter__(self) -> Session:
        try:
            await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _open(self) -> None:
        for role, spec in self.wish.models.items():
            self.speakers[role] = await self._models.open(replace(spec, folder=self.out) if spec.batch else spec)
        speaker = self.speakers["default"]
        self.recipe = self._recipe(speaker.capabilities.context_tokens, speaker.count_tokens)
        self.recipe.fit(self.seeds)
        self._against = _digest_of_all(self._novel_against())
        for line in self.recipe.notes:
            self._note(line)
        if self.kind.rubrics and self.speakers.get("judge", speaker).model == speaker.model:
            said = f"{speaker.model} judges its own answers, and models favour what they wrote themselves"
            self._note(f"{said}; --judge-model names another judge")
        if self.kind.grows and any(spec.batch for spec in self.wish.models.values()):
            self._note(f"{self.kind.name} grows its own pool: no batch can hold more than {LAST_LAG} of its tasks")

    def _novel_against(self) -> Iterator[tuple[str, str]]:
        """(place, instruction) of all that this run must differ from; read anew each time, as it may be long."""
        return chain.from_iterable(instructions(path) for path in self.wish.novel_against)

    async def __aexit__(self, *_: object) -> None:
        if self._own_models:
            await self._models.aclose()

    async def generate(self, watch: Callable[[Conveyor], Awaitable[Ending]]) -> Result:
        """Run to the end and write the folder; `watch` runs the conveyor and shows how it goes."""
        began = time.monotonic()
        store = Store(self.out)
        for left in self.out.glob(".*.tmp"):  # what a killed process was writing; the lock is ours now
            left.unlink(missing_ok=True)
        try:
            asking = Asking(store, self.speakers, self.wish.seed, prices=self.wish.prices, budget=self.budget)
            conveyor = self._conveyor(store, asking)
            await self._foresee(store, conveyor)
            async with (
                remembering(store, [b for s in self.speakers.values() for b in s.backends]),
                spending.in_time(conveyor, self.budget),
            ):
                ending = await watch(conveyor)
            if store.pulse is not None:
                store.start(pulse=store.pulse())
            if ending.code == 5 and store.was_empty and not any(s.pool.answered for s in self.speakers.values()):
                ending = Ending(NotAllowed.exit_code, ending.line)  # no server ever answered
            about = About(
                self.kind.name, self.lang, self.count, self.formats,
                {role: s.model for role, s in self.speakers.items()},
                [Path(p).name for p in self._given.paths], shlex.join(self.wish.command), self._former,
            )  # fmt: skip
            seconds = time.monotonic() - began  # the folder is still ours while its files are written
            if ending.code in (130, 143) and conveyor.board.accepted > MOST_ROWS_AT_AN_INTERRUPT:
                self._note(
                    f"{self.out}: {conveyor.board.accepted:,} samples are stored; the same command writes the files"
                )
                prices = spending.by_model(self.wish.prices, self.speakers)
                summary = counted(about, conveyor.board, asking.usage, prices, seconds)
            else:
                summary = finish(self.out, about, self._note, served=asking.usage.served, seconds=seconds)
        except sqlite3.Error as error:
            raise explain(error, self.out) from error
        finally:
            store.close()
        return Result(ending, summary, self.out)

    def work(self, accepted: int, decided: int) -> Work:
        """What is left after so many accepted samples and decided tasks."""
        tasks = self._tasks
        # A document that is not used is a task that asks nothing: those that are left are taken to have their share.
        asking = (tasks - self._given.unread) / tasks if tasks else 1.0
        return Work(
            self.recipe, self.seeds, self.wish.seed, self.speakers, self.wish.prices, self.out,
            None if self.count is None else max(0, self.count - accepted),
            None if tasks is None else ceil(max(0, tasks - decided) * asking),
            0 if tasks is None else int(decided * asking),
        )  # fmt: skip

    @cached_property
    def _tasks(self) -> int | None:
        """How many tasks there are, where there is an end: of a document as many as it has chunks."""
        if isinstance(self._scan, Scan):
            return self._scan.rows
        if self.kind.endless:
            return None
        return sum(1 for _ in islice(self.recipe.rounds(self.seeds, Grown(), Random(0)), MOST_TASKS_COUNTED))

    async def foresee(self) -> tuple[list[Asked], Estimate | None]:
        """The requests of the first task, and what is left to do in this folder; asks and writes nothing."""
        accepted = decided = 0
        if output.is_run(self.out):
            with output.reading(self.out) as db:
                stored = queries.values(db, "decided", "identity", "input_rows")
                if not self._changed(self._identity(), stored.get("identity"), stored.get("input_rows")):
                    accepted, decided = output.waterfall(db, self.count).accepted, stored.get("decided", 0)
        work = self.work(accepted, decided)
        rehearsed = await rehearse(work)
        return (rehearsed[0] if rehearsed else []), await estimate(work, rehearsed)

    async def _foresee(self, store: Store, conveyor: Conveyor) -> None:
        """Keep the estimate of what is left, to be compared with what was measured in the end."""
        board = conveyor.board
        found = await estimate(self.work(board.accepted, board.tasks))
        before = {
            "accepted": board.accepted,
            "completions": store.completions,
            "seconds": json.loads(store.meta("pulse") or b"{}").get("seconds", 0.0),
        }
        store.start(estimate=json.dumps({"estimate": found.as_dict(), "before": before} if found else None))

    def _conveyor(self, store: Store, asking: Asking) -> Conveyor:
        if store.meta("recipe") is not None:
            there = store.meta("recipe"), store.meta("lang")
            runfolder.check_same(self.out, there, (self.kind.name, self.lang))
        seen, identity = self._seen(), self._identity()
        changed = self._changed(identity, json.loads(store.meta("identity") or "null"), store.meta("input_rows"))
        if changed:
            self._note(
                f"other {', '.join(changed)} than before: the samples here are made anew, with stored answers where "
                "they fit; the earlier command brings them back"
            )
            store.forget_decisions(0)
        store.start(
            identity=json.dumps(identity),
            recipe=self.kind.name,
            lang=self.lang,
            input_rows=self._scan.rows if self._scan else None,
        )
        carried = spending.take_up(store, self.budget, spending.by_model(self.wish.prices, self.speakers))
        if carried:
            self._note(carried)
        output.write_json(self.out / "run.json", self._about())
        speaker = self.speakers["default"]
        plan = Plan(
            self.count,
            self.wish.seed,
            {
                "recipe": self.kind.name,
                "lang": self.lang,
                "model": speaker.model,
                "prompts": {part: t.digest for part, t in self.recipe.prompts.items()},
                "sampling": _given(self.recipe.sampling),
            },
            self._tasks if self._scan else None,
        )
        conveyor = Conveyor(self.recipe, self.seeds, seen, asking, plan)
        conveyor.resume()
        before = json.loads(store.meta("pulse") or b"{}")
        store.pulse = Pulse(conveyor, before.get("seconds", 0.0))
        return conveyor

    def _changed(self, identity: dict[str, Any], before: dict[str, Any] | None, rows: int | None) -> list[str]:
        """What shapes the dataset and is not as it was when this folder's decisions were made."""
        if before is None:
            return []
        now = json.loads(json.dumps(identity))  # tuples are lists in what is stored
        if self._grown(before.get("seeds"), rows):
            before["seeds"] = now["seeds"]
        words = {"seeds": self._given.what}
        return [words.get(k, k.replace("_", " ")) for k in sorted(now) if before.get(k) != now[k]]

    def _grown(self, digest: str | None, rows: int | None) -> bool:
        """Whether the inputs are those of an earlier command with more at the end: its decisions hold."""
        if self._scan is None or rows is None or rows >= self._scan.rows or self._scan.digest == digest:
            return False
        assert isinstance(self.seeds, Inputs | Documents)
        return self.seeds.scan(first=rows).digest_of_first == digest

    def _seen(self) -> Seen:
        """What a new instruction is compared with from the start: seeds, and earlier runs or files."""
        seen = Seen(NoveltyByScript(*thresholds(self.recipe)))
        for seed in self.seeds if self.kind.unlike_seeds else ():
            seen.add_instruction(seed.id, str(seed.fields["instruction"]))
        for name, instruction in self._novel_against():
            seen.add_instruction(name, instruction)
        return seen

    def asked(self) -> str:
        """A digest of all that is known of the dataset before a server is asked."""
        more = {"count": self.count, "formats": self.formats, "novel_against": _digest_of_all(self._novel_against())}
        return _digest({**self._shape(self._recipe()), **more})

    def _identity(self) -> dict[str, Any]:
        """Everything that shapes the dataset, and nothing that does not."""
        return {
            **self._shape(self.recipe),
            "models": {role: s.model for role, s in self.speakers.items()},
            "context_tokens": self.speakers["default"].capabilities.context_tokens,
            "novel_against": self._against,
            "tokens_per_char": self.speakers["default"].capabilities.tokens_per_char,
        }

    def _shape(self, recipe: Recipe) -> dict[str, Any]:
        """The part of it that needs no server."""
        return {
            "recipe": self.kind.name,
            "lang": self.lang,
            "knobs": {name: getattr(recipe, name) for name in self.kind.knobs()},
            "sampling": _given(recipe.sampling),
            "seed": self.wish.seed,
            "prompts": {part: t.digest for part, t in recipe.prompts.items()},
            "seeds": self._scan.digest if self._scan else _digest([[s.id, s.fields] for s in self.seeds]),
            "code": _digest(Path(inspect.getfile(self.kind.run)).read_text(encoding="utf-8")),
            "version": __version__,
        }

    def _about(self) -> dict[str, Any]:
        servers = {role: list(spec.base_urls) for role, spec in self.wish.models.items() if spec.base_urls}
        return {
            **self._identity(),
            "count": self.count,
            "input": [*self.wish.input, *self.wish.documents],
            "formats": list(self.formats),
            "figures": list(self.kind.figures),
            "servers": servers,
            "prices": {role: price.as_dict() for role, price in self.wish.prices.items()},
            "python": platform.python_version(),
            "command": shlex.join(self.wish.command),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def _given(sampling: SamplingParams) -> dict[str, Any]:
    return {k: v for k, v in asdict(sampling).items() if v not in (None, ())}


def _digest_of_all(pairs: Iterable[tuple[str, str]]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        found.update(json.dumps(pair).encode())
    return found.hexdigest()


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=repr)  # columns of others hold anything
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

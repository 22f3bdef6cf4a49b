"""One `generate` from wish to files: opens what it needs, runs the conveyor, writes the folder."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import shlex
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from synthgen import __version__, output, recipes
from synthgen.asking import Asking, Speaker
from synthgen.backends import ModelSpec, check_same_model, open_backends
from synthgen.data import folder
from synthgen.dedup import NoveltyByScript, Seen, cjk_share
from synthgen.errors import NotAllowed, UsageError
from synthgen.filters import parts
from synthgen.formats import open_format
from synthgen.formats.card import card, dataset_info
from synthgen.formats.write import write_bytes
from synthgen.load import Pool, allow_files
from synthgen.recipe import Recipe, Setting, thresholds
from synthgen.report import Summary
from synthgen.rows import nearest_path
from synthgen.run import Conveyor, Ending, Plan
from synthgen.seeds import read_seeds
from synthgen.store import Store, explain, totals
from synthgen.types import Backend, Capabilities, SamplingParams, Seed

# A ceiling for servers that queue what they cannot take yet; the embedded engine has 32 slots.
DEFAULT_CONCURRENCY = 64
# The target of a recipe that never runs out of tasks, when none is given.
DEFAULT_COUNT = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user asked for, checked as far as words go."""

    recipe: str
    out: Path | None = None
    count: int | None = None
    seeds: tuple[str, ...] = ()
    lang: str = "auto"
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    sampling: SamplingParams = SamplingParams()
    seed: int = 0
    formats: tuple[str, ...] = ()
    prompts: tuple[Path, ...] = ()
    concurrency: int | None = None
    timeout_seconds: float = 600.0
    retries: int = 5
    rate_per_second: float | None = None
    novel_against: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """How it went: the exit code, one line why, and the counts."""

    ending: Ending
    summary: Summary
    folder: Path


class Session:
    """Holds what is open while one wish is being worked on; `async with` closes it."""

    def __init__(self, wish: Wish, note: Callable[[str], None]) -> None:
        """Checks everything that needs no server. Raises UsageError."""
        self.wish, self._note = wish, note
        self.kind = recipes.find(wish.recipe)
        paths = wish.seeds or _bundled(wish.lang)
        self.seeds = read_seeds(paths)
        self.lang = _lang(self.seeds) if wish.lang == "auto" else wish.lang
        self.out = wish.out or Path("runs") / f"{self.kind.name}-{self.lang}"
        self.count = wish.count or (DEFAULT_COUNT if self.kind.endless else None)
        self.formats = wish.formats or self.kind.formats
        for name in self.formats:
            open_format(name)
        self._own_prompts = (Path(wish.recipe).parent / "prompts",) if wish.recipe.endswith(".py") else ()
        for path in wish.prompts:
            if not path.is_dir():
                raise UsageError(f"--prompts {path}: no such folder")
        for path in wish.novel_against:
            if not path.exists():
                raise UsageError(f"--novel-against {path}: no such run or file{nearest_path(path)}")
        self._recipe()  # a wrong knob or template is found before any server is asked
        self._check_folder()
        self._warn_of_control_tokens()
        self._pools: list[Pool] = []
        self.speakers: dict[str, Speaker] = {}

    def _recipe(self, context_tokens: int | None = None, count_tokens: Callable[[str], int] = len) -> Recipe:
        folders = (*self.wish.prompts, *self._own_prompts)
        return self.kind(
            Setting(self.lang, context_tokens, count_tokens, folders, self.wish.sampling, self.wish.values)
        )

    def _check_folder(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out}: a file is in the way; give another --out")
        if not output.is_run(self.out):
            return
        try:
            there = output.read_run(self.out)
        except UsageError:  # killed before it was written, or edited since: the store will say, and it is written anew
            return
        self._check_same(there.get("recipe"), there.get("lang"))

    def _check_same(self, recipe: Any, lang: Any) -> None:
        if (recipe, lang) != (self.kind.name, self.lang):
            raise UsageError(
                f"{self.out}: holds a run of {recipe} ({lang}), not of {self.kind.name} ({self.lang}); "
                "give another --out"
            )

    def _warn_of_control_tokens(self) -> None:
        """Servers read what looks like a chat frame as one, wherever it stands; the text is sent as it is."""
        marked = [s for s in self.seeds if "<|im_" in "".join(map(str, s.fields.values()))]
        if marked:
            self._note(f"{marked[0].where}: {len(marked)} seeds hold chat control tokens, which servers take as such")

    async def __aenter__(self) -> Session:
        try:
            await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _open(self) -> None:
        concurrency = self.wish.concurrency or DEFAULT_CONCURRENCY
        for role, spec in self.wish.models.items():
            backends = open_backends(spec)
            pool = Pool(
                backends,
                concurrency=concurrency,
                retries=self.wish.retries,
                timeout_seconds=self.wish.timeout_seconds,
                rate_per_second=self.wish.rate_per_second,
            )
            self._pools.append(pool)
            if role == "default":  # a limit is a server's: with two of them twice as many tasks are worth running
                self._tasks_at_once = concurrency * len(backends)
            seen = [await b.probe() for b in backends]
            check_same_model(backends, seen)
            # Every server of a pool must be able to take every request: the smallest context counts.
            contexts = [s.context_tokens for s in seen if s.context_tokens is not None]
            common = replace(seen[0], context_tokens=min(contexts, default=None))
            self.speakers[role] = Speaker(_model_name(backends[0], common), pool, common)
        speaker = self.speakers["default"]
        self.recipe = self._recipe(speaker.capabilities.context_tokens, speaker.count_tokens)
        self.recipe.fit(self.seeds)
        self._against = [
            (f"{path}:{n}", parts(s)[0])
            for path in self.wish.novel_against
            for n, s in enumerate(output.samples_of(path)(), 1)
        ]
        allow_files(concurrency * len(self._pools))
        for line in self.recipe.notes:
            self._note(line)

    async def __aexit__(self, *_: object) -> None:
        for pool in self._pools:
            await pool.aclose()

    async def generate(self, watch: Callable[[Conveyor], Awaitable[Ending]]) -> Result:
        """Run to the end and write the folder; `watch` runs the conveyor and shows how it goes."""
        began = time.monotonic()
        store = Store(self.out)
        for left in self.out.glob(".*.tmp"):  # what a killed process was writing; the lock is ours now
            left.unlink(missing_ok=True)
        try:
            asking = Asking(store, self.speakers, self.wish.seed)
            conveyor = self._conveyor(store, asking)
            ending = await watch(conveyor)
            if ending.code == 5 and store.was_empty and not any(pool.answered for pool in self._pools):
                ending = Ending(NotAllowed.exit_code, ending.line)  # no server ever answered
            summary = self._write(asking, time.monotonic() - began)  # while the folder is still ours
        except sqlite3.Error as error:
            raise explain(error, self.out) from error
        finally:
            store.close()
        return Result(ending, summary, self.out)

    def _conveyor(self, store: Store, asking: Asking) -> Conveyor:
        if store.meta("recipe") is not None:
            self._check_same(store.meta("recipe"), store.meta("lang"))
        seen, fingerprint = self._seen(), _digest(self._identity())
        before = store.meta("fingerprint")
        if before is not None and before != fingerprint:
            self._note(
                "other knobs, seed, model or templates than before: replayed, stored answers used where they fit"
            )
            store.forget_decisions(0)
        store.start(fingerprint=fingerprint, recipe=self.kind.name, lang=self.lang)
        output.write_json(self.out / "run.json", self._about())
        speaker = self.speakers["default"]
        plan = Plan(
            self.count,
            self._tasks_at_once,
            self.wish.seed,
            {
                "recipe": self.kind.name,
                "lang": self.lang,
                "model": speaker.model,
                "prompts": {part: t.digest for part, t in self.recipe.prompts.items()},
                "sampling": _given(self.recipe.sampling),
            },
        )
        conveyor = Conveyor(self.recipe, self.seeds, seen, asking, plan)
        conveyor.resume()
        return conveyor

    def _seen(self) -> Seen:
        """What a new instruction is compared with from the start: seeds, and earlier runs or files."""
        seen = Seen(NoveltyByScript(*thresholds(self.recipe)))
        for seed in self.seeds:
            seen.add_instruction(seed.id, str(seed.fields["instruction"]))
        for name, instruction in self._against:
            seen.add_instruction(name, instruction)
        return seen

    def _identity(self) -> dict[str, Any]:
        """Everything that shapes the dataset, and nothing that does not."""
        return {
            "recipe": self.kind.name,
            "lang": self.lang,
            "knobs": {name: getattr(self.recipe, name) for name in self.kind.knobs()},
            "models": {role: s.model for role, s in self.speakers.items()},
            "context_tokens": self.speakers["default"].capabilities.context_tokens,
            "sampling": _given(self.recipe.sampling),
            "seed": self.wish.seed,
            "prompts": {part: t.digest for part, t in self.recipe.prompts.items()},
            "seeds": _digest([[s.id, s.fields] for s in self.seeds]),
            "novel_against": _digest(self._against),
            "tokens_per_char": self.speakers["default"].capabilities.tokens_per_char,
            "code": _digest(Path(inspect.getfile(self.kind.run)).read_text(encoding="utf-8")),
            "version": __version__,
        }

    def _about(self) -> dict[str, Any]:
        servers = {role: list(spec.base_urls) for role, spec in self.wish.models.items() if spec.base_urls}
        return {
            **self._identity(),
            "count": self.count,
            "formats": list(self.formats),
            "servers": servers,
            "python": platform.python_version(),
            "command": shlex.join(self.wish.command),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _write(self, asking: Asking, seconds: float) -> Summary:
        count = self.count
        with output.reading(self.out) as db:
            written = output.write_formats(db, count, self.out, self.formats)
            for name, one in written.items():
                for reason, number in one.left_out.items():
                    self._note(f"{one.path}: {number} samples are not in it, as {name} cannot hold {reason}")
            files = {w.path.name: w.rows for w in written.values()}
            files["rejected.jsonl"] = output.write_rejected(db, count, self.out)
            files["failures.jsonl"] = output.write_failures(db, count, self.out)
            falls = output.waterfall(db, count)
            requests, prompt_tokens, completion_tokens = totals(db)
        models = {role: s.model for role, s in self.speakers.items()}
        info = dataset_info({name: (w.path.name, w.columns) for name, w in written.items()})
        write_bytes(self.out / "dataset_info.json", info)
        text = card(
            title=f"{self.kind.name} ({self.lang})",
            files={name: (w.path.name, w.rows) for name, w in written.items()},
            recipe=self.kind.name,
            languages=[self.lang],
            models=list(models.items()),
            waterfall=[("candidates", falls.candidates), *_steps(falls), ("accepted", falls.accepted)],
            command=shlex.join(self.wish.command),
        )
        write_bytes(self.out / "README.md", text.encode())
        return Summary(
            recipe=self.kind.name,
            lang=self.lang,
            target=count,
            falls=falls,
            requests=requests,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            served=asking.usage.served,
            seconds=seconds,
            models=models,
            files=files,
        )


def _given(sampling: SamplingParams) -> dict[str, Any]:
    return {k: v for k, v in asdict(sampling).items() if v not in (None, ())}


def _steps(falls: output.Waterfall) -> list[tuple[str, int]]:
    """What was left after each reason, the biggest first."""
    left, steps = falls.candidates, []
    for reason, number in falls.rejected.most_common():
        left -= number
        steps.append((f"after {reason}", left))
    return steps


def _bundled(lang: str) -> tuple[str, ...]:
    return (str(folder("seeds") / ("zh" if lang == "zh" else "en")),)


def _lang(seeds: Sequence[Seed]) -> str:
    texts = "".join(str(s.fields["instruction"]) for s in seeds[:200])
    return "zh" if cjk_share(texts) >= 0.3 else "en"


def _model_name(backend: Backend, seen: Capabilities) -> str:
    digest = getattr(backend, "digest", None)
    if digest:  # the weights are part of the identity of the answers
        return f"{backend.name}:{digest}"
    model = getattr(backend, "model", None)
    return str(model or (seen.models[0] if seen.models else backend.name))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=repr)  # columns of others hold anything
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

"""The steps of a job file: a recipe step takes the options of `generate`, a mix its sources and what they must pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import click

from synthgen import output, recipes
from synthgen.backends import ModelSpec, open_backends
from synthgen.cleaning.benchmarks import places, questions
from synthgen.cleaning.copying import identity
from synthgen.dedup.greedy import EXACT, METHODS, SEMANTIC
from synthgen.documents import holds_documents
from synthgen.errors import SynthgenError, UsageError
from synthgen.formats import open_format
from synthgen.formats.containers import check_name
from synthgen.jobs.plan import EMBEDDING, MixStep, Model, Options, Part, RecipeStep, Source
from synthgen.jobs.sources import reading
from synthgen.jobs.tree import Faults, Value, known_pairs, near
from synthgen.jobs.values import number, text, texts
from synthgen.recipe import Recipe, Setting
from synthgen.rows import nearest_path, row_files
from synthgen.session import Session, Wish

_MIX_KEYS = ("id", "mix", "count", "seed", "dedup", "decontaminate", "export")
_DEDUP = (EXACT, *METHODS)
_ROLE_KEYS = {"default": ("model", "base_url"), "judge": ("judge_model", "judge_base_url")}
# Options that take a run: a step's id stands for its folder.
_READS = ("input", "novel_against")


@dataclass(slots=True)
class Reading:
    """What is known of the file while its steps are read."""

    faults: Faults
    options: Options
    command: tuple[str, ...]
    folder: Path
    seed: int = 0
    models: Mapping[str, Model] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    checked: set[ModelSpec] = field(default_factory=set)


def read_recipe_step(
    name: str, one: Value, names: Sequence[str], state: Reading
) -> tuple[RecipeStep | None, tuple[str, ...]]:
    """The step, None where it is at fault, and the steps that it reads."""
    faults, before = state.faults, len(state.faults.found)
    found = dict(known_pairs(one, ("id", "recipe", *state.options.keys), f"the recipe step {name!r}", faults))
    recipe = text(found["recipe"], "recipe", faults)
    kind = _kind(found["recipe"], recipe, faults)
    sources = {key: list(_sources(found[key], key, names, state)) for key in _READS if key in found}
    reads = tuple(s.step for many in sources.values() for s in many if s.step)
    args = [] if "seed" in found else [f"--seed={state.seed}"]
    for key, value in found.items():
        if key in ("id", "recipe"):
            continue
        places = [s.place for s in sources[key]] if key in sources else None
        args += _args(key, value, kind, places, state)
    if recipe is None or kind is None or len(faults.found) > before:
        return None, reads
    folder = state.folder / name
    try:
        wish = replace(state.options.wish(recipe, args), out=folder)
        _check_wish(wish, kind, bool(reads))
    except (SynthgenError, click.ClickException) as error:
        faults.add(one.line, f"step {name!r}: {_said(error)}")
        return None, reads
    roles = {role for role, keys in _ROLE_KEYS.items() if any(key in found for key in keys)}
    own = {role: Model(spec) for role, spec in wish.models.items() if role in roles}
    shared = {role: model for role, model in state.models.items() if role != EMBEDDING}
    models = {**shared, **own} or {role: Model(spec) for role, spec in wish.models.items()}
    if "batch" in found and all(model.serve for model in models.values()):
        faults.add(found["batch"].line, "batch: the job serves this model itself, which answers at once; leave it out")
    if "api_key_env" in found and shared and not roles:
        faults.add(found["api_key_env"].line, "api_key_env: the key belongs to a model; write it there, under models")
    prices = {role: model.price for role, model in models.items() if model.price is not None}
    wish = replace(wish, prices=prices | dict(wish.prices))
    step = RecipeStep(name, one.line, folder, wish, reads, models)
    _check_models(step, state)
    return step, reads


def _check_models(step: RecipeStep, state: Reading) -> None:
    """What a specification lacks, an address or a key: told before another step has asked for hours."""
    for role, model in step.models.items():
        spec = step.spec(role)
        if model.serve is None and spec not in state.checked:
            state.checked.add(spec)
            try:
                open_backends(spec)
            except UsageError as error:
                state.faults.add(step.line, f"step {step.id!r}: {role}: {error}")


def _kind(value: Value, recipe: str | None, faults: Faults) -> type[Recipe] | None:
    try:
        return recipes.find(recipe) if recipe else None
    except UsageError as error:
        faults.add(value.line, str(error))
        return None


def _args(key: str, value: Value, kind: type[Recipe] | None, places: Sequence[str] | None, state: Reading) -> list[str]:
    """One option as on a command line; what is wrong with it alone is a fault of its line."""
    flag, faults = f"--{key.replace('_', '-')}", state.faults
    words = list(_words(key, value, faults)) if places is None else list(places)
    args = []
    for line, word in [(value.line, w) if isinstance(w, str) else w for w in words]:
        args.append(f"{flag}={word}")
        try:
            wish = state.options.wish("alpaca", args[-1:])
            if kind is not None:
                _check_option(key, word, wish, kind)
        except (SynthgenError, click.ClickException) as error:
            faults.add(line, f"{key}: {_said(error)}")
    return args


def _words(key: str, value: Value, faults: Faults) -> Iterator[tuple[int, str]]:
    """What stands after the flag, each time that it is given."""
    data = value.data
    if isinstance(data, dict):
        pairs = [(one.line, f"{name}={_word(one.data)}") for name, one in data.items() if _single(one, key, faults)]
        yield from pairs if key == "set" else [(value.line, ",".join(pair for _, pair in pairs))]
    elif isinstance(data, list):
        many = [(one.line, _word(one.data)) for one in data if _single(one, key, faults)]
        yield from [(value.line, ",".join(word for _, word in many))] if key == "format" else many
    elif _single(value, key, faults):
        yield value.line, _word(data)


def _single(value: Value, key: str, faults: Faults) -> bool:
    good = not isinstance(value.data, dict | list) and value.data not in (None, "")
    if not good:
        faults.add(value.line, f"{key}: a single value is expected, this is {value.kind}")
    return good


def _word(data: Any) -> str:
    return str(data).lower() if isinstance(data, bool) else str(data)


def _check_option(key: str, word: str, wish: Wish, kind: type[Recipe]) -> None:
    """What an option's own value shows to be wrong, so that each one is told and not the first alone."""
    if key == "set":
        for name, given in wish.values.items():
            kind.knob_value(name, given)
    elif key == "format":
        for name in wish.formats:
            open_format(name)
    elif key == "seeds" and word not in ("en", "zh") and not word.startswith("hf:"):
        row_files(Path(word))
    elif key == "prompts" and not Path(word).is_dir():
        raise UsageError(f"{word}: no such folder")


def _check_wish(wish: Wish, kind: type[Recipe], waits: bool) -> None:
    """All that `generate` would say before it asks; what reads a step that is still to come shows its knobs only."""
    if wish.input and "prompts" not in kind.takes:
        what = " or ".join(kind.takes)
        raise UsageError(f"{kind.name} works on {what}, not on input; give it {what}, or another recipe")
    if waits:
        folders = (*wish.prompts, *recipes.prompts_beside(wish.recipe))
        kind(Setting("en" if wish.lang == "auto" else wish.lang, prompts=folders, values=wish.values))
    else:
        Session(wish, lambda _: None)


def _said(error: SynthgenError | click.ClickException) -> str:
    """One line; click names the flag, which the line's key says already."""
    words = error.message if isinstance(error, click.BadParameter) else str(error)
    return (
        " ".join(words.split())
        .rstrip(".")
        .replace("valid integer range", "whole number")
        .replace("valid float range", "number")
    )


def _sources(value: Value, key: str, names: Sequence[str], state: Reading) -> Iterator[Source]:
    """One source or a list: steps by their ids, else what lies on the disk."""
    for one in value.data if isinstance(value.data, list) else [value]:
        if not isinstance(one.data, str) or not one.data:
            state.faults.add(one.line, f"{key}: a step or a file is expected, this is {one.kind}")
            continue
        found = _source(one.data, one.line, key, names, state)
        if found is not None:
            yield found


def _source(word: str, line: int, key: str, names: Sequence[str], state: Reading) -> Source | None:
    if word in names:
        return Source(word, str(state.folder / word), word)
    path = Path(word)
    if word.startswith("hf:") or output.is_run(path):
        return Source(word, word)
    if not path.exists():
        hint = near(word, names) or nearest_path(path)
        state.faults.add(line, f"{key}: {word!r} is neither a step of this job nor a run nor a file{hint}")
        return None
    try:
        if key != "mix" or not holds_documents(path):
            row_files(path)
    except UsageError as error:
        state.faults.add(line, f"{key}: {error}")
        return None
    return Source(word, word)


def read_mix(name: str, one: Value, names: Sequence[str], state: Reading) -> tuple[MixStep | None, tuple[str, ...]]:
    """The step, None where it is at fault, and the steps that it reads."""
    faults, before = state.faults, len(state.faults.found)
    found = dict(known_pairs(one, _MIX_KEYS, f"the mix step {name!r}", faults))
    parts = tuple(_parts(found["mix"], names, state))
    mixed = found["mix"].data
    reads = tuple(word for word in mixed if word in names) if isinstance(mixed, dict) else ()
    count = number(found.get("count"), "count", faults, whole=True, low=1)
    seed = number(found.get("seed"), "seed", faults, whole=True, low=0)
    dedup = texts(found.get("dedup"), "dedup", faults)
    for method in dedup:
        if method not in _DEDUP:
            hint = near(method, _DEDUP) or f"; methods: {', '.join(_DEDUP)}"
            faults.add(found["dedup"].line, f"dedup: no method is called {method!r}{hint}")
    embedding = state.models.get(EMBEDDING) if SEMANTIC in dedup else None
    if SEMANTIC in dedup:
        _check_embedding(embedding, found["dedup"].line, state)
    against = _against(found.get("decontaminate"), parts, faults)
    export = _export(found.get("export"), faults)
    if len(faults.found) > before or not name:
        return None, reads
    step = MixStep(
        name, one.line, state.folder / name, parts, reads,
        int(state.seed if seed is None else seed), None if count is None else int(count),
        dedup, embedding, against, export, state.command,
    )  # fmt: skip
    return step, reads


def _against(value: Value | None, parts: Sequence[Part], faults: Faults) -> tuple[str, ...]:
    """The benchmarks, of which each can be read, and none comes twice or is a part of the mix."""
    found = texts(value, "decontaminate", faults)
    if value is None:
        return ()
    checks: list[Callable[[], object]] = [partial(places, found), *(partial(_read_whole, one) for one in found)]
    for check in checks:
        try:
            check()
        except UsageError as error:  # both say the same of a file that is not there, and it is told once
            faults.add(value.line, f"decontaminate: {error}")
    benchmarks = set(map(identity, found))
    for place in (part.source.place for part in parts):
        if identity(place) in benchmarks:
            faults.add(value.line, f"decontaminate: {place} would be held against itself; leave it out of the mix")
    return found


def _read_whole(place: str) -> None:
    deque(questions([place]), maxlen=0)


def _check_embedding(model: Model | None, line: int, state: Reading) -> None:
    """Whether there is a model that compares meanings, and it says where it is served."""
    if model is None:
        said = "semantic compares embeddings; name their model: models: {embedding: {model: ..., base_url: ...}}"
        state.faults.add(line, f"dedup: {said}")
    elif model.serve is None and model.spec not in state.checked:
        state.checked.add(model.spec)
        try:
            open_backends(model.spec)
        except UsageError as error:
            state.faults.add(line, f"models: {EMBEDDING}: {error}")


def _parts(value: Value, names: Sequence[str], state: Reading) -> Iterator[Part]:
    if not isinstance(value.data, dict) or not value.data:
        state.faults.add(value.line, f"mix maps sources to shares ({{tasks: 1.0}}), this is {value.kind}")
        return
    for word, one in value.data.items():
        source = _source(word, one.line, "mix", names, state)
        amount = number(one, f"mix: {word}", state.faults)
        if amount is None:
            continue
        if amount <= 0 or (amount > 1 and amount != int(amount)):
            rule = "a share above 0 and at most 1, or a whole number of rows from 2"
            state.faults.add(one.line, f"mix: {word}: {amount:g} is neither {rule}")
        elif source is not None and _holds_samples(source, one.line, state.faults):
            yield Part(source, most=int(amount)) if amount > 1 else Part(source, Fraction(str(one.data)))


def _holds_samples(source: Source, line: int, faults: Faults) -> bool:
    """Whether every row of what lies on the disk is a sample; prompts alone are none."""
    path = Path(source.place)
    try:
        if source.step is None and not source.place.startswith("hf:"):
            samples = output.samples_of(path)() if output.is_run(path) else reading(source.place)
            for number, sample in enumerate(samples, 1):
                if sample.text is None and not any(m.role == "assistant" for m in sample.messages):
                    faults.add(line, f"mix: {path}: row {number} has no answer; a mix takes samples, not prompts")
                    return False
    except SynthgenError as error:
        faults.add(line, f"mix: {error}")
        return False
    return True


def _export(value: Value | None, faults: Faults) -> dict[str, Path]:
    """Formats and the files that they go to."""
    if value is None:
        return {}
    if not isinstance(value.data, dict):
        faults.add(value.line, f"export maps formats to files ({{alpaca: out/train.jsonl}}), this is {value.kind}")
        return {}
    found: dict[str, Path] = {}
    for name, one in value.data.items():
        path = Path(text(one, f"export: {name}", faults) or "-")
        try:
            check_name(path, open_format(name))
        except UsageError as error:
            faults.add(one.line, f"export: {error}")
        if path.is_dir() or path in found.values():
            why = "is a folder" if path.is_dir() else "is written twice"
            faults.add(one.line, f"export: {path} {why}; give each format a file of its own")
        found[name] = path
    return found

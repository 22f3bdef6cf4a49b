"""A job file becomes a Job: everything that can be known before the first request is checked, and told at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from synthgen.backends import ModelSpec
from synthgen.budget import Price
from synthgen.jobs import graph
from synthgen.jobs.plan import EMBEDDING, ROLES, Job, Model, Options, RecipeStep, Step
from synthgen.jobs.steps import Reading, read_mix, read_recipe_step
from synthgen.jobs.tree import Faults, Value, known_pairs, near, read
from synthgen.jobs.values import number, numbers, safe_name, text, texts
from synthgen.serve import Serve, check_args

_KEYS = ("name", "seed", "budget", "models", "steps")
_MODEL_KEYS = ("model", "base_url", "api_key_env", "price", "serve", "replicas", "args", "start_timeout")
_SERVE_KEYS = ("replicas", "args", "start_timeout")
_BUDGET_KEYS = ("usd", "tokens", "minutes")
RUNS = Path("runs")


def read_job(path: Path, options: Options, command: Sequence[str]) -> Job:
    """The job of a file. Raises UsageError with every fault and its line."""
    faults = Faults(path)
    top = read(path, faults)
    found = dict(known_pairs(top, _KEYS, "a job", faults))
    state = Reading(faults, options, tuple(command), RUNS)
    name = safe_name(found.get("name"), path.stem, "name", faults)
    state.folder = RUNS / name
    state.seed = int(number(found.get("seed"), "seed", faults, whole=True, low=0) or 0)
    budget = numbers(found.get("budget"), "budget", _BUDGET_KEYS, faults)
    state.models = _models(found.get("models"), faults)
    steps = _steps(found.get("steps"), top, state)
    if "usd" in budget and not any(map(_priced, steps)):
        faults.add(
            found["budget"].line, "budget: usd needs the price of a model; give models: ... price: {in: 0.15, out: 0.6}"
        )
    faults.raise_any()
    return Job(name, state.folder, steps, budget)


def _priced(step: Step) -> bool:
    """Whether the dollars of something that the step asks can be counted."""
    if isinstance(step, RecipeStep):
        return bool(step.wish.prices)
    return step.embedding is not None and step.embedding.price is not None


def _steps(value: Value | None, top: Value, state: Reading) -> tuple[Step, ...]:
    faults = state.faults
    if value is None or not isinstance(value.data, list) or not value.data:
        line = top.line if value is None else value.line
        faults.add(line, "steps must be a list with at least one step ({id: ..., recipe: ...} or {id: ..., mix: ...})")
        return ()
    written = []
    for one in value.data:
        if not isinstance(one.data, dict):
            faults.add(one.line, f"a step is a mapping with an id, this is {one.kind}")
            continue
        id_ = one.data.get("id")
        name = safe_name(id_, "", "id", faults, line=one.line)
        folded = unicodedata.normalize("NFC", name).casefold()  # one folder on a Mac
        if id_ is not None and name and folded in state.ids:
            faults.add(
                id_.line, f"the id {name!r} is taken by the step in line {state.ids[folded]}; change one of them"
            )
        elif name:
            state.ids[folded] = one.line
        written.append((name, one))
    names = [name for name, _ in written]
    steps = [_step(name, one, names, state) for name, one in written]
    graph.check([(name, one.line, reads) for (name, one), (_, reads) in zip(written, steps, strict=True)], faults)
    found = tuple(step for step, _ in steps if step is not None)
    graph.check_files(found, faults)
    return found


def _step(name: str, one: Value, names: Sequence[str], state: Reading) -> tuple[Step | None, tuple[str, ...]]:
    """The step, None where it is at fault, and the steps that it reads."""
    kinds = [kind for kind in ("recipe", "mix", "finetune") if kind in one.data]
    if len(kinds) != 1:
        hint = _near_kind(one) if not kinds else ""
        said = "says neither" if not kinds else f"has {' and '.join(kinds)}"
        state.faults.add(one.line, f"step {name!r} {said}: give it a recipe or a mix, one of them{hint}")
        return None, ()
    if kinds[0] == "finetune":
        line = one.data["finetune"].line
        state.faults.add(line, f"step {name!r}: finetune is no step of this version yet; leave it out of the file")
        return None, ()
    return (read_mix if kinds[0] == "mix" else read_recipe_step)(name, one, names, state)


def _near_kind(one: Value) -> str:
    return next((hint for key in one.data if (hint := near(key, ("recipe", "mix")))), "")


def _models(value: Value | None, faults: Faults) -> dict[str, Model]:
    if value is None:
        return {}
    if not isinstance(value.data, dict):
        faults.add(value.line, f"models must map roles to models, this is {value.kind}")
        return {}
    found = {}
    for role, one in value.data.items():
        if role not in ROLES:
            faults.add(one.line, f"models: no role is called {role!r}{near(role, ROLES)}; roles: {', '.join(ROLES)}")
        elif not isinstance(one.data, dict):
            faults.add(one.line, f"models: {role} must be a mapping (model, base_url; or serve), this is {one.kind}")
        else:
            model = _model(role, one, faults)
            if model is not None:
                found[role] = model
    if found.keys() - {EMBEDDING} and "default" not in found:
        faults.add(value.line, "models: the role default is missing; every recipe asks it")
    return found


def _model(role: str, one: Value, faults: Faults) -> Model | None:
    before = len(faults.found)
    found = dict(known_pairs(one, _MODEL_KEYS, f"the model {role}", faults))
    name = text(found.get("model"), "model", faults)
    urls = texts(found.get("base_url"), "base_url", faults)
    env = text(found.get("api_key_env"), "api_key_env", faults) or "OPENAI_API_KEY"
    amounts = numbers(found.get("price"), "price", ("in", "out"), faults, low=0)
    if len(amounts) == 1:
        faults.add(found["price"].line, "price: both in and out are expected, in dollars for a million tokens")
    serve = _serve(found, faults)
    if serve is not None and (name or urls):
        other = "base_url" if urls else "model"
        faults.add(found[other].line, f"models: {role} has serve and {other}: serve starts its own server; keep one")
    elif serve is None and not (name or urls):
        faults.add(one.line, f"models: {role} says no model; give model and base_url, or serve")
    for key in _SERVE_KEYS:
        if key in found and "serve" not in found:
            faults.add(found[key].line, f"models: {role} has {key} without serve; leave it out, or give serve")
    if len(faults.found) > before:
        return None
    price = Price(amounts["in"], amounts["out"]) if amounts else None
    embeds = role == EMBEDDING
    spec = ModelSpec(serve.name, (), env, embeds=embeds) if serve else ModelSpec(name, urls, env, embeds=embeds)
    return Model(spec, serve, price)


def _serve(found: Mapping[str, Value], faults: Faults) -> Serve | None:
    model = text(found.get("serve"), "serve", faults)
    replicas = number(found.get("replicas"), "replicas", faults, whole=True, low=1)
    args = texts(found.get("args"), "args", faults)
    seconds = number(found.get("start_timeout"), "start_timeout", faults, above=0)
    if model is None:
        return None
    serve = Serve(model, int(replicas or 1), args)
    fault = check_args(serve)
    if fault:
        faults.add(found["args" if "args" in found else "serve"].line, fault)
    return Serve(model, serve.replicas, args, float(seconds)) if seconds else serve

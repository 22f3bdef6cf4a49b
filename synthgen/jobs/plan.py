"""What a job file asks for, read and checked: models, and steps that make samples or mix them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from synthgen.backends import ModelSpec
from synthgen.budget import Price
from synthgen.serve import Serve
from synthgen.session import Wish

EMBEDDING = "embedding"  # no recipe asks it: it compares the samples of a mix
ROLES = ("default", "judge", "user", EMBEDDING)


class Options(Protocol):
    """The options of `generate`, which a step takes by the same names with `_`."""

    keys: tuple[str, ...]

    def wish(self, recipe: str, args: Sequence[str]) -> Wish:
        """The wish of such a command line. Raises UsageError."""


@dataclass(frozen=True, slots=True)
class Model:
    """Who plays a role: a specification, or one that `serve` is to start first."""

    spec: ModelSpec
    serve: Serve | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a step reads: a step's run folder, another run, a file, a folder of files or `hf:owner/name`."""

    name: str
    place: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mix: a share of its rows, or at most so many."""

    source: Source
    share: Fraction = Fraction(1)
    most: int | None = None


@dataclass(frozen=True, slots=True)
class RecipeStep:
    """`generate` with other words; `models` are the roles that the job gives it."""

    id: str
    line: int
    folder: Path
    wish: Wish
    reads: tuple[str, ...]
    models: Mapping[str, Model]

    def batches(self, role: str) -> str | None:
        """How the step asks this role in files, None where it waits for answers: as `generate` does it."""
        model = self.models[role]
        if model.serve or (role != "default" and model.spec.base_urls):  # a server of its own answers at once
            return None
        return self.wish.models["default"].batch

    def spec(self, role: str) -> ModelSpec:
        """How the role is reached, where the job does not start the server itself."""
        timeout_seconds = self.wish.effort.timeout_seconds
        return replace(self.models[role].spec, timeout_seconds=timeout_seconds, batch=self.batches(role))


@dataclass(frozen=True, slots=True)
class MixStep:
    """Samples of several sources, without duplicates and benchmark rows, in files."""

    id: str
    line: int
    folder: Path
    parts: tuple[Part, ...]
    reads: tuple[str, ...]
    seed: int = 0
    count: int | None = None
    dedup: tuple[str, ...] = ()
    embedding: Model | None = None
    against: tuple[str, ...] = ()  # files, folders, runs, hf:owner/name
    export: Mapping[str, Path] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def embedded_by(self) -> str | None:
        """The model that compares meanings, by its name, or by where it is served when it has none."""
        if self.embedding is None:
            return None
        return self.embedding.spec.name or ", ".join(self.embedding.spec.base_urls)


Step = RecipeStep | MixStep


@dataclass(frozen=True, slots=True)
class Job:
    """A whole file. `budget` has usd, tokens and minutes, where given."""

    name: str
    folder: Path
    steps: tuple[Step, ...]
    budget: Mapping[str, float] = field(default_factory=dict)

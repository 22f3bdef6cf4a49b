"""What a recipe is: seeds become tasks, and one coroutine turns a task into samples by asking models."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from fractions import Fraction
from keyword import iskeyword
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

from synthgen.dedup import Near
from synthgen.errors import BackendError, ParseError, UsageError
from synthgen.types import Completion, Failure, Message, Rejection, Sample, SamplingParams, Seed, Task

if TYPE_CHECKING:
    from synthgen.prompts import Template

Outcome = Sample | Rejection | Failure
Rehearse = Callable[[Sequence[Message], str], str]  # what is asked, of which role
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Knob:
    """A number, word or switch of a recipe that `--set` changes; `zh` is the default for Chinese."""

    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    zh: Any = None

    def value(self, lang: str) -> Any:
        return self.zh if lang == "zh" and self.zh is not None else self.default

    def parse(self, name: str, text: str) -> Any:
        """The value that a user typed. Raises UsageError with the type or the range."""
        kind = type(self.default)
        try:
            value = _boolean(text) if kind is bool else kind(text)
            if kind in (int, float) and not abs(value) < _TOO_LARGE:  # NaN too, which passes every range
                raise ValueError(text)
        except ValueError:
            raise UsageError(f"--set {name}={text}: {_KINDS[kind]} is expected") from None
        if self.choices and value not in self.choices:
            raise UsageError(f"--set {name}={text}: one of {', '.join(self.choices)} is expected")
        low, high = self.low, self.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise UsageError(f"--set {name}={text}: out of range ({_range(low, high)})")
        return value


_TOO_LARGE = 2**63  # for run.json
_KINDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _named(attribute: str) -> str:
    word = attribute.removesuffix("_")
    return word if iskeyword(word) else attribute


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def knob(
    default: T,
    help: str,  # noqa: A002 - the word that the user reads
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    zh: T | None = None,
) -> T:
    """Declare a knob as a class attribute: `items = knob(20, "tasks asked for", low=1, zh=10)`."""
    return cast(T, Knob(default, help, low, high, choices, zh))


class Ask(Protocol):
    """How a recipe reaches models: stored, retried, counted and cut to the context behind this call.

    Equal requests of one task are told apart by their order. So let branches that run side by side ask different
    things, or ask for equal ones in one place: their order must not depend on which answer came first.
    """

    async def __call__(
        self,
        prompt: str | Sequence[Message],
        *,
        role: str = "default",
        sampling: SamplingParams | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Completion: ...

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        """What each text comes too close to among all that was accepted when this task was made."""
        ...


class Pool(Protocol):
    """What a growing recipe may see when it makes a task: (id, instruction) accepted up to a fixed earlier task."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int) -> tuple[str, str]: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a recipe is told about this run; `count_tokens` is the server's tokenizer or a stated estimate."""

    lang: str = "en"
    context_tokens: int | None = None
    count_tokens: Callable[[str], int] = len
    prompts: tuple[Path, ...] = ()
    sampling: SamplingParams = SamplingParams()
    values: Mapping[str, Any] = field(default_factory=dict)


class Recipe(ABC):
    """Subclass it in a file of recipes/, give it prompts/<name>/*.jinja, and the command line knows it."""

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    templates: ClassVar[tuple[str, ...]] = ()
    rubrics: ClassVar[tuple[str, ...]] = ()  # templates of prompts/judge that it judges by (see judging)
    formats: ClassVar[tuple[str, ...]] = ("alpaca", "sharegpt")
    takes: ClassVar[tuple[str, ...]] = ("seeds",)  # or "prompts" (--input), "documents" (--documents); several: either
    figures: ClassVar[tuple[str, ...]] = ()  # keys of its samples' meta that reports count: numbers or words
    grows: ClassVar[bool] = False
    endless: ClassVar[bool] = False  # it can always make another task, so a run needs a target
    unlike_seeds: ClassVar[bool] = True  # an instruction too close to a seed's is no new one
    several: ClassVar[bool] = False  # samples of one task may share an instruction, as instances of it

    filtered: bool = True  # samples pass the text filters
    novel: bool = True  # what is too close to something accepted is rejected

    novelty = knob(0.7, "ROUGE-L above which an instruction is too close to an earlier one", low=0.05, high=1.0)
    novelty_cjk = knob(0.8, "the same where most of the text is Chinese, on characters", low=0.05, high=1.0)
    similar = knob(0, "nearest earlier instructions told with each sample, with their ROUGE-L", low=0, high=10)

    def __init__(self, setting: Setting) -> None:
        """Raises UsageError on an unknown knob, a value out of range, a template that does not hold."""
        self.lang = setting.lang
        self.context_tokens = setting.context_tokens
        self.count_tokens = setting.count_tokens
        self.notes: list[str] = []
        for name in setting.values:
            self.knob_value(name, str(setting.values[name]))
        for name, one in self.knobs().items():
            given = setting.values.get(name)
            value = one.value(self.lang) if given is None else one.parse(name, str(given))
            for attribute in (name, f"{name}_") if iskeyword(name) else (name,):
                setattr(self, attribute, value)
        self.prompts = self._templates(setting.prompts)
        own = {k: v for k, v in asdict(setting.sampling).items() if v not in (None, ())}
        self.sampling = replace(self.own_sampling(), **own)

    def _templates(self, folders: Sequence[Path]) -> dict[str, Template]:
        wanted = self.template_names()
        if not wanted:  # Jinja costs a twentieth of a short run
            return {}
        from synthgen import prompts

        return {part: prompts.load(name, self.lang, folders) for part, name in wanted.items()}

    @classmethod
    def template_names(cls) -> dict[str, str]:
        """Where each template lies below a prompts folder: its own under its name, those of judges under `judge`."""
        own = {part: f"{cls.name}/{part}" for part in cls.templates}
        judges = (f"judge/{rubric}" for rubric in (*cls.rubrics, "repair")) if cls.rubrics else ()
        return {**own, **{name: name for name in judges}}

    @classmethod
    def knobs(cls) -> dict[str, Knob]:
        """Every knob by name, in the order of the source; `as_` is called `as`."""
        found: dict[str, Knob] = {}
        for parent in reversed(cls.__mro__):
            found.update({_named(k): v for k, v in vars(parent).items() if isinstance(v, Knob)})
        return found

    @classmethod
    def knob_value(cls, name: str, text: str) -> Any:
        """What a user's words make of a knob. Raises UsageError on an unknown one and a value out of range."""
        known = cls.knobs()
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"--set {name}: {cls.name} has no such knob{hint} (synthgen recipes {cls.name})")
        return known[name].parse(name, text)

    def own_sampling(self) -> SamplingParams:
        """The method's published sampling, which command-line flags override."""
        return SamplingParams()

    def fit(self, seeds: Iterable[Seed]) -> None:
        """Shrink to `context_tokens`, saying so in one line of `notes`; called once, before the first task."""
        return

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        """Tasks, lazily, endless where the recipe can make ever more; `rng` is its only source of chance."""
        raise UsageError(f"the recipe {self.name} defines neither tasks() nor rounds()")

    def rounds(self, seeds: Iterable[Seed], pool: Pool, rng: Random) -> Iterator[Task]:
        """The same for a recipe that grows its own seeds: `pool` is what it may see at each next()."""
        return self.tasks(seeds, rng)

    def most_per_task(self) -> int:
        """Samples that one task can yield at most, for estimates."""
        return 1

    def formats_for(self, what: str) -> tuple[str, ...]:
        """What is written where nothing else is asked for, of a run over seeds, prompts or documents."""
        return self.formats

    def rehearsed(self, seeds: Iterable[Seed]) -> str | Rehearse | None:
        """An answer that makes `run` go through all its requests, for estimates, or a function that gives one to each;
        None where it has one alone."""
        return None

    @abstractmethod
    async def run(self, task: Task, ask: Ask) -> list[Outcome]:
        """One task. The result may depend on the task and the answers alone."""

    def render(self, part: str, **values: Any) -> tuple[Message, ...]:
        """The messages of one of this recipe's templates."""
        return self.prompts[part].render(**values)


async def gather(parts: Iterable[Awaitable[list[Outcome]]]) -> list[Outcome]:
    """Run parts of a task side by side; a request that failed costs its own part, not its neighbours'."""
    items: list[Outcome] = []
    for result in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(result, BaseException):
            items.append(as_outcome(result))
        else:
            items.extend(result)
    return items


def as_outcome(error: BaseException) -> Rejection | Failure:
    """An error that ends one task only, as its row; every other error is raised again."""
    if isinstance(error, ParseError):
        return Rejection("parse", str(error))
    if isinstance(error, BackendError) and error.fate in ("retry", "fail"):
        return Failure(str(error), error.attempts, refused=error.fate == "fail")
    raise error


def asked_nothing(outcomes: Sequence[Outcome]) -> bool:
    """Whether the task was a document that is not used."""
    return bool(outcomes) and all(isinstance(one, Rejection) and one.unread for one in outcomes)


def thresholds(recipe: Recipe) -> tuple[Fraction, Fraction]:
    """(words, Chinese characters) as exact fractions: 0.7 is 7/10, not the float beside it."""
    return Fraction(str(recipe.novelty)), Fraction(str(recipe.novelty_cjk))


def demonstrations(rng: Random, seeds: Sequence[Seed], count: int) -> list[Seed]:
    """`count` different seeds in random order, all of them when there are fewer."""
    return rng.sample(list(seeds), min(count, len(seeds)))


def sample(
    instruction: str,
    given: str,
    output: str,
    **meta: Any,
) -> Sample:
    """A single-turn sample; input joins the instruction with a newline, as LLaMA-Factory reads it."""
    user = f"{instruction}\n{given}" if given else instruction
    return Sample(
        messages=(Message("user", user), Message("assistant", output)),
        input_split=(instruction, given),
        meta=meta,
    )

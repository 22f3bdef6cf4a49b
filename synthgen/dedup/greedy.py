"""Which rows are kept: greedily in their order, each against what is kept, the cheapest level first."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from synthgen.dedup.exact import key
from synthgen.dedup.near import Near, nearer
from synthgen.dedup.novelty import NoveltyByScript
from synthgen.errors import UsageError

if TYPE_CHECKING:
    from synthgen.dedup.semantic import Embed

EXACT = "exact"
WINDOW = 512  # rows that are asked for at once


@dataclass(frozen=True, slots=True)
class Texts:
    """A row in three texts: what it asks, what stands beside the question, and the answer to both.

    `input` is what of `given` the question is about. Rows of one `task` that follow one another belong together: once
    its first is kept, no other is near to anything.
    """

    prompt: str
    given: str = ""
    answer: str = ""
    task: str = ""
    input: str = ""

    @property
    def question(self) -> str:
        """An instruction without its input would make two tasks on different code one."""
        return f"{self.prompt}\n{self.input}" if self.input else self.prompt

    @property
    def whole(self) -> str:
        return "\n".join(text for text in (self.prompt, self.given, self.answer) if text)


class Level(Protocol):
    """One measure over what is kept. The order of an entry is how many there were before it."""

    def __len__(self) -> int: ...

    def add(self, id_: str, text: str) -> None: ...

    def nearest(self, text: str, *, since: int = 0) -> Near | None:
        """The best entry over the threshold, the earliest of equals; those before `since` need not be looked at."""

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        """The same against what is kept now, not against each other."""


@dataclass(frozen=True, slots=True)
class Method:
    """A measure by name: what of a row it compares, and how its level is opened at a threshold, or at its own."""

    of_whole: bool
    open: Callable[[Fraction | None], Level]


@dataclass(frozen=True, slots=True)
class Opened:
    """A level at work."""

    name: str
    of_whole: bool
    level: Level

    def text(self, texts: Texts) -> str:
        return texts.whole if self.of_whole else texts.question


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a row: nothing near (`level` is ""), or what it met, and whether it is dropped for that.

    `text` is what was compared; `contradictory`: the same prompt is kept with another answer.
    """

    level: str = ""
    near: Near | None = None
    text: str = ""
    dropped: bool = False
    contradictory: bool = False


def rouge(threshold: Fraction | None = None) -> NoveltyByScript:
    """Above 0.7 of words and 0.8 of Chinese characters, or above the threshold; nothing is above 1, so there at it."""
    if threshold is None:
        return NoveltyByScript()
    return NoveltyByScript(threshold, threshold, reject_equal=threshold == 1)


class Whole:
    """MinHash with the texts that it verifies on, packed: half the memory for a tenth of the time."""

    def __init__(self, threshold: Fraction | None = None) -> None:
        from synthgen.dedup.minhash import MinHash  # with numpy, which --help does not need

        self._texts: dict[str, bytes] = {}
        self._index = MinHash(self._text, *(() if threshold is None else (threshold,)))

    def __len__(self) -> int:
        return len(self._index)

    def add(self, id_: str, text: str) -> None:
        self._index.add(id_, text)
        self._texts[id_] = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)

    def nearest(self, text: str, *, since: int = 0) -> Near | None:
        return self._index.nearest(text, since=since)

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        return self._index.nearest_many(texts)

    def _text(self, id_: str) -> str:
        return zlib.decompress(self._texts[id_]).decode("utf-8", "surrogatepass")


def semantic(threshold: Fraction | None = None, *, embed: Embed | None = None) -> Level:
    """At 0.9 or above, or at the threshold. Raises UsageError without `embed`: words are no substitute for meaning."""
    if embed is None:
        raise UsageError(
            "semantic: not run: it compares embeddings, and no model that makes them is named; give --embedding-model "
            "NAME with --embedding-base-url URL, or --embedding-model local:PATH for one that runs here"
        )
    from synthgen.dedup.semantic import THRESHOLD, Semantic

    return Semantic(embed, THRESHOLD if threshold is None else float(threshold))


SEMANTIC = "semantic"
# Cheapest first: the order in which a row is asked for. `exact` comes before them, by keys: no threshold, no index.
METHODS = {"rouge": Method(False, rouge), "minhash": Method(True, Whole), SEMANTIC: Method(False, semantic)}


def in_order(names: Iterable[str]) -> list[str]:
    """Known methods, each once and the cheapest first; UsageError names the nearest to one that is not."""
    known, wanted = (EXACT, *METHODS), list(names)
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            near = f"did you mean {close[0]}?" if close else f"methods: {', '.join(known)}"
            raise UsageError(f"no method is called {name!r}; {near}")
    return [name for name in known if name in wanted]


def opened(names: Iterable[str], threshold: Fraction | None = None, *, embed: Embed | None = None) -> list[Opened]:
    """The levels of these methods, at this threshold or each at its own; `exact` is none of them.

    Raises UsageError for semantic without `embed`.
    """
    methods = {**METHODS, SEMANTIC: Method(False, partial(semantic, embed=embed))}
    return [Opened(name, methods[name].of_whole, methods[name].open(threshold)) for name in names if name != EXACT]


class Greedy:
    """Verdicts row by row; rows are asked for in windows, with the same result as one by one.

    Rows with the prompt of a kept row and another input are instances of one task: levels that compare prompts let
    them through. `keep_all`: rows are only told of, but for those that are a kept row all over again.
    """

    def __init__(self, levels: Sequence[Opened], *, exact: bool, keep_all: bool = False) -> None:
        self._levels, self._exact, self._keep_all = levels, exact, keep_all
        self._whole: dict[bytes, str] = {}
        self._asked: dict[bytes, str] = {}  # prompts with what is given
        self._tasks: set[bytes] = set()  # prompts alone
        self._last = ""  # the task of the row that was kept last
        self._keys = exact or any(not one.of_whole for one in levels)

    def decide(self, rows: Iterable[tuple[str, Texts]]) -> Iterator[Verdict]:
        """A verdict for each (id, texts), in their order."""
        rows = iter(rows)
        while window := list(islice(rows, WINDOW)):
            yield from self._window(window)

    def _window(self, rows: Sequence[tuple[str, Texts]]) -> Iterator[Verdict]:
        keyed = [_Keyed.of(texts, whole=self._exact) if self._keys else _Keyed() for _, texts in rows]
        sizes = [len(one.level) for one in self._levels]
        before: list[dict[int, Near | None]] = []  # by level and row: what was met of all that was kept then
        open_ = [n for n, keys in enumerate(keyed) if self._same(rows[n][1], keys) is None]
        for one in self._levels:
            ask = [n for n in open_ if not self._passes(one, keyed[n])]
            found = one.level.nearest_many([one.text(rows[n][1]) for n in ask]) if ask else []
            before.append(dict(zip(ask, found, strict=True)))
            open_ = [n for n in open_ if before[-1].get(n) is None]
        for n, ((id_, texts), keys) in enumerate(zip(rows, keyed, strict=True)):
            verdict = self._same(texts, keys)
            known = self._known(texts)
            for one, size, met in zip(self._levels, sizes, before, strict=True):
                if verdict is None and not known and not self._passes(one, keys):
                    verdict = self._near(one, texts, n, size, met)
            verdict = verdict or Verdict()
            if not verdict.dropped:
                self._keep(id_, texts, keys)
            yield verdict

    def _same(self, texts: Texts, keys: _Keyed) -> Verdict | None:
        """By keys: the same row again, or the same prompt with another answer."""
        if not self._exact:
            return None
        if (found := self._whole.get(keys.whole)) is not None:
            return Verdict(EXACT, Near(found, 1.0, EXACT, texts.prompt), texts.prompt, dropped=True)
        found = self._asked.get(keys.asked)
        if found is None or not texts.prompt.strip() or self._known(texts):
            return None
        near = Near(found, 1.0, EXACT, texts.prompt)
        return Verdict(EXACT, near, texts.prompt, dropped=not self._keep_all, contradictory=True)

    def _known(self, texts: Texts) -> bool:
        """Whether the row belongs to the task of the row that was kept last."""
        return bool(texts.task) and texts.task == self._last

    def _passes(self, one: Opened, keys: _Keyed) -> bool:
        """Whether the row is one more instance of a task that is kept, which a level of prompts is not asked for."""
        return not one.of_whole and keys.task in self._tasks and keys.asked not in self._asked

    def _near(self, one: Opened, texts: Texts, n: int, size: int, met: Mapping[int, Near | None]) -> Verdict | None:
        text = one.text(texts)
        near = met.get(n)
        if len(one.level) > size or n not in met:
            near = nearer(near, one.level.nearest(text, since=size if n in met else 0))
        return None if near is None else Verdict(one.name, near, text, dropped=not self._keep_all)

    def _keep(self, id_: str, texts: Texts, keys: _Keyed) -> None:
        for one in self._levels:
            if one.of_whole or not (self._known(texts) or self._passes(one, keys)):
                one.level.add(id_, one.text(texts))
        self._last = texts.task
        if self._exact:
            self._whole.setdefault(keys.whole, id_)
        if self._keys:
            self._asked.setdefault(keys.asked, id_)
            self._tasks.add(keys.task)


@dataclass(frozen=True, slots=True)
class _Keyed:
    """The keys of a row: of its prompt, of that with what is given, of all of it."""

    task: bytes = b""
    asked: bytes = b""
    whole: bytes = b""

    @staticmethod
    def of(texts: Texts, *, whole: bool) -> _Keyed:
        task = key(texts.prompt)
        asked = _joined(task, key(texts.given)) if texts.given else task
        return _Keyed(task, asked, _joined(asked, key(texts.answer)) if whole else b"")


def _joined(*keys: bytes) -> bytes:
    return hashlib.blake2b(b"".join(keys), digest_size=16).digest()

"""What came of judging: a rating a rater and the verdict on them; unparsed is a verdict, never a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from synthgen.judging.agreement import equal_share
from synthgen.judging.reading import Scale
from synthgen.types import Rejection, Sample

UNPARSED = "unparsed"  # the reason of a rejection: a judge's answer that could not be read
Winner = Literal["first", "second", "tie"]
V = TypeVar("V", bound=str)


@dataclass(frozen=True, slots=True)
class Rating:
    """What one rater said; `value` is None where it could not be read, after one request to repair it."""

    value: int | str | None
    analysis: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the raters of one thing say together."""

    rubric: str
    ratings: tuple[Rating, ...]
    scale: Scale | None = None

    @property
    def values(self) -> list[int | str]:
        """What could be read."""
        return [r.value for r in self.ratings if r.value is not None]

    @property
    def unparsed(self) -> bool:
        """Not more than half of the raters could be read."""
        return 2 * len(self.values) <= len(self.ratings)

    @property
    def score(self) -> float | None:
        """The mean of the scores; None where the verdict is unparsed or a word."""
        numbers = [v for v in self.values if isinstance(v, int)]
        return None if self.unparsed or not numbers else sum(numbers) / len(numbers)

    @property
    def word(self) -> str | None:
        """What more than half of the raters say; None where they are split, or the verdict is unparsed or a score."""
        return None if self.unparsed else majority([v for v in self.values if isinstance(v, str)])

    @property
    def agreement(self) -> float | None:
        """Share of the pairs of raters that said the same; None with fewer than two that could be read."""
        return equal_share(self.values)

    @property
    def analysis(self) -> str:
        """The reasons of the first rater that could be read, else of the first."""
        return next((r.analysis for r in self.ratings if r.value is not None), self.ratings[0].analysis)

    def rejection(
        self, reason: str, sample: Sample | None = None, *, at_least: float | None = None, word: str | None = None
    ) -> Rejection | None:
        """None where the score is `at_least` so high, or the word is this one; else why the sample is not used."""
        if self.unparsed:
            return Rejection(UNPARSED, f"{self.rubric}: {self.analysis[:200]!r}", sample)
        if at_least is not None and self.score is not None and self.score >= at_least:
            return None
        if word is not None and self.word == word:
            return None
        said = f"{self.score:g}" if self.score is not None else self.word or "the raters are split"
        return Rejection(reason, f"{self.rubric}: {said}: {self.analysis[:400]}", sample)

    def as_dict(self) -> dict[str, Any]:
        """For `meta["scores"][rubric]` of a sample."""
        found: dict[str, Any] = {"value": self.score if self.scale else self.word, "parsed": not self.unparsed}
        if self.scale:
            found["scale"] = [self.scale.low, self.scale.high]
        found["rationale"] = self.analysis
        if len(self.ratings) > 1:
            found["agreement"] = self.agreement
            found["ratings"] = [{"value": r.value, "rationale": r.analysis} for r in self.ratings]
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of two texts is better: each rater saw both orders, a pair of ratings each, with the order undone."""

    pairs: tuple[tuple[Rating, Rating], ...]

    @property
    def said(self) -> list[Winner | None]:
        """Each rater's winner: a tie where the two orders disagree, None where one could not be read."""
        return [_both(one.value, other.value) for one, other in self.pairs]

    @property
    def flips(self) -> int:
        """Raters who said something else when the order was turned round."""
        read = [(a.value, b.value) for a, b in self.pairs if a.value is not None and b.value is not None]
        return sum(a != b for a, b in read)

    @property
    def unparsed(self) -> bool:
        """Not more than half of the raters could be read; texts that are equal need none."""
        return bool(self.pairs) and 2 * sum(w is not None for w in self.said) <= len(self.pairs)

    @property
    def winner(self) -> Winner | None:
        """What more than half of the readable raters say, else a tie; None where it is unparsed."""
        return None if self.unparsed else majority([w for w in self.said if w is not None]) or "tie"


def majority(values: Sequence[V]) -> V | None:
    """What more than half of them are."""
    top = Counter(values).most_common(1)
    return top[0][0] if top and 2 * top[0][1] > len(values) else None


def _both(one: int | str | None, other: int | str | None) -> Winner | None:
    if one is None or other is None:
        return None
    return cast(Winner, one) if one == other else "tie"


def scores(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """`{"scores": {rubric: ...}}`, to be merged into the `meta` of a sample."""
    return {"scores": {verdict.rubric: verdict.as_dict() for verdict in verdicts}}

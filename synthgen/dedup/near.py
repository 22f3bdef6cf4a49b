"""What a text was found to be near to: the evidence that every level hands over with its verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Near:
    """What was met: the id of the nearest entry, the score in [0, 1], the measure, the entry's text.

    `by` is one of exact, rouge-l, jaccard, cosine, ngram.
    """

    id: str
    score: float
    by: str
    span: str = ""

    @property
    def evidence(self) -> str:
        """The verdict in one line: score, measure, which entry, its text; an entry of the same answer has no id yet."""
        return f"{self.score:.3f} {self.by} to {self.id or 'its neighbour'}: {self.span}"


def nearer(earlier: Near | None, later: Near | None) -> Near | None:
    """The better of what two parts of the entries hold: an exact copy first, then the score, then the earlier."""
    if earlier is None or later is None:
        return earlier or later
    return later if _rank(later) > _rank(earlier) else earlier


def _rank(near: Near) -> tuple[bool, float]:
    return near.by == "exact", near.score

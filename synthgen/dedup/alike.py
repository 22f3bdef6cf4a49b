"""All texts, among some thousands, whose ROUGE-L to another is over a threshold."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from synthgen.dedup.rule import Rule

# The pool of `Novelty` names the nearest of a million; a copy that stands in two benchmarks must be found in both.


class Alike:
    """Rows of tokens, one character a token, with one threshold on F1 = 2 LCS / (m + n)."""

    def __init__(self, threshold: Fraction, longest: int) -> None:
        """Rows of more than `longest` tokens are left to n-grams."""
        self._rule = Rule(threshold, reject_equal=False)
        self._longest = longest
        self._rows: list[str] = []
        self._ids: list[int] = []
        self._postings: dict[str, NDArray[np.int64]] = {}
        self._lengths = np.zeros(0, np.int64)

    def add(self, id_: int, row: str) -> None:
        if 0 < len(row) <= self._longest:
            self._rows.append(row)
            self._ids.append(id_)
            self._postings = {}

    def _build(self) -> None:
        found: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            for token in dict.fromkeys(row):
                found.setdefault(token, []).append(number)
        self._postings = {token: np.array(numbers) for token, numbers in found.items()}
        self._lengths = np.fromiter(map(len, self._rows), np.int64, len(self._rows))

    def over(self, text: str) -> Iterator[tuple[int, float]]:
        """(id, F1) of each row over the threshold, in the order in which they were added."""
        m = len(text)
        least = self._rule.least(m)
        if not text or not self._rows or least > self._longest:
            return
        if not self._postings:
            self._build()
        known = [postings for token in text if (postings := self._postings.get(token)) is not None]
        if len(known) < least:
            return
        # A common subsequence is no longer than the tokens shared. The most frequent ones cost most and tell least:
        # they are taken for shared.
        known.sort(key=len)
        given = least // 2
        shared = np.bincount(np.concatenate(known[: len(known) - given]), minlength=len(self._rows))
        need: NDArray[np.int64] = self._rule.need(self._lengths + m)  # type: ignore[arg-type, assignment]
        for number in np.flatnonzero(shared + given >= need).tolist():
            row = self._rows[number]
            common = int(LCSseq.similarity(text, row))
            if common >= self._rule.need(m + len(row)):
                yield self._ids[number], 2 * common / (m + len(row))

"""Which of many short texts share n-grams with a long one: an index of all their n-grams, in flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.dedup.exact import Fingerprints

# A token is one character here: a row is a string, and `in` finds its n-grams at the speed of C.
# Planes 1 to 16 hold no surrogates; beyond a million distinct words codes fold over.
UNKNOWN = chr(0x10000)
_FOLD = 0xFFFFF
# GPT-3 drops what stands in more than ten documents; on a set of more than 100,000 ten is no longer many.
_LEAST_COMMON, _COMMON_SHARE = 10, 10_000

_PLACES = 1 << 20  # of n-grams in the rows that are met at a time: 50 MB

_Ints = NDArray[np.integer[Any]]


def letter(number: int) -> str:
    """The character that stands for the token of this number, from 0; never UNKNOWN."""
    return chr(0x10001 + number % _FOLD)


class Ngrams:
    """Rows by their n-grams of tokens; a row with fewer tokens than `n` is never met.

    Memory: 40 bytes a token of the rows; 10 to 20 bytes for each text that is counted and shares an n-gram with a row.
    """

    def __init__(self, n: int, long: int) -> None:
        """A run of `long` tokens is a hit, and so is a cover of more than half of a row's tokens."""
        self.n, self.long = n, long
        self._rows: list[str] = []
        self._index: _Index | None = None
        self._counted = Fingerprints()
        self._limit: float | None = None  # where what is common has not been drawn from the counts

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: str) -> None:
        """The counts so far are void: rows come before texts."""
        self._index, self._counted, self._limit = None, Fingerprints(), None
        self._rows.append(row)

    def _built(self) -> _Index:
        if self._index is None:
            self._index = _Index(self._rows, self.n)
        return self._index

    def _settled(self) -> _Index:
        index = self._built()
        if self._limit is not None:
            index.settle(self._limit)
            self._limit = None
        return index

    def count(self, texts: Sequence[str], names: Sequence[str]) -> None:
        """One more for every n-gram of the rows that stands in a text; a text of a name that was there counts no more.

        A prompt that is there once for each of its sixteen answers is no boilerplate.
        """
        index = self._built()
        owner, gram = index.met(texts)
        new = {n: self._counted.add(names[n]) for n in dict.fromkeys(owner.tolist())}
        for text, one in set(zip(owner.tolist(), gram.tolist(), strict=True)):
            index.counts[one] += new[text]

    def settle(self, asked: int) -> None:
        """From now on what stands in too many of the texts counted, of `asked` in all, is common."""
        self._limit = max(_LEAST_COMMON, asked / _COMMON_SHARE)

    def common(self) -> Iterator[tuple[int, int, int, int]]:
        """(row, start, end, most texts) of stretches that are common, one for those of the same tokens."""
        seen = set()
        for row, start, end, most in self._settled().common_stretches():
            tokens = self._rows[row][start:end]
            if tokens not in seen:
                seen.add(tokens)
                yield row, start, end, most

    def candidates(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """(text, row) of all pairs that can be a hit."""
        index = self._settled()
        owner, gram = index.met(texts)
        for text, row in index.anchored(owner, gram):
            if self._is_whole(row, texts[text]):
                yield text, row
        kept = ~index.is_common[gram]
        for text_of, row_of, covered, streak in index.overlaps(owner[kept], gram[kept]):
            hit = (2 * covered > index.lengths[row_of]) | (streak + self.n > self.long)
            yield from zip(text_of[hit].tolist(), row_of[hit].tolist(), strict=True)

    def _is_whole(self, row: int, text: str) -> bool:
        return len(self._rows[row]) >= self.long and self._rows[row] in text

    def measure(self, row: int, text: str) -> tuple[int, float, int]:
        """(longest run in tokens, covered share of the row, where the run starts in the text), common n-grams aside.

        A long row that stands in the text from end to end counts whatever is common.
        """
        said, n = self._rows[row], self.n
        if self._is_whole(row, text):
            return len(said), 1.0, text.find(said)
        common = self._settled().common_in(row)
        there = [p for p in range(len(said) - n + 1) if p not in common and said[p : p + n] in text]
        covered, end = 0, 0
        for p in there:
            covered += p + n - max(p, end)
            end = p + n
        ends: dict[int, int] = {}
        for p in reversed(there):
            ends[p] = ends.get(p + 1, p + n)
        run, place = 0, -1
        for p in there:
            while p + run < ends[p] and (at := text.find(said[p : p + run + 1])) >= 0:
                run, place = run + 1, at
        return run, covered / len(said) if said else 0.0, place


class _Index:
    """The n-grams of the rows as sorted 64-bit keys, and where each stands."""

    def __init__(self, rows: Sequence[str], n: int) -> None:
        self._n = n
        rng = Random(0)
        self._factors = [np.uint64(rng.getrandbits(64) | 1) for _ in range(n)]
        self.lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ends = self.lengths.cumsum()
        self._starts = ends - self.lengths
        self._row_at = np.repeat(np.arange(len(rows), dtype=np.int32), self.lengths)
        flat = _codes("".join(rows))
        at = np.arange(max(0, len(flat) - n + 1))
        at = at[at + n <= ends[self._row_at[at]]]
        keys = self._hash(flat)[at]
        order = np.argsort(keys, kind="stable")
        self._at = at[order].astype(np.int32)
        self._keys, first = np.unique(keys[order], return_index=True)
        self._first = np.append(first, len(order))
        self._gram_at = np.full(len(flat), -1, np.int32)
        self._gram_at[self._at] = np.repeat(np.arange(len(self._keys)), np.diff(self._first))
        self.counts = np.zeros(len(self._keys), np.int32)
        self.is_common = np.zeros(len(self._keys), bool)
        self._anchors: dict[int, list[int]] = {}

    def _hash(self, flat: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """One key for each window of n tokens."""
        keys = np.zeros(max(0, len(flat) - self._n + 1), np.uint64)
        for place, factor in enumerate(self._factors):
            keys += flat[place : place + len(keys)] * factor
        return keys

    def met(self, texts: Sequence[str]) -> tuple[_Ints, _Ints]:
        """(number of the text, n-gram) for each place in a text where an n-gram of the rows stands.

        By the keys alone: `measure` compares tokens, so that two n-grams of one key cannot lie.
        """
        flat = _codes(UNKNOWN.join(texts))
        unknown = np.append(0, np.cumsum(flat == ord(UNKNOWN)))
        at = np.flatnonzero(unknown[self._n :] == unknown[: -self._n]) if len(flat) >= self._n else unknown[:0]
        if not len(at) or not len(self._keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        keys = self._hash(flat)[at]
        gram = np.searchsorted(self._keys, keys)
        gram[gram == len(self._keys)] = 0
        found = self._keys[gram] == keys
        ends = np.cumsum([len(text) + 1 for text in texts])
        return np.searchsorted(ends, at[found], side="right"), gram[found]

    def overlaps(self, owner: _Ints, gram: _Ints) -> Iterator[tuple[_Ints, _Ints, _Ints, _Ints]]:
        """(text, row, covered tokens of the row, longest streak of n-grams that follow each other in the row).

        As many texts at a time as meet _PLACES in the rows together.
        """
        # A text of one word has the same n-gram at all of its places.
        both = np.unique(owner * (len(self._keys) + 1) + gram)
        owner, gram = np.divmod(both, len(self._keys) + 1)
        places = np.cumsum(self._first[gram + 1] - self._first[gram])
        last = np.flatnonzero(np.diff(owner, append=-1))  # of each text
        groups = places[last] // _PLACES
        cuts = 1 + last[np.flatnonzero(np.diff(groups, append=-1))]
        for start, end in pairwise((0, *cuts.tolist())):
            yield self._overlaps(owner[start:end], gram[start:end])

    def _overlaps(self, owner: _Ints, gram: _Ints) -> tuple[_Ints, _Ints, _Ints, _Ints]:
        size = self._first[gram + 1] - self._first[gram]
        before = np.cumsum(size) - size
        slots = np.repeat(self._first[gram] - before, size) + np.arange(size.sum())
        width = len(self._row_at) + 1
        pairs = np.sort(np.repeat(owner, size) * width + self._at[slots])
        text, at = np.divmod(pairs, width)
        row = self._row_at[at]
        step = np.diff(at, prepend=-1)
        new = (np.diff(text, prepend=-1) != 0) | (np.diff(row, prepend=-1) != 0)
        start = np.flatnonzero(new)
        covered = np.add.reduceat(np.where(new, self._n, np.minimum(step, self._n)), start)
        streak_start = np.flatnonzero(new | (step != 1))
        streaks = np.diff(np.append(streak_start, len(pairs)))
        longest = np.maximum.reduceat(streaks, np.searchsorted(streak_start, start))
        return text[start], row[start], covered, longest

    def settle(self, limit: float) -> None:
        self.is_common = self.counts > limit
        self._anchors = {}
        if not self.is_common.any():
            return
        # A row of which much is common is looked for as a whole where its least common n-gram stands.
        for row in np.unique(self._row_at[self._at[np.repeat(self.is_common, np.diff(self._first))]]).tolist():
            grams = self._grams_of(row)
            self._anchors.setdefault(int(grams[np.argmin(self.counts[grams])]), []).append(row)

    def anchored(self, owner: _Ints, gram: _Ints) -> Iterator[tuple[int, int]]:
        """(text, row) where the least common n-gram of a row stands, for rows that have a common one."""
        if self._anchors:
            for text, one in sorted(set(zip(owner.tolist(), gram.tolist(), strict=True))):
                yield from ((text, row) for row in self._anchors.get(one, ()))

    def _grams_of(self, row: int) -> _Ints:
        start = self._starts[row]
        return self._gram_at[start : start + max(0, self.lengths[row] - self._n + 1)]

    def common_in(self, row: int) -> frozenset[int]:
        """Where in a row its common n-grams start."""
        if not self._anchors:
            return frozenset()
        return frozenset(np.flatnonzero(self.is_common[self._grams_of(row)]).tolist())

    def common_stretches(self) -> Iterator[tuple[int, int, int, int]]:
        """(row, start, end, most counted) for each stretch of common n-grams, row by row."""
        for row in sorted({row for rows in self._anchors.values() for row in rows}):
            grams = self._grams_of(row)
            at = np.flatnonzero(self.is_common[grams])
            for part in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
                start, last = int(part[0]), int(part[-1])
                yield row, start, last + self._n, int(self.counts[grams[part]].max())


def _codes(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)

"""MinHash: near-duplicate documents and long samples, found by signatures, verified by the Jaccard of their texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from synthgen.dedup.bands import Bands
from synthgen.dedup.near import Near
from synthgen.dedup.saved import read, write
from synthgen.dedup.sets import Sets, groups, jaccards
from synthgen.dedup.shingles import shingles
from synthgen.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from synthgen.dedup.shingles import Counts, Hashes

    Signatures = NDArray[np.uint32]
    Rows = NDArray[np.int64]
    _Asked = tuple[Signatures, Hashes]

PERMUTATIONS = 112
SEED = 1
_MADE_WITH = {"permutations": PERMUTATIONS, "seed": SEED}
_SPAN = 400  # characters of an entry that evidence shows
_REMEMBERED = 4096  # texts of the last question whose signatures are kept for their adding
_BLOCK = 4096  # rows
_LOST = 1e-6  # share of true pairs that may be lost by not verifying what hardly agrees


@cache
def bands_and_rows(threshold: Fraction) -> tuple[int, int]:
    """The longest bands that still find 98 of 100 pairs whose Jaccard is even over [threshold, 1].

    threshold      .95   .9    .85    .8    .75   .7    .6    .5    .4    .3
    bands x rows   6x18  8x13  11x10  14x8  16x7  18x6  28x4  28x4  37x3  56x2
    """
    for rows in range(PERMUTATIONS // 4, 1, -1):
        if mean_recall(threshold, PERMUTATIONS // rows, rows) >= 0.98:
            return PERMUTATIONS // rows, rows
    return PERMUTATIONS, 1


def mean_recall(threshold: Fraction, bands: int, rows: int) -> float:
    """The probability to share a band, 1 - (1 - J^rows)^bands, over J from the threshold to 1."""
    steps = np.linspace(float(threshold), 1.0, 1001)
    return float(np.mean(1 - (1 - steps**rows) ** bands))


@cache
def _least_agreement(percent: int) -> int:
    """Fewer equal minima than this have one in a million pairs of that Jaccard."""
    share, total = percent / 100, 0.0
    for equal in range(PERMUTATIONS + 1):
        total += comb(PERMUTATIONS, equal) * share**equal * (1 - share) ** (PERMUTATIONS - equal)
        if total > _LOST:
            return equal
    return PERMUTATIONS


@cache
def _factors() -> tuple[Hashes, Hashes]:
    """Odd factors and terms of the multiply-shift hashes, [112, 1]: from a seed, by a function that never changes."""
    drawn = hashlib.shake_256(f"minhash {SEED}".encode()).digest(16 * PERMUTATIONS)
    numbers = np.frombuffer(drawn, "<u8").astype(np.uint64).reshape(2, PERMUTATIONS, 1)
    return numbers[0] | np.uint64(1), numbers[1]


def _minima(hashes: Hashes, counts: Counts) -> Signatures:
    """Signatures [n, 112] of texts that have so many of the hashes each; all ones where a text has none."""
    minima = np.full((PERMUTATIONS, len(counts)), 0xFFFFFFFF, np.uint32)
    full = np.flatnonzero(counts)
    if not len(full):
        return np.ascontiguousarray(minima.T)
    factors, terms = _factors()
    firsts = (np.cumsum(counts) - counts)[full]
    step = min(PERMUTATIONS, max(1, (1 << 15) // len(hashes)))  # products that stay in the cache
    products = np.empty((step, len(hashes)), np.uint64)
    for n in range(0, PERMUTATIONS, step):
        here = products[: min(step, PERMUTATIONS - n)]
        np.multiply(hashes, factors[n : n + step], out=here)
        here += terms[n : n + step]
        least = np.minimum.reduceat(here, firsts, axis=1)
        minima[n : n + step, full] = least >> np.uint64(32)
    return np.ascontiguousarray(minima.T)


def signatures(texts: Sequence[str]) -> Signatures:
    """[n, 112] minima of the shingles of each text; equal minima estimate the Jaccard."""
    found = [_minima(*shingles(group)) for group in groups(texts)]
    return np.concatenate(found) if found else np.empty((0, PERMUTATIONS), np.uint32)


class MinHash:
    """Entries by signature; what is near shares at least `threshold` of its shingles, verified on the texts.

    `text_of` gives the text of an entry by its id: 448 bytes of signature and 8 a band are kept here, no text.
    A text without words is near to nothing. Pairs at the threshold are found less often than all above it:
    0.92 of those with a Jaccard of exactly 0.8, 0.988 at 0.85, 0.999 at 0.9.
    Source: Broder 1997; bands as in datatrove (14 of 8).
    """

    def __init__(self, text_of: Callable[[str], str], threshold: Fraction = Fraction(8, 10)) -> None:
        if not 0 < threshold <= 1:
            raise UsageError(f"a MinHash threshold of {float(threshold):g}: it lies above 0 and is 1 at most")
        self.threshold = threshold
        self._text_of = text_of
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._sets = Sets(self._text_of)
        self._blocks: list[Signatures] = []
        self._bands = Bands(*bands_and_rows(self.threshold))
        # What was just asked is often added next, after a look at what came since.
        self._asked: dict[bytes, _Asked] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def signature(self, text: str) -> Signatures:
        """The 112 minima of one text."""
        return self._known(text)[0]

    def _known(self, text: str) -> _Asked:
        digest = _digest(text)
        if digest not in self._asked:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            found = signatures([text])
            self._asked[digest] = found[0], self._keys(found)[0]
        return self._asked[digest]

    def _keys(self, found: Signatures) -> list[Hashes]:
        """The bands of each signature, none for a text without words."""
        keys, full = self._bands.keys(found), np.any(found != 0xFFFFFFFF, axis=1).tolist()
        return [key if has_words else key[:0] for key, has_words in zip(keys, full, strict=True)]

    def add(self, id_: str, text: str) -> None:
        """Store an entry."""
        self._store(id_, *self._known(text))

    def add_many(self, rows: Iterable[tuple[str, str]]) -> None:
        """Store many entries, each an id and a text, for a fraction of the time of one by one."""
        ids: list[str] = []

        def texts() -> Iterator[str]:
            for id_, text in rows:
                ids.append(id_)
                yield text

        for group in groups(texts()):
            now, ids[: len(group)] = ids[: len(group)], []
            self._store_many(now, _minima(*shingles(group)))

    def _store_many(self, ids: Sequence[str], found: Signatures) -> None:
        for id_, signature, keys in zip(ids, found, self._keys(found), strict=True):
            self._store(id_, signature, keys)

    def _store(self, id_: str, signature: Signatures, keys: Hashes) -> None:
        row = len(self._ids)
        if row % _BLOCK == 0:
            self._blocks.append(np.empty((_BLOCK, PERMUTATIONS), np.uint32))
        self._blocks[-1][row % _BLOCK] = signature
        self._ids.append(id_)
        if len(keys):
            self._bands.add(row, keys)

    def near(self, text: str, *, since: int = 0) -> list[Near]:
        """All entries over the threshold from the `since`-th on, the best first, the earliest first of equals."""
        return self._one(text, since, every=True)

    def nearest(self, text: str, *, since: int = 0) -> Near | None:
        """The best entry over the threshold from the `since`-th on, the earliest of equals."""
        return next(iter(self._one(text, since)), None)

    def _one(self, text: str, since: int, *, every: bool = False) -> list[Near]:
        signature, keys = self._known(text)
        if not len(keys):
            return []
        rows = self._bands.meet(keys[None], since)[1]
        return self._verified(shingles([text])[0], signature, rows, every=every) if len(rows) else []

    def nearest_many(self, texts: Sequence[str], *, since: int = 0) -> list[Near | None]:
        """The same for many texts, against what is stored now, not against each other."""
        self._asked = {}
        answers: list[Near | None] = []
        for group in groups(texts):
            hashes, counts = shingles(group)
            found = _minima(hashes, counts)
            keys = self._keys(found)
            if len(texts) <= _REMEMBERED:
                self._asked.update(zip(map(_digest, group), zip(found, keys, strict=True), strict=True))
            each = np.split(hashes, np.cumsum(counts)[:-1])
            near: dict[int, list[Near]] = {}
            for n, rows in self._met(keys, since):
                near[n] = self._verified(each[n], found[n], rows)
            answers += [next(iter(near.get(n, ())), None) for n in range(len(group))]
        return answers

    def _met(self, keys: Sequence[Hashes], since: int) -> Iterator[tuple[int, Rows]]:
        """The texts of a group that share bands with rows, and the rows."""
        full = [n for n, key in enumerate(keys) if len(key)]
        if not full:
            return
        asked, rows = self._bands.meet(np.stack([keys[n] for n in full]), since)
        firsts = np.flatnonzero(np.diff(asked, prepend=-1))
        for at, of_one in zip(asked[firsts].tolist(), np.split(rows, firsts[1:]), strict=False):
            yield full[at], of_one

    def _agreement(self, signature: Signatures, rows: Rows) -> Rows:
        """How many minima each of the rows, in rising order, has in common with a signature."""
        parts = np.split(rows, np.flatnonzero(np.diff(rows // _BLOCK)) + 1)
        return np.concatenate([(self._blocks[p[0] // _BLOCK][p % _BLOCK] == signature).sum(axis=1) for p in parts])

    def _verified(self, hashes: Hashes, signature: Signatures, rows: Rows, *, every: bool = False) -> list[Near]:
        """What of the rows is near, the best first: all of it, or as many as it takes to know the first."""
        agreement = self._agreement(signature, rows)
        order = np.argsort(-agreement, kind="stable")
        mine, best, at, size = np.unique(hashes), self.threshold, 0, 8
        p, q = self.threshold.as_integer_ratio()
        found: list[tuple[Fraction, int]] = []
        while every or best < 1 or not found:
            least = _least_agreement(int(100 * best))
            chosen = [int(rows[n]) for n in order[at : at + size] if agreement[n] >= least]
            sets = self._sets.of([self._ids[row] for row in chosen])
            for row, (common, either) in zip(chosen, jaccards(mine, sets), strict=True):
                if common * q >= p * either:
                    found.append((Fraction(-common, either), row))
            if found and not every:
                found = [min(found)]
                best = -found[0][0]
            if len(chosen) < size:
                break
            at, size = at + size, min(2 * size, 256)
        return [self._near(row, -float(score)) for score, row in sorted(found)]

    def _near(self, row: int, score: float) -> Near:
        return Near(self._ids[row], score, "jaccard", _excerpt(self._text_of(self._ids[row])))

    def save(self, path: Path) -> None:
        """Write ids and signatures, whole or not at all. Raises StoreError where that cannot be done."""
        rows = (block[: len(self) - n * _BLOCK] for n, block in enumerate(self._blocks))
        write(path, self._ids, rows, _MADE_WITH)

    def load(self, path: Path) -> None:
        """Take what `save` wrote in place of all entries. Raises UsageError where the file does not fit."""
        ids, blocks = read(path, _MADE_WITH)
        self._clear()
        for found in blocks:
            self._store_many(ids[len(self) : len(self) + len(found)], found)


def _digest(text: str) -> bytes:
    """What stands for a text that was asked: it may be a long one, whose copy nobody should keep."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _excerpt(text: str) -> str:
    return text if len(text) <= _SPAN else text[: _SPAN - 1] + "…"

"""Cosine of embeddings, exact: what does a vector come closest to? Vectors are given; no model lives here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Rows = NDArray[np.float32]
    Floats = NDArray[np.float64]

BLOCK = 4096  # rows a side: 64 MiB of scores at a time
_MOST_NUMBERS = 1 << 20  # at a time in float64


class Vectors:
    """Kept vectors with one threshold; a vector is near when its cosine to one of them is at least that.

    Products are float32, whose last bits hang on the shape of the block. What they leave open (the side of the
    threshold, the best of several) is decided by the float64 cosine of the float32 unit rows, summed in one order: so
    no verdict and no score hangs on blocks, windows or threads. A row of zeros is near to nothing.
    """

    def __init__(self, threshold: float = 0.9) -> None:
        """Raises UsageError for a threshold outside (0, 1]."""
        if not 0 < threshold <= 1:
            raise UsageError(f"a threshold of {threshold:g}: cosines are compared with one above 0 and at most 1")
        self.threshold = threshold
        self._blocks: list[Rows] = []  # never copied: all but the last are full
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, vectors: ArrayLike) -> None:
        """Keep these rows, shape (n, d), after those that are there. Raises UsageError as `unit` does."""
        rows = self._unit(vectors)
        while len(rows):
            at = self._count % BLOCK
            if not at:
                self._blocks.append(np.empty((BLOCK, rows.shape[1]), np.float32))
            now, rows = rows[: BLOCK - at], rows[BLOCK - at :]
            self._blocks[-1][at : at + len(now)] = now
            self._count += len(now)

    def nearest_many(self, vectors: ArrayLike, since: int = 0) -> list[tuple[int, float] | None]:
        """For each row, shape (n, d), the nearest that is kept, from index `since` on; the earliest of equals.

        Against what is kept now, not against each other. Raises UsageError as `unit` does.
        """
        rows = self._unit(vectors)
        best = np.full(len(rows), -1.0)
        where = np.full(len(rows), -1)
        for first in range(0, len(rows), BLOCK):
            some = rows[first : first + BLOCK]
            for start, kept in self._kept(since):
                i, j, scores = _pairs(some, kept, self.threshold, best_only=True)
                if not len(i):
                    continue
                # Of one row the best first, then the earliest; blocks come in order, so a later one must be better.
                order = np.lexsort((j, -scores, i))
                lead = order[np.r_[True, i[order][1:] != i[order][:-1]]]
                lead = lead[scores[lead] > best[first + i[lead]]]
                best[first + i[lead]], where[first + i[lead]] = scores[lead], start + j[lead]
        return [(int(w), float(s)) if w >= 0 else None for w, s in zip(where, best, strict=True)]

    def _kept(self, since: int) -> Iterator[tuple[int, Rows]]:
        """Blocks of kept rows from an index on, each with the index of its first."""
        for number in range(since // BLOCK, len(self._blocks)):
            start, end = number * BLOCK, min((number + 1) * BLOCK, self._count)
            skipped = max(since - start, 0)
            if start + skipped < end:
                yield start + skipped, self._blocks[number][skipped : end - start]

    def _unit(self, vectors: ArrayLike) -> Rows:
        rows = unit(vectors)
        if self._blocks and len(rows) and rows.shape[1] != self._blocks[0].shape[1]:
            raise UsageError(
                f"vectors of {rows.shape[1]} numbers where the others have {self._blocks[0].shape[1]}: "
                "they come from another model"
            )
        return rows


def near(vectors: ArrayLike, threshold: float = 0.9) -> list[tuple[int, int, float]]:
    """Every pair (i, j, cosine), i < j, of rows, shape (n, d), whose cosine is at least the threshold, in order.

    Blocks of the lower triangle, n * n * d / 2 products: for 200,000 rows or so. Raises UsageError as `Vectors` does.
    """
    all_rows = Vectors(threshold)
    all_rows.add(vectors)
    found = []
    for start, rows in all_rows._kept(0):
        for before, kept in all_rows._kept(0):
            if before > start:
                break
            i, j, scores = _pairs(rows, kept, threshold, best_only=False)
            lower = i + start > j + before
            found += list(zip(j[lower] + before, i[lower] + start, scores[lower], strict=True))
    return sorted((int(i), int(j), float(score)) for i, j, score in found)


def unit(vectors: ArrayLike) -> Rows:
    """Rows, shape (n, d), scaled to length 1 in float32; a row of zeros stays as it is.

    Raises UsageError for another shape, and for a value that is no number, with its row counted from 0.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.dtype.kind not in "fiu" or not given.shape[1]:
        raise UsageError(f"vectors of shape {given.shape} of {given.dtype}: rows of numbers are expected")
    rows = np.empty(given.shape, np.float32)
    step = max(1, _MOST_NUMBERS // given.shape[1])
    for first in range(0, len(given), step):
        some = given[first : first + step].astype(np.float64)
        bad = ~np.isfinite(some).all(axis=1)
        if bad.any():
            raise UsageError(f"vector {first + int(bad.argmax())} holds a value that is no number (NaN or infinite)")
        some /= _or_one(np.abs(some).max(axis=1, keepdims=True))  # squares of the largest numbers would be infinite
        rows[first : first + step] = some / _or_one(np.sqrt((some * some).sum(axis=1, keepdims=True)))
    return rows


def _pairs(rows: Rows, kept: Rows, threshold: float, *, best_only: bool) -> tuple[Any, Any, Floats]:
    """(i, j, cosine) of what is near; `best_only` leaves out what cannot be the nearest of its row."""
    scores = rows @ kept.T
    # A float32 sum of d products is within d roundings of the true one, in whatever order it was added up.
    margin = (rows.shape[1] + 8) * 2.0**-23
    if best_only:
        most = scores.max(axis=1)
        some = np.flatnonzero(most >= threshold - margin)
        i, j = np.nonzero(scores[some] >= np.maximum(threshold - margin, most[some] - 2 * margin)[:, None])
        i = some[i]
    else:
        i, j = np.nonzero(scores >= threshold - margin)
    exact = _cosines(rows, kept, i, j)
    is_near = exact >= threshold
    return i[is_near], j[is_near], exact[is_near]


def _cosines(rows: Rows, kept: Rows, i: Any, j: Any) -> Floats:
    """The cosine of rows[i] and kept[j], each pair; exactly 1.0 for equal rows.

    A product of two float32 is exact in float64, and a sum over the last axis is added up in one order.
    """
    found = np.empty(len(i))
    step = max(1, _MOST_NUMBERS // rows.shape[1])
    for first in range(0, len(i), step):
        a, b = (x[k[first : first + step]].astype(np.float64) for x, k in ((rows, i), (kept, j)))
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        found[first : first + step] = (a * b).sum(axis=1) / _or_one(lengths)
    return np.minimum(found, 1.0)


def _or_one(lengths: Floats) -> Floats:
    return np.where(lengths > 0, lengths, 1.0)

"""The row of meaning: the level over vectors of real length, beside bare float32 products and float64 brute force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.dedup.kit import Bench, Row, timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]

DIMENSIONS, WINDOW, THRESHOLD = 384, 512, 0.9
_MOST_TIMES = 2.0


def _vectors(count: int) -> Rows:
    """Every second one near another, at angles on both sides of the threshold."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, DIMENSIONS)).astype(np.float32)
    noise = rng.standard_normal((count // 2, DIMENSIONS)) * rng.uniform(0.1, 0.9, (count // 2, 1))
    rows[1::2] = rows[:-1:2] + noise
    return rows


def _kept(rows: Rows) -> list[int]:
    """What the greedy pass keeps by the level."""
    import numpy as np

    from synthgen.dedup.semantic import Semantic

    level = Semantic(lambda texts: np.stack([rows[int(text)] for text in texts]), THRESHOLD)
    kept: list[int] = []
    for first in range(0, len(rows), WINDOW):
        window = list(map(str, range(first, min(first + WINDOW, len(rows)))))
        size = len(level)
        for text, met in zip(window, level.nearest_many(window), strict=True):
            if met is None and (len(level) == size or level.nearest(text, since=size) is None):
                level.add(text, text)
                kept.append(int(text))
    return kept


def _brute(rows: Rows) -> list[int]:
    """The same by one float64 product a row."""
    import numpy as np

    units = rows.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    kept = np.empty_like(units)
    found: list[int] = []
    for n, row in enumerate(units):
        if not found or (kept[: len(found)] @ row).max() < THRESHOLD:
            kept[len(found)] = row
            found.append(n)
    return found


def semantic(bench: Bench) -> Iterator[Row]:
    """Verdicts against brute force at 10,000 rows, and the cost of all but the products at 50,000."""
    rows = _vectors(10_000)
    ours, brute = _kept(rows), _brute(rows)
    differ = len(set(ours) ^ set(brute))
    yield Row("semantic, verdicts", "0 differ", f"{differ} of 10,000 differ, {len(ours):,} kept", differ == 0)

    rows = _vectors(200_000 if bench.full else 50_000)
    with timed() as level:
        kept = rows[_kept(rows)]
    with timed() as bare:
        for first in range(0, len(rows), WINDOW):
            for start in range(0, first * len(kept) // len(rows), 4096):
                rows[first : first + WINDOW] @ kept[start : start + 4096].T
    times = level.seconds / bare.seconds
    figure = f"{len(rows) / level.seconds:,.0f} rows a CPU-second at {len(rows):,} x {DIMENSIONS}, {times:.1f} x bare"
    yield Row("semantic, cost", f"at most {_MOST_TIMES:g} x the products alone", figure, times <= _MOST_TIMES)


ROWS = {"semantic": semantic}

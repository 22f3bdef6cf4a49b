"""How far raters agree: the share of equal pairs on one thing, Krippendorff's alpha over many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations


def equal_share(values: Sequence[object]) -> float | None:
    """Share of the pairs of raters that said the same; None with fewer than two."""
    pairs = list(combinations(values, 2))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def krippendorff_alpha(units: Sequence[Sequence[float | None]]) -> float | None:
    """Krippendorff's alpha for numbers (interval metric): 1 is agreement, 0 is what chance would give.

    A unit has what each rater said of one thing, None where nothing could be read. The result is None where nothing
    can be compared: no thing with two ratings, or one value throughout.
    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
    """
    rated = [found for unit in units if len(found := [v for v in unit if v is not None]) > 1]
    counts = Counter(value for unit in rated for value in unit)
    total = counts.total()
    observed = sum(2 * sum((a - b) ** 2 for a, b in combinations(unit, 2)) / (len(unit) - 1) for unit in rated)
    # Over all pairs at once, from the values' counts: there are few values and many units.
    expected = 2 * sum(counts[a] * counts[b] * (a - b) ** 2 for a, b in combinations(counts, 2)) / max(1, total - 1)
    return 1 - observed / expected if expected else None

"""When two texts are near by ROUGE-L, in integers: lengths m and n, L tokens in common, threshold p / q."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from synthgen.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Rule:
    """F1 = 2 L / (m + n) above p / q, or also equal to it.

    Never in floats: they call 48 of the 83 shapes (m, n < 60) whose F1 is exactly 7/10 "above 0.7".
    """

    def __init__(self, threshold: Fraction, *, reject_equal: bool) -> None:
        if not 0 < threshold <= 1:
            raise UsageError(f"a novelty threshold of {float(threshold):g}: it lies above 0 and is 1 at most")
        self.p, self.q = threshold.numerator, threshold.denominator
        self.reject_equal = reject_equal

    def need(self, total: int) -> int:
        """The least L that makes texts of m + n = total tokens near."""
        if self.reject_equal:
            return -(-self.p * total // (2 * self.q))
        return self.p * total // (2 * self.q) + 1

    def least(self, m: int) -> int:
        """The fewest tokens that a text near to one of m can have; also the least L of such a pair."""
        p, q = self.p, self.q
        return -(-p * m // (2 * q - p)) if self.reject_equal else p * m // (2 * q - p) + 1

    def most(self, common: int) -> int:
        """The most tokens, m + n, that two near texts with L <= common can have."""
        p, q = self.p, self.q
        return 2 * q * common // p if self.reject_equal else -(-2 * q * common // p) - 1


class Tables:
    """The same for arrays of lengths up to `tokens`: `need` by m + n, `least` by m, `most` by L."""

    def __init__(self, rule: Rule, tokens: int) -> None:
        import numpy as np

        # A threshold made from a float has 50 bits on either side of the line: such products are left to Python.
        wide = 4 * tokens * max(rule.p, rule.q) > 1 << 62
        kind: type = object if wide else np.int64

        def table(function: object, count: int) -> NDArray[np.int64]:
            return np.asarray(function(np.arange(count).astype(kind)), dtype=np.int64)  # type: ignore[operator]

        self.tokens = tokens
        self.need = table(rule.need, 2 * tokens + 1)
        self.least = table(rule.least, tokens + 1)
        self.most = np.minimum(table(rule.most, tokens + 1), 1 << 40)

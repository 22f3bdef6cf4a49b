"""When two texts are near by ROUGE-L, in integers: lengths m and n, L tokens in common, threshold p / q."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

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
    """The same for arrays of lengths: `need` by m + n, `least` by m, `most` by L."""

    def __init__(self, rule: Rule) -> None:
        self._rule, self._tokens = rule, -1
        self.reach(0)

    def reach(self, tokens: int) -> None:
        """Hold for texts of so many tokens."""
        import numpy as np

        if tokens <= self._tokens:
            return
        rule, self._tokens = self._rule, max(tokens, 2 * self._tokens)
        # A threshold made from a float has 50 bits on either side of the line: such products are left to Python.
        kind = object if 4 * self._tokens * rule.q > 1 << 62 else np.int64

        def table(function: Callable[[Any], Any], count: int) -> NDArray[np.int32]:
            values: NDArray[np.int32] = np.minimum(function(np.arange(count).astype(kind)), (1 << 31) - 1)
            return values.astype(np.int32)

        self.need = table(rule.need, 2 * self._tokens + 1)
        self.least = table(rule.least, self._tokens + 1)
        self.most = table(rule.most, self._tokens + 1)

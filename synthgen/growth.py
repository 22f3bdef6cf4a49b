"""How a recipe that grows its own seeds sees its pool: as it stood some tasks before."""

from __future__ import annotations

from collections.abc import Sequence

# A growing recipe's task i sees the pool as it stood after task i - lag(i). The lag belongs to the run and not to
# the concurrency of the moment. It starts at five, Self-Instruct's own request batch, so that small runs grow too.
FIRST_LAG, LAST_LAG = 5, 64


def lag(index: int) -> int:
    """How many tasks before task `index` are hidden from it in a growing recipe."""
    return min(LAST_LAG, max(FIRST_LAG, index // 2))


class Grown:
    """The pool as one task may see it: a prefix of everything accepted, ended by an earlier task."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, str]] = []
        self._sizes = [0]  # after how many decided tasks there were how many entries
        self.visible_tasks = 0

    def __len__(self) -> int:
        return self._sizes[min(self.visible_tasks, len(self._sizes) - 1)]

    def __getitem__(self, at: int) -> tuple[str, str]:
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._entries[at]

    def add(self, entries: Sequence[tuple[str, str]]) -> None:
        self._entries.extend(entries)
        self._sizes.append(len(self._entries))

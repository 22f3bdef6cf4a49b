"""Everything accepted so far: exact keys first, then novelty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synthgen.dedup.exact import key
from synthgen.dedup.near import Near
from synthgen.dedup.novelty import NoveltyByScript


class Seen:
    """Exact keys of whole samples, and exact keys and novelty of their instructions.

    The order of an instruction, for `since` and `before`, is how many were there before it.
    """

    def __init__(self, novelty: NoveltyByScript) -> None:
        self.novelty = novelty
        self._keys: dict[bytes, str] = {}
        self._orders: dict[bytes, int] = {}
        self._copies: dict[bytes, list[int]] = {}  # the further orders of an instruction that came more than once

    def nearest(self, instruction: str, *, since: int | None = None, before: int | None = None) -> Near | None:
        """What an instruction comes too close to, the exact match first."""
        same = self._same_instruction(instruction, since, before)
        return self.novelty.nearest(instruction, since=since, before=before) if same is None else same

    def nearest_many(
        self, instructions: Sequence[str], *, since: int | None = None, before: int | None = None
    ) -> list[Near | None]:
        """The same for many, against what is stored now, not against each other."""
        found = [self._same_instruction(text, since, before) for text in instructions]
        left = [row for row, near in enumerate(found) if near is None]
        others = self.novelty.nearest_many([instructions[row] for row in left], since=since, before=before)
        for row, near in zip(left, others, strict=True):
            found[row] = near
        return found

    def same(self, whole: str) -> Near | None:
        """An accepted sample with the same whole text."""
        found = self._keys.get(key(whole))
        return None if found is None else Near(found, 1.0, "exact")

    def add_instruction(self, id_: str, instruction: str) -> None:
        digest, order = key(instruction), len(self.novelty)
        if self._orders.setdefault(digest, order) != order:
            self._copies.setdefault(digest, []).append(order)
        self.novelty.add(id_, instruction)

    def add_whole(self, id_: str, whole: str) -> None:
        self._keys.setdefault(key(whole), id_)

    def _same_instruction(self, instruction: str, since: int | None, before: int | None) -> Near | None:
        digest = key(instruction)
        if digest not in self._orders:
            return None
        for order in (self._orders[digest], *self._copies.get(digest, ())):
            if (since is None or order >= since) and (before is None or order < before):
                found = self.novelty.entry(order)
                return None if found is None else replace(found, by="exact")
        return None

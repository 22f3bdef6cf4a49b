"""The shingle sets of entries, hashed from their texts when asked, the latest kept: what verifying compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthgen.dedup.shingles import shingles

if TYPE_CHECKING:
    from synthgen.dedup.shingles import Counts, Hashes

GROUP = 1 << 16  # characters hashed at once
# Rows of one template are candidates of each other without end; 32 MB hold the sets of 40,000 such rows.
_KEPT = 1 << 22  # hashes


def groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, as many together as are hashed at once."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > GROUP:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


class Sets:
    """Sorted distinct shingle hashes by id."""

    def __init__(self, text_of: Callable[[str], str]) -> None:
        self._text_of = text_of
        self._kept: dict[str, Hashes] = {}  # the latest asked last
        self._size = 0

    def of(self, ids: Sequence[str]) -> list[Hashes]:
        """The set of each id."""
        found = {id_: self._kept.pop(id_) for id_ in ids if id_ in self._kept}
        new = list(dict.fromkeys(id_ for id_ in ids if id_ not in found))
        texts = map(self._text_of, new)
        parts = (part for group in groups(texts) for part in _split(*shingles(group)))
        for id_, part in zip(new, parts, strict=True):
            found[id_] = np.unique(part)
            self._size += len(found[id_])
        self._kept.update(found)
        while self._size > _KEPT:
            self._size -= len(self._kept.pop(next(iter(self._kept))))
        return [found[id_] for id_ in ids]


def _split(hashes: Hashes, counts: Counts) -> list[Hashes]:
    return np.split(hashes, np.cumsum(counts)[:-1])


def jaccards(mine: Hashes, others: Sequence[Hashes]) -> list[tuple[int, int]]:
    """Shingles in common and in either, of one set, which is not empty, and each of the others."""
    if not others:
        return []
    sizes = np.array([len(other) for other in others])
    together = np.concatenate(others)
    shared = mine[np.minimum(np.searchsorted(mine, together), len(mine) - 1)] == together
    before = np.concatenate([[0], np.cumsum(shared)])  # a set may be empty
    ends = np.cumsum(sizes)
    common = before[ends] - before[ends - sizes]
    return list(zip(common.tolist(), (len(mine) + sizes - common).tolist(), strict=True))

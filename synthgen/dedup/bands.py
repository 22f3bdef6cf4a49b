"""Rows by the bands of their signatures: whoever shares a band is a candidate; sorted levels of 8 bytes a band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthgen.dedup.shingles import mixed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthgen.dedup.shingles import Counts, Hashes

# An entry is 36 bits of a band's hash over 28 bits of the row: a band of another row is met by chance once in 5,000
# questions at a million rows, and every candidate is verified.
_ROW_BITS = np.uint64(28)
_ROW = np.uint64((1 << 28) - 1)
_TAIL_ROWS = 512
_MOST_CANDIDATES = 1 << 20  # met in one go: 8 MB


@dataclass(frozen=True, slots=True)
class _Level:
    """The sorted entries of the rows before `end` that no earlier level holds."""

    end: int
    entries: Hashes


class Bands:
    """Rows with consecutive numbers, each under its bands; the newest in a dict, the others in sorted levels."""

    def __init__(self, bands: int, rows: int) -> None:
        self.bands, self.rows = bands, rows
        # Odd factors for the minima of a band, and one start for each band, so that equal bands at two places differ.
        numbers = mixed(np.arange(1, rows + bands + 1, dtype=np.uint64))
        self._factors, self._starts = numbers[:rows] | np.uint64(1), numbers[rows:]
        self._levels: list[_Level] = []
        self._tail: dict[int, list[int]] = {}
        self._tail_entries: list[Hashes] = []
        self._tail_rows = 0

    def keys(self, signatures: NDArray[np.uint32]) -> Hashes:
        """One key a band, [n, permutations] -> [n, bands], its lower 28 bits free for a row."""
        parts = signatures[:, : self.bands * self.rows].reshape(len(signatures), self.bands, self.rows)
        keys = np.tile(self._starts, (len(signatures), 1))
        for n, factor in enumerate(self._factors):
            keys += parts[:, :, n] * factor
        return mixed(keys) & ~_ROW

    def add(self, row: int, keys: Hashes) -> None:
        """Put a row, which is later than all before, under its keys [bands]."""
        for tag in (keys >> _ROW_BITS).tolist():
            self._tail.setdefault(tag, []).append(row)
        self._tail_entries.append(keys | np.uint64(row))
        self._tail_rows += 1
        if self._tail_rows >= _TAIL_ROWS:
            self._settle(row + 1, np.sort(np.concatenate(self._tail_entries)))
            self._tail, self._tail_entries, self._tail_rows = {}, [], 0

    def _settle(self, end: int, entries: Hashes) -> None:
        """A new level, merged with its neighbours until each is more than twice the next: few levels, few merges."""
        while self._levels and len(self._levels[-1].entries) < 2 * len(entries):
            entries = np.concatenate([self._levels.pop().entries, entries])
            entries.sort()
        self._levels.append(_Level(end, entries))

    def meet(self, keys: Hashes, since: int = 0) -> tuple[Counts, Counts]:
        """Which of the questions [n, bands] meet which rows from `since` on: two arrays, each pair once, ordered."""
        asked, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        flat = keys.ravel()
        for level in self._levels:
            if level.end <= since:
                continue
            first = np.searchsorted(level.entries, flat)
            there = level.entries[np.minimum(first, len(level.entries) - 1)]
            hit = np.flatnonzero(there >> _ROW_BITS == flat >> _ROW_BITS)
            if not len(hit):
                continue
            lengths = np.searchsorted(level.entries, flat[hit] | _ROW, "right") - first[hit]
            if len(keys) > 1 and int(lengths.sum()) > _MOST_CANDIDATES:
                return self._meet_halves(keys, since)
            within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            found = level.entries[np.repeat(first[hit], lengths) + within] & _ROW
            asked.append(np.repeat(hit // self.bands, lengths))
            rows.append(found.astype(np.int64))
        late = [(n, row) for n, tags in enumerate(self._tail_tags(keys)) for tag in tags for row in self._tail[tag]]
        if late:
            asked.append(np.array([n for n, _ in late]))
            rows.append(np.array([row for _, row in late]))
        if len(rows) == 1:
            return asked[0], rows[0]
        pairs = np.concatenate(asked) << np.int64(_ROW_BITS) | np.concatenate(rows)
        pairs = np.unique(pairs)
        found_rows = pairs & np.int64(_ROW)
        kept = found_rows >= since
        return (pairs >> np.int64(_ROW_BITS))[kept], found_rows[kept]

    def _meet_halves(self, keys: Hashes, since: int) -> tuple[Counts, Counts]:
        half = len(keys) // 2
        one, other = self.meet(keys[:half], since), self.meet(keys[half:], since)
        return np.concatenate([one[0], other[0] + half]), np.concatenate([one[1], other[1]])

    def _tail_tags(self, keys: Hashes) -> list[list[int]]:
        """For each question, those of its bands that the tail has."""
        if not self._tail:
            return []
        return [[tag for tag in tags if tag in self._tail] for tags in (keys >> _ROW_BITS).tolist()]

"""Which entries may be near: postings of each entry's rarest elements, exact, grown like a log-structured merge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.dedup.entries import LONG_TOKENS, Entries
from synthgen.dedup.rule import Tables

Array = NDArray[Any]

BLOCK = 2_048  # entries taken in at a time
CHUNK = 32_768  # postings looked at at a time: at a million entries a third of the time of two million at once
GROUP = 1 << 20  # postings that a batch of queries looks at before its candidates are compared
HEAVY = 1  # times the entries: a query with more postings to look at is compared with every entry instead
FAN = 8  # a level is merged into the one before it while that is at most so many times larger
ROWS = 512  # queries asked at a time
FINE = (1 << 22) - 1  # steps of a bound; row, bound and entry fill 63 bits
FINE_TOTAL = 2_047  # different fractions of totals so large are 1 / FINE_TOTAL**2 apart
FROZEN = 1 << 30  # ranks from here on: elements counted when the order was frozen; later ones rank below


class Levels:
    """Postings of the entries taken in so far: key = rank << 32 | tokens << 16 | position, and the entry.

    A level is a sorted stretch of one pair of buffers, the oldest and largest first. The elements of an entry are
    ordered by rarity, and those of its prefix alone have postings: two near texts share an element of their prefixes.
    The order is frozen, since only one total order for all is exact, and made anew when the entries have doubled.
    """

    def __init__(self, entries: Entries, tables: Tables) -> None:
        self.taken = 0
        self._entries, self._tables = entries, tables
        self._frozen_at = 0
        self._ranks: Array = np.zeros(0, dtype=np.uint32)
        self._keys: Array = np.zeros(0, dtype=np.uint64)
        self._ids: Array = np.zeros(0, dtype=np.uint32)
        self._starts = [0]  # of each level, and the end of the last
        self._bits: Array = np.zeros((0, 4), dtype=np.uint64)  # 256 an entry, set for the elements that it may have

    def take_in(self) -> None:
        """Make postings for every entry that has none."""
        count = len(self._entries)
        if count >= 2 * self._frozen_at:
            self._freeze(count)
        self._rank_new()
        self._make_room(count)
        while self.taken < count:
            end = min(count, self.taken + BLOCK)
            self._append(*self._postings(self.taken, end))
            self.taken = end

    def _make_room(self, count: int) -> None:
        """For the postings and bitmaps of all entries at once: buffers that grow by steps leave holes behind."""
        tokens = np.diff(np.frombuffer(self._entries.starts, np.uint64)[self.taken : count + 1].astype(np.int64))
        tokens = tokens[(tokens > 0) & (tokens <= LONG_TOKENS)]
        used = self._starts[-1]
        wanted = used + int(np.maximum(0, tokens - self._tables.least[tokens] + 1).sum())
        self._keys, self._ids = _with_room(self._keys, used, wanted), _with_room(self._ids, used, wanted)
        self._bits = _with_room(self._bits, self.taken, count)

    def _freeze(self, count: int) -> None:
        """The order by how many entries have an element, the rarest first; every posting is made again."""
        flat = np.frombuffer(self._entries.flat, np.uint32)
        frequency = np.zeros(len(self._entries.word_of), dtype=np.int64)
        for at in range(0, len(flat), CHUNK):
            np.add.at(frequency, flat[at : at + CHUNK], 1)
        self._ranks = np.empty(len(frequency), dtype=np.uint32)
        self._ranks[np.argsort(frequency, kind="stable")] = np.arange(FROZEN, FROZEN + len(frequency))
        self._frozen_at, self.taken = count, 0
        self._starts = [0]

    def _rank_new(self) -> None:
        """Elements unseen when the order was frozen are rarer than all others, the newest first."""
        new = len(self._entries.word_of) - len(self._ranks)
        lowest = min(FROZEN, int(self._ranks[-1])) if len(self._ranks) else FROZEN
        self._ranks = np.concatenate((self._ranks, np.arange(lowest - 1, lowest - 1 - new, -1, dtype=np.uint32)))

    def _postings(self, first: int, last: int) -> tuple[Array, Array]:
        """Sorted keys and entries of a block, whose bitmaps are stored on the way."""
        starts = np.frombuffer(self._entries.starts, np.uint64)[first : last + 1].astype(np.int64)
        elements = np.frombuffer(self._entries.flat, np.uint32)[starts[0] : starts[-1]]
        tokens = np.diff(starts)
        rows = np.repeat(np.arange(last - first), tokens)
        self._bits[first:last] = _bitmaps(rows, elements, last - first)
        kept = (tokens <= LONG_TOKENS)[rows]
        ordered = np.sort(rows[kept] << 32 | self._ranks[elements[kept]])
        rows, tokens = ordered >> 32, np.where(tokens <= LONG_TOKENS, tokens, 0)
        places = np.arange(len(ordered)) - (np.cumsum(tokens) - tokens)[rows]
        tokens = tokens[rows]
        prefix = places <= tokens - self._tables.least[tokens]
        keys = ((ordered & 0xFFFFFFFF) << 32 | tokens << 16 | places)[prefix].astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        return keys[order], (first + rows[prefix][order]).astype(np.uint32)

    def _append(self, keys: Array, ids: Array) -> None:
        """A new level, merged with those before it that are not much larger."""
        used = self._starts[-1]
        end = used + len(keys)
        self._keys[used:end], self._ids[used:end] = keys, ids
        self._starts.append(end)
        starts = self._starts
        while len(starts) > 2 and starts[-2] - starts[-3] <= FAN * (starts[-1] - starts[-2]):
            self._merge(starts[-3], starts[-2], starts[-1])
            del starts[-2]

    def _merge(self, start: int, middle: int, end: int) -> None:
        """Two levels that lie side by side into one, from the back, so that the second alone has to be copied."""
        first, keys, ids = self._keys[start:middle], self._keys[middle:end].copy(), self._ids[middle:end].copy()
        cuts = np.arange(0, max(1, len(first)), CHUNK)
        others = np.append(0, keys.searchsorted(first[cuts[1:]]))
        a, b = len(first), len(keys)
        for i, j in zip(cuts[::-1].tolist(), others[::-1].tolist(), strict=True):
            both = np.concatenate((first[i:a], keys[j:b]))
            owners = np.concatenate((self._ids[start + i : start + a], ids[j:b]))
            order = np.argsort(both, kind="stable")
            at = slice(start + i + j, start + a + b)
            self._keys[at], self._ids[at] = both[order], owners[order]
            a, b = i, j

    def candidates(
        self, sizes: Sequence[int], elements: Sequence[Sequence[int]], first: int, last: int
    ) -> tuple[Iterator[tuple[Array, Array, Array]], list[int]]:
        """Pairs of a query and an entry of [first, last) that may be near, each once: arrays of rows, entries, bounds.

        A query, of ROWS at most, has its number of tokens, LONG_TOKENS at most, and its elements that some entry has.
        Pairs are sorted by row, bound (the highest first) and entry. The second of the answer are the rows with more
        postings to look at than there are entries: compare those with every entry.
        """
        size = np.array(sizes, dtype=np.int64)
        lookups = _Lookups(size, elements, self._ranks, self._tables)
        if not len(lookups.row):
            return iter(()), []
        lower, upper = self._slices(lookups)
        load = np.bincount(lookups.row, (upper - lower).sum(axis=0), minlength=len(size)).astype(np.int64)
        heavy = np.flatnonzero(load > HEAVY * self.taken)
        if len(heavy):
            upper = np.where(np.isin(lookups.row, heavy), lower, upper)
            load[heavy] = 0
        return self._pairs(lookups, size, lower, upper, np.cumsum(load), first, last), heavy.tolist()

    def _pairs(
        self, lookups: _Lookups, size: Array, lower: Array, upper: Array, loads: Array, first: int, last: int
    ) -> Iterator[tuple[Array, Array, Array]]:
        """The pairs of as many rows at a time as have about GROUP postings together."""
        groups = loads // GROUP
        cuts = (1 + (groups[1:] != groups[:-1]).nonzero()[0]).tolist()
        for start, end in pairwise((0, *cuts, len(size))):
            a, b = lookups.row.searchsorted((start, end)).tolist()
            found = [
                self._kept(lookups, size, at, a + which, first, last)
                for at, which in _chunks(lower[:, a:b].ravel(), upper[:, a:b].ravel(), b - a)
            ]
            pairs = np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
            if len(pairs):
                pairs = pairs[firsts(pairs)]
                yield pairs >> 54, pairs & 0xFFFFFFFF, FINE - (pairs >> 32 & FINE)

    def _slices(self, lookups: _Lookups) -> tuple[Array, Array]:
        """Where the postings of each lookup lie: a row a level, from and to."""
        bounds = np.concatenate((lookups.lower, lookups.upper))
        found = np.array([
            self._keys[start:end].searchsorted(bounds) + start
            for start, end in zip(self._starts, self._starts[1:], strict=False)
        ]).reshape(-1, 2, len(lookups.row))  # fmt: skip
        return found[:, 0], found[:, 1]

    def _kept(self, lookups: _Lookups, size: Array, at: Array, which: Array, first: int, last: int) -> Array:
        """Of the postings at these places what passes the filters, as row << 54 | FINE - bound << 32 | entry."""
        keys = self._keys[at].view(np.int64)
        row = lookups.row[which]
        tokens = keys >> 16 & 0xFFFF
        need = self._tables.need[size[row] + tokens]
        passed = (tokens - (keys & 0xFFFF) >= need).nonzero()[0]
        ids, row, need, tokens = self._ids[at[passed]].astype(np.int64), row[passed], need[passed], tokens[passed]
        if first > 0 or last < self.taken:
            within = ((ids >= first) & (ids < last)).nonzero()[0]
            ids, row, need, tokens = ids[within], row[within], need[within], tokens[within]
        mine, theirs = lookups.bits[row], self._bits[ids]
        # Bits that one side alone has are tokens that are surely missing on the other.
        common = np.minimum(lookups.known[row] - _ones(mine & ~theirs), tokens - _ones(theirs & ~mine))
        may = (common >= need).nonzero()[0]
        row, bound = row[may], fine(common[may], (size[row] + tokens)[may])
        found: Array = row << 54 | (FINE - bound) << 32 | ids[may]
        return found


def fine(common: Array, total: Array | int) -> Array:
    """F1 in steps of 1 / FINE, rounded up: equal scores are equal, and others differ where total <= FINE_TOTAL."""
    steps: Array = np.ceil(2 * common / total * FINE).astype(np.int64)
    return steps


class _Lookups:
    """The keys to look for, a batch of queries at once: `row` is the query, postings lie in [lower, upper)."""

    def __init__(self, size: Array, elements: Sequence[Sequence[int]], ranks: Array, tables: Tables) -> None:
        counts = np.array([len(row) for row in elements], dtype=np.int64)
        row = np.repeat(np.arange(len(size)), counts)
        known = np.array([element for row in elements for element in row], dtype=np.int64)
        ranked = known < len(ranks)  # the others came with entries that have no postings yet
        row, known = row[ranked], known[ranked]
        self.known: Array = np.bincount(row, minlength=len(size))
        self.bits = _bitmaps(row, known, len(size))
        ordered = np.sort(row << 32 | ranks[known])
        row = ordered >> 32
        # Elements that no entry has are the rarest: they take the first places.
        unknown = size - self.known
        place = np.arange(len(row)) - (self.known.cumsum() - self.known)[row] + unknown[row]
        m = size[row]
        least = tables.least[m].astype(np.int64)
        most = np.minimum(tables.most[m - place] - m, LONG_TOKENS)
        inside = (most >= least).nonzero()[0]
        self.row = row[inside]
        rank, least, most = ordered[inside] << 32, least[inside] << 16, (most[inside] + 1) << 16
        self.lower, self.upper = (rank + least).astype(np.uint64), (rank + most).astype(np.uint64)


def firsts(values: Array) -> Array:
    """Where a sorted array has a value for the first time."""
    found = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=found[1:])
    return found


def _bitmaps(rows: Array, elements: Array, count: int) -> Array:
    """256 bits a row; numbers of elements are dealt in the order of first use, so the commonest do not collide."""
    flags = np.zeros((count, 256), dtype=np.bool_)
    flags[rows, elements & 255] = True
    return np.packbits(flags, axis=1).view(np.uint64)


def _ones(bits: Array) -> Array:
    """How many bits are set in each row of four words; never all 256, as either side has a token."""
    sums = np.bitwise_count(bits).view(np.uint32) * np.uint32(0x01010101)
    return (sums[:, 0] >> 24).astype(np.int64)


def _chunks(lower: Array, upper: Array, lookups: int) -> Iterator[tuple[Array, Array]]:
    """Slices laid end to end and cut into CHUNKs: places in the buffer, and for each the lookup it belongs to."""
    counts = upper - lower
    ends = counts.cumsum()
    shift = lower - (ends - counts)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, CHUNK):
        end = min(total, start + CHUNK)
        first, last = (int(i) for i in ends.searchsorted((start, end - 1), side="right"))
        inside = np.minimum(ends[first : last + 1], end) - np.maximum(
            ends[first : last + 1] - counts[first : last + 1], start
        )
        which = np.repeat(np.arange(first, last + 1), inside)
        yield np.arange(start, end) + shift[which], which % lookups


def _with_room(buffer: Array, used: int, wanted: int) -> Array:
    """The buffer, or a copy as large as wanted and at least an eighth larger."""
    if wanted <= len(buffer):
        return buffer
    grown = np.empty((max(wanted, len(buffer) + len(buffer) // 8), *buffer.shape[1:]), dtype=buffer.dtype)
    grown[:used] = buffer[:used]
    return grown

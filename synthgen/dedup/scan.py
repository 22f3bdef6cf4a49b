"""How a novelty index answers: candidates from the postings or all entries, then the true LCS of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import Indel, LCSseq

from synthgen.dedup.entries import LONG_TOKENS, Entries
from synthgen.dedup.levels import FINE_TOTAL, ROWS, Levels, fine, firsts
from synthgen.dedup.rule import Rule, Tables

Array = NDArray[Any]

CODES = 0x10F7FF  # code points that are no surrogates, less the 0 of words that no entry has
INDEX_FROM = 1_024  # entries: with fewer, comparing with all costs less than looking postings up
LOWEST = 0.5  # below this threshold looking postings up costs more than comparing with all
TAIL = 512  # so many of the newest entries have no postings yet: they are compared with
FEW = 64  # comparisons that cost less one by one than all at once
FIRST = 32  # candidates of a query that are compared before those that cannot be better are left out
SQUARE = 64, 8_192  # queries and entries compared at a time


class Best(NamedTuple):
    entry: int
    score: float


class Query(NamedTuple):
    """A text that is asked about: its words by number, and the same with one code point for each."""

    words: list[int]
    string: str


class Hits(NamedTuple):
    """Near pairs: rows of the batch, entries, scores."""

    rows: Array
    ids: Array
    scores: Array


class Scan:
    """What questions need and additions do not; made at the first question."""

    def __init__(self, entries: Entries, rule: Rule) -> None:
        self._entries, self._rule = entries, rule
        self._tables = Tables(rule)
        self._levels = Levels(entries, self._tables)
        self._strings: list[str] = []  # of the entries from _held on
        self._held = 0
        # The library's own cutoff loses pairs that lie exactly on it: ask a little lower, then decide on integers.
        self._cutoff = rule.p / rule.q - 1e-6

    def nearest(self, texts: Sequence[Sequence[str]], first: int, last: int) -> list[Best | None]:
        """For each list of tokens the best of the entries [first, last) over the threshold, the earliest of equals."""
        self._tables.reach(self._entries.longest)
        ready, left = self._rule.p / self._rule.q >= LOWEST, len(self._entries) - self._levels.taken
        if ready and left > TAIL and len(self._entries) >= INDEX_FROM:
            self._levels.take_in()
            del self._strings[: self._levels.taken - self._held]
            self._held = self._levels.taken
        if len(texts) * (last - first) <= FEW and not self._folded and not self._entries.long:
            return [self._best(self._query(text), first, last) for text in texts]
        found: list[Best | None] = []
        for at in range(0, len(texts), ROWS):
            found += self._batch(self._queries(texts[at : at + ROWS]), first, last)
        return found

    def _best(self, query: Query, first: int, last: int) -> Best | None:
        """The same for one text and a few entries, without arrays, whose making would cost the most of it."""
        best, m = None, len(query.words)
        for entry, other in enumerate(self._strings_of(first, last), first):
            need = max(1, self._rule.need(m + len(other)))
            if min(m, len(other)) < need:
                continue
            common = LCSseq.similarity(query.string, other, score_cutoff=need)
            if common >= need and (best is None or 2 * common / (m + len(other)) > best.score):
                best = Best(entry, 2 * common / (m + len(other)))
        return best

    def _batch(self, queries: list[Query], first: int, last: int) -> list[Best | None]:
        plain = [row for row, query in enumerate(queries) if 0 < len(query.words) <= LONG_TOKENS]
        self._tables.reach(max((len(queries[row].words) for row in plain), default=0))
        # Where the entries asked for are about as recent as the tail, comparing with all of them is the cheapest.
        since = first if first > self._levels.taken - TAIL else max(first, self._levels.taken)
        hits = [self._verified(queries, *pairs) for pairs in self._compared(queries, plain, since, last)]
        if since > first:
            sizes = [len(queries[row].words) for row in plain]
            elements = [self._entries.elements(queries[row].words) for row in plain]
            pairs, heavy = self._levels.candidates(sizes, elements, first, min(last, since))
            of_plain = np.array(plain, dtype=np.int64)
            hits += [hit for rows, ids, bounds in pairs for hit in self._bounded(queries, of_plain[rows], ids, bounds)]
            compared = self._compared(queries, [plain[row] for row in heavy], first, min(last, since))
            hits += [self._verified(queries, *pairs) for pairs in compared]
        if self._entries.long or len(plain) < len(queries):
            hits.append(self._long_hits(queries, first, last))
        best: list[Best | None] = [None] * len(queries)
        for row, entry, score in zip(*(part.tolist() for part in _best_of_rows(hits)), strict=True):
            best[row] = Best(entry, score)
        return best

    def _compared(self, queries: list[Query], rows: list[int], first: int, last: int) -> Iterator[tuple[Array, Array]]:
        """Pairs of these queries and the entries [first, last) that may be near, by comparing all."""
        for i in range(0, len(rows), SQUARE[0]):
            some = rows[i : i + SQUARE[0]]
            strings = [queries[row].string for row in some]
            for j in range(first, last, SQUARE[1]):
                entries = self._strings_of(j, min(last, j + SQUARE[1]))
                scores = process.cdist(strings, entries, scorer=Indel.normalized_similarity, score_cutoff=self._cutoff)
                # Only what scores as the best of its block or within the rounding of it can be the best of all.
                floor = np.float32(0) if self._folded else scores.max(axis=1, keepdims=True) - np.float32(1e-5)
                at, ids = np.nonzero((scores > 0) & (scores >= floor))
                if len(at):
                    yield np.array(some, dtype=np.int64)[at], ids + j

    def _bounded(self, queries: list[Query], rows: Array, ids: Array, bounds: Array) -> Iterator[Hits]:
        """The best pairs of these, sorted by row and bound: of a family of templates a few are looked at, not all."""
        place = np.arange(len(rows)) - rows.searchsorted(rows)
        early = place < FIRST
        hits = self._verified(queries, rows[early], ids[early])
        yield hits
        if early.all():
            return
        size = np.array([len(query.words) for query in queries])
        least, earliest = np.full(len(queries), -1), np.zeros(len(queries), dtype=np.int64)
        least[hits.rows], earliest[hits.rows] = fine(hits.scores, 2), hits.ids
        # A tie is worth looking at where the entry came earlier, or where the bounds are too coarse to tell a tie.
        tie = (bounds == least[rows]) & ((ids < earliest[rows]) | (4 * size[rows] > FINE_TOTAL))
        late = np.flatnonzero(~early & ((bounds > least[rows]) | tie))
        for at in range(0, len(late), SQUARE[1]):
            some = late[at : at + SQUARE[1]]
            yield self._verified(queries, rows[some], ids[some])

    def _verified(self, queries: list[Query], rows: Array, ids: Array) -> Hits:
        """Of these pairs the best near one of each row."""
        strings = [queries[row].string for row in rows.tolist()]
        once, place = np.unique(ids, return_inverse=True)  # copies of a long text are met by every query near to it
        decoded = self._decoded(once)
        entries = [decoded[n] for n in place.tolist()]
        common = process.cpdist(strings, entries, scorer=LCSseq.similarity, dtype=np.uint32).astype(np.int64)
        total = np.fromiter(map(len, strings), np.int64, len(ids)) + np.fromiter(map(len, entries), np.int64, len(ids))
        need = self._tables.need[total]
        near = np.flatnonzero(common >= need)
        if self._folded:  # words that share a code point can only have raised it
            for i in near.tolist():
                common[i] = LCSseq.similarity(queries[rows[i]].words, self._entries.words_of(int(ids[i])))
            near = near[common[near] >= need[near]]
        # Quotients of such small numbers are equal as floats where they are equal, and differ where they differ.
        return _best_of_rows([Hits(rows[near], ids[near], 2 * common[near] / total[near])])

    def _long_hits(self, queries: list[Query], first: int, last: int) -> Hits:
        """Pairs of which either text has more than LONG_TOKENS tokens, one by one."""
        hits = []
        tokens = np.diff(np.frombuffer(self._entries.starts, np.uint64).astype(np.int64))[first:last]
        for row, (words, _) in enumerate(queries):
            if not words:
                continue
            inside = (tokens >= self._rule.least(len(words))) & (tokens <= self._rule.most(len(words)) - len(words))
            if len(words) <= LONG_TOKENS:
                inside &= tokens > LONG_TOKENS
            for entry in (first + np.flatnonzero(inside)).tolist():
                others = self._entries.words_of(entry)
                total = len(words) + len(others)
                need = self._rule.need(total)
                if (Counter(words) & Counter(others)).total() >= need and (common := _common(words, others)) >= need:
                    hits.append((row, entry, 2 * common / total))
        rows, ids, scores = zip(*hits, strict=True) if hits else ((), (), ())
        return Hits(np.array(rows, dtype=np.int64), np.array(ids, dtype=np.int64), np.array(scores, dtype=np.float64))

    def top(self, texts: Sequence[Sequence[str]], k: int, last: int) -> list[list[Best]]:
        """For each list of tokens the k best of the first `last` entries at any similarity, the earliest of equals."""
        found: list[list[Best]] = []
        for i in range(0, len(texts), SQUARE[0]):
            queries = self._queries(texts[i : i + SQUARE[0]])
            best: list[list[Best]] = [[] for _ in queries]
            for j in range(0, last, SQUARE[1]):
                scores = self._scores(queries, j, min(last, j + SQUARE[1]))
                for row, line in enumerate(scores):
                    # What is not among the k best of its block is among the k best of nothing.
                    among = (
                        np.flatnonzero(line >= np.partition(line, -k)[-k]) if k < len(line) else np.arange(len(line))
                    )
                    best[row] += [Best(j + n, s) for n, s in zip(among.tolist(), line[among].tolist(), strict=True)]
                    best[row] = sorted(best[row], key=lambda one: -one.score)[:k]
            found += [some if query.words else [] for some, query in zip(best, queries, strict=True)]
        return found

    def _scores(self, queries: list[Query], first: int, last: int) -> Array:
        """F1 of each query with each of the entries [first, last)."""
        starts = np.frombuffer(self._entries.starts, np.uint64)[first : last + 1].astype(np.int64)
        total = np.diff(starts)[None, :] + np.array([[len(query.words)] for query in queries])
        if self._folded:
            others = [self._entries.words_of(entry) for entry in range(first, last)]
            common = np.array([[LCSseq.similarity(query.words, other) for other in others] for query in queries])
        else:
            strings = [query.string for query in queries]
            common = process.cdist(strings, self._strings_of(first, last), scorer=LCSseq.similarity, dtype=np.uint32)
            for entry in self._entries.long:
                if first <= entry < last:
                    words = self._entries.words_of(entry)
                    common[:, entry - first] = [_common(query.words, words) for query in queries]
        scores: Array = 2 * common.astype(np.int64) / np.maximum(total, 1)
        return scores

    @property
    def _folded(self) -> bool:
        return len(self._entries.word_of) > CODES

    def _query(self, tokens: Sequence[str]) -> Query:
        words = self._entries.words(tokens)
        return Query(words, _string(words))

    def _queries(self, texts: Sequence[Sequence[str]]) -> list[Query]:
        words = [self._entries.words(tokens) for tokens in texts]
        strings = _cut(np.array([w for some in words for w in some], dtype=np.int64), [len(some) for some in words])
        return [Query(*pair) for pair in zip(words, strings, strict=True)]

    def _strings_of(self, first: int, last: int) -> list[str]:
        """Entries in a row; they are kept until they have postings."""
        if first < self._held:
            self._strings[:0] = self._decoded(np.arange(first, self._held))
            self._held = first
        ready = self._held + len(self._strings)
        if last - ready > FEW:
            self._strings += self._decoded(np.arange(ready, last))
        elif last > ready:
            some = (self._entries.words_of(entry) for entry in range(ready, last))
            self._strings += ["" if len(words) > LONG_TOKENS else _string(words) for words in some]
        return self._strings[first - self._held : last - self._held]

    def _decoded(self, ids: Array) -> list[str]:
        """Entries with one code point for each word; a long one as the empty string."""
        starts = np.frombuffer(self._entries.starts, np.uint64)
        flat, word_of = (np.frombuffer(a, np.uint32) for a in (self._entries.flat, self._entries.word_of))
        strings: list[str] = []
        for at in range(0, len(ids), SQUARE[1]):
            some = ids[at : at + SQUARE[1]]
            begins = starts[some].astype(np.int64)
            tokens = starts[some + 1].astype(np.int64) - begins
            tokens[tokens > LONG_TOKENS] = 0
            before = np.cumsum(tokens) - tokens
            places = np.arange(tokens.sum()) + np.repeat(begins - before, tokens)
            strings += _cut(word_of[flat[places]].astype(np.int64), tokens.tolist())
        return strings


def _best_of_rows(hits: list[Hits]) -> Hits:
    """The highest score of each row, the earliest entry of equals."""
    if not hits:
        return Hits(*(np.zeros(0, dtype=kind) for kind in (np.int64, np.int64, np.float64)))
    rows, ids, scores = (np.concatenate(part) for part in zip(*hits, strict=True)) if len(hits) > 1 else hits[0]
    order = np.lexsort((ids, -scores, rows))
    order = order[firsts(rows[order])]
    return Hits(rows[order], ids[order], scores[order])


def _string(words: Sequence[int]) -> str:
    """One code point for each word, as `_cut` makes them."""
    return "".join([chr(0 if w < 0 else c if (c := w % CODES + 1) < 0xD800 else c + 0x800) for w in words])


def _cut(words: Array, lengths: Sequence[int]) -> list[str]:
    """Words by number, -1 for an unknown one, as one string for each length: rapidfuzz takes those twice as fast."""
    codes = np.where(words < 0, 0, words % CODES + 1)
    codes[codes >= 0xD800] += 0x800  # no surrogates; past the last code point the words share them
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    ends = np.cumsum([0, *lengths]).tolist()
    return [text[start:end] for start, end in pairwise(ends)]


def _common(a: list[int], b: list[int]) -> int:
    """The length of the longest common subsequence; what both begin and end with costs next to nothing."""
    start = _same(a, b)
    a, b = a[start:], b[start:]
    end = _same(a[::-1], b[::-1])
    return start + end + int(LCSseq.similarity(a[: len(a) - end], b[: len(b) - end]))


def _same(a: list[int], b: list[int]) -> int:
    """How many tokens both begin with, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

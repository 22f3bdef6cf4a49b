"""Shingles as numbers: the runs of five words of many texts, each run hashed to 64 bits, by numpy alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from synthgen.dedup.tokens import CJK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Counts = NDArray[np.int64]

LENGTH = 5
# Words depend on the tables of the Unicode version too: both go into the header of saved signatures.
TOKENIZER = f"words 1, unicode {unicodedata.unidata_version}"
_PIECE = 1 << 16  # characters worked on at once: their arrays of 64 bits stay in the cache of a core
_PLANES = 0x40000  # no letter or digit lies beyond
_BREAK = re.compile(rf"[\W_{CJK}]")  # a word may be cut before it
_ODD = np.uint64(0x9E3779B97F4A7C15)


def mixed(values: Hashes) -> Hashes:
    """Every bit of a value moves every bit of its hash (the finalizer of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _kinds() -> NDArray[np.uint8]:
    """For each code point: 0 between words, 1 part of a word, 2 a word of its own; what `words` does, as a table."""
    everything = "".join(map(chr, range(_PLANES)))
    kinds = np.zeros(_PLANES + 1, np.uint8)
    for pattern, kind in ((r"[^\W_]+", 1), (f"[{CJK}]+", 2)):
        for found in re.finditer(pattern, everything):
            kinds[found.start() : found.end()] = kind
    return kinds


@cache
def _values() -> Hashes:
    """A random number for each code point."""
    return mixed(np.arange(1, _PLANES + 2, dtype=np.uint64) * _ODD)


@cache
def _kept_powers() -> tuple[Hashes, Hashes]:
    return _powers_to(_PIECE + 64)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The first powers of an odd number and of its inverse, modulo 2^64."""
    kept = _kept_powers()
    return (kept[0][:count], kept[1][:count]) if count <= len(kept[0]) else _powers_to(count)


def _powers_to(count: int) -> tuple[Hashes, Hashes]:
    base = int(_ODD)
    both = []
    for number in (base, pow(base, -1, 1 << 64)):
        powers = np.full(count, number, np.uint64)
        powers[0] = 1
        both.append(np.multiply.accumulate(powers))
    return both[0], both[1]


def _tokens_of_piece(text: str) -> tuple[Counts, Hashes]:
    """Where the words of a folded text start, and a hash of each."""
    if text.isascii():
        codes = np.frombuffer(text.encode("ascii"), np.uint8)
    else:
        wide = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        codes = np.minimum(wide, _PLANES)
    kinds = np.zeros(len(codes) + 2, np.uint8)
    kinds[1:-1] = _kinds()[codes]
    inside, alone = kinds == 1, (kinds == 2)[1:-1]
    starts = np.flatnonzero(alone | (inside[1:-1] & ~inside[:-2]))
    ends = np.flatnonzero(alone | (inside[1:-1] & ~inside[2:]))
    powers, inverses = _powers(len(codes))
    # The sum of value * power over a word, moved to where the word would start at 0.
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(_values()[codes] * powers, out=sums[1:])
    return starts, mixed((sums[ends + 1] - sums[starts]) * inverses[starts])


def _pieces(text: str) -> list[tuple[int, str]]:
    """The text cut between words, with the place of each piece; a word is never cut, however long."""
    pieces, at = [], 0
    while len(text) - at > _PIECE:
        found = _BREAK.search(text, at + _PIECE)
        end = found.start() if found else len(text)
        pieces.append((at, text[at:end]))
        at = end
    return [*pieces, (at, text[at:])]


def _tokens(texts: Sequence[str]) -> tuple[Hashes, Counts]:
    """A hash for each of the words of all texts, in order, and how many each text has."""
    folded = [t.lower() if t.isascii() else unicodedata.normalize("NFKC", t).casefold() for t in texts]
    found = [(at, *_tokens_of_piece(piece)) for at, piece in _pieces("\n".join(folded)) if piece]
    if not found:
        return np.empty(0, np.uint64), np.zeros(len(texts), np.int64)
    starts = np.concatenate([starts + at for at, starts, _ in found])
    ends = np.cumsum([len(text) + 1 for text in folded])
    return np.concatenate([hashes for *_, hashes in found]), np.diff(np.searchsorted(starts, ends), prepend=0)


def shingles(texts: Sequence[str]) -> tuple[Hashes, Counts]:
    """Hashes of the runs of five words of all texts, repeats too, and how many each text has.

    Fewer than five words are one shingle, no word is none. Two different shingles share a hash once in 2^64 pairs.
    """
    tokens, counts = _tokens(texts)
    lengths = np.where(counts, np.maximum(counts, LENGTH), 0)
    if (lengths != counts).any():  # zeros after a short text: no word has that hash
        padded = np.zeros(int(lengths.sum()), np.uint64)
        moved = np.repeat(np.cumsum(lengths) - lengths - np.cumsum(counts) + counts, counts)
        padded[np.arange(len(tokens)) + moved] = tokens
        tokens = padded
    windows = np.maximum(lengths - (LENGTH - 1), 0)
    if not windows.any():
        return np.empty(0, np.uint64), windows
    runs = tokens[: len(tokens) - LENGTH + 1].copy()
    for n in range(1, LENGTH):  # a polynomial: the order of the words counts
        runs *= _ODD
        runs += tokens[n : len(tokens) - LENGTH + 1 + n]
    # Four places of each text that has words begin no run within it.
    skipped = np.repeat((np.cumsum(windows > 0) - 1) * (LENGTH - 1), windows)
    return mixed(runs[np.arange(len(skipped)) + skipped]), windows

"""Exact duplicates after normalising: one key of 16 bytes for one text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array

# Stripping every mark would make "C" equal "C++", "-5" equal "5" and "3.14" equal "3 14".
_KEPT = frozenset("+#-/*=<>%$^@&'\"")
_SPACE = re.compile(r"\s+")


_MARKS = re.compile(r"[^\w\s]+|_+")


def _meaning(found: re.Match[str]) -> str:
    """The marks of a run that carry meaning: those of the kept ones whose run touches a letter or digit."""
    text, start, end = found.string, found.start(), found.end()
    after = text[end : end + 1].isalnum()
    touches = after or text[start - 1 : start].isalnum()
    kept = [c if touches and c in _KEPT else " " for c in found.group()]
    if after and found.group()[-1] == ".":  # a full stop that ends a sentence is no difference, one in a number is
        kept[-1] = "."
    return "".join(kept)


def normal(text: str, *, compat: bool = True) -> str:
    """Casefolded text without white space runs and without marks that carry no meaning.

    `compat=False` keeps what NFKC would join, such as the exponent of a formula.
    """
    text = unicodedata.normalize("NFKC" if compat else "NFC", text).casefold()
    return _SPACE.sub(" ", _MARKS.sub(_meaning, text)).strip()


def key(text: str, *, compat: bool = True) -> bytes:
    """16 bytes, equal for texts that differ in case, width, white space and idle punctuation only."""
    return hashlib.blake2b(normal(text, compat=compat).encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Fingerprints:
    """A set of texts by 64 bits each, for hundreds of thousands of them: 10 to 20 bytes a text where a set takes 120.

    Two texts in a million rows are taken for the same by chance once in forty million.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> bool:
        """True when the text was not there before."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = int.from_bytes(digest, "little") or 1  # 0 is an empty slot
        if 5 * self._count >= 4 * len(self._slots):
            self._grow()
        at = self._find(value)
        if self._slots[at]:
            return False
        self._slots[at] = value
        self._count += 1
        return True

    def _find(self, value: int) -> int:
        """Where the value is, or the empty slot where it belongs."""
        slots, mask = self._slots, len(self._slots) - 1
        at = value & mask
        while slots[at] not in (0, value):
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", [0]) * (2 * len(before))
        for value in before:
            if value:
                self._slots[self._find(value)] = value

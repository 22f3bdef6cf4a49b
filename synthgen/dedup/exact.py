"""Exact duplicates after normalising: one key of 16 bytes for one text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array

# Marks that may carry meaning: without them "C" equals "C++", "5 + 3" equals "5 - 3" and "3.14" equals "3 14".
_KEPT = "+#-./*=<>%$^@&'\""
_SPELLINGS = {
    **dict.fromkeys("‘’‚‛", "'"),
    **dict.fromkeys("“”„‟«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),  # hyphens, dashes, the minus sign
}
_TAGS = range(0xE0020, 0xE0080)  # they tell the flag of England from the flag of Scotland
# Quotes and full stops touching nothing; full stops and exclamation marks that end a word. One that begins a word is
# part of it (".5", "!done"), and so is the mark of "!=" and of a factorial. A run of marks is looked at where it
# begins: from each of its marks on, a million of them would take minutes.
_IDLE = re.compile(r"""['".!](?<!\S.)['".!]*+(?!\S)|(?<!\.)\.++(?![\w=])|(?<!\d)(?:(?<!!)|(?<=\d!))!++(?![\w=])""")


class _Characters(dict[int, str | None]):
    """What each character stands for, found out when it is first met: itself, white space or nothing (None).

    Letters, digits, symbols (emoji too), the vowel signs of Indic scripts and whatever Unicode does not know stay.
    """

    def __missing__(self, code: int) -> str | None:
        character, kind = chr(code), unicodedata.category(chr(code))
        means: str | None = character
        if character in _SPELLINGS:
            means = _SPELLINGS[character]
        elif character.isspace():
            means = character
        elif _ignorable(code, kind):
            means = None
        elif kind[0] == "P" or kind == "Cc" or character in "`|~":
            means = character if character in f"{_KEPT}!" else " "
        self[code] = means
        return means


def _ignorable(code: int, kind: str) -> bool:
    """Zero-width spaces and joiners, byte order marks, soft hyphens, variation selectors: nobody sees them."""
    selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180D
    return selector or code == 0x034F or (kind == "Cf" and code not in _TAGS)


_CHARACTERS = _Characters()


def normal(text: str, *, compat: bool = True) -> str:
    """Casefolded text without white space runs and without marks that carry no meaning.

    Operators stay wherever they stand, quotes where they touch a word, full stops within one. A text of idle
    marks alone stays as it is: "?" is neither "!" nor empty. `compat=False` keeps what NFKC would join, such as
    the exponent of a formula.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC" if compat else "NFC", text)
    text = text.casefold()
    meant = " ".join(_IDLE.sub("", text.translate(_CHARACTERS)).split())
    return meant or " ".join(text.split())


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

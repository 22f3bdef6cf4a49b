"""Exact duplicates after normalising: one key of 16 bytes for one text."""

from __future__ import annotations

import hashlib
import re
import unicodedata

# Stripping every mark would make "C" equal "C++", "-5" equal "5" and "3.14" equal "3 14".
_KEPT = frozenset("+#-/*=<>%$^@&'\"")
_SPACE = re.compile(r"\s+")


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS"


def _kept(text: str, at: int) -> bool:
    after = text[at + 1 : at + 2].isalnum()
    if text[at] == ".":  # a full stop that ends a sentence is no difference, one inside a number is
        return after
    return text[at] in _KEPT and (after or text[at - 1 : at].isalnum())


def normal(text: str, *, compat: bool = True) -> str:
    """Casefolded text without white space runs and without marks that carry no meaning.

    `compat=False` keeps what NFKC would join, such as the exponent of a formula.
    """
    text = unicodedata.normalize("NFKC" if compat else "NFC", text).casefold()
    text = "".join(c if not _is_mark(c) or _kept(text, i) else " " for i, c in enumerate(text))
    return _SPACE.sub(" ", text).strip()


def key(text: str, *, compat: bool = True) -> bytes:
    """16 bytes, equal for texts that differ in case, width, white space and idle punctuation only."""
    return hashlib.blake2b(normal(text, compat=compat).encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""The one tokenizer of this room: words of Latin scripts, single characters of Chinese and kana."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Ideographs (with extensions and compatibility forms) and kana stand alone: rouge_score's own
# tokenizer keeps [a-z0-9] only and finds no similarity between two identical Chinese sentences.
CJK = "\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_ONE_CJK = re.compile(rf"[{CJK}]")
_HALF_WIDTH_MARKS = "\uff9e\uff9f"  # of kana: letters by themselves, marks once normalised
_ASCII_WORD = re.compile("[a-z0-9]+")


def words(text: str) -> list[str]:
    """Tokens after NFKC and casefold; on ASCII the same as rouge_score's, without stemming."""
    if text.isascii():  # the same, in a third of the time
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def cjk_count(text: str) -> int:
    """How many Chinese characters and kana the text has."""
    return len(_ONE_CJK.findall(text))


def cjk_share(text: str) -> float:
    """Share of Chinese characters and kana among the characters that are not white space, 0 to 1."""
    letters = len("".join(text.split()))
    return cjk_count(text) / letters if letters else 0.0


def is_cjk(tokens: Sequence[str]) -> bool:
    """More than half of the tokens are Chinese characters or kana."""
    if "".join(tokens).isascii():
        return False
    return 2 * sum(1 for t in tokens if _ONE_CJK.match(t)) > len(tokens)


def spans(text: str) -> list[tuple[int, int]]:
    """Where each of `words(text)` stands in the text as it is given: (start, end).

    Characters that normalising joins or takes apart belong together: a span holds them whole.
    """
    if text.isascii():
        return [found.span() for found in _WORD.finditer(text.casefold())]
    starts, ends, pieces = [], [], []
    for start, end in _pieces(text):
        piece = unicodedata.normalize("NFKC", text[start:end]).casefold()
        pieces.append(piece)
        starts += [start] * len(piece)
        ends += [end] * len(piece)
    return [(starts[found.start()], ends[found.end() - 1]) for found in _WORD.finditer("".join(pieces))]


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of stretches that normalise by themselves to what they are in the whole text."""
    start = 0
    for at in range(1, len(text)):
        character = text[at]
        # A mark may join what is before it past other marks.
        if unicodedata.category(character).startswith("M") or character in _HALF_WIDTH_MARKS:
            continue
        if character.isascii() or _stands_alone(text[start:at], character):
            yield start, at
            start = at
    if text:
        yield start, len(text)


def _stands_alone(before: str, character: str) -> bool:
    """Not so a vowel of Hangul after its consonant."""
    joined = unicodedata.normalize("NFKC", before + character)
    return joined == unicodedata.normalize("NFKC", before) + unicodedata.normalize("NFKC", character)

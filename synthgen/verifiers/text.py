"""What verifiers see of a text: sentences, clauses, and the words that carry its content; all on text in NFKC."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthgen.verifiers.lexicon import IRREGULAR, STOP, STOP_ZH

Spans = Sequence[tuple[int, int]]

_END = re.compile(
    r"[。！？!?；;\n]+[”\"'’)]*|(?<=[^\s.][^\s.])(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bSt)(?<!\bvs)(?<!\bMrs)(?<!\bProf)\.(?=[\s\"”'’)]|\Z)[”\"'’)]*|(?<=\d)\.(?=\s+[A-Z]|\Z)"
)
_CLAUSE = re.compile(
    r"[,，、:：—…()（）“”\"]+"
    r"|\b(?:but|while|because|since|although|though|so|if|when|unless|until|whereas)\b"
    r"|\band (?=(?:it|they|he|she|you|we|then)\b)"
)
_WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?|\d+(?:[.:,]\d+)*|[\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A stretch of a text; `terms` are the stems and pairs of characters that carry its content."""

    start: int
    end: int
    text: str
    terms: frozenset[str]


def normal(text: str) -> str:
    """The form that every verifier reads: full-width letters, digits and signs made narrow."""
    return unicodedata.normalize("NFKC", text)


def sentences(text: str) -> list[Sentence]:
    return list(_pieces(text, 0, _END))


def clauses(sentence: Sentence) -> list[Sentence]:
    """The parts of a sentence between its commas and conjunctions."""
    return list(_pieces(sentence.text, sentence.start, _CLAUSE))


def _pieces(text: str, offset: int, border: re.Pattern[str]) -> Iterator[Sentence]:
    start = 0
    for found in [*border.finditer(text), None]:
        # A conjunction belongs to the clause that it opens, a mark to the one that it ends.
        end = len(text) if found is None else found.start() if found[0][:1].isalpha() else found.end()
        piece = text[start:end]
        if piece.strip():
            yield Sentence(offset + start, offset + end, piece, terms(piece))
        start = end


def terms(text: str) -> frozenset[str]:
    """Stems of English words and pairs of Chinese characters, without those that every text has."""
    found: set[str] = set()
    for word in _WORD.findall(text):
        if "\u4e00" <= word[0] <= "\u9fff":
            found.update(
                word[n : n + 2] for n in range(len(word) - 1) if word[n] not in STOP_ZH and word[n + 1] not in STOP_ZH
            )
        elif word.lower() not in STOP:
            found.add(stem(word.lower()))
    return frozenset(found)


def stem(word: str) -> str:
    """A word without the ending of its number or tense; light, so that different words stay different."""
    word = word.removesuffix("'s").removesuffix("’s")
    if word in IRREGULAR:
        return IRREGULAR[word]
    for ending, least, more in (
        ("ies", 4, "y"),
        ("ied", 4, "y"),
        ("ing", 6, ""),
        ("ed", 5, ""),
        ("es", 5, ""),
        ("s", 4, ""),
    ):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + more
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def inside(span: tuple[int, int], spans: Spans) -> bool:
    return any(start < span[1] and span[0] < end for start, end in spans)

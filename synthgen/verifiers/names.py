"""Names of a text: capitalised words inside English sentences; in Chinese titles 《》, places, people by their form."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from synthgen.verifiers.lexicon import (
    AFTER_NAME,
    BEFORE_NAME,
    COMMON,
    COMMON_SURNAMES,
    FOREIGN,
    NO_GIVEN_NAME,
    OPENERS,
    PLACES,
    SURNAMES,
)
from synthgen.verifiers.text import inside, sentences

Kind = Literal["latin", "title", "place", "person"]

_CAPITAL = r"(?<![A-Za-zÀ-ÿ0-9_])[A-ZÀ-Þ][A-Za-zÀ-ÿ’'\-]*[A-Za-zÀ-ÿ]"
_LATIN = re.compile(
    rf"{_CAPITAL}(?:[ \t](?:(?:van|von|de|da|del|der|la|al|bin|of the|of)[ \t])?{_CAPITAL}|[ \t][A-Z]\.)*"
)
_FIRST_WORD = re.compile(r"[\s\"'“”‘’(\[\-–—*#>]*")
_SPEAKER = re.compile(r"[ \t]*[:：]|[ \t]*,?[ \t](?:asked|said|replied|laughed|smiled|answered|nodded|whispered)\b")
_SAID = re.compile(
    r"\b(?:asked|said|replied|laughed|smiled|answered|nodded|whispered|dear|love|hello|hi)[ \t,]*\Z", re.IGNORECASE
)
_TITLE = re.compile(r"《([^《》\n]{1,40})》")
_PLACE = re.compile("|".join(sorted(PLACES, key=len, reverse=True)))
_SIGN = rf"(?:[{FOREIGN}]|提(?![出供高到取升前]))"
_FOREIGN = re.compile(rf"(?!比)(?:{_SIGN}{{2,6}}(?:·{_SIGN}{{1,6}})+|{_SIGN}{{3,6}})")  # 比 is "than" more often
_MARKED = "|".join(f"(?<={word})" for word in sorted(BEFORE_NAME))
_BEFORE = rf"(?<![\u4e00-\u9fff])|(?<=[的是和与由被对了向给叫让比为、把])|{_MARKED}"
_AFTER = rf"(?=[^\w·]|\Z|{'|'.join(sorted(AFTER_NAME))})"
_RARE = "".join(sorted(set(SURNAMES) - set(COMMON_SURNAMES)))
_GIVEN = r"[\u4e00-\u9fff]{1,2}?"
_PERSON = re.compile(
    rf"(?:(?:{_BEFORE})(?P<rare>[{_RARE}]{_GIVEN})|(?:{_MARKED})(?P<any>[{SURNAMES}]{_GIVEN})){_AFTER}"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name, and where it stands."""

    text: str
    kind: Kind
    start: int
    end: int


def names(text: str) -> list[Name]:
    """Every name of a text in NFKC that can be told by its form; who only speaks or is spoken to is none."""
    found = [*_titles(text), *_latin(text)]
    found += [Name(m[0], "place", *m.span()) for m in _PLACE.finditer(text)]
    for name in (*_people(text), *(Name(m[0], "person", *m.span()) for m in _FOREIGN.finditer(text))):
        if not inside((name.start, name.end), [(one.start, one.end) for one in found]):
            found.append(name)
    return sorted(found, key=lambda n: n.start)


def _titles(text: str) -> Iterator[Name]:
    for found in _TITLE.finditer(text):
        yield Name(found[1], "title", found.start(1), found.end(1))


def _people(text: str) -> Iterator[Name]:
    for found in _PERSON.finditer(text):
        group = "rare" if found["rare"] else "any"
        if found[group][1] not in NO_GIVEN_NAME:
            yield Name(found[group], "person", *found.span(group))


def _latin(text: str) -> Iterator[Name]:
    for sentence in sentences(text):
        start = _FIRST_WORD.match(sentence.text)
        first = start.end() if start else 0
        for found in _LATIN.finditer(sentence.text):
            said, at = found[0], found.start()
            if at == first or _opens(sentence.text, at):  # a capital that says nothing, unless the next has one too
                head, _, rest = said.partition(" ")
                if not rest and not _elsewhere(text, head, sentence.start + at):
                    continue
                if rest and not _elsewhere(text, head, sentence.start + at) and head.lower() in OPENERS:
                    said, at = rest, at + len(head) + 1
            end = found.end()
            if (
                said.lower() in COMMON
                or _SPEAKER.match(sentence.text, end)
                or _SAID.search(sentence.text[max(0, at - 16) : at])
            ):
                continue
            if all(word.lower().rstrip(".") in COMMON for word in said.split()):
                continue
            yield Name(said.removesuffix("'s").removesuffix("’s"), "latin", sentence.start + at, sentence.start + end)


def _opens(sentence: str, at: int) -> bool:
    """After a colon or an opening quote a sentence may begin."""
    return bool(re.search(r"(?:[:：\"“‘(]|\.)\s*\Z", sentence[max(0, at - 4) : at]))


def _elsewhere(text: str, word: str, at: int) -> bool:
    """Whether the word has its capital inside a sentence somewhere else."""
    for found in re.finditer(rf"(?<![\w]){re.escape(word)}(?![\w])", text):
        if found.start() != at and re.search(r"[\w,;]\s+\Z", text[max(0, found.start() - 4) : found.start()]):
            return True
    return False


def variant(one: Name, other: Name) -> bool:
    """Whether two names may be spellings of one: the same first four letters, or half of the characters in Chinese."""
    if one.kind == "latin":
        return one.text[:4].lower() == other.text[:4].lower()
    longer = max(len(one.text), len(other.text))
    return longer > 3 and 2 * (Counter(one.text) & Counter(other.text)).total() >= longer

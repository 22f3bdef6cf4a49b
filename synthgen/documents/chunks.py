"""A text cut on paragraph, line or sentence borders into chunks under a limit of tokens; joined, they are the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

# A paragraph with the empty lines after it; a line with its newline.
_PARAGRAPH = re.compile(r".+?(?:\n[ \t]*(?:\n[ \t]*)+|\Z)", re.DOTALL)
_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
# A sentence ends with its closing quotes and the white space after them. A full stop of Latin script ends one only
# where white space and no small letter follow, and no abbreviation or single letter stands before it.
_ENDING = re.compile(r"(?:[。！？!?…]+|(?<!\d)\.+(?=[\"'”’)\]]*\s)|(?<=\d)\.(?=[\"'”’)\]]*\s))[\"'”’」』）)\]》]*\s*")
_NO_ENDING = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|al|Fig|No|Vol|pp|ca|approx|Inc|Ltd|Co|e\.g|i\.e|a\.m|p\.m)|\b[A-Za-z])\.\s*\Z"
)
_LATIN_MARKS = re.compile(r"[.!?][\"'”’)\]]*\s+\Z")
_ABBREVIATION_CHARS = 12


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a text, by the characters [start, end) of it."""

    start: int
    end: int
    tokens: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def chunks(text: str, most_tokens: int, count: Callable[[str], int]) -> list[Chunk]:
    """The chunks of a text, in order, each character in one: joined, they are the text.

    They are about equally long, so that no crumb is left at the end. None has more than `most_tokens` by `count`, and a
    sentence is cut only where it alone has more. What counts in a run is an estimate: the rates that a server's
    tokenizer gave for a text of each script (vLLM's /tokenize), or 0.3 tokens a Latin character and 1.0 a Chinese one.
    On the embedded model's tokenizer, 200 answers of 400 to 4,000 characters: off by 14 % (English) and 11 % (Chinese)
    at the median, without a server's rates by 18 and 9 %; one in twenty, code and lists of names, has 1.4 (English) to
    1.6 times (Chinese) the tokens that were estimated. So leave a third of a hard limit.
    """
    if not text:
        return []
    whole = count(text)
    if whole <= most_tokens:
        return [Chunk(0, len(text), whole)]
    target = whole / ceil(whole / most_tokens)
    found: list[Chunk] = []
    start = at = tokens = 0
    for end, size in _pieces(text, 0, len(text), most_tokens, count):
        tokens += size
        if tokens > min(target, most_tokens):  # pieces have more tokens than their whole, rounded up as each is
            tokens = count(text[start:end])
        if at > start and (tokens > most_tokens or tokens - size >= target):
            found.append(_chunk(text, start, at, count))
            start, tokens = at, size
        at = end
    found.append(_chunk(text, start, at, count))
    return [part for one in found for part in _within(text, one, most_tokens, count)]


def _chunk(text: str, start: int, end: int, count: Callable[[str], int]) -> Chunk:
    return Chunk(start, end, count(text[start:end]))


def _within(text: str, one: Chunk, most_tokens: int, count: Callable[[str], int]) -> Iterator[Chunk]:
    """The chunk, cut again where the whole has more tokens than its pieces had, which no estimate gives."""
    if one.tokens <= most_tokens or one.end - one.start == 1:
        yield one
        return
    middle = (one.start + one.end) // 2
    for start, end in ((one.start, middle), (middle, one.end)):
        yield from _within(text, _chunk(text, start, end, count), most_tokens, count)


def _pieces(
    text: str, start: int, end: int, most_tokens: int, count: Callable[[str], int]
) -> Iterator[tuple[int, int]]:
    """(end, tokens) of stretches that are not cut: paragraphs, and the lines or sentences of one that is too long."""
    for borders in (paragraph_ends, line_ends, sentence_ends):
        ends = list(borders(text, start, end))
        if len(ends) > 1:
            break
    else:
        ends = []
    if not ends:
        yield from _cut(text, start, end, most_tokens, count)
        return
    for at in ends:
        size = count(text[start:at])
        if size <= most_tokens:
            yield at, size
        else:
            yield from _pieces(text, start, at, most_tokens, count)
        start = at


def paragraph_ends(text: str, start: int, end: int) -> Iterator[int]:
    return (found.end() for found in _PARAGRAPH.finditer(text, start, end))


def line_ends(text: str, start: int, end: int) -> Iterator[int]:
    return (found.end() for found in _LINE.finditer(text, start, end))


def sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Where sentences end, white space after them included; the end of the text is the last."""
    last = start
    for found in _ENDING.finditer(text, start, end):
        at = found.end()
        if at < end and not _goes_on(text, last, at):
            last = at
            yield at
    if last < end:
        yield end


def _goes_on(text: str, start: int, at: int) -> bool:
    """Whether a mark of Latin script ended no sentence: a small letter follows, or an abbreviation stands before it."""
    before = text[max(start, at - _ABBREVIATION_CHARS) : at]
    if not _LATIN_MARKS.search(before):
        return False
    return text[at].islower() or _NO_ENDING.search(before) is not None


def _cut(text: str, start: int, end: int, most_tokens: int, count: Callable[[str], int]) -> Iterator[tuple[int, int]]:
    """A sentence that is too long alone: its longest beginnings that fit, cut at a gap where one is near."""
    guess = end - start
    while start < end:
        at = min(end, start + guess)
        while (size := count(text[start:at])) > most_tokens and at > start + 1:
            at = start + max(1, min(at - start - 1, int((at - start) * most_tokens / size)))
        guess = max(1, at - start)
        if at < end:
            at = _soft(text, start, at)
            size = count(text[start:at])
        yield at, size
        start = at


def _soft(text: str, start: int, at: int) -> int:
    """The last gap in the last fifth of a stretch; never between a character and its marks."""
    for back in range(at, max(start, at - (at - start) // 5), -1):
        if text[back - 1] in " \t\n，、,;；":
            return back
    while at > start + 1 and unicodedata.combining(text[at]):
        at -= 1
    return at

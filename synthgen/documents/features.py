"""What the rules look at: words or characters, lines and paragraphs of a text, found when they are asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property

from synthgen.dedup.tokens import cjk_count, words
from synthgen.documents.cleaning import SENTENCE_ENDS

CJK_SHARE = 0.3  # of the characters that are not white space: from there on a text is Chinese, as everywhere here
_SENTENCE_END = re.compile(r"[。！？!?]+|\.(?=\s|[\"'”’)\]]|\Z)|…+")
_PUNCTUATION = re.compile(r"[^\w\s]")
_FIRST_CJK = "\u3005"
_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_STOP_CHARACTERS = "的了是在"
_BULLETS = ("•", "‣", "▪", "◦", "●", "○", "■", "*", "-", "+", "·")


Measure = Callable[["Features"], float]


class Features:
    """One text. Counts by words where it is Latin, by characters where it is Chinese."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values: dict[Measure, float] = {}

    def value(self, measure: Measure) -> float:
        """What a measure finds, found once: some have a least and a most."""
        if measure not in self._values:
            self._values[measure] = measure(self)
        return self._values[measure]

    @cached_property
    def is_cjk(self) -> bool:
        if self.text.isascii():
            return False
        letters = len("".join(self.text.split()))
        return cjk_count(self.text) >= CJK_SHARE * max(1, letters)

    @cached_property
    def words(self) -> list[str]:
        """Words of Latin scripts, single characters of Chinese."""
        return words(self.text)

    @cached_property
    def size(self) -> int:
        """Words; of a Chinese text its Chinese characters."""
        return cjk_count(self.text) if self.is_cjk else len(self.words)

    @cached_property
    def lines(self) -> list[str]:
        """Those that are not empty."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [one for one in map(str.strip, re.split(r"\n{2,}", self.text)) if one]

    @cached_property
    def lowered(self) -> str:
        return self.text.lower()

    @cached_property
    def numbers(self) -> list[int]:
        """The words as numbers, equal words as equal ones."""
        known: dict[str, int] = {}
        return [known.setdefault(word, len(known)) for word in self.words]

    @cached_property
    def repeats(self) -> Repeats:
        return Repeats(self.numbers)

    def stretch(self, n: int) -> int:
        """What n words are in what is counted: a Chinese word has 1.6 characters in running text."""
        return round(1.6 * n) if self.is_cjk else n

    @cached_property
    def lengths(self) -> list[int]:
        """Of each word, with the space after it."""
        space = 0 if self.is_cjk else 1
        return [len(word) + space for word in self.words]


def size(f: Features) -> float:
    return f.size


def word_length(f: Features) -> float:
    """Mean characters of a word; the Chinese characters of a Latin text are none."""
    own = f.words if f.text.isascii() else [word for word in f.words if len(word) > 1 or word < _FIRST_CJK]
    return sum(map(len, own)) / max(1, len(own))


def symbols(f: Features) -> float:
    """Hash signs or ellipses, the more of the two, a word."""
    return max(f.text.count("#"), f.text.count("...") + f.text.count("…")) / max(1, f.size)


def bullet_lines(f: Features) -> float:
    return _share(f.lines, lambda line: line.startswith(_BULLETS))


def ellipsis_lines(f: Features) -> float:
    return _share(f.lines, lambda line: line.endswith(("...", "…")))


def alphabetic(f: Features) -> float:
    """The share of words with a letter in them."""
    return 1 - sum(map(str.isnumeric, f.words)) / max(1, len(f.words))


def stop_words(f: Features) -> float:
    """How many of Gopher's eight words are there, or of the Chinese 的了是在, whichever are more."""
    latin = len(_STOP_WORDS.intersection(f.words))
    return latin if f.text.isascii() else max(latin, sum(character in f.text for character in _STOP_CHARACTERS))


def punctuation(f: Features) -> float:
    """The share of marks among the characters that are not white space."""
    return len(_PUNCTUATION.findall(f.text)) / max(1, len("".join(f.text.split())))


def ended_lines(f: Features) -> float:
    """The share of lines that end as sentences do."""
    return _share(f.lines, lambda line: line.endswith(SENTENCE_ENDS))


def short_lines(f: Features) -> float:
    """The share of lines of at most 30 characters, 15 where they are Chinese: these say twice as much."""
    longest = 15 if f.is_cjk else 30
    return _share(f.lines, lambda line: len(line) <= longest)


def newlines(f: Features) -> float:
    """Lines a word: a list has few words a line."""
    return len(f.lines) / max(1, f.size)


def sentences(f: Features) -> float:
    return len(_SENTENCE_END.findall(f.text))


def lorem_ipsum(f: Features) -> float:
    return f.lowered.count("lorem ipsum")


def curly_lines(f: Features) -> float:
    """The share of lines with a curly bracket."""
    return _share(f.lines, lambda line: "{" in line or "}" in line) if "{" in f.text or "}" in f.text else 0.0


def duplicate_lines(f: Features) -> float:
    return _again(f.lines)[0]


def duplicate_line_chars(f: Features) -> float:
    return _again(f.lines)[1] / max(1, len(f.text))


def duplicate_paragraphs(f: Features) -> float:
    return _again(f.paragraphs)[0]


def duplicate_paragraph_chars(f: Features) -> float:
    return _again(f.paragraphs)[1] / max(1, len(f.text))


def top_ngram(n: int) -> Measure:
    """A measure: the share of the characters that the commonest stretch of n words takes; 0 where none comes twice."""

    def measure(f: Features) -> float:
        length = f.stretch(n)
        places = f.repeats.of(length)
        times = Counter(gram for _, gram in places)
        most = max(times.values(), default=0)
        chars = max((sum(f.lengths[at : at + length]) for at, gram in places if times[gram] == most), default=0)
        return most * chars / max(1, len(f.text))

    return measure


def repeated_ngrams(n: int) -> Measure:
    """A measure: the share of the characters in stretches of n words that were there before, none counted twice."""

    def measure(f: Features) -> float:
        length = f.stretch(n)
        seen: set[int] = set()
        covered = chars = 0  # words up to `covered` are counted
        for at, gram in f.repeats.of(length):
            if gram in seen:
                chars += sum(f.lengths[max(at, covered) : at + length])
                covered = at + length
            seen.add(gram)
        return chars / max(1, len(f.text))

    return measure


class Repeats:
    """Where in a text the stretches are that come more than once.

    One of n words comes twice only where its first n - 1 do: each length is looked for among the places of the one
    before, so that all lengths together cost little more than the first.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers, self._base = numbers, max(numbers, default=0) + 1
        self._found: list[tuple[Sequence[int], Sequence[int]]] = [([], []), (range(len(numbers)), numbers)]

    def of(self, n: int) -> list[tuple[int, int]]:
        """(place, number of the stretch) of each that comes more than once, in order; equal ones have one number."""
        while len(self._found) <= n:
            self._found.append(self._longer(len(self._found)))
        return list(zip(*self._found[n], strict=True))

    def _longer(self, n: int) -> tuple[list[int], list[int]]:
        """Places and stretches of n words: the stretch before and the next word as one number, which counts fast."""
        base, shorter = self._base, self._found[n - 1]
        nexts = self._numbers[n - 1 :] if n == 2 else [self._next(at + n - 1) for at in shorter[0]]
        keys = [gram * base + word for gram, word in zip(shorter[1], nexts, strict=False) if word >= 0]
        times = Counter(keys)
        kept = [(at, key) for at, key in zip(shorter[0], keys, strict=False) if times[key] > 1]
        known: dict[int, int] = {}
        return [at for at, _ in kept], [known.setdefault(key, len(known)) for _, key in kept]

    def _next(self, at: int) -> int:
        """The word at a place; -1 behind the last, which only the last stretch has."""
        return self._numbers[at] if at < len(self._numbers) else -1


def _share(items: Sequence[str], good: Callable[[str], bool]) -> float:
    return sum(map(bool, map(good, items))) / max(1, len(items))


def _again(items: Sequence[str]) -> tuple[float, int]:
    """(share of those that were there before, their characters)."""
    seen: set[str] = set()
    times = chars = 0
    for one in items:
        if one in seen:
            times += 1
            chars += len(one)
        seen.add(one)
    return times / max(1, len(items)), chars

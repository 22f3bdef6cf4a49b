"""Light edits of a text, as a copy of a data set has them: what dedup must see through."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

_SPARE = ("also", "very", "really", "then", "now", "just", "today", "quite", "often", "here")
_NUMBER = re.compile(r"\d+")


def _swap(words: list[str], rng: Random) -> list[str]:
    n = rng.randrange(len(words) - 1)
    return [*words[:n], words[n + 1], words[n], *words[n + 2 :]]


def _insert(words: list[str], rng: Random) -> list[str]:
    n = rng.randrange(len(words) + 1)
    return [*words[:n], rng.choice(_SPARE), *words[n:]]


def _delete(words: list[str], rng: Random) -> list[str]:
    n = rng.randrange(len(words))
    return [*words[:n], *words[n + 1 :]]


def _number(words: list[str], rng: Random) -> list[str]:
    """Another number in the place of one; another word where there is none."""
    there = [n for n, word in enumerate(words) if _NUMBER.search(word)] or [rng.randrange(len(words))]
    n = rng.choice(there)
    other = _NUMBER.sub(lambda found: str(int(found.group()) + rng.randint(1, 9)), words[n])
    return [*words[:n], rng.choice(_SPARE) if other == words[n] else other, *words[n + 1 :]]


def _punctuation(words: list[str], rng: Random) -> list[str]:
    n = rng.randrange(len(words))
    bare = words[n].rstrip(".,;:!?")
    return [*words[:n], bare if bare != words[n] else f"{bare},", *words[n + 1 :]]


def _case(words: list[str], rng: Random) -> list[str]:
    n = rng.randrange(len(words))
    return [*words[:n], words[n].swapcase(), *words[n + 1 :]]


EDITS: dict[str, Callable[[list[str], Random], list[str]]] = {
    "swap": _swap, "insert": _insert, "delete": _delete, "number": _number, "punctuation": _punctuation, "case": _case,
}  # fmt: skip


def edited(text: str, seed: int) -> tuple[str, list[str]]:
    """The text after one to three of EDITS, each at a random word, and which they were; the same for the same seed."""
    rng = Random(seed)
    words, names = text.split(), rng.choices(list(EDITS), k=rng.randint(1, 3))
    for name in names:
        if len(words) > 1:
            words = EDITS[name](words, rng)
    return " ".join(words), names

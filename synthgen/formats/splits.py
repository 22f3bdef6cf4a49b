"""Which split a sample is in: decided by its prompt alone, so that no prompt is in two."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from synthgen.dedup import key
from synthgen.errors import UsageError
from synthgen.types import Sample

REST = "train"
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")  # what `datasets` takes, and every file system


def read_shares(given: Sequence[str]) -> dict[str, float]:
    """The shares of NAME=SHARE, in their order; what they leave is train. Raises UsageError."""
    shares: dict[str, float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not equals or not 0 < share < 1:
            raise UsageError(f"--split {text}: must be NAME=SHARE with a share between 0 and 1, such as test=0.05")
        if not _NAME.fullmatch(name) or name == "all":
            raise UsageError(f"--split {text}: a split's name has letters, digits and _ (and is not all)")
        if name == REST:
            raise UsageError(f"--split {text}: {REST} is what the others leave; name those")
        if name in shares:
            raise UsageError(f"--split {text}: {name} is given twice")
        shares[name] = share
    if sum(shares.values()) >= 1:
        raise UsageError(f"--split: the shares add up to {sum(shares.values()):g}, which leaves nothing for {REST}")
    return shares


def prompt_of(sample: Sample) -> str:
    """What the user says before the first answer, without the system text; else all that there is."""
    first = takewhile(lambda turn: turn.role != "assistant", sample.messages)
    asked = [turn.content for turn in first if turn.role == "user"]
    return "\n".join(asked or [turn.content for turn in sample.messages] or [sample.text or ""])


def splitter(shares: Mapping[str, float]) -> Callable[[Sample], str]:
    """A function from a sample to its split. It knows neither other samples nor the order of the shares."""
    borders, border = [], 0.0
    for name in sorted(shares):
        border += shares[name]
        borders.append((border, name))

    def split_of(sample: Sample) -> str:
        # The key is that of exact duplicates: prompts that differ in case, spaces or idle marks are one.
        place = int.from_bytes(key(prompt_of(sample))[:8]) / 2**64
        return next((name for border, name in borders if place < border), REST)

    return split_of

"""Which split a sample is in: decided by its prompt alone, so that no prompt is in two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from synthgen.dedup import key
from synthgen.errors import UsageError
from synthgen.rows import row_files
from synthgen.rows.folder import folder_splits
from synthgen.types import Sample

REST = "train"
_SPLIT_FILE = re.compile(r"(train|test|validation|valid|val|dev|eval)(-\d{5}-of-\d{5})?\.")
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


def kept_splits(folder: Path) -> dict[str, str]:
    """The split of each file of a folder with several; empty where it has none, or names that cannot be kept."""
    splits = (folder_splits(folder) or _by_names(row_files(folder))) if folder.is_dir() else {}
    kept = len(splits) > 1 and all(_NAME.fullmatch(split) and split != "all" for split in splits)
    return {str(file): split for split, files in splits.items() for file in files} if kept else {}


def _by_names(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files by the splits that they are called after, as the hub's loader knows them; empty where one is not."""
    found: dict[str, list[Path]] = {}
    for file in files:
        named = _SPLIT_FILE.match(file.name)
        if not named:
            return {}
        found.setdefault(named[1], []).append(file)
    return found


class Splitter:
    """The split of a sample, which depends neither on other samples nor on the order of the shares.

    Shares are those of all splits but train. `moved` are the keys of prompts that had to go there.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.moved: set[bytes] = set()
        self._borders: list[tuple[float, str]] = []
        border = 0.0
        for name in sorted(shares):
            border += shares[name]
            self._borders.append((border, name))

    def split_of(self, sample: Sample) -> str:
        """Prompts that are exact duplicates are one: they may differ in case, spaces and idle marks."""
        prompt = key(prompt_of(sample))
        if prompt in self.moved:
            return REST
        place = int.from_bytes(prompt[:8]) / 2**64
        return next((name for border, name in self._borders if place < border), REST)

    def move(self, samples: Iterable[Sample]) -> bool:
        """Puts all samples with the prompts of these into train; whether there were any."""
        before = len(self.moved)
        self.moved |= {key(prompt_of(sample)) for sample in samples}
        return len(self.moved) > before


class KeptSplits(Splitter):
    """The split that a sample was in: that of its file, by the place that `where` tells of the sample at hand."""

    def __init__(self, split_of_file: Mapping[str, str], where: Callable[[], str]) -> None:
        super().__init__({})
        self._of_file, self._where = split_of_file, where

    def split_of(self, sample: Sample) -> str:
        if self.moved and key(prompt_of(sample)) in self.moved:
            return REST
        return self._of_file.get(self._where().rpartition(":")[0], REST)

"""The files that the readers are given: real ones and drawn samples, in the formats that they read."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.formats import Format, open_format, read_samples
from synthgen.formats.pairs import unpaired
from synthgen.formats.turns import to_json
from synthgen.formats.write import write_samples
from synthgen.types import Sample

from .venvs import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from drawn import dialogues, several
from pairs import labelled, pairs

# What each reader reads of what we write, and the formats of two answers or a label.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "LLaMA-Factory": (
        *("alpaca", "sharegpt", "messages", "preference-alpaca", "preference-sharegpt", "kto-alpaca", "kto-sharegpt"),
    ),
    "TRL": ("messages", "prompt-completion", "preference", "kto"),
    "axolotl": ("alpaca", "sharegpt", "messages", "preference"),
    "ms-swift": ("alpaca", "sharegpt", "messages", "preference-swift", "kto-swift"),
}  # fmt: skip
DRAWN = 200
_LONG = re.compile(r"\d{18}")


def task_of(name: str) -> str:
    """What a format is trained as."""
    return "pairs" if name.startswith("preference") else "labels" if name.startswith("kto") else "sft"


@dataclass(frozen=True, slots=True)
class File:
    """A file in one of our formats with the samples of its rows."""

    source: str
    path: Path
    format: Format
    columns: tuple[str, ...]
    samples: Sequence[Sample]
    left_out: Mapping[str, int]

    @property
    def entry(self) -> Any:
        """What stands of it in LLaMA-Factory's registry."""
        return self.format.dataset_info(self.path.name, self.columns)


def shared_data() -> Path:
    """Files of others, beside the checkout."""
    return Path(os.environ.get("SYNTHGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))


@cache
def sources() -> Mapping[str, Sequence[Sample]]:
    """Every file that has answers, and samples drawn by chance, the same each time."""
    found: dict[str, Sequence[Sample]] = {}
    for path in sorted(shared_data().glob("*.json*")):
        try:
            samples = list(read_samples(path))
        except UsageError:
            continue  # prompts without answers, and rows of no format
        found[path.name] = samples
    return found | {
        "drawn": several(dialogues(), DRAWN),
        "drawn with calls": several(dialogues(tools=True).filter(_fits), DRAWN),
        "drawn with thoughts": several(dialogues(tools=True, reasoning=True).filter(_fits), DRAWN),
        "drawn pairs": several(pairs(), DRAWN),
        "drawn pairs with calls": several(pairs(tools=True).filter(_fits), DRAWN),
        "drawn labels": several(labelled(), DRAWN),
    }


def _fits(sample: Sample) -> bool:
    """Whether no argument is a whole number of more than 64 bits: ms-swift stops at those."""
    return not _LONG.search(
        to_json([[call.arguments for call in m.tool_calls] for m in (*sample.messages, *sample.rejected)])
    )


def files(name: str, folder: Path) -> Iterator[File]:
    """Each source in this format, where it has samples for it; left_out is what the export said that it cannot hold."""
    member = open_format(name)
    for source, given in sources().items():
        samples = _wanted(given, name)
        if not samples:
            continue
        path = folder / name / source.replace(" ", "-").split(".")[0] / member.file_name
        path.parent.mkdir(parents=True)
        written = write_samples(samples, member, path)
        held = [sample for sample in samples if member.carries(sample) is None]
        if written.rows:
            yield File(source, path, member, written.columns, held, written.left_out)


def _wanted(samples: Sequence[Sample], name: str) -> Sequence[Sample]:
    """Answers for answers, pairs for pairs, labels for labels; a pair is two labels."""
    task = task_of(name)
    if task == "pairs":
        return [sample for sample in samples if sample.rejected]
    if task == "labels":
        return [one for sample in samples for one in unpaired(sample) if one.label is not None]
    return [sample for sample in samples if not sample.rejected and sample.label is None]

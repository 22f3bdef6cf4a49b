"""What came of a file that was written, and what stops its writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from synthgen.errors import SynthgenError


class CannotCarryError(SynthgenError):
    """A format cannot hold any of the samples, or not all of them whole where that is asked; nothing was written."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a file: its rows, and how many samples were left out, or lost a part, for which reason.

    `mapped`: what was spelled otherwise, with nothing lost. `left_out_at`: the first places of each reason.
    `moved`: the rows that stand at the front, by the numbers that they would have. `dates`: where each text is a date.
    `spelled`: the columns of lists that the file holds as JSON text.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    left_out: Mapping[str, int]
    lost: Mapping[str, int]
    mapped: Mapping[str, int]
    left_out_at: Mapping[str, list[str]]
    moved: tuple[int, ...] = ()
    dates: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What else there is to say of the file, a line each."""
        mapped = [f"{count} samples: {reason} was mapped, nothing is lost" for reason, count in self.mapped.items()]
        moved = [f"row {row} moved to the front, so that `datasets` sees its keys and types" for row in self.moved]
        of = ", ".join(self.dates)
        dates = f"every text of {of} is a date, in 10 MB or all: `datasets` makes timestamps of them; reword one"
        names = ", ".join(self.spelled)
        spelled = f"{names}: JSON text in csv, read back by synthgen and by no trainer; give them .jsonl or .parquet"
        return [*mapped, *moved, *([dates] if of else []), *([spelled] if names else [])]

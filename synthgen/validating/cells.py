"""The cells of CSV as `datasets` has them: pandas makes numbers, booleans and nulls of what looks like them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows.table import separator
from synthgen.validating.reading import pieces
from synthgen.validating.turns import Found

# Tried on datasets 5.2 with pandas: of a column, every cell that is not null must look so.
_NUMBER = re.compile(r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf|Inf|INF|infinity|Infinity)\s*")
_BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
_NULLS = frozenset(
    (
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
        "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    )
)  # fmt: skip
_LABELS = ("label", "kto_tag")


class Cells:
    """Reads the file once, as far as it takes to know what each column becomes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.numbers: list[str] = []  # the columns of nothing but numbers
        self._made: dict[str, Callable[[str], Any]] = {}
        open_: dict[str, set[str]] | None = None
        for _, _, _, row, problem in pieces(path):
            if problem is not None:
                continue
            open_ = {name: set() for name in row} if open_ is None else open_
            for name in list(open_):
                if row[name] not in _NULLS:
                    open_[name].add(_sort(row[name]))
                    if open_[name] not in ({"number"}, {"boolean"}):
                        del open_[name]
            if not open_:
                break
        for name, sorts in (open_ or {}).items():
            if sorts:
                self._made[name] = _BOOLEANS.__getitem__ if sorts == {"boolean"} else _number
        self.numbers = [name for name, make in self._made.items() if make is _number]

    def row(self, row: Mapping[str, str]) -> dict[str, Any]:
        """The row as it is loaded."""
        return {name: None if cell in _NULLS else self._made.get(name, str)(cell) for name, cell in row.items()}

    def nulls(self, row: Mapping[str, str], read: tuple[str, ...]) -> Iterator[Found]:
        """Words that are lost, in the columns that are trained on."""
        for name in read:
            if (cell := row.get(name)) and cell in _NULLS:
                yield "csv-null", f"{name} is the word {cell}"

    def found(self, read: tuple[str, ...]) -> Iterator[Found]:
        """What is true of the whole file."""
        try:
            mark = separator(self._path)
        except UsageError:  # told where its rows are read
            return
        if mark != ",":
            yield "csv-separator", f"its cells stand between {'tabs' if mark == chr(9) else repr(mark)}"
        for name in self.numbers:
            if name in read and name not in _LABELS:
                yield "csv-numbers", f"{name} has numbers alone"


def _sort(cell: str) -> str:
    return "number" if _NUMBER.fullmatch(cell) else "boolean" if cell in _BOOLEANS else "text"


def _number(cell: str) -> int | float:
    digits = cell.strip()
    return int(digits) if len(digits) < 19 and digits.lstrip("+-").isdecimal() else float(digits)

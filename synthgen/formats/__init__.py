"""The formats of data sets: a file here that holds a FORMAT is one."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from synthgen.errors import ParseError, UsageError
from synthgen.rows import read_rows
from synthgen.types import Sample


class Format(Protocol):
    """One way to put a sample into a row, and back. All of it is pure; files are read and written elsewhere.

    What `carries` refuses cannot be a row at all; what `loses` names is left out of a row that is written.
    Reasons are fixed words without positions, so that they can be counted. The suffix of `file_name` is the container:
    `.jsonl`, or `.json` where readers take one array and nothing else.

    It may have more: `apart(sample)`, the samples that it writes as a row each where one sample is several rows.
    """

    name: str
    description: str
    file_name: str

    def sniff(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has the columns of this format and of no other."""

    def read(self, row: Mapping[str, Any]) -> Sample:
        """The sample of a row; ParseError says what is wrong with its shape."""

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        """The columns that every row must have so that any of these samples fits; one pass."""

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        """The row of a sample that `carries` lets through, with exactly these columns in this order."""

    def carries(self, sample: Sample) -> str | None:
        """Why this sample cannot be a row of the format, or None where it can."""

    def loses(self, sample: Sample) -> tuple[str, ...]:
        """What of this sample the row does not hold."""

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        """LLaMA-Factory's entry for a file with these columns; None where it would misread the file."""


@cache
def formats() -> Mapping[str, Format]:
    """Every format by its name, found in this folder."""
    modules = (import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    members: list[Format] = [module.FORMAT for module in modules if hasattr(module, "FORMAT")]
    return {member.name: member for member in sorted(members, key=lambda member: member.name)}


def open_format(name: str) -> Format:
    """The format of this name; UsageError names the nearest."""
    members = formats()
    if name in members:
        return members[name]
    close = get_close_matches(name, members, n=1)
    near = f"did you mean {close[0]}?" if close else f"formats: {', '.join(members)}"
    raise UsageError(f"no format is called {name!r}; {near}")


def sniff_format(row: Mapping[str, Any]) -> Format | None:
    """The format that a row is in, or None."""
    return next((member for member in formats().values() if member.sniff(row)), None)


def read_samples(source: str | Path, format_name: str | None = None) -> Iterator[Sample]:
    """The samples of a file, a folder or `hf:owner/name[:split]`, in the named format or in that of the first row.

    A row at fault is a UsageError with its `file:line`.
    """
    rows = read_rows(source)
    first = next(rows, None)
    if first is None:
        return
    member = open_format(format_name) if format_name else sniff_format(first.fields)
    if member is None:
        there = ", ".join(list(first.fields)[:12]) or "none"
        known = ", ".join(formats())
        raise UsageError(f"{first.where}: a row of no known format (columns: {there}); formats: {known}")
    for row in chain([first], rows):
        try:
            yield member.read(row.fields)
        except ParseError as error:
            raise UsageError(f"{row.where}: no {member.name} row: {error}; fix or delete the row") from None

"""The formats of data sets: a file here that holds a FORMAT is one."""

from __future__ import annotations

import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from synthgen.errors import ParseError, SynthgenError, UsageError
from synthgen.rows import Fault, scan_rows
from synthgen.rows.shapes import canonical, renamed
from synthgen.types import Sample

MOST_TOLD = 20  # rows at fault whose lines are told; the others are counted
# Formats whose rows stand in one file as a matter of course.
_KIN = (
    {"fastchat", "sharegpt"},
    {"chatml", "chatml-sep"},
    {"prompt-completion", "prompt-completion-text"},
    {"prompts", "rl"},
)
_UNDERSTOOD = (
    "understood are messages, conversations, instruction and output, question and answer, prompt and completion, "
    "prompt with chosen and rejected, prompt, text; rename them, or give export --map question=COLUMN"
)
_ASKING = ("prompts", "rl", "mt-bench")


class UnreadableError(SynthgenError):
    """A strict conversion found rows that cannot be read; nothing was written."""

    exit_code: ClassVar[int] = 1


class Format(Protocol):
    """One way to put a sample into a row, and back. All of it is pure; files are read and written elsewhere.

    What `carries` refuses cannot be a row at all; what `loses` names is left out of a row that is written.
    Reasons are fixed words without positions, so that they can be counted. The suffix of `file_name` is the container:
    `.jsonl`, or `.json` where readers take one array and nothing else.

    It may have more: `apart(sample)`, the samples that it writes as a row each where one sample is several rows, and
    `several(row)`, the samples of a row that may hold more than one.
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


def read_row(row: Mapping[str, Any], member: Format | None = None) -> tuple[Format, tuple[Sample, ...]]:
    """The format that a row is in, and its samples: one, but of a format that has `several`.

    `member` is what it is likely to be, and taken where no format has its columns. ParseError says what is wrong.
    """
    fields = canonical(row)
    if member is None or not member.sniff(fields):
        found = sniff_format(fields)
        # What lacks its answer in a file of answers is at fault, and no row of prompts.
        lacks = found is not None and found.name == "prompts" and member is not None and member.name not in _ASKING
        member = member if lacks else found or member
    if member is None:
        there = " ".join(", ".join(list(row)[:12]).split())[:300] or "none"  # names may be of several lines
        raise ParseError(f"a row of no known format (columns: {there}); {_UNDERSTOOD}")
    return member, samples_in(fields, member)


def samples_in(fields: Mapping[str, Any], member: Format) -> tuple[Sample, ...]:
    """The samples of a row in a format; ParseError names it, and says what is wrong."""
    several: Callable[[Mapping[str, Any]], tuple[Sample, ...]] | None = getattr(member, "several", None)
    try:
        return several(fields) if several else (member.read(fields),)
    except ParseError as error:
        raise ParseError(f"no {member.name} row: {error}; fix or delete the row") from None


def read_samples(source: str | Path, format_name: str | None = None) -> Iterator[Sample]:
    """The samples of a file, a folder or `hf:owner/name[:split]`, in the named format or in that of each row.

    A row at fault is a UsageError with its `file:line`.
    """

    def refuse(fault: Fault) -> None:
        raise UsageError(str(fault))

    return (sample for _, sample in _samples(source, format_name, refuse, Counter()))


class SampleReader:
    """The same as often as it is iterated over; a row at fault is counted and told, and those after it are read.

    What is counted is that of the last pass: `unread` rows, the `first` of them, `most` at the most, and
    `others`, rows of other formats than the first row's, by name. `where` is the `file:line` of the sample at hand.
    UsageError where no row can be read. `strict`: UnreadableError at the end where any could not.
    """

    def __init__(
        self, source: str | Path, *, strict: bool = False, most: int = MOST_TOLD, names: Mapping[str, str] | None = None
    ) -> None:
        """`names`: what columns are to be called, by the names that they have in the source."""
        self.unread, self.first, self.others = 0, list[Fault](), Counter[str]()
        self.where, self._names = "", names or {}
        self.source, self._strict, self._most = source, strict, most

    def __iter__(self) -> Iterator[Sample]:
        self.unread, self.first, self.others = 0, [], Counter()
        found = False
        for where, sample in _samples(self.source, None, self._tell, self.others, self._names):
            found, self.where = True, where
            yield sample
        if self.unread and not found:
            raise UsageError(f"{self.first[0]} (no row of the input can be read)")
        if self.unread and self._strict:
            rest = "nothing was written, leave --strict out to write the rest"
            raise UnreadableError(f"{self.source}: {_rows(self.unread)} cannot be read; {rest}")

    def _tell(self, fault: Fault) -> None:
        self.unread += 1
        if len(self.first) < self._most:
            self.first.append(fault)

    def lines(self) -> Iterator[str]:
        """What a user should know of the last pass."""
        told = self.first[:MOST_TOLD]
        yield from map(str, told)
        if self.unread > len(told):
            yield f"{self.source}: {_rows(self.unread - len(told))} more cannot be read"
        for name, count in self.others.items():
            yield f"{self.source}: {_rows(count)} of another format than the first row's, read as {name}"


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def _samples(
    source: str | Path,
    format_name: str | None,
    at_fault: Callable[[Fault], None],
    others: Counter[str],
    names: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Sample]]:
    named = open_format(format_name) if format_name else None
    usual: Format | None = None
    absent = set((names or {}).values())
    for row in scan_rows(source):
        if isinstance(row, Fault):
            at_fault(row)
            continue
        absent -= row.fields.keys() if absent else set()
        fields = renamed(row.fields, names) if names else row.fields
        try:
            known = (named, samples_in(canonical(fields), named)) if named else None
            member, samples = known or read_row(fields, usual)
        except ParseError as error:
            at_fault(Fault(row.where, str(error)))
            continue
        usual = usual or member
        if member is not usual and not any({member.name, usual.name} <= kin for kin in _KIN):
            others[member.name] += 1
        for sample in samples:
            yield row.where, sample
    if absent:
        raise UsageError(f"{source}: no row has the column {', '.join(sorted(absent))}; check --map")

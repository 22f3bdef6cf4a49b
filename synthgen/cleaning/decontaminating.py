"""Files without the rows that stand in a benchmark, the evidence of each that does, and a report per benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from synthgen.cleaning.benchmarks import PROMPTS, Benchmarks, Said, places, said
from synthgen.cleaning.copying import Files, check_evidence, identity
from synthgen.cleaning.untouched import Untouched
from synthgen.dedup.decontam import Common, Hit
from synthgen.errors import UsageError
from synthgen.formats.write import replacing
from synthgen.rows import Fault

EVIDENCE = "contaminated.jsonl"
TOO_MUCH = 0.02  # Tülu 3 (arXiv 2411.15124) drops a training set that has more than this of a benchmark's rows
_EXAMPLES = 10  # of each benchmark
_BATCH = 256
_PASSES = 2  # one counts what is common, one checks


@dataclass(frozen=True, slots=True)
class Found:
    """A row of a benchmark that stands in a row (`file:line`) of the dataset."""

    row: str
    column: str
    hit: Hit

    def as_dict(self) -> dict[str, Any]:
        """A line of the evidence."""
        hit = self.hit
        return {
            "row": self.row,
            "column": self.column,
            "benchmark": hit.benchmark,
            "benchmark_row": hit.row,
            "by": hit.by,
            "run": hit.run,
            "cover": hit.cover,
            "score": hit.score,
            "span": hit.span,
        }


@dataclass(slots=True)
class Met:
    """What was found of one benchmark."""

    rows: int
    hit: set[str] = field(default_factory=set)  # its own rows
    training_rows: int = 0
    examples: list[Found] = field(default_factory=list)  # of different rows of it

    @property
    def share(self) -> float:
        return len(self.hit) / self.rows

    @property
    def contaminated(self) -> bool:
        return self.share > TOO_MUCH

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "rows_hit": len(self.hit),
            "share": self.share,
            "contaminated": self.contaminated,
            "training_rows": self.training_rows,
            "examples": [one.as_dict() for one in self.examples],
        }


@dataclass(slots=True)
class Counts:
    """What came of the rows; those without text and those that cannot be read are kept."""

    rows: int = 0
    hit: int = 0
    untouched: Untouched = field(default_factory=Untouched)
    benchmarks: dict[str, Met] = field(default_factory=dict)
    common: list[Common] = field(default_factory=list)
    short_answers: int = 0

    @property
    def kept(self) -> int:
        return self.rows - self.hit

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "contaminated_rows": self.hit,
            "benchmarks": {name: met.as_dict() for name, met in self.benchmarks.items()},
            "common": [{"text": one.text, "rows": one.rows} for one in self.common],
            "passes": _PASSES,
            "short_answers": self.short_answers,
            "without_text": self.untouched.without.count,
            "unreadable": self.untouched.unreadable.count,
        }


class Decontamination:
    """One pass that counts what is common, one that judges, and one that copies. Memory belongs to the benchmarks and
    to the rows that are met."""

    def __init__(
        self, files: Files, against: Sequence[str], columns: Sequence[str] = (PROMPTS,), field: str | None = None
    ) -> None:
        self.counts = Counts()
        self._files, self._against, self._columns, self._field = files, against, columns, field
        self._all: int | None = None
        self._hit: set[int] = set()
        self._doing = "reading benchmarks"

    def line(self) -> str:
        """How far it is, for a progress line."""
        found = self.counts
        rows = f"{found.rows:,}/{self._all:,}" if self._all is not None else f"{found.rows:,}"
        return f"decontaminate · {self._doing} · {rows} rows · {found.hit:,} contaminated"

    def run(self, out: Path | None) -> Counts:
        """The counts; OUT and the evidence beside it, where there is an OUT, whole or not at all."""
        found = self.counts
        if out is not None:
            self._files.check(out)
            self._check_places(out)
        for place in places(self._against):
            if self._files.reads(place):
                raise UsageError(f"{place}: would be held against itself; give it once")
        benchmarks = Benchmarks(self._against, self._columns)
        found.short_answers = benchmarks.short_answers
        found.benchmarks = {name: Met(rows) for name, rows in benchmarks.rows.items()}
        self._doing = "counting what is common"
        benchmarks.count(texts for _, _, texts in self._rows())
        found.untouched.check(found.rows, self._field, wanted=self._wanted())
        found.common, self._all = benchmarks.common, found.rows
        found.rows, found.untouched = 0, Untouched()
        self._doing = "checking"
        with ExitStack() as stack:
            write: Callable[[bytes], object] = lambda _: None  # noqa: E731
            if out is not None:
                write = stack.enter_context(replacing(out.parent / EVIDENCE))
            for number, met in self._found(benchmarks):
                self._note(number, met)
                for one in met:
                    write(orjson.dumps(one.as_dict(), option=orjson.OPT_APPEND_NEWLINE))
            if out is not None:
                self._doing = "copying"
                with replacing(out) as copy:
                    self._files.copy(lambda number: number not in self._hit, copy)
        return found

    def _check_places(self, out: Path) -> None:
        """Raises UsageError where OUT or the evidence would take the place of what is read."""
        benchmarks = {identity(place) for place in places(self._against)}
        if identity(str(out)) in benchmarks:
            raise UsageError(f"{out}: is a benchmark; give another -o")
        columns = ("row", "column", "benchmark", "benchmark_row", "by", "span")
        check_evidence(
            out,
            EVIDENCE,
            "decontaminate",
            columns,
            lambda path: self._files.reads(path) or identity(path) in benchmarks,
        )

    def _rows(self) -> Iterator[tuple[int, str, Said]]:
        """Rows that have text; all others are kept and counted."""
        counts = self.counts
        for number, row in enumerate(self._files.rows()):
            counts.rows += 1
            if isinstance(row, Fault):
                counts.untouched.fault(row)
                continue
            texts = said(row.fields, self._columns, self._field)
            if any(texts.values()):
                yield number, row.where, texts
                continue
            counts.untouched.no_text(row)

    def _found(self, benchmarks: Benchmarks) -> Iterator[tuple[int, list[Found]]]:
        """The number of each row that met something, and all that it met."""
        rows = self._rows()
        while part := list(islice(rows, _BATCH)):
            hits = benchmarks.check([texts for _, _, texts in part])
            for (number, where, _), some in zip(part, hits, strict=True):
                if some:
                    yield number, [Found(where, column, hit) for column, hit in some]

    def _note(self, number: int, found: Sequence[Found]) -> None:
        self._hit.add(number)
        self.counts.hit = len(self._hit)
        for name in {one.hit.benchmark for one in found}:
            self.counts.benchmarks[name].training_rows += 1
        for one in found:
            met = self.counts.benchmarks[one.hit.benchmark]
            if one.hit.row not in met.hit and len(met.examples) < _EXAMPLES:
                met.examples.append(one)
            met.hit.add(one.hit.row)

    def _wanted(self) -> str:
        return "" if PROMPTS in self._columns else "no row has an answer; check prompts"


def told(counts: Counts, field: str | None) -> Iterable[str]:
    """What the user should know of what was not compared."""
    yield from counts.untouched.told(f"text in {field!r}" if field else "text to check")
    if counts.short_answers:
        yield f"{counts.short_answers} answers of the benchmarks are too short to be told from others; not checked"
    if counts.common:
        most = "; ".join(f"{one.text!r} in {one.rows:,}" for one in counts.common[:3])
        yield f"{len(counts.common)} stretches stand in many rows and are no evidence (--json lists them): {most}"

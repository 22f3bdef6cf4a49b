"""Files without the rows that were there before, and the evidence of each that was."""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from synthgen.cleaning.copying import Files, check_evidence
from synthgen.cleaning.texts import texts_of
from synthgen.cleaning.untouched import Told, Untouched
from synthgen.dedup.greedy import EXACT, Greedy, Opened, Texts, Verdict
from synthgen.errors import UsageError
from synthgen.formats.write import replacing
from synthgen.rows import Fault, Row

EVIDENCE = "duplicates.jsonl"
_SHOWN = 3  # examples of each level in a result
_MANY, _MUCH = 100, 0.2  # rows, and a share of them that a level rarely drops rightly


@dataclass(frozen=True, slots=True)
class Keep:
    """Which of several is kept: the first, the one with the highest number in a column, or all."""

    all: bool = False
    best: str | None = None

    @staticmethod
    def read(text: str) -> Keep:
        """UsageError for what is none of first, best:COLUMN, all."""
        kind, _, column = text.partition(":")
        if text in ("first", "all"):
            return Keep(all=text == "all")
        if kind == "best" and column:
            return Keep(best=column)
        known = {"first": "first", "best": "best:COLUMN", "all": "all"}
        close = get_close_matches(kind, known, n=1)
        near = f"did you mean {known[close[0]]}?" if close else "first, best:COLUMN or all is expected"
        raise UsageError(f"--keep {text}: {near}")


@dataclass(slots=True)
class Counts:
    """What came of the rows; those without text and those that cannot be read are kept."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by level
    near: Counter[str] = field(default_factory=Counter)  # by level: reported, and kept
    contradictory: int = 0
    untouched: Untouched = field(default_factory=Untouched)
    unscored: Told = Told()
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        return self.rows - sum(self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "rows": self.rows,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "reported": dict(self.near),
            "contradictory": self.contradictory,
            "without_text": self.untouched.without.count,
            "unreadable": self.untouched.unreadable.count,
            "without_score": self.unscored.count,
        }


class Deduplication:
    """One pass that judges, and one that copies. Memory grows with what is kept, not with the files; `best` holds the
    texts of all rows, since the best of a file may be its last."""

    def __init__(self, files: Files, levels: Sequence[Opened], *, exact: bool, keep: Keep, column: str | None) -> None:
        self.counts = Counts()
        self._files, self._keep, self._column = files, keep, column
        self._greedy = Greedy(levels, exact=exact, keep_all=keep.all)
        self._kept = bytearray()
        self._copying = False

    def line(self) -> str:
        """How far it is, for a progress line."""
        found = self.counts
        doing = "copying" if self._copying else f"{found.rows:,} rows"
        return f"dedup · {doing} · {sum(found.dropped.values()) + sum(found.near.values()):,} duplicates"

    def run(self, out: Path | None) -> Counts:
        """The counts; OUT and the evidence beside it, where there is an OUT, whole or not at all."""
        with ExitStack() as stack:
            write: Callable[[bytes], object] = lambda _: None  # noqa: E731
            if out is not None:
                self._files.check(out)
                check_evidence(
                    out, EVIDENCE, "dedup", ("row", "nearest", "score", "level", "dropped"), self._files.reads
                )
                write = stack.enter_context(replacing(out.parent / EVIDENCE))
            for number, where, verdict in self._found():
                self._count(number, where, verdict, write)
            self.counts.untouched.check(self.counts.rows, self._column)
            if out is not None:
                self._copying = True
                with replacing(out) as copy:
                    self._files.copy(lambda number: bool(self._kept[number]), copy)
        return self.counts

    def _found(self) -> Iterator[tuple[int, str, Verdict]]:
        """(number, where, verdict) of each row that met something, in the order of the files."""
        waiting: deque[tuple[int, str]] = deque()
        rows = self._rows() if self._keep.best is None else self._by_score(self._keep.best)

        def asked() -> Iterator[tuple[str, Texts]]:
            for number, where, texts in rows:
                waiting.append((number, where))
                yield where, texts

        verdicts = ((*waiting.popleft(), verdict) for verdict in self._greedy.decide(asked()))
        found = (one for one in verdicts if one[2].level)
        return found if self._keep.best is None else iter(sorted(found, key=lambda one: one[0]))

    def _rows(self, scores: array[float] | None = None) -> Iterator[tuple[int, str, Texts]]:
        """Rows that have text; all others are kept and counted."""
        counts = self.counts
        for number, row in enumerate(self._files.rows()):
            counts.rows += 1
            self._kept.append(1)
            if isinstance(row, Fault):
                counts.untouched.fault(row)
                continue
            texts = texts_of(row.fields, self._column, less=self._keep.best)
            if texts is None or not texts.prompt.strip():
                counts.untouched.no_text(row, column_missing=texts is None)
                continue
            if scores is not None:
                scores.append(self._score(row))
            yield number, row.where, texts

    def _by_score(self, column: str) -> Iterator[tuple[int, str, Texts]]:
        """The same, the highest score first, the first of equals: greedily, that keeps the best of each group."""
        scores = array("d")
        rows = list(self._rows(scores))
        if rows and self.counts.unscored.count == len(rows):
            raise UsageError(f"--keep best:{column}: no row has a number in {column!r} ({rows[0][1]}); name a column")
        for place in sorted(range(len(rows)), key=lambda place: -scores[place]):
            yield rows[place]

    def _score(self, row: Row) -> float:
        """The number in the score's column; what is none counts as the lowest."""
        value = row.fields.get(self._keep.best or "")
        try:
            found = float(value) if isinstance(value, str | int | float) else math.nan
        except (ValueError, OverflowError):
            found = math.nan
        if not math.isnan(found):
            return found
        self.counts.unscored = self.counts.unscored.one_more(row.where)
        return -math.inf

    def _count(self, number: int, where: str, verdict: Verdict, write: Callable[[bytes], object]) -> None:
        counts, near = self.counts, verdict.near
        assert near is not None
        (counts.dropped if verdict.dropped else counts.near)[verdict.level] += 1
        counts.contradictory += verdict.contradictory
        self._kept[number] = not verdict.dropped
        evidence = {
            "row": where,
            "nearest": near.id,
            "score": near.score,
            "level": verdict.level,
            "dropped": verdict.dropped,
            "text": verdict.text,
            # An exact copy is known by its key alone: the text that it met is not in memory.
            **({"contradictory": verdict.contradictory} if verdict.level == EXACT else {"nearest_text": near.span}),
        }
        write(orjson.dumps(evidence, option=orjson.OPT_APPEND_NEWLINE))
        examples = counts.examples.setdefault(verdict.level, [])
        if len(examples) < _SHOWN:
            examples.append(evidence)


def told(counts: Counts, column: str | None) -> Iterable[str]:
    """What the user should know of the rows that were kept without being compared, and of a level that takes much."""
    for name, dropped in counts.dropped.items():
        if name != EXACT and counts.rows >= _MANY and dropped > _MUCH * counts.rows:
            yield (
                f"{name} dropped {dropped / counts.rows:.0%} of the rows: if they share a template more than a task, "
                f"read {EVIDENCE} and try --threshold 0.9, or --method exact,minhash"
            )
    yield from counts.untouched.told(f"text in {column!r}" if column else "text to compare")
    yield from counts.unscored.line("without a score, which count as the lowest")

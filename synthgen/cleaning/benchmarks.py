"""Benchmarks out of files: what must not be trained on, and where a row of a dataset has it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from synthgen import output
from synthgen.cleaning.copying import Files
from synthgen.cleaning.texts import answers, prompt_column, user_turns
from synthgen.dedup.decontam import Common, Decontam, Hit
from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, row_files, scan_rows
from synthgen.types import Sample

PROMPTS, ANSWERS = "prompts", "answers"
COLUMNS = (PROMPTS, ANSWERS)
_BATCH = 256
# What benchmarks call a question besides what every command reads, by lower case.
_QUESTIONS = ("problem", "query", "prompt", "question", "input", "ctx", "sentence", "goal")

Said = Mapping[str, Sequence[str]]  # the texts of a row by column


def said(fields: Mapping[str, Any], columns: Iterable[str], field: str | None = None) -> dict[str, list[str]]:
    """The texts of a raw row; an empty column where it has none."""
    texts = {PROMPTS: user_turns, ANSWERS: answers}
    return {column: [text for text in texts[column](fields, field) if text.strip()] for column in columns}


@dataclass(frozen=True, slots=True)
class Question:
    """A row of a benchmark: the name of the benchmark, the number of the line, its texts."""

    benchmark: str
    row: str
    said: Said


def questions(sources: Sequence[str], columns: Sequence[str] = (PROMPTS,)) -> Iterator[Question]:
    """The rows of files, folders, runs and `hf:owner/name`. Raises UsageError at the first that holds no prompt."""
    names = _names(sources)
    for source in sources:
        found = False
        for row in Files([source]).rows() if output.is_run(Path(source)) else scan_rows(source):
            if isinstance(row, Fault):
                raise UsageError(f"{row} (a benchmark must be read whole)")
            file, _, line = row.where.rpartition(":")
            yield Question(names[file], line, _question(row, columns))
            found = True
        if not found:
            raise UsageError(f"{source}: no rows in it; give a benchmark with at least one")


def _question(row: Row, columns: Sequence[str]) -> dict[str, list[str]]:
    by_name = {name.casefold(): name for name, value in row.fields.items() if value and isinstance(value, str)}
    field = prompt_column(row.fields) or next((by_name[name] for name in _QUESTIONS if name in by_name), None)
    if field is not None and not isinstance(value := row.fields[field], str | list):
        raise UsageError(
            f"{row.where}: {field} must be text or a list of turns, not {type(value).__name__}; fix the row"
        )
    named = None if field == prompt_column(row.fields) else field  # a column that is named is taken alone
    found = said(row.fields, dict.fromkeys((PROMPTS, *columns)), named) if field else {}
    if not found.get(PROMPTS):
        there = ", ".join(list(row.fields)[:12]) or "none"
        raise UsageError(f"{row.where}: no prompt (columns: {there}); call its column question, or delete the row")
    return {column: found[column] for column in columns}


def _names(sources: Sequence[str]) -> dict[str, str]:
    """What each file is called in a report: its name, or its path where two have one name."""
    files = places(sources)
    count = Counter(Path(file).name for file in files)
    return {file: Path(file).name if count[Path(file).name] == 1 else file for file in files}


def places(sources: Sequence[str]) -> list[str]:
    """The files, runs and `hf:owner/name` that the sources stand for; UsageError where one comes twice."""
    found: dict[str, str] = {}
    for source in sources:
        for place in _files(source):
            same = place if place.startswith("hf:") else str(Path(place).resolve())
            if same in found:
                raise UsageError(f"{place}: given twice as a benchmark; give it once")
            found[same] = place
    return list(found.values())


def _files(source: str) -> list[str]:
    """As their rows are named."""
    if source.startswith("hf:"):
        return [source]
    path = Path(source)
    return [str(path)] if output.is_run(path) else [str(file) for file in row_files(path)]


class Benchmarks:
    """All that must not be trained on, by column: prompts are held against prompts, answers against answers.

    Of answers only those count that are long enough for a run of their own: `18` is the answer to many questions.
    """

    def __init__(self, sources: Sequence[str], columns: Sequence[str] = (PROMPTS,)) -> None:
        self.columns = tuple(columns)
        self.rows: Counter[str] = Counter()  # by benchmark
        self.short_answers = 0
        self._levels = {column: Decontam(only_long=column == ANSWERS) for column in columns}
        digest = hashlib.blake2b(digest_size=16)
        for question in questions(sources, columns):
            digest.update(repr(question).encode("utf-8", "surrogatepass"))
            self.rows[question.benchmark] += 1
            for column, level in self._levels.items():
                for text in question.said[column]:
                    taken = level.add(question.benchmark, question.row, text)
                    self.short_answers += column == ANSWERS and not taken
        self.digest = digest.hexdigest()

    def count(self, rows: Iterable[Said]) -> None:
        """What stands in many of the rows that will be checked is no evidence. Once, over all of them."""
        rows = iter(rows)
        while part := list(islice(rows, _BATCH)):
            for column, level in self._levels.items():
                level.count([row[column] for row in part])

    @property
    def common(self) -> list[Common]:
        return [one for level in self._levels.values() for one in level.common()]

    def check(self, rows: Sequence[Said]) -> list[list[tuple[str, Hit]]]:
        """For each row its hits, (column, hit): each row of a benchmark once in a column, the highest score first."""
        found: list[list[tuple[str, Hit]]] = [[] for _ in rows]
        for column, level in self._levels.items():
            owners = [number for number, row in enumerate(rows) for _ in row[column]]
            hits = level.check_many([text for row in rows for text in row[column]])
            best: list[dict[tuple[str, str], Hit]] = [{} for _ in rows]
            for owner, some in zip(owners, hits, strict=True):
                for hit in some:
                    place = hit.benchmark, hit.row
                    if place not in best[owner] or hit.score > best[owner][place].score:
                        best[owner][place] = hit
            for number, one in enumerate(best):
                found[number] += [(column, hit) for hit in sorted(one.values(), key=lambda hit: -hit.score)]
        return found

    def met(self, samples: Sequence[Sample]) -> list[Hit | None]:
        """The row that each sample meets most clearly with what it asks; many at once take a third of the time."""
        found = self.check([asked(sample) for sample in samples]) if self.rows else [[] for _ in samples]
        return [hits[0][1] if hits else None for hits in found]


def asked(sample: Sample) -> Said:
    """What the user says in a sample; a document is asked as a whole."""
    turns = [message.content for message in sample.messages if message.role == "user"] or [sample.text or ""]
    return {PROMPTS: turns}

"""What a recipe works on: prompts out of files in any form or out of a run, one at a time, read again for each pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from synthgen import output
from synthgen.dedup import Fingerprints, cjk_share
from synthgen.errors import ParseError, UsageError
from synthgen.filters import parts
from synthgen.formats import read_row, sniff_format
from synthgen.formats.labels import judged
from synthgen.formats.pairs import split_answer
from synthgen.formats.turns import later_turns
from synthgen.rows import read_rows
from synthgen.rows.shapes import ANSWERS, PAIRED, PROMPTS, REFERENCES, canonical
from synthgen.rows.text import Row
from synthgen.types import UNREAD, Message, Sample, Seed

_READ = frozenset(
    {*PROMPTS, *REFERENCES, *PAIRED, "rejected", "id", "input", "system", "system_prompt", "history", "instances"}
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a pass over the inputs found: `digest_of_first` is "" where there are fewer rows than asked for."""

    rows: int
    digest: str
    digest_of_first: str
    marked: int  # rows that hold chat control tokens
    first_marked: str


class Inputs:
    """Prompts as seeds, in order. Each has the fields `messages` (what was said so far, the user last), `turns` (what
    the user will say after the answer), `split` (Alpaca's instruction and input, or None), `reference`, and `columns`
    (the row's others that are text or numbers) where there are any.

    An id is the row's own, else made from its content, so that it stays when rows are added or moved; ids are unique.
    Rows are never held all at once.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        self._sources = list(sources)

    def __iter__(self) -> Iterator[Seed]:
        """Raises UsageError with `file:line` at the first row that is no prompt."""
        taken = Fingerprints()
        last: dict[str, int] = {}  # the number that an id which came again had then: all before it are taken
        for source in self._sources:
            for where, name, fields in _rows(source):
                wanted = unique = name or _content_id(fields)
                while not taken.add(unique):
                    last[wanted] = last.get(wanted, 1) + 1
                    unique = f"{wanted}~{last[wanted]}"
                yield Seed(unique, fields, where)

    def scan(self, first: int | None = None) -> Scan:
        """One pass over everything. Raises UsageError as iterating does, and when there is nothing."""
        running, rows, part, marked = hashlib.blake2b(digest_size=16), 0, "", 0
        first_marked = ""
        for seed in self:
            said = repr(_said(seed.fields))
            running.update(f"{seed.id} {said}".encode("utf-8", "surrogatepass"))
            rows += 1
            if rows == first:
                part = running.hexdigest()
            if "<|im_" in said:
                marked += 1
                first_marked = first_marked or seed.where
        if not rows:
            raise UsageError("no prompts: give --input a file with at least one row")
        return Scan(rows, running.hexdigest(), part, marked, first_marked)


def _rows(source: str | Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, id or "", fields) of each row of a file, a folder, `hf:owner/name` or a run."""
    path = Path(source)
    if output.is_run(path):
        for number, sample in enumerate(output.samples_of(path)(), start=1):
            where = f"{path}:{number}"
            yield where, str(sample.meta.get("id", "")), _of_sample(sample, where)
        return
    for row in read_rows(source):
        more = {k: v for k, v in row.fields.items() if k not in _READ and isinstance(v, str | int | float)}
        for found in _of_row(row):
            yield row.where, _name(row), {**found, "columns": more} if more else found


def _name(row: Row) -> str:
    value = row.fields.get("id")
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{row.where}: id must be text or a whole number; change it or leave it out")
    return str(value)


def _of_row(row: Row) -> Iterator[dict[str, Any]]:
    """The prompts of a row: one, but of a task with several instances."""
    fields = canonical(row.fields)
    paired = judged(fields) and sniff_format(fields)
    column = next((name for name in (*PROMPTS, "input") if fields.get(name) not in (None, "", [])), "")
    if not paired and not column:
        there = ", ".join(list(row.fields)[:12]) or "none"
        raise UsageError(f"{row.where}: no prompt (columns: {there}); name one of them {', '.join(PROMPTS[:-1])}")
    asked = fields if paired else _alone(fields, column)
    try:
        _, samples = read_row(asked)
    except ParseError as error:
        raise UsageError(f"{row.where}: {column}: {error}") from None
    for sample in samples:
        found = _of_sample(sample, row.where)
        if not paired:
            text = asked[column] if isinstance(asked[column], str) and sample.text is None else None
            split = sample.input_split or ((text, "") if text else None)
            found = {**found, "split": split, "reference": found["reference"] or _reference(fields)}
        yield found


def _alone(fields: Mapping[str, Any], column: str) -> dict[str, Any]:
    """The row with this prompt alone, and without answers that say nothing: a column may wait to be filled."""
    others = {name for name in PROMPTS if name != column} | PAIRED
    empty = {name for name in ANSWERS if fields.get(name) in (None, "", [])}
    return {name: value for name, value in fields.items() if name not in others | empty}


def _reference(fields: Mapping[str, Any]) -> str | None:
    """The first answer that the row has as text."""
    return next((v for column in REFERENCES if isinstance(v := fields.get(column), str) and v), None)


def _of_sample(sample: Sample, where: str) -> dict[str, Any]:
    if sample.tools or any(m.tool_calls or m.role == "tool" for m in sample.messages):
        raise UsageError(f"{where}: calls tools, which no recipe answers yet; delete the row")
    if not sample.messages and sample.text:
        return _fields(where, (Message("user", sample.text),))
    said = sample.messages
    if sample.rejected:  # an answer may be more of a conversation, user turns and all
        prompt, answer = split_answer(sample)
        said = (*prompt, *answer[:1])
    found = _of_turns(said, where)
    users = sum(1 for m in found["messages"] if m.role == "user")
    split = sample.input_split if users == 1 else None
    reference = None if sample.label is False else sample.reference or found["reference"]
    return {**found, "split": split, "reference": reference, "turns": later_turns(sample)}


def _of_turns(messages: Sequence[Message], where: str) -> dict[str, Any]:
    """The conversation up to its last user turn; the answer that is there is the reference."""
    last = max((n for n, m in enumerate(messages) if m.role == "user"), default=None)
    if last is None:
        raise UsageError(f"{where}: no user turn; fix or delete the row")
    after = [m.content for m in messages[last + 1 :] if m.role == "assistant"]
    return _fields(where, tuple(messages[: last + 1]), reference=after[0] if after else None)


def _fields(
    where: str,
    messages: tuple[Message, ...],
    *,
    turns: tuple[str, ...] = (),
    split: tuple[str, str] | None = None,
    reference: str | None = None,
) -> dict[str, Any]:
    if not messages[-1].content.strip():
        raise UsageError(f"{where}: the prompt is empty; write it or delete the row")
    return {"messages": messages, "turns": turns, "split": split, "reference": reference}


def _said(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((m.role, m.content) for m in fields["messages"]), fields["turns"], fields["reference"]


def _content_id(fields: Mapping[str, Any]) -> str:
    text = repr(_said(fields)[:2]).encode("utf-8", "surrogatepass")
    return "p-" + hashlib.blake2b(text, digest_size=8).hexdigest()


def instructions(source: str | Path) -> Iterator[tuple[str, str]]:
    """(place, instruction) of every sample or prompt of a run or a file; UsageError with `file:line`."""
    if output.is_run(Path(source)):
        for n, sample in enumerate(output.samples_of(Path(source))(), 1):
            yield f"{source}:{n}", parts(sample)[0]
        return
    for where, _, fields in _rows(source):
        users = [m.content for m in fields["messages"] if m.role == "user"]
        yield where, fields["split"][0] if fields["split"] else users[0]


def language(seeds: Iterable[Seed]) -> str:
    """en or zh: that of most of what the first seeds, prompts or documents say."""
    texts = "".join(_task(s) for s in islice((s for s in seeds if UNREAD not in s.fields), 200))
    return "zh" if cjk_share(texts) >= 0.3 else "en"


def _task(seed: Seed) -> str:
    """What a seed or a prompt asks for; of a document its beginning."""
    messages = seed.fields.get("messages")
    if messages is None and "instruction" not in seed.fields:
        return str(seed.fields["text"])[:2000]
    return str(seed.fields["instruction"]) if messages is None else str(messages[-1].content)

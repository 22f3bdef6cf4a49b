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
from synthgen.formats import Format, sniff_format
from synthgen.formats.chatml import mark_of
from synthgen.formats.labels import judged
from synthgen.formats.messages import read_messages
from synthgen.formats.pairs import split_answer
from synthgen.formats.turns import from_json
from synthgen.rows import read_rows
from synthgen.rows.text import Row
from synthgen.types import Message, Sample, Seed

# The first column that is there is the prompt.
_COLUMNS = ("prompt", "question", "instruction", "text", "turns", "messages", "conversations")
_LISTS = ("turns", "messages", "conversations")
_REFERENCES = ("output", "response", "answer", "completion", "reference", "ground_truth")
# Beside `chosen` and a label, what says that a row has two answers.
_REJECTED = ("rejected_response", "rejected_messages", "preferred_output", "non_preferred_output")
_READ = frozenset(
    {*_COLUMNS, *_REFERENCES, *_REJECTED, "chosen", "rejected", "id", "input", "system", "system_prompt", "history"}
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
        found = _of_row(row)
        more = {k: v for k, v in row.fields.items() if k not in _READ and isinstance(v, str | int | float)}
        yield row.where, _name(row), {**found, "columns": more} if more else found


def _name(row: Row) -> str:
    value = row.fields.get("id")
    if value is None or value == "":
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{row.where}: id must be text or a whole number; change it or leave it out")
    return str(value)


def _of_row(row: Row) -> dict[str, Any]:
    fields = row.fields
    if judged(fields) or not fields.keys().isdisjoint(_REJECTED):
        member = sniff_format(fields)
        if member is not None:
            return _of_sample(_read(row, member), row.where)
    for column in _COLUMNS:
        value = fields.get(column)
        if value is not None and value not in ("", []):
            break
    else:
        there = ", ".join(list(fields)[:12]) or "none"
        raise UsageError(f"{row.where}: no prompt (columns: {there}); name one of them {', '.join(_COLUMNS[:-1])}")
    if isinstance(value, str) and column in _LISTS:
        value = _list(row, column, value)
    if isinstance(value, str) and not (column == "text" and mark_of(fields)):
        return _of_text(row, column, value)
    if isinstance(value, list) and all(isinstance(turn, str) for turn in value):
        return _fields(row.where, (Message("user", value[0]),), turns=tuple(value[1:]))
    try:
        if column == "prompt" and not isinstance(fields.get("completion"), list):
            found = _of_turns(read_messages(value), row.where)
            return {**found, "reference": found["reference"] or _reference(row)}
        member = sniff_format(fields)
        if member is not None:
            return _of_sample(member.read({**fields, column: value}), row.where)
        return _of_turns(read_messages(value), row.where)
    except ParseError as error:
        raise UsageError(f"{row.where}: {column}: {error}; fix or delete the row") from None


def _read(row: Row, member: Format) -> Sample:
    try:
        return member.read(row.fields)
    except ParseError as error:
        raise UsageError(f"{row.where}: {error}; fix or delete the row") from None


def _list(row: Row, column: str, text: str) -> Any:
    """What a table holds as the JSON text of a list."""
    try:
        value = from_json(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise UsageError(f"{row.where}: {column} must be a list of turns, or the JSON text of one; fix the row")
    return value


def _of_text(row: Row, column: str, text: str) -> dict[str, Any]:
    # Beside any other column one named input is not a part of the prompt.
    given = _text(row, "input") if column == "instruction" else ""
    system = _text(row, "system") or _text(row, "system_prompt")
    if not text.strip():
        raise UsageError(f"{row.where}: {column} is empty; write the prompt or delete the row")
    said: tuple[Message, ...] = (Message("system", system),) if system else ()
    said += tuple(_history(row)) if column == "instruction" else ()
    prompt = f"{text}\n{given}" if given else text
    return _fields(row.where, (*said, Message("user", prompt)), split=(text, given), reference=_reference(row))


def _reference(row: Row) -> str | None:
    """The first answer that the row has as text."""
    return next((v for column in _REFERENCES if isinstance(v := row.fields.get(column), str) and v), None)


def _history(row: Row) -> Iterator[Message]:
    """Alpaca's earlier turns, which csv holds as JSON text."""
    value = row.fields.get("history") or []
    pairs = _list(row, "history", value) if isinstance(value, str) else value
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not isinstance(pair, list) or [type(text) for text in pair] != [str, str]:
            raise UsageError(f"{row.where}: history must be a list of [user, assistant] texts; fix the row")
        yield from (Message("user", pair[0]), Message("assistant", pair[1]))


def _text(row: Row, column: str) -> str:
    value = row.fields.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{row.where}: {column} must be text, not {type(value).__name__}; fix the row")
    return value


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
    return {**found, "split": split, "reference": reference}


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
    """en or zh: that of most of what the first seeds or prompts ask for."""
    texts = "".join(_task(s) for s in islice(seeds, 200))
    return "zh" if cjk_share(texts) >= 0.3 else "en"


def _task(seed: Seed) -> str:
    """What a seed or a prompt asks for."""
    messages = seed.fields.get("messages")
    return str(seed.fields["instruction"]) if messages is None else str(messages[-1].content)

"""The texts of a raw row: what it asks, what it gives, what it answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from synthgen.dedup.greedy import Texts
from synthgen.errors import ParseError
from synthgen.formats import open_format, sniff_format
from synthgen.formats.labels import tag_column
from synthgen.rows.shapes import COMPARED, canonical
from synthgen.rows.text import from_json
from synthgen.types import Sample

COLUMNS = COMPARED
_LISTS = ("messages", "conversations", "turns", "history")
_GIVEN = (
    "input", "system", "system_prompt", "history", "context", "tools",
    "image", "images", "video", "videos", "audio", "audios",
)  # fmt: skip
_ANSWERS = (
    "output", "answer", "response", "completion", "reference", "chosen", "rejected", "label", "kto_tag",
    "rejected_response", "rejected_messages", "preferred_output", "non_preferred_output", "instances",
)  # fmt: skip
_SOLUTIONS = ("solution", "canonical_solution", "target")
_NAMES = ("id", "idx", "index", "meta", "metadata", "source")
_USERS = ("user", "human")
_SYSTEMS = ("system", "developer")


def texts_of(fields: Mapping[str, Any], column: str | None = None, *, less: str | None = None) -> Texts | None:
    """The texts of a row; None where it has not the column, or by default none of COLUMNS.

    The answer is in the columns that data sets put it in, else in all other columns; `less` is none of them.
    Rows of KTO about one prompt belong together: the good answer says nothing without the bad one that follows it.
    """
    fields = fields if column else _prompted(fields)
    given = "" if column else _input(fields)  # a column that is named is compared alone
    column = column or prompt_column(fields)
    if column is None or (value := fields.get(column)) is None:
        return None
    found = _texts(fields, column, value, given, less)
    return found if tag_column(fields) is None else replace(found, task=f"{found.prompt}\n{found.given}")


def _texts(fields: Mapping[str, Any], column: str, value: Any, given: str, less: str | None) -> Texts:
    turns, others = _read(_listed(value, column))
    beside = [_plain(fields[name]) for name in _GIVEN if name != column and fields.get(name)]
    beside += [given] if given and given not in beside else []
    answers = [name for name in _ANSWERS if name not in (column, less) and fields.get(name) is not None]
    if not turns:
        taken = {column, less, *_GIVEN, *_NAMES}
        answers = answers or [name for name in fields if name not in taken and fields[name] is not None]
        answer = "\n".join(_spoken(fields[name]) for name in answers)
        prompt = _plain(value)
        if given and not prompt.strip():  # Alpaca's rows with all of the question in `input`
            prompt, given, beside = given, "", [text for text in beside if text != given]
        return Texts(prompt, "\n".join(beside), answer, input=given)
    asked = [text for role, text in turns if role in _USERS]
    beside += [*others, *(text for role, text in turns if role in _SYSTEMS)]
    said = [text for role, text in turns if role not in (*_USERS, *_SYSTEMS)]
    if isinstance(split := fields.get("input_split"), list) and len(split) == 2:  # how our own format keeps an input
        given = _plain(split[1])
        asked, beside = [_plain(split[0])], [given, *beside, *asked[:-1]]
    stands_beside = "\n".join(text for text in beside if text)
    said += [_spoken(fields[name]) for name in answers]
    return Texts("\n".join(asked), stands_beside, "\n".join(said), input=given)


def _input(fields: Mapping[str, Any]) -> str:
    """What the instruction is about; of a seed task with instances, that of the first."""
    instances = fields.get("instances")
    first = instances[0] if isinstance(instances, list) and instances and isinstance(instances[0], Mapping) else {}
    found = next((value for value in (fields.get("input"), fields.get("context"), first.get("input")) if value), "")
    return found if isinstance(found, str) else ""


def texts_of_sample(sample: Sample) -> Texts:
    """The texts of a sample, which has a prompt or else is a text."""
    return texts_of(_row(sample)) or Texts("")


def user_turns(fields: Mapping[str, Any], column: str | None = None) -> list[str]:
    """What the user says, turn by turn, Alpaca's input and history with it; empty where the row has not the column."""
    fields = fields if column else _prompted(fields)
    texts = texts_of(fields, column)
    column = column or prompt_column(fields)
    if column is None or texts is None:
        return []
    if said := [text for role, text in _read(_listed(fields[column], column))[0] if role in _USERS]:
        return said
    pairs = _listed(fields.get("history"), "history")
    earlier = [_plain(pair[0]) for pair in pairs if isinstance(pair, list) and pair] if isinstance(pairs, list) else []
    return [*earlier, texts.question]


def answers(fields: Mapping[str, Any], column: str | None = None) -> list[str]:
    """What is answered, turn by turn and in the columns that are called so."""
    fields = fields if column else _prompted(fields)
    column = column or prompt_column(fields)
    turns, _ = _read(_listed(fields.get(column or ""), column or ""))
    said = [text for role, text in turns if role not in (*_USERS, *_SYSTEMS)]
    there = [fields.get(name) for name in (*_ANSWERS, *_SOLUTIONS) if name != column]
    return [*said, *(text for value in there for text in _each(value))]


def _each(value: Any) -> Iterator[str]:
    """The texts of a value that may be a list of answers, or of turns."""
    if isinstance(value, list):
        for inner in value:
            yield from _each(inner)
    elif isinstance(value, Mapping):
        yield from _each(next((value[name] for name in ("content", "value", "output") if name in value), None))
    elif value is not None:
        yield _plain(value)


def prompt_column(fields: Mapping[str, Any]) -> str | None:
    """The first that holds something, else the first that is there."""
    there = [name for name in COLUMNS if fields.get(name) is not None]
    return next((name for name in there if fields[name] not in ("", [])), there[0] if there else None)


def _listed(value: Any, column: str) -> Any:
    """What a table holds as the JSON text of a list."""
    if column in _LISTS and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return from_json(value)
        except ValueError:
            return value
    return value


def _read(value: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """(role, text) of each turn of a conversation in OpenAI's or ShareGPT's keys, and what is no text, an image say.

    Bare texts are the user's.
    """
    if isinstance(value, list) and value and all(isinstance(inner, list) for inner in value):
        value = [turn for inner in value for turn in inner]
    turns: list[tuple[str, str]] = []
    others: list[str] = []
    if not isinstance(value, list) or not all(isinstance(turn, str | Mapping) for turn in value):
        return turns, others
    for turn in value:
        if isinstance(turn, str):
            turns.append(("user", turn))
            continue
        role, content = str(turn.get("role", turn.get("from"))), turn.get("content", turn.get("value"))
        said = []
        for part in [*(content if isinstance(content, list) else [content]), turn.get("tool_calls")]:
            # OpenAI's API takes a list of parts too: as JSON the names of its keys would be most of a short text.
            text = part.get("text") if isinstance(part, Mapping) and isinstance(content, list) else part
            if text is None and part is not None and role in _USERS:
                others.append(_plain(part))
            elif part is not None:
                said.append(_plain(part if text is None else text))
        turns.append((role, "\n".join(said)))
    return turns, others


def _prompted(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pair whose prompt is in no column of its own as our format has it, any other row in the usual columns."""
    fields = canonical(fields)
    if fields.keys().isdisjoint(("chosen", "preferred_output")) or prompt_column(fields):
        return fields
    member = sniff_format(fields)
    try:
        return _row(member.read(fields)) if member else fields
    except ParseError:
        return fields


def _row(sample: Sample) -> dict[str, Any]:
    into = open_format("samples")
    return into.row(sample, into.columns((sample,)))


def _spoken(value: Any) -> str:
    """What an answer says, which may be a turn or a list of turns."""
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        return _plain(value)
    said = [text for _, text in _read(turns)[0]]
    return "\n".join(said) if any(said) else _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

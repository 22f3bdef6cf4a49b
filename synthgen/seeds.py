"""Seed tasks out of rows, whatever their columns are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from synthgen.errors import ParseError, UsageError
from synthgen.formats.sharegpt import read_turns
from synthgen.rows import Row, read_rows
from synthgen.rows.shapes import ANSWERS, TASKS, TURNS, canonical
from synthgen.types import Seed

_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_seeds(paths: Sequence[str | Path]) -> list[Seed]:
    """The seeds of files, folders and `hf:owner/name[:split]`, in their order, without exact duplicates.

    The fields are instruction, input, output (text, "" if none), instances (a list of {input, output}),
    is_classification and category (None if not said), and the row's other columns. UsageError with `file:line`.
    """
    return load_seeds(paths)[0]


def load_seeds(paths: Sequence[str | Path]) -> tuple[list[Seed], int]:
    """The seeds as of `read_seeds`, and how many rows without an id were dropped as exact duplicates."""
    seeds: dict[str, Seed] = {}
    dropped = 0
    for path in paths:
        for row in read_rows(path):
            name, fields = _name(row), _fields(row)
            for key in (name,) if name else _content_ids(fields):
                if key not in seeds:
                    seeds[key] = Seed(key, fields, row.where)
                    break
                if name:
                    message = f"the id {name!r} is taken by {seeds[name].where}; change one of them"
                    raise UsageError(f"{row.where}: {message}")
                if _task(seeds[key].fields) == _task(fields):
                    dropped += 1
                    break
    if not seeds:
        raise UsageError("no seeds: give at least one file with rows")
    return list(seeds.values()), dropped


def _name(row: Row) -> str | None:
    """The row's own id: `id`, else `name`; None where it has neither."""
    for column in ("id", "name"):
        value = row.fields.get(column)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UsageError(f"{row.where}: {column} must be text or a whole number; change it or leave it out")
        return str(value)
    return None


def _content_ids(fields: Mapping[str, Any]) -> Iterator[str]:
    """An id that stays when rows are added or moved; a second answer to the same task takes the longer content."""
    parts = [fields["instruction"], fields["input"]]
    yield "s-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    parts.append(orjson.dumps(fields["instances"]).decode())
    yield "s-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _task(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return fields["instruction"], fields["input"], fields["instances"]


def _fields(row: Row) -> dict[str, Any]:
    rest = dict(canonical(row.fields))
    rest.pop("id", None)
    column = next((column for column in TASKS if column in rest), None)
    turns = next((turns for turns in TURNS if turns in rest), None)
    if column:
        instruction = _text(row, column, rest.pop(column))
        output_column = next((name for name in ANSWERS if name in rest), None)
        output = _text(row, output_column, rest.pop(output_column)) if output_column else ""
    elif turns:
        instruction, output = _first_turns(row, turns, rest.pop(turns))
        column = turns
    else:
        raise _missing(row)
    if not instruction.strip():
        raise UsageError(f"{row.where}: {column} is empty; write the task or delete the row")
    given = _text(row, "input", rest.pop("input", None))
    instances = _instances(row, rest.pop("instances", None))
    if instances and not (given or output):
        given, output = instances[0]["input"], instances[0]["output"]
    elif not instances and output:
        instances = [{"input": given, "output": output}]
    flag = _flag(row, rest.pop("is_classification", None))
    kinds = [_text(row, column, rest.pop(column, None)) for column in ("category", "task_type")]
    return {
        **rest,
        "instruction": instruction,
        "input": given,
        "output": output,
        "instances": instances,
        "is_classification": flag,
        "category": next(filter(None, kinds), None),
    }


def _missing(row: Row) -> UsageError:
    wanted = ", ".join((*TASKS[:-1], f"{TASKS[-1]} or messages"))
    return UsageError(f"{row.where}: no column with the task; columns: {_there(row)}; name one of them {wanted}")


def _there(row: Row) -> str:
    """The columns of a row, for a message: a screenful at most."""
    names = list(row.fields)
    return ", ".join([*names[:12], *(["..."] if len(names) > 12 else [])]) or "none"


def _text(row: Row, column: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        kind = type(value).__name__
        raise UsageError(f"{row.where}: {column} must be text, not {kind} (columns: {_there(row)}); fix the row")
    return value


def _flag(row: Row, value: Any) -> bool | None:
    """True or false, also as csv spells them."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    flag = _FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise UsageError(f"{row.where}: is_classification must be true or false, not {value!r}; fix the row")
    return flag


def _instances(row: Row, value: Any) -> list[dict[str, str]]:
    """Self-Instruct's answered inputs; csv holds them as JSON text."""
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise _wrong_instances(row, f"text that is not JSON ({error.msg})") from None
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise _wrong_instances(row, type(value).__name__)
    found = []
    for number, instance in enumerate(value, start=1):
        if not isinstance(instance, dict):
            raise _wrong_instances(row, f"{type(instance).__name__} at {number}")
        given, output = instance.get("input") or "", instance.get("output")
        if not isinstance(given, str) or not isinstance(output, str):
            wrong = "input" if isinstance(output, str) else "output"
            raise _wrong_instances(row, f"no text as the {wrong} of number {number}")
        found.append({"input": given, "output": output})
    return found


def _wrong_instances(row: Row, found: str) -> UsageError:
    message = f"instances must be a list of {{input, output}} texts, found {found} (columns: {_there(row)})"
    return UsageError(f"{row.where}: {message}; fix the row")


def _first_turns(row: Row, column: str, turns: Any) -> tuple[str, str]:
    """The first user turn and the first assistant turn; a turn is {role, content}, {from, value} or text."""
    if isinstance(turns, list) and turns and isinstance(turns[0], str):
        return turns[0], ""
    try:
        messages = read_turns(turns, column)
    except ParseError as error:
        raise UsageError(f"{row.where}: {error}; fix the row") from None
    found = [next((m.content for m in messages if m.role == role), "") for role in ("user", "assistant")]
    if not any(m.role == "user" for m in messages):
        raise UsageError(f"{row.where}: no user turn in {column}; fix or delete the row")
    return found[0], found[1]

"""Labels of answers: which values mean good and bad, and which rows hold one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.turns import shown
from synthgen.rows.shapes import PAIRED

_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_NUMBERS: dict[float, bool] = {1: True, 0: False, -1: False}
_ANSWERS = ("assistant", "gpt")


def label_of(row: Mapping[str, Any], column: str) -> bool:
    """The label of a row; ParseError where the value is none. Tables and other languages spell it 1 or "True"."""
    value = row.get(column)
    found = meaning(value)
    if found is None:
        raise ParseError(f"{column} must be true or false (or 1 and 0, or 1 and -1), found {shown(value)}")
    return found


def spelling(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """What is lost of a label that is no boolean: every trainer takes those, and we write no other."""
    return () if isinstance(row.get(column), bool) else (f"the spelling of {column}",)


def tag_column(row: Mapping[str, Any]) -> str | None:
    """The column of a KTO row's label, or None where the row is of another kind.

    `label` is a word of classifiers too: a number counts only beside an answer that it can be about.
    """
    if "kto_tag" in row:
        return "kto_tag"
    if "label" not in row:
        return None
    label = row["label"]
    answer = "completion" in row or _ends_with_answer(row.get("messages"))
    return "label" if isinstance(label, bool) or (answer and meaning(label) is not None) else None


def judged(row: Mapping[str, Any]) -> bool:
    """Whether a row has two answers, or a label on one: then it is no row of a format of answers to imitate."""
    return not PAIRED.isdisjoint(row) or tag_column(row) is not None


def meaning(value: Any) -> bool | None:
    """What a label says, None where it is none."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        try:
            value = float(word)  # a table's 1.0, +1, -1
        except ValueError:
            return None
    return _NUMBERS.get(value) if isinstance(value, int | float) else None


def _ends_with_answer(turns: Any) -> bool:
    last = turns[-1] if isinstance(turns, list) and turns else None
    return isinstance(last, Mapping) and last.get("role", last.get("from")) in _ANSWERS

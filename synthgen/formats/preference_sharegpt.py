"""Preference data of LLaMA-Factory in ShareGPT's columns: the answers are turns of {from, value}."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.pairs import answered, both_carried, both_lose, one_turn_fault, other, pair_fault
from synthgen.formats.sharegpt import FORMAT as SHAREGPT
from synthgen.formats.sharegpt import read_turn
from synthgen.formats.turns import noted, text_of, unread
from synthgen.types import Message, Sample

_ANSWERS = ("chosen", "rejected")


class PreferenceShareGPT:
    """Conversations that end before the answer, and two answers that may be tool calls."""

    name = "preference-sharegpt"
    description = "conversations, chosen, rejected as turns (+ system, tools): LLaMA-Factory (DPO, reward)"
    file_name = "preference-sharegpt.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return {"conversations", *_ANSWERS} <= row.keys()

    def read(self, row: Mapping[str, Any]) -> Sample:
        sample = SHAREGPT.read({column: value for column, value in row.items() if column not in _ANSWERS})
        chosen, rejected = (_answer(row, column, sample.messages) for column in _ANSWERS)
        meta = noted(sample.meta, *unread(*map(row.get, _ANSWERS)).get("not_read", ()))
        return answered(replace(sample, meta=meta), sample.messages, chosen, rejected)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        base = SHAREGPT.columns(samples)
        place = base.index("conversations") + 1
        return (*base[:place], *_ANSWERS, *base[place:])

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        base = [column for column in columns if column not in _ANSWERS]
        row, against = SHAREGPT.row(sample, base), SHAREGPT.row(other(sample), ("conversations",))
        row["chosen"], row["rejected"] = row["conversations"].pop(), against["conversations"][-1]
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return pair_fault(sample) or one_turn_fault(sample) or both_carried(sample, SHAREGPT)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return both_lose(sample, SHAREGPT)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        entry = SHAREGPT.dataset_info(file_name, columns)
        return entry and {
            "file_name": file_name,
            "ranking": True,
            "formatting": "sharegpt",
            "columns": entry["columns"] | {column: column for column in _ANSWERS},
        }


def _answer(row: Mapping[str, Any], column: str, before: Sequence[Message]) -> list[Message]:
    """A turn, or the text of one, which LLaMA-Factory would drop."""
    value = row.get(column)
    if not isinstance(value, Mapping):
        return [Message("assistant", text_of(row, column, needed=True))]
    try:
        return read_turn(value, before)
    except ParseError as error:
        raise ParseError(f"{column}: {error}") from None


FORMAT = PreferenceShareGPT()

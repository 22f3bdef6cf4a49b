"""Preference data of LLaMA-Factory in Alpaca's columns: chosen and rejected are texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.formats.alpaca import FORMAT as ALPACA
from synthgen.formats.pairs import both_carried, both_lose, one_turn_fault, other, pair_fault
from synthgen.formats.turns import text_of
from synthgen.types import Message, Sample

_ANSWERS = ("chosen", "rejected")


class PreferenceAlpaca:
    """A row of Alpaca with two answers in the place of its output."""

    name = "preference-alpaca"
    description = "instruction, input, chosen, rejected (+ system, history): LLaMA-Factory (DPO, reward)"
    file_name = "preference-alpaca.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return ({"instruction", "rejected"} <= row.keys() and isinstance(row.get("chosen"), str)) or _is_ranked(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        if _is_ranked(row):
            good, bad = row["output"]
            row = {"chosen": good, "rejected": bad, **{name: row[name] for name in row if name != "output"}}
        chosen, rejected = (text_of(row, column, needed=True) for column in _ANSWERS)
        rest = {column: value for column, value in row.items() if column not in (*_ANSWERS, "output")}
        sample = ALPACA.read({**rest, "output": chosen})
        meta = sample.meta
        if "output" in row:  # a third answer, which no trainer of preferences looks at
            meta = {**meta, "columns": {**meta.get("columns", {}), "output": row["output"]}}
        rejected_turn = Message("assistant", rejected)
        return Sample(sample.messages, rejected=(rejected_turn,), input_split=sample.input_split, meta=meta)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        base = ALPACA.columns(samples)
        place = base.index("output")
        return (*base[:place], *_ANSWERS, *base[place + 1 :])

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        base = ALPACA.columns((sample,))
        row = {"system": "", "history": [], **ALPACA.row(sample, base)}
        row |= {"chosen": row["output"], "rejected": other(sample).messages[-1].content}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return pair_fault(sample) or one_turn_fault(sample) or both_carried(sample, ALPACA)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return both_lose(sample, ALPACA)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        entry = ALPACA.dataset_info(file_name, columns)
        return entry and {"file_name": file_name, "ranking": True, "columns": entry["columns"]}


def _is_ranked(row: Mapping[str, Any]) -> bool:
    """Whether the row is of LLaMA-Factory's old form, with the better and the worse answer as its output."""
    answers = row.get("output")
    if not isinstance(answers, list) or "instruction" not in row or not row.keys().isdisjoint(_ANSWERS):
        return False
    return [type(answer) for answer in answers] == [str, str]


FORMAT = PreferenceAlpaca()

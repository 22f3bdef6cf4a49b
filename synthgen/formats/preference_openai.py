"""Preference data of OpenAI's fine-tuning: input, preferred_output, non_preferred_output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import FORMAT as MESSAGES
from synthgen.formats.messages import TOOL_NAME, tool_names, tools_rows
from synthgen.formats.pairs import answered, both_carried, both_lose, one_turn_fault, other, pair_fault, split_answer
from synthgen.formats.preference import prompt_and_answer
from synthgen.formats.sharegpt import read_turns
from synthgen.formats.turns import columns_of, meta_of, tools_of, unread
from synthgen.types import Sample

_COLUMNS = ("input", "preferred_output", "non_preferred_output")
_PARALLEL = "parallel_tool_calls"


class PreferenceOpenAI:
    """The API refuses keys that it does not know, and takes one turn as the answer."""

    name = "preference-openai"
    description = "input, preferred_output, non_preferred_output: OpenAI fine-tuning (DPO)"
    file_name = "preference-openai.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return set(_COLUMNS) <= row.keys()

    def read(self, row: Mapping[str, Any]) -> Sample:
        given = row.get("input")
        if not isinstance(given, Mapping):
            raise ParseError("input must be an object {messages, tools}")
        prompt, chosen, rejected = (
            read_turns(value, column)
            for column, value in zip(_COLUMNS, (given.get("messages"), *map(row.get, _COLUMNS[1:])), strict=True)
        )
        beside = {key: value for key, value in given.items() if key not in ("messages", "tools")}
        meta = meta_of({**row, **beside}, frozenset(_COLUMNS))
        meta |= unread(given.get("messages"), *map(row.get, _COLUMNS[1:]))
        return answered(Sample(tools=tools_of(given), meta=meta), prompt, chosen, rejected)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return _COLUMNS

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        prompt, chosen = prompt_and_answer(sample)
        _, rejected = prompt_and_answer(other(sample))
        parallel = columns_of(sample).get(_PARALLEL)
        given = {"messages": prompt, "tools": tools_rows(sample), _PARALLEL: parallel}
        for turn in (*chosen, *rejected):
            turn.pop("weight", None)  # the API has it for turns of the input alone
        given = {key: value for key, value in given.items() if value is not None}
        return dict(zip(_COLUMNS, (given, chosen, rejected), strict=True))

    def carries(self, sample: Sample) -> str | None:
        fault = pair_fault(sample) or one_turn_fault(sample) or both_carried(sample, MESSAGES)
        return fault or _name_fault(sample) or _name_fault(other(sample))

    def loses(self, sample: Sample) -> tuple[str, ...]:
        kept = f"column {_PARALLEL}"
        weighed = any(turn.weight is not None for turn in (*split_answer(sample)[1], *sample.rejected))
        lost = [part for part in both_lose(sample, MESSAGES) if part != kept]
        return (*lost, *(("weights of turns",) if weighed else ()))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # no columns that LLaMA-Factory could be told of


def _name_fault(sample: Sample) -> str | None:
    """What the API refuses a whole file for."""
    known = all(TOOL_NAME.fullmatch(name) for name in tool_names(sample))
    return None if known else "a tool whose name is not of 1 to 64 letters, digits, _ and -"


FORMAT = PreferenceOpenAI()

"""Prompts alone: rows that ask and do not answer, whatever the column is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.alpaca import asked
from synthgen.formats.question_answer import answer_column, asked_column, split_of
from synthgen.formats.rl import is_asked, open_prompt, prompt_loses
from synthgen.formats.turns import calls_tools, meta_of, split_system
from synthgen.rows.shapes import PAIRED
from synthgen.types import Sample

_OWN = frozenset({"system", "history"})
# What has turns, an answer or a truth is a row of another format.
_OTHERS = PAIRED | {"rejected", "messages", "conversations", "turns", "instances", "meta", "completions"}


class Prompts:
    """One text a row, with a system text where any row has one: what serves to ask models, and nothing to train on."""

    name = "prompts"
    description = "prompt (+ system; read: question, query, problem, instruction, ... alone): any model to be asked"
    file_name = "prompts.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        question = asked_column(row)
        if question is None or not isinstance(row[question], str) or not _OTHERS.isdisjoint(row):
            return False
        return answer_column(row, question) is None and not is_asked(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        question = asked_column(row)
        if question is None or not isinstance(row[question], str):
            raise ParseError("no prompt; it must be text in the column prompt, question, query, problem or instruction")
        split, own = split_of(row, question)
        border = split if question == "instruction" or split[1] else None
        return Sample(tuple(asked(row, split)), input_split=border, meta=meta_of(row, _OWN | own))

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        systems = [sample for sample in samples if split_system(sample)[0]]
        return ("prompt", "system") if systems else ("prompt",)

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        row = {"prompt": open_prompt(sample)[-1].content, "system": split_system(sample)[0]}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        if sample.tools or calls_tools(sample):
            return "tools"
        turns = [turn for turn in open_prompt(sample) if turn.role != "system"]
        if not turns:
            return "text without turns" if sample.text is not None else "no user turn"
        if len(turns) > 1 or len(open_prompt(sample)) > 2:
            return "earlier turns"
        return None if turns[0].content.strip() else "an empty user turn"

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return prompt_loses(sample, frozenset({"weights of turns"}))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # it has no stage that asks without an answer


FORMAT = Prompts()

"""KTO data of TRL: prompt and completion as lists of messages, and whether the completion is good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthgen.formats.labels import label_of, spelling, tag_column
from synthgen.formats.messages import FORMAT as MESSAGES
from synthgen.formats.messages import tools_text
from synthgen.formats.pairs import alone, answered, label_fault, label_loses, unpaired
from synthgen.formats.preference import answer_of, prompt_and_answer, prompt_of, system_read
from synthgen.formats.turns import meta_of, noted, tools_of, unread
from synthgen.types import Sample

_PROMPTS = ("prompt", "question", "query", "problem", "instruction")
_OWN = frozenset({"completion", "tools"})
_OTHERS = frozenset({"chosen", "preferred_output", "messages", "conversations"})  # columns of other formats


class KTO:
    """The label is a boolean of JSON in each row: TRL takes a missing one for nothing, and stops."""

    name = "kto"
    description = "prompt, completion as lists of messages, label true or false (+ tools): TRL (KTO)"
    file_name = "kto.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        prompted = any(column in row for column in _PROMPTS) or isinstance(row.get("completion"), list)
        return "completion" in row and prompted and not _OTHERS & row.keys() and tag_column(row) is not None

    def read(self, row: Mapping[str, Any]) -> Sample:
        tag = tag_column(row) or "label"
        label = label_of(row, tag)
        completion = answer_of(row, "completion")
        column = next((name for name in _PROMPTS if row.get(name) is not None), "")
        prompt = prompt_of(row, column) if column else []
        if not column:
            prompt, completion = completion[:-1], completion[-1:]
        meta = meta_of(row, _OWN | {tag, column} | system_read(row, prompt))
        meta = noted(meta | unread(row.get(column), row.get("completion")), *spelling(row, tag))
        return answered(Sample(label=label, tools=tools_of(row), meta=meta), prompt, completion)

    def apart(self, sample: Sample) -> tuple[Sample, ...]:
        return unpaired(sample)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        tools = [sample for sample in samples if sample.tools]
        return ("prompt", "completion", "label", *(("tools",) if tools else ()))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        prompt, completion = prompt_and_answer(sample)
        row = {"prompt": prompt, "completion": completion, "label": sample.label, "tools": tools_text(sample)}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return label_fault(sample) or MESSAGES.carries(replace(alone(sample), label=None))

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return label_loses(sample, MESSAGES)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # its conversations are one column


FORMAT = KTO()

"""Prompt and completion as plain text (TRL's standard form): trained without a chat template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.formats.prompt_completion import is_pair, pair_fault, pair_lost, read_pair, split_pair
from synthgen.formats.turns import calls_tools, spoken
from synthgen.types import Sample

# Between turns, of which nothing says who said them.
_BETWEEN = "\n\n"


class PromptCompletionText:
    """Rows of two texts, to the letter: a space at the start of a completion is a token of it."""

    name = "prompt-completion-text"
    description = "prompt, completion as text, no chat template: TRL, OpenAI's older form"
    file_name = "prompt-completion-text.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return is_pair(row, text=True)

    def read(self, row: Mapping[str, Any]) -> Sample:
        return read_pair(row)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return ("prompt", "completion")

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        prompt, completion = split_pair(spoken(sample.messages))
        parts = {"prompt": prompt, "completion": completion}
        return {column: _BETWEEN.join(turn.content for turn in turns) for column, turns in parts.items()}

    def carries(self, sample: Sample) -> str | None:
        return "tools" if sample.tools or calls_tools(sample) else pair_fault(sample)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        turns = spoken(sample.messages)
        return (*(("the roles of the turns",) if len(turns) > 2 else ()), *pair_lost(sample, frozenset()))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return {"file_name": file_name, "columns": {"prompt": "prompt", "response": "completion"}}


FORMAT = PromptCompletionText()

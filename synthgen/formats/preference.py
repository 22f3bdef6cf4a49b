"""Preference data of TRL: prompt, chosen, rejected, each a list of messages; texts and implicit prompts are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import FORMAT as MESSAGES
from synthgen.formats.messages import conversation_rows, tools_text
from synthgen.formats.pairs import answered, both_carried, both_lose, common_prompt, other, pair_fault, split_answer
from synthgen.formats.sharegpt import read_turns
from synthgen.formats.turns import meta_of, spoken, text_of, tools_of, unread
from synthgen.types import Message, Sample

_PROMPTS = ("prompt", "question", "query", "problem", "instruction", "input", "messages")
_ANSWERS = ("chosen", "rejected")
_OWN = frozenset({*_ANSWERS, "tools"})
_SPEAKER = re.compile(r"\n\n(Human|Assistant):[ ]?")


class Preference:
    """Written with an explicit prompt: of texts without one, TRL takes the common characters for it."""

    name = "preference"
    description = "prompt, chosen, rejected as lists of messages (+ tools): TRL (DPO, reward)"
    file_name = "preference.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        if not {"chosen", "rejected"} <= row.keys() or {"conversations", "preferred_output"} & row.keys():
            return False
        return not ("instruction" in row and isinstance(row["chosen"], str))

    def read(self, row: Mapping[str, Any]) -> Sample:
        column, prompt, chosen, rejected = _parts(row)
        if not chosen or not rejected:
            raise ParseError(f"{'rejected' if chosen else 'chosen'} has no turn after the prompt")
        meta = meta_of(row, _OWN | {column} | system_read(row, prompt)) | unread(*map(row.get, (column, *_ANSWERS)))
        return answered(Sample(tools=tools_of(row), meta=meta), prompt, chosen, rejected)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        tools = [sample for sample in samples if sample.tools]
        return ("prompt", "chosen", "rejected", *(("tools",) if tools else ()))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        prompt, chosen = prompt_and_answer(sample)
        _, rejected = prompt_and_answer(other(sample))
        row = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "tools": tools_text(sample)}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return pair_fault(sample) or both_carried(sample, MESSAGES)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return both_lose(sample, MESSAGES)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # its `ranking` takes turns of a conversation, not lists of them


def prompt_and_answer(sample: Sample) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The prompt and the answer of a sample in OpenAI's form."""
    prompt, _ = split_answer(sample)
    rows = conversation_rows(sample.messages)
    border = len(spoken(prompt))
    return rows[:border], rows[border:]


def prompt_of(row: Mapping[str, Any], column: str) -> list[Message]:
    """A prompt that is a list of turns, or text, which may have a system text beside it."""
    given = row[column]
    if not isinstance(given, str):
        return read_turns(given, column)
    system = text_of(row, "system")
    return [*([Message("system", system)] if system else []), Message("user", given)]


def system_read(row: Mapping[str, Any], prompt: Sequence[Message]) -> frozenset[str]:
    """The column of the system text, where what it says is in the prompt."""
    system = row.get("system")
    told = not system or system in [turn.content for turn in prompt if turn.role == "system"]
    return frozenset({"system"} if told else ())


def answer_of(row: Mapping[str, Any], column: str) -> list[Message]:
    """An answer that is text, a turn or a list of turns."""
    value = row.get(column)
    if isinstance(value, list | Mapping):
        return read_turns(value if isinstance(value, list) else [value], column)
    return [Message("assistant", text_of(row, column, needed=True))]


def _parts(row: Mapping[str, Any]) -> tuple[str, list[Message], list[Message], list[Message]]:
    """The column of the prompt, "" where there is none of its own, the prompt and the two answers."""
    chosen, rejected = answer_of(row, "chosen"), answer_of(row, "rejected")
    column = next((name for name in _PROMPTS if row.get(name) is not None), "")
    if not column and isinstance(row["chosen"], str):
        return "", *common_prompt(_transcript(row, "chosen"), _transcript(row, "rejected"))
    if chosen[0].role in ("system", "user") and (column in ("", "messages") or isinstance(row[column], str)):
        prompt, chosen, rejected = common_prompt(chosen, rejected)  # beside it, the prompt stands there once more
        return column if row.get(column) in [turn.content for turn in prompt] else "", prompt, chosen, rejected
    if not column:
        raise ParseError("a prompt column is missing, and the answers do not begin with the prompt")
    prompt = prompt_of(row, column)
    if chosen[: len(prompt)] == rejected[: len(prompt)] == prompt:
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    return column, prompt, chosen, rejected


def _transcript(row: Mapping[str, Any], column: str) -> list[Message]:
    """The turns of a text that marks its speakers as Anthropic's published comparisons do."""
    before, *parts = _SPEAKER.split(f"\n\n{text_of(row, column).lstrip()}")
    if before or not parts:
        raise ParseError(f"{column} is text and there is no prompt; put what is asked into a column prompt")
    turns = zip(parts[::2], parts[1::2], strict=True)
    return [Message("user" if speaker == "Human" else "assistant", text) for speaker, text in turns]


FORMAT = Preference()

"""Prompt and completion as lists of messages (TRL): the completion is what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import message_row, plain, read_messages, tools_text, with_ids
from synthgen.formats.turns import (
    calls_tools,
    content_fault,
    lost,
    meta_of,
    results_fault,
    spoken,
    tools_of,
    unread,
)
from synthgen.types import Message, Role, Sample

_OWN = frozenset({"prompt", "completion", "tools"})
_KEEPS = frozenset({"names of speakers"})
# With one of these the pair is rated, compared, or part of a row of another format.
_OTHERS = frozenset({"label", "kto_tag", "chosen", "rejected", "messages", "conversations", "instruction"})


def is_pair(row: Mapping[str, Any], *, text: bool) -> bool:
    """Whether the row is a prompt with its completion and nothing else, both of them text or not."""
    is_text = isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str)
    return "prompt" in row and "completion" in row and not _OTHERS & row.keys() and is_text == text


def read_pair(row: Mapping[str, Any]) -> Sample:
    """A pair of either kind; weights say where the completion begins, as only its answers are trained."""
    prompt = [_marked(message, 0) for message in _turns(row, "prompt", "user")]
    completion = _turns(row, "completion", "assistant")
    if completion[0].role != "assistant":
        raise ParseError("completion must begin with a turn of the assistant")
    if sum(message.role == "assistant" for message in completion) > 1:
        completion = [_marked(message, 1) for message in completion]
    kept = unread(row.get("prompt"), row.get("completion"))
    return Sample((*prompt, *completion), tools=tools_of(row), meta=meta_of(row, _OWN) | kept)


def _turns(row: Mapping[str, Any], column: str, role: Role) -> list[Message]:
    value = row.get(column)
    if isinstance(value, str):
        return [Message(role, value)]
    try:
        return list(read_messages(value))
    except ParseError as error:
        raise ParseError(f"{column}: {error}") from None


def _marked(message: Message, weight: int) -> Message:
    return replace(message, weight=weight) if message.role == "assistant" and message.weight is None else message


def split_pair(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Prompt and completion: the last answer, and before it the calls that are marked as trained like it."""
    start = len(messages) - 1
    for place in range(start, -1, -1):
        message = messages[place]
        if message.role == "assistant" and message.weight == 1:
            start = place
        elif message.role != "tool":
            break
    return list(messages[:start]), list(messages[start:])


def pair_fault(sample: Sample) -> str | None:
    """Why the sample is no prompt with its completion, or None."""
    if fault := content_fault(sample):
        return fault
    prompt, _ = split_pair(spoken(sample.messages))
    if not prompt or prompt[-1].role not in ("user", "tool"):
        return "an answer that follows no user turn or tool result"
    return None


def pair_lost(sample: Sample, keeps: frozenset[str]) -> tuple[str, ...]:
    """What a pair without the parts in `keeps` does not hold: the border says what is trained, not the weights."""
    prompt, completion = split_pair(sample.messages)
    earlier = any(message.role == "assistant" and message.weight != 0 for message in prompt)
    untrained = completion[-1].weight == 0
    parts = (("training on earlier answers", earlier), ("weights of turns", untrained))
    return (*(part for part, there in parts if there), *lost(sample, keeps | {"weights of turns"}))


class PromptCompletion:
    """Both are lists of {role, content}; the tools are JSON text, which TRL reads and Arrow leaves as it is."""

    name = "prompt-completion"
    description = "prompt, completion as messages (+ tools): TRL, which trains the completion alone"
    file_name = "prompt-completion.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return is_pair(row, text=False)

    def read(self, row: Mapping[str, Any]) -> Sample:
        return read_pair(row)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        tools = any(sample.tools or calls_tools(sample) for sample in samples)
        return ("prompt", "completion", "tools") if tools else ("prompt", "completion")

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        prompt, completion = split_pair(with_ids(spoken(sample.messages)))
        row = {
            "prompt": [message_row(message) for message in plain(prompt)],
            "completion": [message_row(message) for message in plain(completion)],
            "tools": tools_text(sample),
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return results_fault(sample.messages) or pair_fault(sample)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return pair_lost(sample, _KEEPS)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # LLaMA-Factory reads one list of turns


FORMAT = PromptCompletion()

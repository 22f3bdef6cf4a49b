"""Prompts for reinforcement learning: what is asked, the truth, and which verifier holds an answer against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import TURN_KEYS, message_row, plain, read_messages, with_ids, wrapped
from synthgen.formats.turns import calls_tools, lost, meta_of, results_fault, spoken, text_of, to_json, tools_of, unread
from synthgen.types import Message, Sample

_TOLD = ("verifier", "data_source")  # meta of the sample, columns of the row
_OWN = frozenset({"prompt", "ground_truth", "tools", *_TOLD})
_KEEPS = frozenset({"weights of turns", "names of speakers", "the reference", *_TOLD})
# What is answered already, or asked in another column too, is a row of another format.
_OTHERS = frozenset(
    {"completion", "completions", "chosen", "rejected", "label", "response", "output", "answer"}
    | {"messages", "conversations", "instruction", "text"}
)  # fmt: skip


class RL:
    """The prompt as messages; the other columns where any sample has them, so that the barest row is prompt-only."""

    name = "rl"
    description = "prompt (+ ground_truth, verifier, data_source): RL trainers, TRL's prompt-only"
    file_name = "rl.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "prompt" in row and not _OTHERS & row.keys()

    def read(self, row: Mapping[str, Any]) -> Sample:
        prompt = row.get("prompt")
        truth = row.get("ground_truth")
        told = {column: text for column in _TOLD if (text := text_of(row, column))}
        messages = (Message("user", prompt),) if isinstance(prompt, str) else _turns(prompt)
        return Sample(
            messages,
            # Numbers and lists are common there: a verifier gets the JSON text of them.
            reference=(truth if isinstance(truth, str) else to_json(truth)) if truth not in (None, "") else None,
            tools=tools_of(row),
            meta={**told, **meta_of(row, _OWN), **unread(prompt, known=TURN_KEYS)},
        )

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        there: set[str] = set()
        for sample in samples:
            there.update(name for name in _TOLD if _told(sample, name))
            if sample.reference:
                there.add("ground_truth")
            if sample.tools or calls_tools(sample):
                there.add("tools")
        return ("prompt", *(name for name in ("ground_truth", *_TOLD, "tools") if name in there))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        row = {
            "prompt": [message_row(message) for message in plain(with_ids(_prompt(sample)))],
            "ground_truth": sample.reference or "",
            **{name: _told(sample, name) for name in _TOLD},
            "tools": to_json([wrapped(tool) for tool in sample.tools]) if sample.tools else None,
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        prompt = _prompt(sample)
        if not prompt:
            return "text without turns" if sample.text is not None else "no user turn"
        if any(message.role == "user" and not message.content.strip() for message in prompt):
            return "an empty user turn"
        return results_fault(prompt)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        answered = len(_prompt(sample)) < len(sample.messages)
        return (*(("the answer",) if answered else ()), *lost(sample, _KEEPS))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # it has no stage that asks without an answer


def _turns(value: Any) -> tuple[Message, ...]:
    try:
        messages = read_messages(value)
    except ParseError as error:
        raise ParseError(f"prompt: {error}") from None
    if messages[-1].role not in ("user", "tool"):
        raise ParseError("prompt must end with a turn of the user or a tool")
    return messages


def _prompt(sample: Sample) -> Sequence[Message]:
    """All up to the last turn of the user, or the tool results after it where nothing else follows."""
    turns = list(spoken(sample.messages))
    if turns and turns[-1].role == "tool":
        return turns
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=-1)
    return turns[: last + 1]


def _told(sample: Sample, name: str) -> str:
    value = sample.meta.get(name)
    return value if isinstance(value, str) else ""


FORMAT = RL()

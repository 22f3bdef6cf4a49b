"""Preference data of ms-swift: messages with the chosen answer, and the rejected one or its whole conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats import Format, sniff_format
from synthgen.formats.messages import FORMAT as MESSAGES
from synthgen.formats.messages import conversation_rows, tools_text
from synthgen.formats.pairs import answered, both_carried, both_lose, common_prompt, other, pair_fault, split_answer
from synthgen.formats.preference import answer_of
from synthgen.formats.sharegpt import read_turns
from synthgen.formats.turns import meta_of, tools_of, unread
from synthgen.types import Message, Sample

_OWN = frozenset({"messages", "rejected_response", "rejected_messages", "tools", "rejected_tools"})

_REJECTED = ("rejected_response", "rejected_messages")
_BASES = ("alpaca", "question-answer", "prompt-completion", "prompt-completion-text", "sharegpt", "fastchat")
_OTHERS = frozenset({"chosen", "preferred_output", "meta"})  # columns of other formats


class PreferenceSwift:
    """The column is `rejected_response` where every answer of the file is one text, else `rejected_messages`.

    A null `rejected_response` makes ms-swift delete the row, so no file has both. It puts a `rejected_response` in the
    place of all that follows the user's last turn, tool results too; and it shows the tools to a conversation in
    `rejected_messages` only where they stand in `rejected_tools` as well (ms-swift 4.6).
    """

    name = "preference-swift"
    description = "messages, rejected_response or rejected_messages (+ tools): ms-swift (DPO, reward)"
    file_name = "preference-swift.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        if not _OTHERS.isdisjoint(row) or ("rejected_response" not in row and "rejected_messages" not in row):
            return False
        return "messages" in row or _plain_row(row) is not None

    def read(self, row: Mapping[str, Any]) -> Sample:
        if "messages" not in row and (base := _plain_row(row)) is not None:
            sample = base.read({column: value for column, value in row.items() if column not in _REJECTED})
            prompt, chosen = list(sample.messages[:-1]), list(sample.messages[-1:])
            return answered(sample, prompt, chosen, answer_of(row, "rejected_response"))
        chosen = read_turns(row.get("messages"), "messages")
        if row.get("rejected_messages") is not None:
            prompt, chosen, rejected = common_prompt(chosen, read_turns(row["rejected_messages"], "rejected_messages"))
        else:
            rejected = answer_of(row, "rejected_response")
            border = next((n for n in range(len(chosen), 0, -1) if chosen[n - 1].role == "user"), 0)
            prompt, chosen = chosen[:border], chosen[border:]
        if not chosen:
            raise ParseError("messages end with the user's turn; the chosen answer is missing")
        meta = meta_of(row, _OWN) | unread(row["messages"], *map(row.get, _REJECTED))
        return answered(Sample(tools=tools_of(row), meta=meta), prompt, chosen, rejected)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        tools = whole = False
        for sample in samples:
            tools, whole = tools or bool(sample.tools), whole or not _is_text(sample)
        if not whole:
            return ("messages", "rejected_response", *(("tools",) if tools else ()))
        return ("messages", "rejected_messages", *(("tools", "rejected_tools") if tools else ()))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        tools = tools_text(sample)
        row = {
            "messages": conversation_rows(sample.messages),
            "rejected_response": sample.rejected[-1].content,
            "rejected_messages": conversation_rows(other(sample).messages),
            "tools": tools,
            "rejected_tools": tools,
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return pair_fault(sample) or both_carried(sample, MESSAGES)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        _, chosen = split_answer(sample)
        border = () if chosen[0] != sample.rejected[0] else ("where answers that open alike begin",)
        return (*both_lose(sample, MESSAGES), *border)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # LLaMA-Factory looks for the rejected answer in a turn


def _plain_row(row: Mapping[str, Any]) -> Format | None:
    """What the row is without its rejected answer, which ms-swift takes beside any row of one answer."""
    if row.get("rejected_response") is None:
        return None
    base = sniff_format({column: value for column, value in row.items() if column not in _REJECTED})
    return base if base is not None and base.name in _BASES else None


def _is_text(sample: Sample) -> bool:
    prompt, chosen = split_answer(sample)
    return (
        prompt[-1].role == "user" and len(chosen) == len(sample.rejected) == 1 and not _calls(chosen, sample.rejected)
    )


def _calls(*answers: Sequence[Message]) -> bool:
    return any(turn.tool_calls for answer in answers for turn in answer)


FORMAT = PreferenceSwift()

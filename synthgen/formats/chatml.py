"""ChatML as text: each turn between its control tokens, with the character spans of what is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import role_of
from synthgen.formats.turns import calls_tools, content_fault, lost, meta_of, spoken, text_of
from synthgen.types import Message, Sample

START, SEP, END = "<|im_start|>", "<|im_sep|>", "<|im_end|>"
# A row with one of these is of another format, and `text` what somebody rendered from it (tatsu-lab/alpaca has both).
OTHERS = frozenset(
    {"messages", "conversations", "instruction", "prompt", "completion", "chosen", "rejected"}
    | {"question", "query", "problem", "turns"}
)
_OWN = frozenset({"text", "spans"})
_KEEPS = frozenset({"weights of turns"})
_HEAD = re.compile(r"\s*<\|im_start\|>\w+(<\|im_sep\|>|\n)")
_TURN = re.compile(r"<\|im_start\|>(\w+)(?:<\|im_sep\|>|\n)(.*?)<\|im_end\|>\s*", re.DOTALL)
# Inside a turn a tokenizer would read it as the token and not as text: with <|im_end|> the turn ends there.
_CONTROL = re.compile(r"<\|[^\s<>|]+\|>")


def mark_of(row: Mapping[str, Any]) -> str | None:
    """What stands after the first role of a row of ChatML, a separator token or a newline; None for any other row."""
    text = row.get("text")
    if not isinstance(text, str) or OTHERS & row.keys() or not (head := _HEAD.match(text)):
        return None
    return head[1]


class ChatML:
    """One text a row, in one of two spellings; a span reaches from an answer's first letter past its end token."""

    def __init__(self, name: str, description: str, mark: str, after: str) -> None:
        self.name, self.description, self.file_name = name, description, f"{name}.jsonl"
        self._mark, self._after = mark, after

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return mark_of(row) == self._mark

    def read(self, row: Mapping[str, Any]) -> Sample:
        """Either spelling; where there are spans, an answer without one has weight 0."""
        text = text_of(row, "text", needed=True)
        spans = _spans(row)
        messages: list[Message] = []
        place = len(text) - len(text.lstrip())
        while place < len(text) or not messages:
            turn = _TURN.match(text, place)
            if not turn or _CONTROL.search(turn[2]):
                raise ParseError(f"turn {len(messages) + 1}: must be {START}role, a newline or {SEP}, text and {END}")
            role = role_of(turn[1])
            trained = spans is None or role != "assistant" or _taken(spans, turn)
            messages.append(Message(role, turn[2], weight=None if trained else 0))
            place = turn.end()
        if spans:
            raise ParseError("spans must be those of whole answers of the assistant")
        return Sample(tuple(messages), meta=meta_of(row, _OWN))

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return ("text", "spans")

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        text, spans = "", []
        for message in spoken(sample.messages):
            text += f"{START}{message.role}{self._mark}"
            if message.role == "assistant" and message.weight != 0:
                spans.append([len(text), len(text) + len(message.content) + len(END)])
            text += f"{message.content}{END}{self._after}"
        return {"text": text, "spans": spans}

    def carries(self, sample: Sample) -> str | None:
        if sample.tools or calls_tools(sample):
            return "tools"  # each model has a spelling of its own for them
        if fault := content_fault(sample):
            return fault
        if any("<|" in message.content and _CONTROL.search(message.content) for message in sample.messages):
            return "a control token inside a turn"
        if all(message.weight == 0 for message in sample.messages if message.role == "assistant"):
            return "no answer that is trained (weight 0)"
        return None

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return lost(sample, _KEEPS)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # it would train on the prompts too


def _spans(row: Mapping[str, Any]) -> set[tuple[int, int]] | None:
    """Pairs of offsets, the end exclusive; None where the row says nothing of what is trained."""
    value = row.get("spans")
    if value is None:
        return None
    if not isinstance(value, list):
        raise ParseError("spans must be a list of [start, end]")
    for pair in value:
        if not isinstance(pair, list) or [type(place) for place in pair] != [int, int]:
            raise ParseError("spans must be a list of [start, end]")
    return {(start, end) for start, end in value}


def _taken(spans: set[tuple[int, int]], turn: re.Match[str]) -> bool:
    """Whether one of the spans is this answer's, with its end token or without; it is taken away then."""
    start, end = turn.span(2)
    found = spans & {(start, end), (start, end + len(END))}
    spans -= found
    return bool(found)


FORMAT = ChatML(
    "chatml",
    f"text as {START}role, newline, text, {END} (+ spans of what is trained): Qwen and most others",
    "\n",
    "\n",
)

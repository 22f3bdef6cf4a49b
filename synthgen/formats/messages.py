"""OpenAI's messages: roles user, assistant, system, tool; what fine-tuning APIs and TRL read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.labels import judged
from synthgen.formats.turns import (
    body_of,
    call_of,
    calls_tools,
    content_fault,
    lost,
    meta_of,
    results_fault,
    shown,
    spoken,
    text_of,
    to_json,
    tools_of,
    turns_fault,
    unread,
)
from synthgen.rows.text import from_json
from synthgen.types import Message, Role, Sample, ToolCall

_OWN = frozenset({"messages", "tools", "label"})
_OTHERS = frozenset({"meta", "rejected", "rejected_response", "rejected_messages"})  # columns of other formats
_KEEPS = frozenset({"weights of turns", "names of speakers"})
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_RESULTS = ("tool", "function", "observation", "observations", "function_response", "tool_response", "ipython", "工具")
# OpenAI's names, ShareGPT's, and what others call the same speakers.
_SPEAKERS: dict[Role, tuple[str, ...]] = {
    "system": ("system", "developer", "系统"),
    "user": ("user", "human", "prompter", "用户"),
    "assistant": ("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "ai", "model", "助手", "助理"),
    "tool": _RESULTS,
}
# LLaMA-Factory cuts the thought off by exactly this spacing, and stops at any other.
THOUGHT = re.compile(r"<think>\n(.*?)\n</think>\n\n", re.DOTALL)
_ROLES = {name: role for role, names in _SPEAKERS.items() for name in names}


class Messages:
    """A list of {role, content}; arguments of tool calls are JSON text, as the API has them."""

    name = "messages"
    description = "messages of {role, content} (+ tools): OpenAI fine-tuning, TRL, axolotl, ms-swift"
    file_name = "messages.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "messages" in row and not _OTHERS & row.keys() and not judged(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        label = row.get("label")
        own = _OWN if isinstance(label, bool) else _OWN - {"label"}
        return Sample(
            read_messages(row.get("messages")),
            tools=tools_of(row),
            label=label if isinstance(label, bool) else None,
            meta={**meta_of(row, own), **unread(row.get("messages"))},
        )

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        tools = [sample for sample in samples if sample.tools or calls_tools(sample)]
        return ("messages", "tools") if tools else ("messages",)

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        row = {"messages": conversation_rows(sample.messages), "tools": tools_rows(sample)}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        if fault := content_fault(sample):
            return fault
        if not sample.tools and not calls_tools(sample):
            return turns_fault(sample)  # LLaMA-Factory drops others, and does not read those that call tools
        return results_fault(sample.messages) or ("a tool without a name" if not all(tool_names(sample)) else None)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return lost(sample, _KEEPS)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        if "tools" in columns:  # its `openai` form garbles calls and its `sharegpt` form does not know them
            return None
        speakers = {"user": "user", "assistant": "assistant", "system": "system"}
        tags = {f"{speaker}_tag": role for speaker, role in speakers.items()}
        tags |= {"role_tag": "role", "content_tag": "content", "observation_tag": "tool"}
        return {
            "file_name": file_name,
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags | {"function_tag": "function_call"},
        }


def tool_names(sample: Sample) -> list[str]:
    """What the tools are called, those that are called and those that could be; "" where it is no text."""
    names = [call.name for message in sample.messages for call in message.tool_calls]
    names += [wrapped(tool)["function"].get("name") for tool in sample.tools]
    return [name if isinstance(name, str) else "" for name in names]


def conversation_rows(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation as other tools take it: each call has an id, and nobody's thoughts are told."""
    return [message_row(_for_the_api(message)) for message in with_ids(spoken(messages))]


def tools_rows(sample: Sample) -> list[Mapping[str, Any]] | None:
    """The tools in OpenAI's form; null and not []: of "no tools" it is the one spelling that every loader takes."""
    return [wrapped(tool) for tool in sample.tools] or None


def tools_text(sample: Sample) -> str | None:
    """The same as JSON text: a list would give each tool the keys of all in a table of Arrow's."""
    return to_json(tools_rows(sample)) if sample.tools else None


def read_messages(value: Any) -> tuple[Message, ...]:
    """Messages out of a list in OpenAI's form."""
    if not isinstance(value, list) or not value:
        raise ParseError("messages must be a list of turns")
    found: list[Message] = []
    for number, turn in enumerate(value, start=1):
        try:
            message = read_message(turn)
        except ParseError as error:
            raise ParseError(f"turn {number}: {error}") from None
        if number > 1 and is_call(_speaker(turn)) and is_call(_speaker(value[number - 2])):  # ms-swift's parallel calls
            message = replace(message, tool_calls=(*found.pop().tool_calls, *message.tool_calls))
        found.append(message)
    return tuple(found)


def message_row(message: Message) -> dict[str, Any]:
    """One message in OpenAI's form, and `reasoning` where there is any; only the keys that it needs."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        row["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": to_json(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        row["name"] = message.name
    if message.reasoning is not None:
        row["reasoning"] = message.reasoning
    if message.weight is not None:
        row["weight"] = message.weight
    return row


def read_message(turn: Any) -> Message:
    """One message out of OpenAI's form; what `content` spells as parts becomes one text."""
    if not isinstance(turn, Mapping):
        raise ParseError("must be an object {role, content}")
    if is_call(speaker := _speaker(turn)):
        return call_message(text_of(turn, body_of(turn), needed=True), turn)
    role = role_of(speaker)
    calls = _calls(turn)
    if calls and role != "assistant":
        raise ParseError(f"a tool call of {shown(speaker)}; the assistant alone calls tools")
    return Message(
        role,
        _content(turn, needed=not calls),
        tool_calls=calls,
        tool_call_id=(text_of(turn, "tool_call_id") or None) if role == "tool" else None,
        name=text_of(turn, "name") or None,
        reasoning=text_of(turn, "reasoning") or text_of(turn, "reasoning_content") or None,
        weight=_weight(turn),
    )


def _weight(turn: Mapping[str, Any]) -> int | None:
    weight: int | None = turn.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise ParseError(f"weight must be 0 or 1, found {shown(weight)}")
    return weight


def _speaker(turn: Mapping[str, Any]) -> Any:
    return turn.get("role", turn.get("from"))


def is_call(speaker: Any) -> bool:
    """Whether what such a speaker says is the JSON of a call, as ShareGPT has it, or ms-swift's messages."""
    return isinstance(speaker, str) and speaker.lower() in ("function_call", "tool_call")


def call_message(value: str, turn: Mapping[str, Any]) -> Message:
    """The turn of calls in JSON, one or a list, perhaps after a thought; of the turn itself, its weight."""
    thought = THOUGHT.match(value)
    try:
        found = from_json(value[thought.end() :] if thought else value)
    except ValueError as error:
        raise ParseError(f"a function_call must be JSON ({error})") from None
    calls = tuple(call_of(item) for item in (found if isinstance(found, list) else [found]))
    if not calls:
        raise ParseError("a function_call without a call")
    return Message("assistant", "", tool_calls=calls, reasoning=thought[1] if thought else None, weight=_weight(turn))


def role_of(value: Any) -> Role:
    """A role by any of its names, in letters of either size; ParseError for any other."""
    role = _ROLES.get(value.lower()) if isinstance(value, str) else None
    if role is None:
        raise ParseError(f"unknown role {shown(value)}; known are system, user, assistant, tool")
    return role


def _content(turn: Mapping[str, Any], *, needed: bool) -> str:
    """Text, or the API's list of text parts."""
    body = body_of(turn)
    parts = turn.get(body)
    if not isinstance(parts, list):
        return text_of(turn, body, needed=needed)
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ParseError(f"{body} has a part that is no text; synthgen reads text alone")
    return "".join(part["text"] for part in parts)


def _calls(turn: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    given = turn.get("tool_calls")
    if not given:
        old = turn.get("function_call")  # the API's form before tools
        return (call_of(old),) if old else ()
    if not isinstance(given, list):
        raise ParseError("tool_calls must be a list")
    calls = []
    for item in given:
        inner = item.get("function", item) if isinstance(item, Mapping) else item
        name = item.get("id") if isinstance(item, Mapping) else None
        calls.append(replace(call_of(inner), id=name if isinstance(name, str) else ""))
    return tuple(calls)


def with_ids(messages: Sequence[Message]) -> list[Message]:
    """Calls without an id get one, by their place in the conversation, and results the ids of their calls."""
    found: list[Message] = []
    number = 0
    waiting: list[str] = []
    nameless: set[str] = set()
    for message in messages:
        if message.tool_calls:
            calls = []
            for call in message.tool_calls:
                number += 1
                calls.append(call if call.id else replace(call, id=f"call_{number}"))
                nameless |= set() if call.id else {calls[-1].id}
            waiting = [call.id for call in calls]
            message = replace(message, tool_calls=tuple(calls))  # noqa: PLW2901
        elif message.role == "tool":
            called = message.tool_call_id or waiting[0]
            if called not in waiting:  # `results_fault` lets it answer a call that had no id
                called = next(name for name in waiting if name in nameless)
            waiting.remove(called)
            message = replace(message, tool_call_id=called)  # noqa: PLW2901
        found.append(message)
    return found


def _for_the_api(message: Message) -> Message:
    """It knows no reasoning, and weights of the assistant's turns alone."""
    weight = message.weight if message.role == "assistant" else None
    if message.reasoning is None and message.weight is weight:
        return message
    return replace(message, reasoning=None, weight=weight)


def plain(messages: Iterable[Message]) -> list[Message]:
    """The turns without reasoning and weights, where something else says what is trained."""
    return [
        message
        if message.reasoning is None and message.weight is None
        else replace(message, reasoning=None, weight=None)
        for message in messages
    ]


def wrapped(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in OpenAI's form {type, function}."""
    return tool if isinstance(tool.get("function"), Mapping) else {"type": "function", "function": tool}


FORMAT = Messages()

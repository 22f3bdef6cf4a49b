"""ShareGPT: turns of {from, value}, tool calls as JSON text among them (LLaMA-Factory's form of tool data)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.labels import judged
from synthgen.formats.messages import call_message, is_call, read_message, role_of
from synthgen.formats.turns import (
    body_of,
    calls_tools,
    columns_of,
    content_fault,
    lost,
    meta_of,
    results_fault,
    shown,
    split_system,
    text_of,
    to_json,
    tools_of,
    turns_fault,
    unread,
)
from synthgen.rows.text import from_json
from synthgen.types import Message, Sample, ToolCall

_OWN = frozenset({"conversations", "system", "tools"})
_KEEPS = frozenset({"id"})


class ShareGPT:
    """Turns human, gpt, function_call, observation; the system text has a column of its own."""

    name = "sharegpt"
    description = "conversations of {from, value} (+ system, tools): LLaMA-Factory, FastChat, Unsloth"
    file_name = "sharegpt.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "conversations" in row and not judged(row) and not is_original(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        messages = read_turns(row.get("conversations"), "conversations")
        if system := text_of(row, "system"):
            if messages[0].role == "system" and messages[0].content != system:
                raise ParseError("a system column and another system turn: loaders drop one of them")
            messages = [Message("system", system), *(messages[1:] if messages[0].role == "system" else messages)]
        meta = meta_of(row, _OWN) | unread(row.get("conversations"))
        return Sample(tuple(messages), tools=tools_of(row), meta=meta)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        ids = systems = tools = False
        for sample in samples:
            ids = ids or "id" in columns_of(sample)
            systems = systems or bool(split_system(sample)[0])
            tools = tools or bool(sample.tools)
        there = (("id", ids), ("conversations", True), ("system", systems), ("tools", tools))
        return tuple([name for name, is_there in there if is_there])

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        system, messages = split_system(sample)
        # Text and not a list: Arrow gives each row the keys of all. Null is the one "no tools" that every loader takes.
        tools = to_json([_with_parameters(tool) for tool in sample.tools]) if sample.tools else None
        row = {
            "id": columns_of(sample).get("id"),
            "conversations": spoken_turns(messages),
            "system": system,
            "tools": tools,
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        if fault := content_fault(sample):
            return fault
        if not calls_tools(sample):
            return turns_fault(sample)
        _, messages = split_system(sample)
        if any(message.role == "system" for message in messages):
            return "a system turn inside the conversation"
        if any(message.tool_calls and "</think>" in (message.reasoning or "") for message in messages):
            return "a thought that holds </think>"
        return _order_fault(messages)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        thoughts = [message for message in sample.messages if message.reasoning and not message.tool_calls]
        calls = [message for message in sample.messages if message.tool_calls]
        found = lost(sample, _KEEPS if thoughts else _KEEPS | {"reasoning"})
        if not calls:
            return found
        beside = any(message.content.strip() for message in calls)
        given = [call.id for message in calls for call in message.tool_calls]
        ids = any(name and name != f"call_{number}" for number, name in enumerate(given, start=1))  # not `with_ids`'s
        parts = (("text beside a tool call", beside), ("ids of tool calls", ids))
        return (*found, *(part for part, there in parts if there))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        names = {"conversations": "messages", "system": "system", "tools": "tools"}
        entry = {names[column]: column for column in columns if column in names}
        return {"file_name": file_name, "formatting": "sharegpt", "columns": entry}


def _order_fault(messages: Sequence[Message]) -> str | None:
    """Why the turns are in no order that trains well, or None."""
    before = Message("user", "")
    for number, (is_tool, group) in enumerate(_groups(messages)):
        # Loaders check this alone: the first, third, ... turn is said to the model, the others by it.
        if (not is_tool and len(group) > 1) or (group[0].role == "assistant") != (number % 2 == 1):
            return "user and assistant do not take turns"
        if is_tool and (not before.tool_calls or (len(group) > 1 and results_fault([before, *group]))):
            return "tool results that do not match their calls"
        if is_tool and len(group) not in (1, len(before.tool_calls)):
            return "tool results that do not match their calls"
        if before.tool_calls and not is_tool:
            return "a tool call that nothing answers"
        before = group[0]
    return None


def is_original(row: Mapping[str, Any]) -> bool:
    """Whether the row is one of the first ShareGPT's: an id and two speakers, nothing else."""
    turns = row.get("conversations")
    speakers = [turn.get("from") for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    known = bool(speakers) and all(speaker in ("human", "gpt") for speaker in speakers)
    return known and row.keys() == {"id", "conversations"}


def spoken_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The turns of a conversation as {from, value}."""
    if any(message.tool_calls or message.role == "tool" for message in messages):
        return list(_turns(messages))
    return [{"from": "human" if turn.role == "user" else "gpt", "value": turn.content} for turn in messages]


def _groups(messages: Sequence[Message]) -> Iterator[tuple[bool, list[Message]]]:
    """Tool turns that follow each other as one group, every other turn by itself."""
    for is_tool, group in groupby(messages, key=lambda message: message.role == "tool"):
        if is_tool:
            yield True, list(group)
        else:
            yield from ((False, [message]) for message in group)


def _turns(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    calls: Sequence[ToolCall] = ()
    for is_tool, group in _groups(messages):
        message = group[0]
        if is_tool:
            yield {"from": "observation", "value": _observation(calls, group)}
        elif message.tool_calls:
            thought = f"<think>\n{message.reasoning}\n</think>\n\n" if message.reasoning else ""
            objects = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
            yield {"from": "function_call", "value": thought + to_json(objects if len(objects) > 1 else objects[0])}
        else:
            yield {"from": "gpt" if message.role == "assistant" else "human", "value": message.content}
        calls = message.tool_calls


def _observation(calls: Sequence[ToolCall], results: list[Message]) -> str:
    """One result as it is; the results of parallel calls as a JSON list in the order of the calls."""
    if len(results) == 1:
        return results[0].content
    order = {call.id: place for place, call in enumerate(calls) if call.id}
    if all(result.tool_call_id in order for result in results):
        results = sorted(results, key=lambda result: order[result.tool_call_id or ""])
    return to_json([_item(result.content) for result in results])


def _item(text: str) -> Any:
    """A result as an item of a list: the object or list that it spells, where that spells the same text again."""
    value = _structure(text)
    try:
        return text if value is None or to_json(value) != text else value
    except ValueError:  # 1e999 is an infinity, which JSON cannot spell
        return text


def _structure(text: str) -> Any:
    """The object or list that a text spells, or None."""
    try:
        value = from_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


def _with_parameters(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """LLaMA-Factory's default template stops at a tool without parameters."""
    inner = tool.get("function")
    if isinstance(inner, Mapping):
        return {**tool, "function": _with_parameters(inner)}
    return {**tool, "parameters": tool.get("parameters") or {"type": "object", "properties": {}}}


def read_turns(value: Any, column: str) -> list[Message]:
    """The messages of a list of turns."""
    if not isinstance(value, list) or not value:
        raise ParseError(f"{column} must be a list of turns")
    messages: list[Message] = []
    for number, turn in enumerate(value, start=1):
        try:
            messages += read_turn(turn, messages)
        except ParseError as error:
            raise ParseError(f"{column}, turn {number}: {error}") from None
    return messages


def read_turn(turn: Any, before: Sequence[Message]) -> list[Message]:
    """The messages of one turn: several only for an observation of parallel calls."""
    if not isinstance(turn, Mapping):
        raise ParseError("must be an object {from, value}")
    if "from" not in turn and "role" in turn:  # OpenAI's turns in ShareGPT's column are common
        return [read_message(turn)]
    speaker = turn.get("from")
    calls_tool = is_call(speaker)
    try:
        role = "assistant" if calls_tool else role_of(speaker)
    except ParseError:
        known = "human, gpt, function_call, observation, system"
        raise ParseError(f"unknown speaker {shown(speaker)}; known are {known}") from None
    value = text_of(turn, body_of(turn, "value"), needed=True)
    if calls_tool:
        return [call_message(value, turn)]
    calls = before[-1].tool_calls if role == "tool" and before else ()
    if len(calls) > 1 and (results := _results(value, len(calls))):
        return [Message("tool", text) for text in results]
    if len(turn) == 2:
        return [Message(role, value)]
    return [read_message({**turn, "role": role, "content": value})]  # weight, name and thoughts are as in OpenAI's


def _results(value: str, calls: int) -> list[str] | None:
    """The results of parallel calls, where the text is what we would write for them."""
    items = _structure(value)
    if not isinstance(items, list) or len(items) != calls:
        return None
    try:
        results = [item if isinstance(item, str) else to_json(item) for item in items]
    except ValueError:
        return None
    return results if to_json([_item(text) for text in results]) == value else None


FORMAT = ShareGPT()

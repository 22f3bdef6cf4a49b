"""What the formats of conversations have in common: JSON inside text, the order of turns, what gets lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

from synthgen.errors import ParseError
from synthgen.types import Message, Sample, ToolCall

_BODIES = ("content", "value", "text")  # what is said in a turn


def to_json(value: Any) -> str:
    """Compact enough and as data sets spell it: `", "` and `": "`, no escapes, no NaN."""
    return _ENCODER.encode(value)


def from_json(text: str) -> Any:
    """The value; ValueError where it is no JSON. Python's own reader, since whole numbers may be of any length."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def text_of(row: Mapping[str, Any], column: str, *, needed: bool = False) -> str:
    """The text of a column, "" where it is null or absent; ParseError where it is no text."""
    value = row.get(column)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        found = "missing" if column not in row else "null" if value is None else type(value).__name__
        raise ParseError(f"{column} must be text, found {found}")
    return value


def shown(value: Any) -> str:
    """A value in a line of error: the beginning of text, a small number, else what it is."""
    if isinstance(value, str):
        return repr(value[:30])
    # Python does not spell a number of many thousand digits.
    small = value is None or isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 10**6)
    return repr(value) if small else type(value).__name__


def call_of(value: Any) -> ToolCall:
    """A call `{name, arguments}`; arguments are an object, or the JSON text of one as OpenAI writes it."""
    if not isinstance(value, Mapping) or not isinstance(name := value.get("name"), str) or not name:
        raise ParseError("a tool call must be an object with name and arguments")
    arguments = value.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = from_json(arguments)
        except ValueError as error:
            raise ParseError(f"the arguments of {name} are not JSON ({error})") from None
    if not isinstance(arguments, Mapping):
        raise ParseError(f"the arguments of {name} must be a JSON object")
    return ToolCall(name, arguments)


def tools_of(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The tools of a row: a list of objects, or the JSON text of one, or nothing."""
    value = row.get("tools")
    if isinstance(value, str):
        try:
            value = from_json(value) if value.strip() else None
        except ValueError as error:
            raise ParseError(f"tools is not JSON ({error})") from None
    if not value:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise ParseError("tools must be a list of objects, or the JSON text of one")
    return tuple(value)


def meta_of(row: Mapping[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """The columns that the format does not know, kept beside the sample."""
    rest = {column: value for column, value in row.items() if column not in own}
    return {"columns": rest} if rest else {}


def unread(*lists: Any, known: frozenset[str]) -> dict[str, list[str]]:
    """What lists of turns hold that a sample has no place for, as `not_read` of its meta: `lost` counts it."""
    found: set[str] = set()
    for turn in (turn for turns in lists if isinstance(turns, list) for turn in turns):
        if not isinstance(turn, Mapping):
            continue
        found.update(f"turn key {key}" for key in [key for key in _BODIES if turn.get(key) is not None][1:])
        found.update(f"turn key {key}" for key in turn.keys() - known if turn[key] is not None)
        if turn.get("role") == "developer":
            found.add("the role developer")
        if isinstance(parts := turn.get("content"), list) and len(parts) > 1:
            found.add("the borders of text parts")
    return {"not_read": sorted(found)} if found else {}


def noted(meta: Mapping[str, Any], *notes: str) -> dict[str, Any]:
    """The meta of a sample with more that was not read as it stood; `lost` counts it."""
    return {**meta, "not_read": sorted({*meta.get("not_read", ()), *notes})} if notes else dict(meta)


def body_of(turn: Mapping[str, Any], *first: str) -> str:
    """The key under which a turn holds what is said; the first of the usual ones where it holds nothing."""
    keys = (*first, *_BODIES)
    return next((key for key in keys if turn.get(key) is not None), keys[0])


def later_turns(sample: Sample) -> tuple[str, ...]:
    """What the user will say after the answers that are not there yet."""
    turns = sample.meta.get("turns")
    return tuple(turn for turn in turns if isinstance(turn, str)) if isinstance(turns, list | tuple) else ()


def columns_of(sample: Sample) -> Mapping[str, Any]:
    """What `meta_of` kept."""
    kept = sample.meta.get("columns")
    return kept if isinstance(kept, Mapping) else {}


def calls_tools(sample: Sample) -> bool:
    """Whether a turn of the sample calls a tool, or is a tool's."""
    return any(message.tool_calls or message.role == "tool" for message in sample.messages)


def spoken(messages: Sequence[Message]) -> Iterator[Message]:
    """The turns without system turns that say nothing: formats forbid empty text."""
    return (message for message in messages if message.role != "system" or message.content.strip())


def plain_fault(sample: Sample) -> str | None:
    """Why it is no conversation of user and assistant in turns, without tools, as some formats want it; else None."""
    if sample.tools or calls_tools(sample):
        return "tools"
    if fault := content_fault(sample):
        return fault
    _, turns = split_system(sample)
    if any(turn.role == "system" for turn in turns):
        return "a system turn inside the conversation"
    if any(turn.role != role for turn, role in zip(turns, cycle(("user", "assistant")), strict=False)):
        return "user and assistant do not take turns"
    return None


def split_system(sample: Sample) -> tuple[str, list[Message]]:
    """The leading system turn's text, "" if none, and the other turns."""
    messages = list(spoken(sample.messages))
    if messages and messages[0].role == "system":
        return messages[0].content, messages[1:]
    return "", messages


def content_fault(sample: Sample) -> str | None:
    """Why no format of conversations can carry the sample, whatever the order of its turns, or None."""
    if not sample.messages:
        return "no turns" if sample.text is None else "text without turns"
    if sample.label is False:
        return "an answer marked as bad (label false)"
    if sample.messages[-1].role != "assistant":
        return "no answer (the last turn is not the assistant's)"
    for message in sample.messages:
        if not message.content.strip():
            if message.role == "user":
                return "an empty user turn"
            if message.role == "assistant" and not message.tool_calls:
                return "an empty answer"
    return None


def results_fault(messages: Sequence[Message]) -> str | None:
    """Why the tool turns do not answer the calls before them one by one, as OpenAI asks for, or None."""
    open_ids: list[str] = []
    for message in messages:
        if message.role == "tool":
            called = message.tool_call_id or (open_ids[0] if open_ids else None)
            if called in open_ids:
                open_ids.remove(called)
            elif "" in open_ids:
                open_ids.remove("")
            else:
                return "tool results that do not match their calls"
        elif open_ids:
            return "a tool call that nothing answers"
        else:
            open_ids = [call.id for call in message.tool_calls]
    return None


def lost(sample: Sample, keeps: frozenset[str]) -> tuple[str, ...]:
    """What a row without the parts in `keeps` does not hold of the sample."""
    reasoning = weights = names = False
    for message in sample.messages:
        reasoning = reasoning or bool(message.reasoning)
        weights = weights or message.weight is not None
        names = names or bool(message.name and message.role != "tool")
    parts = (
        ("reasoning", reasoning),
        ("weights of turns", weights),
        ("names of speakers", names),
        ("the rejected answer", bool(sample.rejected)),
        ("the label", sample.label is not None),
        ("the reference", sample.reference is not None),
        ("text beside the turns", sample.text is not None),
        ("the border of instruction and input", bool(sample.input_split and sample.input_split[1])),
        ("the user's later turns", bool(later_turns(sample))),
    )
    columns = [f"column {name}" for name in columns_of(sample) if name not in keeps]
    unread_parts = sample.meta.get("not_read", ())
    return (*(part for part, there in parts if there and part not in keeps), *columns, *unread_parts)

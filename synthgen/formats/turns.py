"""What the formats of conversations have in common: JSON inside text, the order of turns, what gets lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from synthgen.errors import ParseError
from synthgen.rows.text import from_json
from synthgen.types import Message, Sample, ToolCall

_CALL_KEYS = frozenset({"id", "type", "function", "name", "arguments"})
_BODIES = ("content", "value", "text")  # what is said in a turn
_MEDIA = ("images", "videos", "audios", "image", "video", "audio")
# Reasons that `lost` names, where the same is said in other words.
_DEVELOPER = "the role developer"
ODD_TYPES = "types of tools that JSON Schema does not know"
SPELLINGS = frozenset({"the spelling of label", "the spelling of kto_tag", _DEVELOPER, ODD_TYPES})
_KEYS = frozenset(
    {"role", "tool_calls", "tool_call_id", "name", "reasoning", "reasoning_content", "weight", "function_call", "from"}
).union(_BODIES)


def to_json(value: Any) -> str:
    """Compact enough and as data sets spell it: `", "` and `": "`, no escapes, no NaN."""
    return _ENCODER.encode(value)


def to_line(value: Any) -> bytes:
    """`to_json` in UTF-8, byte for byte; UnicodeEncodeError where it holds half a surrogate pair.

    orjson spells the texts, which takes a third of the time. The rest stays Python's: numbers (1e+16), and no NaN.
    """
    try:
        return _spelled(value)
    except (orjson.JSONEncodeError, RecursionError):  # half a pair, or what Python alone can spell
        return to_json(value).encode()


def _spelled(value: Any) -> bytes:
    kind = type(value)
    if kind is dict:
        dumps = orjson.dumps  # most values are text: a call less for each
        items = [_key(key) + (dumps(one) if type(one) is str else _spelled(one)) for key, one in value.items()]
        return b"{" + b", ".join(items) + b"}"
    if kind is list:
        return b"[" + b", ".join([_spelled(one) for one in value]) + b"]"
    return orjson.dumps(value) if kind is str else to_json(value).encode()


@lru_cache(maxsize=1000)
def _key(key: Any) -> bytes:
    if type(key) is not str:
        raise orjson.JSONEncodeError("a key that is no text")
    return orjson.dumps(key) + b": "


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
    if row.keys() <= own:
        return {}
    return {"columns": {column: value for column, value in row.items() if column not in own}}


def unread(*given: Any) -> dict[str, list[str]]:
    """What turns or lists of turns hold that a sample has no place for, as `not_read` of its meta: `lost` counts it."""
    found: set[str] = set()
    for turn in (turn for turns in given for turn in (turns if isinstance(turns, list) else [turns])):
        if not isinstance(turn, Mapping):
            continue
        found.update(f"turn key {key}" for key in [key for key in _BODIES if turn.get(key) is not None][1:])
        if not turn.keys() <= _KEYS:
            found.update(f"turn key {key}" for key in turn.keys() - _KEYS if turn[key] is not None)
        found.update(_unread_of_calls(turn))
        if turn.get("role") == "developer":
            found.add(_DEVELOPER)
        if isinstance(parts := turn.get("content"), list) and len(parts) > 1:
            found.add("the borders of text parts")
    return {"not_read": sorted(found)} if found else {}


def _unread_of_calls(turn: Mapping[str, Any]) -> Iterator[str]:
    """What a turn holds beside its calls, or in them, that a call has no place for."""
    calls = turn.get("tool_calls")
    if turn.get("tool_call_id") is not None and turn.get("role") in ("system", "user", "assistant"):
        yield "turn key tool_call_id"
    if not isinstance(calls, list) or not calls:
        return
    if turn.get("function_call"):
        yield "turn key function_call"
    for call in (call for call in calls if isinstance(call, Mapping)):  # a turn may say its calls elsewhere
        inner = call.get("function")
        parts = (call, inner) if isinstance(inner, Mapping) else (call,)
        yield from (f"call key {key}" for part in parts for key in part.keys() - _CALL_KEYS if part[key] is not None)


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


def media_fault(sample: Sample, format_name: str) -> str | None:
    """Why a row without its pictures and sounds would mislead: the text goes on speaking of them, as `<image>`."""
    columns = columns_of(sample)
    held = columns and format_name != "samples" and any(columns.get(name) for name in _MEDIA)
    return "images, videos or audio" if held else None


def calls_tools(sample: Sample) -> bool:
    """Whether a turn of the sample calls a tool, or is a tool's."""
    return bool([message for message in sample.messages if message.tool_calls or message.role == "tool"])


def spoken(messages: Sequence[Message]) -> list[Message]:
    """The turns without system turns that say nothing: formats forbid empty text."""
    return [message for message in messages if message.role != "system" or message.content.strip()]


def plain_fault(sample: Sample) -> str | None:
    """Why it is no conversation of user and assistant in turns, without tools, as some formats want it; else None."""
    if sample.tools or calls_tools(sample):
        return "tools"
    return content_fault(sample) or turns_fault(sample)


def turns_fault(sample: Sample) -> str | None:
    """Why user and assistant do not take turns, the user first, or None where they do."""
    roles = [turn.role for turn in split_system(sample)[1]]
    if roles[::2].count("user") + roles[1::2].count("assistant") == len(roles):
        return None
    return "a system turn inside the conversation" if "system" in roles else "user and assistant do not take turns"


def split_system(sample: Sample) -> tuple[str, list[Message]]:
    """The leading system turn's text, "" if none, and the other turns."""
    messages = spoken(sample.messages)
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
    found = [part for part, there in parts if there and part not in keeps]
    if sample.meta:
        told = frozenset({"reference"} if "the reference" in found else ())
        found += [f"column {name}" for name in columns_of(sample) if name not in keeps | told]
        found += sample.meta.get("not_read", ())
    return tuple(found)

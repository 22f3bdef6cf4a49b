"""Repairs of one row that invent nothing: spellings, shapes, empty columns; each is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.labels import meaning
from synthgen.formats.messages import THOUGHT, is_call, role_of
from synthgen.formats.turns import to_json
from synthgen.rows.shapes import canonical
from synthgen.rows.text import from_json
from synthgen.types import Role
from synthgen.validating.kinds import Kind

Tell = Callable[[str], object]  # gets what was repaired

_SPEAKERS: Mapping[Role, str] = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
_NO_PARAMETERS = {"type": "object", "properties": {}}


def mended(row: Mapping[str, Any], kind: Kind, tell: Tell) -> dict[str, Any]:
    """The row as trainers take it, as far as that is a matter of form; of an unknown kind it stays what it is."""
    made = dict(row)
    if not kind.readers or not kind.name:
        return made
    for column in ("kto_tag", "label") if kind.name.startswith("kto") else ():
        if column in made and (label := meaning(made[column])) is not None and made[column] is not label:
            tell(f"{column}: {made[column]!r} is now {to_json(label)}")
            made[column] = label
    turns = made.get("conversations")
    if turns is not None and (spoken := canonical({"conversations": turns})["conversations"]) != turns:
        tell("conversations are now turns of human and gpt")
        made["conversations"] = spoken
    if "tools" in made:
        made["tools"] = _tools(made["tools"], tell, text="conversations" in made)
    for column, turn in (
        ("conversations", _spoken), ("messages", _message), ("prompt", _message), ("completion", _message),
    ):  # fmt: skip
        if column in made:
            made[column] = _each(made[column], turn, tell)
    answer = _spoken if "conversations" in made else _message
    for column in ("chosen", "rejected", "rejected_messages", "preferred_output", "non_preferred_output"):
        if column in made:
            value = made[column]
            made[column] = answer(value, tell) if isinstance(value, dict) else _each(value, answer, tell)
    if kind.name == "preference":
        _with_turns(made, tell)
    if isinstance(made.get("input"), dict):
        made["input"] = {**made["input"], "messages": _each(made["input"].get("messages"), _message, tell)}
    if kind.name.endswith("alpaca") and "instruction" in made and "input" not in made:
        tell('input is now "", was missing')
        made = {
            one: made.get(one, "") for name in made for one in ([name, "input"] if name == "instruction" else [name])
        }
    return made


def _with_turns(made: dict[str, Any], tell: Tell) -> None:
    """A prompt of text beside answers of turns, which may begin with it once more."""
    prompt, chosen, rejected = (made.get(name) for name in ("prompt", "chosen", "rejected"))
    if not isinstance(prompt, str) or not isinstance(chosen, list) or not isinstance(rejected, list):
        return
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    asked = [turn.get("content") for turn in chosen[:shared] if isinstance(turn, dict) and turn.get("role") == "user"]
    if asked == [prompt]:
        tell("prompt is now turns, which both answers began with")
        made["prompt"], made["chosen"], made["rejected"] = chosen[:shared], chosen[shared:], rejected[shared:]
    elif all(isinstance(turn, dict) and turn.get("role") == "assistant" for turn in (*chosen[:1], *rejected[:1])):
        tell("prompt is now a turn of the user")
        made["prompt"] = [{"role": "user", "content": prompt}]


def _each(turns: Any, mend: Callable[[dict[str, Any], Tell], Any], tell: Tell) -> Any:
    if not isinstance(turns, list):
        return turns
    made = []
    for number, turn in enumerate(turns, start=1):
        done: list[str] = []
        made.append(mend(turn, done.append) if isinstance(turn, dict) else turn)
        for what in done:
            tell(f"turn {number}: {what}")
    return made


def _role(value: Any) -> Role | None:
    """The role that a name of a speaker means, by any of its names; None for any other."""
    try:
        return role_of(value.strip() if isinstance(value, str) else value)
    except ParseError:
        return None


def _spoken(turn: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """A turn of ShareGPT."""
    made = dict(turn)
    if "from" not in made and {"role", "content"} <= made.keys() and not made.get("tool_calls"):
        tell("role and content are now from and value")
        made = {"from": made.pop("role"), "value": made.pop("content"), **made}
    speaker, value = made.get("from"), made.get("value")
    role = _role(speaker)
    spelled = "function_call" if is_call(speaker) else _SPEAKERS[role] if role else None
    if spelled is not None and spelled != speaker:
        tell(f"{speaker!r} is now {spelled!r}")
        made["from"] = spelled
    if spelled in ("function_call", "observation") and isinstance(value, dict | list):
        tell(f"the {spelled} is now JSON text")
        value = made["value"] = to_json(value)
    elif value is None and "value" in made and spelled == "observation":
        tell('the observation is now ""')
        made["value"] = ""
    if spelled == "function_call" and isinstance(value, str):
        made["value"] = _call_text(value, tell)
    return made


def _call_text(value: str, tell: Tell) -> str:
    """A function_call with its thought in the one spacing, and its arguments as objects."""
    thought, text = "", value
    found = THOUGHT.search(value)
    if found is not None:
        thought, text = found[0], value.replace(found[0], "")
    elif value.lstrip().startswith("<think>") and "</think>" in value:
        inner, _, text = value.lstrip().removeprefix("<think>").partition("</think>")
        thought = f"<think>\n{inner.strip()}\n</think>\n\n"
    try:
        calls = from_json(text)
    except ValueError:
        return value
    objects = [_with_object(call) for call in (calls if isinstance(calls, list) else [calls])]
    spaced = bool(thought) and found is None
    if spaced:
        tell("the thought has its spacing")
    if any(changed for _, changed in objects):
        tell("arguments are now an object")
        made = [call for call, _ in objects]
        return thought + to_json(made if isinstance(calls, list) else made[0])
    return thought + text.strip() if spaced else value


def _with_object(call: Any) -> tuple[Any, bool]:
    """The call, and whether its arguments were the text of an object."""
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        try:
            arguments = from_json(call["arguments"])
        except ValueError:
            return call, False
        if isinstance(arguments, dict):
            return {**call, "arguments": arguments}, True
    return call, False


def _message(turn: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """A turn of OpenAI's."""
    made = dict(turn)
    if "role" not in made and {"from", "value"} <= made.keys():
        tell("from and value are now role and content")
        made = {"role": made.pop("from"), "content": made.pop("value"), **made}
    role = made.get("role")
    if isinstance(role, str) and role not in ("user", "assistant", "system", "tool", "developer", "function"):
        spelled = _role(role)
        if spelled is not None:
            tell(f"{role!r} is now {spelled!r}")
            made["role"] = spelled
    if made.get("content", "") is None and made.get("role") == "tool":
        tell('the result is now ""')
        made["content"] = ""
    if isinstance(made.get("tool_calls"), list):
        made["tool_calls"] = [_call(call, tell) for call in made["tool_calls"]]
    return made


def _call(call: Any, tell: Tell) -> Any:
    inner = call.get("function") if isinstance(call, dict) else None
    if not isinstance(inner, dict):
        return call
    if isinstance(inner.get("arguments"), dict):
        tell("arguments are now JSON text")
        inner = {**inner, "arguments": to_json(inner["arguments"])}
    if "type" not in call:
        tell("a call is now of type function")
    return {**call, "type": call.get("type", "function"), "function": inner}


def _tools(tools: Any, tell: Tell, *, text: bool) -> Any:
    """`text`: for LLaMA-Factory they are JSON text; else they stay what they are."""
    try:
        found = from_json(tools) if isinstance(tools, str) and tools.strip() else tools or None
    except ValueError:
        return tools
    if not found:
        if tools is not None:
            tell(f"tools: {json.dumps(tools)} is now null")
        return None
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        return tools
    if not text:
        return tools
    whole = list(_with_parameters(found))
    if whole != found:
        tell("tools have parameters now")
    elif isinstance(tools, list):
        tell("tools is now JSON text")
    else:
        return tools
    return to_json(whole)


def _with_parameters(tools: list[Any]) -> Iterator[Any]:
    """LLaMA-Factory's default template stops at a tool without them."""
    for tool in tools:
        inner = tool.get("function")
        if isinstance(inner, dict):
            yield {**tool, "function": next(_with_parameters([inner]))}
            continue
        parameters = tool.get("parameters")
        if not parameters:
            yield {**tool, "parameters": _NO_PARAMETERS}
        elif isinstance(parameters, dict) and "properties" not in parameters:
            yield {**tool, "parameters": {**parameters, "properties": {}}}
        else:
            yield tool

"""The rules of conversations: ShareGPT's turns, OpenAI's messages, tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from synthgen.formats.messages import THOUGHT, TOOL_NAME
from synthgen.rows.text import from_json

Found = tuple[str, str]  # rule and what is there

SPEAKERS = frozenset({"human", "gpt", "function_call", "observation", "system"})
ROLES = frozenset({"system", "user", "assistant", "tool", "function", "developer"})
SWIFT_ROLES = ("tool_call", "tool_response")
OPENAI_COLUMNS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})


def kind_of_value(value: Any) -> str:
    """A word for what stands where something else should."""
    words = {type(None): "null", str: "text", list: "a list", dict: "an object", bool: "true or false"}
    return words.get(type(value), "a number")


def sharegpt(row: Mapping[str, Any], roles: set[str], *, asked: bool = False) -> Iterator[Found]:
    """`roles` collects who speaks; `asked`: the last turn is the user's, since the answers have columns."""
    yield from tools_text(row)
    turns = row.get("conversations")
    if type(turns) is not list or not turns:
        yield "no-turns", f"conversations is {kind_of_value(turns) if turns != [] else 'empty'}"
        return
    known = True
    for number, turn in enumerate(turns, start=1):
        if type(turn) is not dict or "from" not in turn or "value" not in turn:
            yield "turn-shape", f"turn {number} {_lacks(turn, 'from', 'value')}"
            known = False
            continue
        speaker, value = turn["from"], turn["value"]
        if type(speaker) is not str or speaker not in SPEAKERS:
            yield "speaker", f"turn {number} is from {speaker!r}"[:120]
            known = False
        else:
            roles.add(speaker)
        if type(value) is not str:
            yield "turn-type", f"turn {number} says {kind_of_value(value)}"
        elif (not value or value.isspace()) and speaker in ("human", "gpt"):
            yield "empty-turn", f"turn {number} ({speaker}) is empty"
        elif speaker == "function_call":
            yield from _function_call(value, number)
    if known:
        yield from _order(turns, asked=asked)
    first = turns[0]
    system = row.get("system")
    if system and type(first) is dict and first.get("from") == "system" and first.get("value") != system:
        yield "two-systems", "a system turn and another text in the column system"
    if system is not None and type(system) is not str:
        yield "system-type", f"system is {kind_of_value(system)}"


def _lacks(turn: Any, *keys: str) -> str:
    if type(turn) is not dict:
        return f"is {kind_of_value(turn)}"
    missing = [key for key in keys if key not in turn]
    return f"has no {' and no '.join(missing)}, but {', '.join(list(turn)[:4]) or 'nothing'}"


def _order(turns: Sequence[Mapping[str, Any]], *, asked: bool) -> Iterator[Found]:
    said = [turn["from"] for turn in turns]
    start = 1 if said[0] == "system" else 0
    for number, speaker in enumerate(said[start:]):
        if (speaker in ("human", "observation")) is not (number % 2 == 0) or speaker == "system":
            yield "turn-order", f"turn {start + number + 1} is {speaker}'s"
            return
    if (len(said) - start) % 2 != (1 if asked else 0):
        yield "turn-order", f"the last turn is {said[-1]}'s"
        return
    before = ""
    for number, speaker in enumerate(said, start=1):
        if (speaker == "observation") is not (before == "function_call"):
            wrong = "has no function_call before it" if speaker == "observation" else "stands where a result should"
            yield "call-order", f"turn {number} ({speaker}) {wrong}"
            return
        before = speaker
    if before == "function_call":
        yield "last-call", "the last turn is a function_call"


def _function_call(value: str, number: int) -> Iterator[Found]:
    thought = THOUGHT.search(value) if "<think>" in value else None
    text = value.replace(thought[0], "") if thought else value
    try:
        found = from_json(text)
    except ValueError as error:
        if "<think>" in value and thought is None:
            yield "thought-spacing", f"turn {number} thinks in another spacing"
        else:
            yield "call-json", f"turn {number} (function_call) is not JSON ({error})"[:160]
        return
    for call in found if type(found) is list and found else [found]:
        if type(call) is not dict or type(call.get("name")) is not str or "arguments" not in call:
            yield "call-json", f"turn {number} (function_call) has no name and arguments"
        elif type(call["arguments"]) is str:
            yield "arguments-text", f"turn {number}: the arguments of {call['name'][:60]} are text"
        elif type(call["arguments"]) is not dict:
            yield "call-json", f"turn {number}: the arguments of {call['name'][:60]} are no object"


def tools_text(row: Mapping[str, Any]) -> Iterator[Found]:
    """The column `tools` of files for LLaMA-Factory: JSON text."""
    tools = row.get("tools")
    if tools is None or tools == []:
        return
    if type(tools) is str:
        yield from _tools_said(tools)
    elif type(tools) is list:
        yield "tools-list", f"tools is a list of {len(tools)}"
    else:
        yield "tools-json", f"tools is {kind_of_value(tools)}"


@lru_cache(maxsize=256)
def _tools_said(text: str) -> tuple[Found, ...]:
    if not text.strip():
        return (("blank-tools", 'tools is ""'),)
    try:
        tools = from_json(text)
    except ValueError as error:
        return (("tools-json", f"tools is not JSON ({error})"[:160]),)
    if tools == []:
        return (("empty-tools", 'tools is "[]"'),)
    if type(tools) is not list or any(type(tool) is not dict for tool in tools):
        return (("tools-json", "tools is not the JSON text of a list of objects"),)
    return tuple(_parameters(tools))


def _parameters(tools: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    """LLaMA-Factory's default template takes these for granted."""
    for number, tool in enumerate(tools, start=1):
        inner = tool["function"] if type(tool.get("function")) is dict else tool
        parameters = inner.get("parameters")
        properties = parameters.get("properties") if type(parameters) is dict else None
        if type(properties) is not dict:
            yield "tool-parameters", f"tool {number} has no parameters.properties"
            continue
        for name, one in properties.items():
            choices = one.get("enum") if type(one) is dict else None
            if type(one) is not dict or (choices and any(type(choice) is not str for choice in choices)):
                yield "tool-parameters", f"tool {number}: {name[:60]} is no object, or its enum not of text"
                break


def messages(row: Mapping[str, Any], roles: set[str], *, column: str = "messages") -> Iterator[Found]:
    """OpenAI's form, as its fine-tuning and TRL read it."""
    turns = row.get(column)
    if type(turns) is not list or not turns:
        yield "no-turns", f"{column} is {kind_of_value(turns) if turns != [] else 'empty'}"
        return
    known = True
    for number, turn in enumerate(turns, start=1):
        for found in _message(turn, number, roles):
            known = known and found[0] not in ("turn-shape", "from-value", "role", "swift-role", "call-shape")
            yield found
    if known:
        yield from _results(turns)
        if column == "messages":
            yield from _speakers(turns)
    tools = row.get("tools")
    if type(tools) is str:
        yield from (found for found in _tools_said(tools) if found[0] != "tool-parameters")
    elif tools:
        yield from _tool_shapes(tools)


def _message(turn: Any, number: int, roles: set[str]) -> Iterator[Found]:
    if type(turn) is not dict:
        yield "turn-shape", f"turn {number} is {kind_of_value(turn)}"
        return
    role = turn.get("role")
    if "role" not in turn:
        if "from" in turn and "value" in turn:
            yield "from-value", f"turn {number} has from and value, no role and content"
        else:
            yield "turn-shape", f"turn {number} {_lacks(turn, 'role')}"
        return
    if role in SWIFT_ROLES:
        roles.add("tool")
        yield "swift-role", f"turn {number} has the role {role}"
    elif type(role) is not str or role not in ROLES:
        yield "role", f"turn {number} has the role {role!r}"[:120]
    else:
        roles.add(role)
    if role == "developer":
        yield "developer-role", f"turn {number} has the role developer"
    calls = turn.get("tool_calls")
    if calls:
        roles.add("tool")
        if role != "assistant":
            yield "call-shape", f"turn {number} ({str(role)[:40]}) calls a tool, which the assistant alone does"
        yield from _calls(calls, number)
    content = turn.get("content")
    spoken = bool(calls or turn.get("function_call"))
    if type(content) is str:
        if (not content or content.isspace()) and (role == "user" or (role == "assistant" and not spoken)):
            yield "empty-turn", f"turn {number} ({role}) is empty"
    elif content is None:
        if not (role == "assistant" and (spoken or turn.get("refusal"))):
            yield "turn-type", f"turn {number} ({str(role)[:40]}) has no content"
    elif type(content) is not list or not content or any(type(part) is not dict for part in content):
        yield "turn-type", f"turn {number} says {kind_of_value(content)}"
    weight = turn.get("weight")
    if weight is not None and (type(weight) is bool or weight not in (0, 1)):
        yield "weight", f"turn {number} has the weight {weight!r}"[:120]


def _calls(calls: Any, number: int) -> Iterator[Found]:
    if type(calls) is not list:
        yield "call-shape", f"turn {number}: tool_calls is {kind_of_value(calls)}"
        return
    for call in calls:
        inner = call.get("function") if type(call) is dict else None
        if type(inner) is not dict or type(call.get("id")) is not str or call.get("type") != "function":
            yield "call-shape", f"turn {number}: a call without id, type or function"
            continue
        name, arguments = inner.get("name"), inner.get("arguments")
        if type(name) is not str or not name:
            yield "call-shape", f"turn {number}: a call of {name!r}"[:120]
        elif not TOOL_NAME.fullmatch(name):
            yield "tool-name", f"turn {number}: a call of {name!r}"[:120]
        if type(arguments) is dict:
            yield "arguments-object", f"turn {number}: the arguments of {str(name)[:60]} are an object"
        elif type(arguments) is not str or not _spells_object(arguments):
            yield "call-json", f"turn {number}: the arguments of {str(name)[:60]} are no JSON text of an object"


def _spells_object(text: str) -> bool:
    try:
        return type(from_json(text)) is dict
    except ValueError:
        return False


def _results(turns: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    waiting: list[str] = []
    for number, turn in enumerate(turns, start=1):
        if turn["role"] == "tool":
            called = turn.get("tool_call_id")
            if called not in waiting:
                what = f"has the tool_call_id {called!r}" if called else "has no tool_call_id"
                yield "result-id", f"turn {number} (tool) {what}, which no call before it has"[:160]
                return
            waiting.remove(called)
            continue
        if waiting:
            yield "result-id", f"turn {number} ({turn['role']}) stands where the result of {waiting[0]} should"[:160]
            return
        waiting = [call["id"] for call in turn.get("tool_calls") or ()]


def _speakers(turns: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    said = [turn["role"] for turn in turns]
    if said[-1] != "assistant":
        yield "last-turn", f"the last turn is {said[-1]}'s"
    elif not {"tool", "function"} & set(said):
        start = 1 if said[0] in ("system", "developer") else 0
        for number, role in enumerate(said[start:]):
            if role != ("assistant" if number % 2 else "user"):
                yield "roles-in-a-row", f"turn {start + number + 1} is {role}'s"
                return


def _tool_shapes(tools: Any) -> Iterator[Found]:
    if type(tools) is not list or any(type(tool) is not dict for tool in tools):
        yield "tools-json", f"tools is {kind_of_value(tools)}" if type(tools) is not list else "a tool is no object"
        return
    for number, tool in enumerate(tools, start=1):
        inner = tool.get("function")
        if tool.get("type") != "function" or type(inner) is not dict or type(inner.get("name")) is not str:
            yield "tool-shape", f'tool {number} is not {{"type": "function", "function": {{"name", ...}}}}'
            return
        if not TOOL_NAME.fullmatch(inner["name"]):
            yield "tool-name", f"tool {number} is {inner['name']!r}"[:120]

"""What a trainer sees of a row beside the sample that it is of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from synthgen.formats.pairs import split_answer
from synthgen.types import Message, Sample

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_CALL = re.compile(r"\n?<tool_call>\n(\{.*?\})\n</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>\n(.*?)\n</tools>", re.DOTALL)
_OWN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: `calls` are (name, arguments), `results` the texts of tools."""

    role: str
    text: str
    calls: tuple[Any, ...] = ()
    results: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as it is trained; `trained` are the texts that the loss is taken of."""

    system: str
    tools: tuple[Any, ...]
    turns: tuple[Turn, ...]
    trained: tuple[str, ...]


def difference(sample: Sample, row: Mapping[str, Any], name: str) -> str | None:
    """What is first not the same, in fixed words; None where all is."""
    if "chosen" in row:
        answers = {"chosen": sample.messages, "rejected": (*split_answer(sample)[0], *sample.rejected)}
        start = len(split_answer(sample)[0])
        found = (_of_talk(replace(sample, messages=said), row[n], name, start) for n, said in answers.items())
        return next((one for one in found if one), None)
    if "label" in row and bool(row["label"]) is not sample.label:
        return "the label"
    if row["text"].startswith("<|im_start|>"):
        return _of_talk(sample, row, name, len(split_answer(sample)[0]) if "label" in row else 0)
    return _of_instruction(sample, row)


def _of_talk(sample: Sample, row: Mapping[str, Any], name: str, start: int) -> str | None:
    """`start` is the first turn whose answer may be trained."""
    wanted, seen = _wanted(sample, name, start), _seen(row)
    if wanted.system != seen.system:
        return "the system text"
    if wanted.tools != seen.tools:
        return "the tools"
    if [turn.role for turn in wanted.turns] != [turn.role for turn in seen.turns]:
        return "the speakers"
    for ours, theirs in zip(wanted.turns, seen.turns, strict=True):
        if ours.calls != theirs.calls:
            return "a call"
        if ours.results != theirs.results and _items(theirs.results) != list(ours.results):
            return "a result"
        if ours.text != theirs.text:
            return "{{idx}} in a turn" if "{{idx}}" in ours.text else "a text"
    return None if wanted.trained == seen.trained else "what is trained"


def _wanted(sample: Sample, name: str, start: int) -> Talk:
    turns: list[Turn] = []
    trained = []
    system = ""
    for number, message in enumerate(sample.messages):
        if message.role == "system":
            system = message.content
        elif message.role == "tool" and turns[-1].results:
            turns[-1] = replace(turns[-1], results=(*turns[-1].results, message.content))
        elif message.role == "tool":
            turns.append(Turn("tool", "", results=(message.content,)))
        else:
            turns.append(_turn(message, thinks="sharegpt" in name))
            last = name in ("prompt-completion", "preference-alpaca") and message is not sample.messages[-1]
            if message.role == "assistant" and number >= start and not last:
                trained.append(_bare(turns[-1]))
    return Talk(system, tuple(map(_tool, sample.tools)), tuple(turns), tuple(trained))


def _turn(message: Message, *, thinks: bool) -> Turn:
    if not message.tool_calls:
        return Turn(message.role, message.content)
    thought = f"<think>\n{message.reasoning}\n</think>" if thinks and message.reasoning else ""
    said = "" if thinks else message.content.rstrip("\n")  # ShareGPT has no place for it, and says so
    return Turn(message.role, thought + said, tuple((call.name, _plain(call.arguments)) for call in message.tool_calls))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=dict))


def _tool(tool: Mapping[str, Any]) -> Any:
    inner = dict(tool.get("function", tool))
    return _plain({**inner, "parameters": inner.get("parameters") or _NO_PARAMETERS})


def _seen(row: Mapping[str, Any]) -> Talk:
    system, tools = "", []
    turns: list[Turn] = []
    for role, body in _TURN.findall(row["text"]):
        if role == "system":
            system = body.split("# Tools\n", 1)[0].removesuffix("\n\n") if "<tools>" in body else body
            system = "" if system == _OWN_SYSTEM else system
            listed = _TOOLS.search(body)
            tools = [_tool(json.loads(line)) for line in listed[1].split("\n")] if listed else []
        elif role == "assistant":
            calls = tuple(_call(text) for text in _CALL.findall(body))
            turns.append(Turn(role, _CALL.sub("", body).rstrip("\n") if calls else body, calls))
        elif results := _RESULT.findall(body):
            turns.append(Turn("tool", "", results=tuple(results)))
        else:
            turns.append(Turn(role, body))
    return Talk(system, tuple(tools), tuple(turns), tuple(map(_of_run, row["trained"])))


def _call(text: str) -> Any:
    try:
        call = json.loads(text)
    except ValueError:
        return text
    return call.get("name"), call.get("arguments")


def _of_run(run: str) -> str:
    body = run.strip().removesuffix("<|im_end|>")
    calls = tuple(_call(text) for text in _CALL.findall(body))
    return _bare(Turn("assistant", _CALL.sub("", body) if calls else body, calls))


def _bare(turn: Turn) -> str:
    """A turn as one text; a token may hold a blank of the turn and one before it."""
    return turn.text.strip() + "".join(json.dumps(call, sort_keys=True) for call in turn.calls)


def _items(results: Sequence[str]) -> list[str] | None:
    """The results of parallel calls, which ShareGPT holds in one text."""
    try:
        (text,) = results
        items = json.loads(text)
    except ValueError:
        return None
    if not isinstance(items, list):
        return None
    return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]


def _of_instruction(sample: Sample, row: Mapping[str, Any]) -> str | None:
    """Alpaca's own prompt, which axolotl writes: a system text, then instruction, input and answer under headings."""
    system = sample.messages[0].content if sample.messages[0].role == "system" else ""
    *earlier, asked, answer = [m for m in sample.messages if m.role != "system"]
    instruction, given = sample.input_split if sample.input_split and not earlier else (asked.content, "")
    middle = f"### Instruction:\n{instruction}\n\n" + (f"### Input:\n{given}\n\n" if given else "")
    if not row["text"].endswith(f"{middle}### Response:\n{answer.content}<|im_end|>"):
        return "a text"
    if not row["text"].startswith(system):
        return "the system text"
    if tuple(map(_of_run, row["trained"])) != (answer.content.strip(),):
        return "what is trained"
    return "history" if earlier else None


def aligned(
    samples: Sequence[Sample], rows: Sequence[Mapping[str, Any]], name: str, doubtful: Callable[[Sample], object]
) -> Iterator[tuple[Sample, Mapping[str, Any] | None]]:
    """Each sample with its row, None where the reader dropped it: the order is kept.

    A sample that is `doubtful` may have been dropped: a row that is not just what it says is another's.
    """
    place = 0
    for number, sample in enumerate(samples):
        left = len(samples) - number == len(rows) - place  # none was dropped, or none will be
        row = rows[place] if place < len(rows) else None
        if row is not None and not left:
            its = difference(sample, row, name) is None if doubtful(sample) else _is_of(sample, row)
            row = row if its else None
        place += row is not None
        yield sample, row


def _is_of(sample: Sample, row: Mapping[str, Any]) -> bool:
    text, place = row.get("chosen", row)["text"], 0
    said = [turn.content.strip() for turn in sample.messages if turn.role in ("system", "user", "assistant")]
    for part in (*(json.dumps(_name(tool), ensure_ascii=False) for tool in sample.tools), *said):
        place = text.find(part, 0 if sample.messages[0].content.strip() == part else place)
        if place < 0:
            return False
    return True


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", tool)["name"])

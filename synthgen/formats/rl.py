"""Prompts for reinforcement learning: what is asked, the truth, and which verifier holds an answer against it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import message_row, plain, read_messages, tools_text, with_ids
from synthgen.formats.turns import (
    ODD_TYPES,
    calls_tools,
    columns_of,
    lost,
    meta_of,
    noted,
    results_fault,
    spoken,
    text_of,
    to_json,
    tools_of,
    unread,
)
from synthgen.types import Message, Sample

_TOLD = ("verifier", "data_source")  # meta of the sample, columns of the row
# verl's: `reward_model` holds the truth, `extra_info` what its reward function wants to know besides.
_VERL = ("ability", "reward_model", "extra_info")
_OWN = frozenset({"prompt", "ground_truth", "tools", *_TOLD})
_KEEPS = frozenset({"weights of turns", "names of speakers", "the reference", *_TOLD, *_VERL})
_ASKED = ("prompt", "question", "query", "problem")
_TRUTHS = frozenset({"ground_truth", "reward_model", "verifier"})
# What is answered already, or asked in another column too, is a row of another format.
_OTHERS = frozenset(
    {"completion", "completions", "chosen", "rejected", "label", "response", "output", "answer", "solution"}
    | {"target", "targets", "messages", "conversations", "instruction", "text"}
)  # fmt: skip
_RESULT = re.compile(r"^#### *([^\n#]*[^\s#])\s*\Z", re.MULTILINE)
# Words of Berkeley's function-calling leaderboard for types of JSON Schema.
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}


class RL:
    """The prompt as messages; the other columns where any sample has them, so that the barest row is prompt-only.

    Read too: verl's `reward_model`, which is written again as it stood, and the questions of Berkeley's leaderboard of
    function calls, lists of turns with the tools in `function`.
    """

    name = "rl"
    description = "prompt (+ ground_truth, verifier, data_source, tools): RL trainers, TRL's prompt-only, verl"
    file_name = "rl.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        if not _OTHERS.isdisjoint(row):
            return False
        return is_asked(row) or ("prompt" in row and not isinstance(row["prompt"], str))

    def read(self, row: Mapping[str, Any]) -> Sample:
        column = next((name for name in _ASKED if row.get(name) is not None), "prompt")
        prompt, told, own = row.get(column), {name: text for name in _TOLD if (text := text_of(row, name))}, {column}
        if column == "question" and is_leaderboard(row):
            prompt, later = _asked_in_turns(prompt)
            told, row = {**told, **later}, {**row, "tools": row["function"]}
            own.add("function")
        messages = (Message("user", prompt),) if isinstance(prompt, str) else _turns(prompt, column)
        tools, notes = _with_types(tools_of(row))
        meta = {**told, **meta_of(row, _OWN | own), **unread(prompt)}
        return Sample(messages, reference=_truth(row), tools=tools, meta=noted(meta, *notes))

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        there: set[str] = set()
        for sample in samples:
            there.update(name for name in _TOLD if _told(sample, name))
            there.update(columns_of(sample).keys() & set(_VERL))
            if _ground_truth(sample) and not isinstance(columns_of(sample).get("reward_model"), Mapping):
                there.add("ground_truth")
            if sample.tools or calls_tools(sample):
                there.add("tools")
        order = ("ground_truth", *_TOLD, *_VERL, "tools")
        return ("prompt", *(name for name in order if name in there))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        kept = columns_of(sample)
        model = _reward_model(sample)
        row = {
            "prompt": [message_row(message) for message in plain(with_ids(open_prompt(sample)))],
            "ground_truth": _ground_truth(sample),
            **{name: _told(sample, name) for name in _TOLD},
            **{name: kept.get(name) for name in _VERL},
            "reward_model": model,
            "tools": tools_text(sample),
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        prompt = open_prompt(sample)
        if not prompt:
            return "text without turns" if sample.text is not None else "no user turn"
        if any(message.role == "user" and not message.content.strip() for message in prompt):
            return "an empty user turn"
        if any(turn.role == "assistant" and not turn.content.strip() and not turn.tool_calls for turn in prompt):
            return "an empty answer"
        return results_fault(prompt)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return prompt_loses(sample, _KEEPS)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # it has no stage that asks without an answer


def is_asked(row: Mapping[str, Any]) -> bool:
    """Whether the row asks something and says what an answer is held against, or with which tools to answer."""
    asks = any(row.get(name) is not None for name in _ASKED)
    return asks and (not _TRUTHS.isdisjoint(row) or is_leaderboard(row))


def is_leaderboard(row: Mapping[str, Any]) -> bool:
    """Whether the row is one of Berkeley's: a list of lists of turns, and tools."""
    question = row.get("question")
    return "function" in row and isinstance(question, list) and all(isinstance(turns, list) for turns in question)


def open_prompt(sample: Sample) -> Sequence[Message]:
    """All up to the last turn of the user, or the tool results after it where nothing else follows."""
    turns = spoken(sample.messages)
    if turns and turns[-1].role == "tool":
        return turns
    last = max((place for place, turn in enumerate(turns) if turn.role == "user"), default=-1)
    return turns[: last + 1]


def prompt_loses(sample: Sample, keeps: frozenset[str]) -> tuple[str, ...]:
    """What a row that only asks does not hold of the sample."""
    answered = len(open_prompt(sample)) < len(sample.messages)
    return (*(("the answer",) if answered else ()), *lost(sample, keeps))


def _turns(value: Any, column: str) -> tuple[Message, ...]:
    try:
        messages = read_messages(value)
    except ParseError as error:
        raise ParseError(f"{column}: {error}") from None
    if messages[-1].role not in ("user", "tool"):
        raise ParseError(f"{column} must end with a turn of the user or a tool")
    return messages


def _asked_in_turns(question: Any) -> tuple[Any, dict[str, Any]]:
    """The first list of turns, and what the user says in the later ones, as `meta` has it."""
    first, *later = question or [None]
    said = [turn.get("content") for turns in later for turn in turns if isinstance(turn, Mapping)]
    if not all(isinstance(text, str) for text in said) or len(said) != sum(map(len, later)):
        raise ParseError("question: every turn must be {role, content} with a text")
    return first, {"turns": said} if said else {}


def _with_types(tools: tuple[Mapping[str, Any], ...]) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The tools with the types that JSON Schema knows, and what was changed."""
    mapped = tuple(_schema(tool) for tool in tools)
    return mapped, (ODD_TYPES,) if mapped != tools else ()


def _schema(value: Any) -> Any:
    if isinstance(value, list):
        return [_schema(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _schema(inner) for key, inner in value.items()}
    kind = found.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        found["type"] = _TYPES[kind]
    elif kind == "any":
        del found["type"]
    return found


def _truth(row: Mapping[str, Any]) -> str | None:
    """Numbers and lists are common there: a verifier gets the JSON text of them."""
    model = row.get("reward_model")
    truth = row.get("ground_truth")
    if truth in (None, "") and isinstance(model, Mapping):
        truth = model.get("ground_truth")
    return None if truth in (None, "") else truth if isinstance(truth, str) else to_json(truth)


def _ground_truth(sample: Sample) -> str:
    """The reference; else what GSM8K's answers end in, a last line of `#### 72`."""
    if sample.reference or not sample.messages or sample.messages[-1].role != "assistant":
        return sample.reference or ""
    marked = _RESULT.search(sample.messages[-1].content)
    return marked[1] if marked and sample.label is not False else ""


def _reward_model(sample: Sample) -> Mapping[str, Any] | None:
    """The object that was read, with the truth of today."""
    kept = columns_of(sample).get("reward_model")
    if not isinstance(kept, Mapping) or _truth({"reward_model": kept}) == sample.reference:
        return kept if isinstance(kept, Mapping) else None
    return {**kept, "ground_truth": sample.reference}


def _told(sample: Sample, name: str) -> str:
    value = sample.meta.get(name)
    return value if isinstance(value, str) else ""


FORMAT = RL()

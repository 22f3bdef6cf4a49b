"""What data sets call their columns and how they spell conversations: one place for all that read rows untold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from synthgen.rows.text import from_json

# What is asked. The first that is there and holds something counts; which one that is depends on what is wanted.
_ASKED = ("query", "problem")
PROMPTS = ("prompt", "question", "instruction", *_ASKED, "text", "turns", "messages", "conversations")
COMPARED = ("instruction", "question", "prompt", *_ASKED, "text", "messages", "conversations", "turns")
TASKS = ("instruction", "prompt", "question", *_ASKED, "text")
TURNS = ("messages", "conversations", "turns")
# What is answered, the fuller column first: beside a solution or a response, `answer` is but the result.
ANSWERS = ("output", "response", "solution", "completion", "answer", "target", "targets")
REFERENCES = (*ANSWERS, "reference", "ground_truth")
# With one of these a row has two answers to one prompt.
PAIRED = frozenset({"chosen", "rejected_response", "rejected_messages", "preferred_output", "non_preferred_output"})

_CONVERSATIONS = ("conversation", "dialog", "dialogue", "data")
_LISTS = frozenset({"messages", "conversations", "turns", "history", "instances", "rejected_messages"})
_OBJECTS = frozenset({"reward_model"})
_ODD = _LISTS | _OBJECTS | {*_CONVERSATIONS, "system_prompt"}
_PAIRS = (("human", "assistant"), ("input", "output"))
_SOURCES = frozenset({"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"})
_SPEAKERS = ("human", "gpt")
# What a column may be called: in letters of any size, with spaces around, or in Chinese.
_CHINESE = {
    **{"指令": "instruction", "输入": "input", "输出": "output", "问题": "question", "提问": "question"},
    **{"答案": "answer", "回答": "answer", "系统": "system", "对话": "conversations", "历史": "history"},
}
VOCABULARY = frozenset(
    {*PROMPTS, *REFERENCES, *PAIRED, *_ODD, "rejected", "input", "context", "system", "tools", "label", "kto_tag"}
)


def canonical(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the usual names of columns, with lists where a table has their JSON text, and every conversation as
    turns in `conversations`.

    What stands there otherwise, text that is no JSON among it, stays for the reader to judge.
    """
    if usual := _usual_names(tuple(fields)):
        fields = {usual.get(column, column): value for column, value in fields.items()}
    if _ODD.isdisjoint(fields) or not any(_is_odd(column, fields[column]) for column in _ODD & fields.keys()):
        return fields
    found = {column: _parsed(column, value) for column, value in fields.items()}
    if "system" not in found and "system_prompt" in found:
        found["system"] = found.pop("system_prompt")
    name = "conversations" if "conversations" in found else _conversation(found)
    if name and (turns := _turns(found[name])) is not None:
        del found[name]
        found["conversations"] = turns
    return found


@lru_cache(maxsize=1000)
def _usual_names(columns: tuple[str, ...]) -> Mapping[str, str]:
    """The columns that have a usual name, spelled otherwise, which no other column has."""
    usual: dict[str, str] = {}
    for column in columns:
        name = column.strip().lower()
        name = _CHINESE.get(name, name)
        if column not in VOCABULARY and name in VOCABULARY and name not in (*columns, *usual.values()):
            usual[column] = name
    return usual


def renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with the columns of `names` under the names that they map to; who had such a name gets the other's."""
    for name, column in names.items():
        if column in fields:
            swapped = {column: name, name: column}
            fields = {swapped.get(key, key): value for key, value in fields.items()}
    return fields


def is_registry(fields: Mapping[str, Any]) -> bool:
    """Whether it is LLaMA-Factory's `dataset_info.json`, which names data sets and holds none of their rows."""
    return bool(fields) and all(isinstance(one, Mapping) and not _SOURCES.isdisjoint(one) for one in fields.values())


def _is_odd(column: str, value: Any) -> bool:
    """Whether anything is to be done for a column; most rows of most files need nothing."""
    if isinstance(value, str):
        return column == "system_prompt" or value.lstrip()[:1] in ("[", "{")
    if not isinstance(value, list):
        return False
    first = value[0] if value else None
    speaks = isinstance(first, Mapping) and ("from" in first or "role" in first)
    return column in _CONVERSATIONS or (column == "conversations" and not speaks)


def _parsed(column: str, value: Any) -> Any:
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    if column not in _LISTS and column not in (*_OBJECTS, *_CONVERSATIONS):
        return value
    try:
        found = from_json(value)
    except ValueError:
        return value
    return found if isinstance(found, dict if column in _OBJECTS else list) else value


def _conversation(fields: Mapping[str, Any]) -> str | None:
    """The column of a conversation that is called otherwise."""
    name = next((name for name in _CONVERSATIONS if isinstance(fields.get(name), list) and fields[name]), None)
    if name is None or "messages" in fields:
        return None
    texts = all(isinstance(turn, str) for turn in fields[name])
    # Beside a question, texts are what it is about; under this name other lists are anything.
    return None if (texts and not fields.keys().isdisjoint(TASKS)) or (name == "data" and not texts) else name


def _turns(value: Any) -> list[Any] | None:
    """Texts that take turns, or pairs of a question and its answer, as turns; None where it is neither list."""
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(turn, str) for turn in value):
        return [{"from": _SPEAKERS[number % 2], "value": text} for number, text in enumerate(value)]
    if not all(isinstance(turn, Mapping) for turn in value):
        return None
    pair = next((pair for pair in _PAIRS if all({*pair} <= turn.keys() for turn in value)), None)
    return [turn for one in value for turn in _of_pair(one, pair)] if pair else value


def _of_pair(turn: Mapping[str, Any], pair: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """The turns of a pair; what else it holds goes with the question, to be counted."""
    if system := turn.get("system"):
        yield {"from": "system", "value": system}
    rest = {key: value for key, value in turn.items() if key not in (*pair, "system")}
    yield {**rest, "from": "human", "value": turn[pair[0]]}
    yield {"from": "gpt", "value": turn[pair[1]]}

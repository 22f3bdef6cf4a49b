"""LLaMA-Factory's `dataset_info.json`: whether an entry makes it read all that its file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from synthgen.validating.checking import Checked
from synthgen.validating.turns import Found

_COLUMNS = (
    "prompt", "query", "response", "history", "messages", "system", "tools", "images", "videos", "audios", "chosen",
    "rejected", "kto_tag",
)  # fmt: skip
# What is read where an entry has no `columns`, and what the speakers are called where it has no `tags`.
_DEFAULTS = {"alpaca": {"prompt": "instruction", "query": "input", "response": "output"}}
_TURNS = {"messages": "conversations"}
_TAGS = {
    "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
    "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system",
}  # fmt: skip
_FORMS = ("alpaca", "sharegpt", "openai")


def entry_faults(entry: Mapping[str, Any], file: Checked) -> Iterator[Found]:
    """What LLaMA-Factory would not read, misread or stop at, in a file of which all rows were looked at."""
    form = entry.get("formatting", "alpaca")
    if form not in _FORMS:
        yield "registry-formatting", f"no formatting is called {form!r}"
        return
    turns = next((name for name in ("conversations", "messages") if name in file.names), None)
    kind = file.kind.name if file.kind else ""
    if turns and form == "alpaca":
        yield "registry-formatting", f'the file has {turns}, which is "formatting": "sharegpt"'
        return
    if not turns and form != "alpaca":
        yield "registry-formatting", f"the file has no conversations, which is what {form} reads"
        return
    if kind.startswith("preference") is not bool(entry.get("ranking")):
        what = 'has two answers a row: "ranking": true' if kind.startswith("preference") else "has one answer a row"
        yield "registry-formatting", f"the file {what}"
    columns = entry.get("columns")
    given = columns if isinstance(columns, dict) else {}
    read = given if "columns" in entry else _DEFAULTS.get(form, _TURNS)
    yield from _columns(read, file, given=bool(given))
    if turns:
        yield from _tags(entry, file, form)


def _columns(read: Mapping[str, Any], file: Checked, *, given: bool) -> Iterator[Found]:
    for name, column in read.items():
        if name not in _COLUMNS:
            close = get_close_matches(name, _COLUMNS, n=1)
            near = f"; did you mean {close[0]}?" if close else ""
            yield "registry-unread", f"{name} is no name that LLaMA-Factory knows{near}"
        elif column is not None and column not in file.names:
            yield "registry-columns", f"no row has the column {column}{'' if given else ', which is read by default'}"
    for column in _held(file):
        if column not in read.values():
            how = "is not among `columns`" if given else "is read only where `columns` name it"
            yield "registry-unread", f"the column {column} {how}"


def _held(file: Checked) -> Iterator[str]:
    """The columns that hold something that is to be trained on."""
    kind = file.kind.name if file.kind else ""
    for column in file.names:
        if column in ("instruction", "output", "response", "conversations", "messages", "tools"):
            yield column
        elif column in ("input", "history") or (column == "system" and "instruction" in file.names):
            if column in file.roles:
                yield column
        elif column == "system" or _judges(column, kind):
            yield column


def _judges(column: str, kind: str) -> bool:
    return column in {"preference": ("chosen", "rejected"), "kto": ("kto_tag", "label")}.get(kind.partition("-")[0], ())


def _tags(entry: Mapping[str, Any], file: Checked, form: str) -> Iterator[Found]:
    given = entry.get("tags")
    tags = given if isinstance(given, dict) else _TAGS
    keys = ("role", "content") if "messages" in file.names else ("from", "value")
    if (tags.get("role_tag", "from"), tags.get("content_tag", "value")) != keys and form != "openai":
        yield "registry-tags", f'turns have {keys[0]} and {keys[1]}: "tags" must say so'
        return
    if form == "openai":
        yield "registry-openai", "formatting is openai"
        return
    known = {value for name, value in tags.items() if name not in ("role_tag", "content_tag")}
    for role in sorted(file.roles - known):
        yield "registry-tags", f"turns of {role} have no tag"
    if "tool" in file.roles and keys[0] == "role":
        yield "registry-formatting", "calls stand beside the text, which sharegpt does not read: export to sharegpt"

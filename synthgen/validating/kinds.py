"""The kinds of rows by their columns, with the rules of each and who reads it: a new format is an entry here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from synthgen.errors import UsageError
from synthgen.formats import formats, sniff_format
from synthgen.formats.chatml import SEP, mark_of
from synthgen.formats.labels import meaning
from synthgen.validating import answers
from synthgen.validating.rules import LOADERS, Loader
from synthgen.validating.turns import Found, messages, sharegpt

Check = Callable[[Mapping[str, Any], set[str]], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Kind:
    """`reads` are the columns that are trained on; `needs` those that no trainer does without."""

    name: str
    check: Check
    reads: tuple[str, ...]
    needs: tuple[str, ...]
    readers: tuple[Loader, ...]


_TURNS, _PAIR = ("system", "tools"), ("chosen", "rejected")
_GIVEN = ("instruction", "input", "system", "history")
_PREFERRED = ("input", "preferred_output", "non_preferred_output")
_OWN: tuple[Loader, ...] = ("LLaMA-Factory", "axolotl", "ms-swift")  # who reads the forms of LLaMA-Factory
_OPEN: tuple[Loader, ...] = ("LLaMA-Factory", "TRL", "axolotl", "ms-swift")
_LF: tuple[Loader, ...] = ("LLaMA-Factory",)
_TRL: tuple[Loader, ...] = ("TRL", "axolotl")
_SWIFT: tuple[Loader, ...] = ("ms-swift",)
_ASKED = ("question-answer", "seed-tasks", "prompts", "mt-bench")
UNKNOWN = Kind("", answers.anything, (), (), LOADERS)
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("alpaca", answers.alpaca, (*_GIVEN, "output", "response"), ("instruction", "output"), _OWN),
        Kind("sharegpt", sharegpt, ("conversations", *_TURNS), ("conversations",), _OWN),
        Kind("fastchat", sharegpt, ("conversations",), ("conversations",), _OWN),
        Kind("messages", messages, ("messages", "tools"), ("messages",), LOADERS),
        Kind("samples", answers.anything, ("messages", "text", "rejected"), ("messages", "meta"), ()),
        Kind("preference", answers.preference, ("prompt", *_PAIR, "tools"), _PAIR, _TRL),
        Kind("preference-sharegpt", answers.preference, ("conversations", *_PAIR, *_TURNS), _PAIR, _LF),
        Kind("preference-alpaca", answers.preference, (*_GIVEN, *_PAIR), ("instruction", *_PAIR), _LF),
        Kind("preference-openai", answers.openai_pair, _PREFERRED, _PREFERRED, ("OpenAI",)),
        Kind("preference-swift", answers.swift_pair, ("messages", "rejected_response"), ("messages",), _SWIFT),
        Kind("kto", answers.labelled_completion, ("prompt", "completion", "label"), ("completion", "label"), _TRL),
        Kind(
            "kto-swift",
            answers.labelled_messages,
            ("messages", "tools", "label"),
            ("messages", "label"),
            (*_LF, *_SWIFT),
        ),
        Kind("kto-sharegpt", answers.labelled_sharegpt, ("conversations", *_TURNS, "kto_tag"), ("conversations",), _LF),
        Kind("kto-alpaca", answers.labelled_alpaca, (*_GIVEN, "output", "kto_tag"), ("instruction", "output"), _LF),
        Kind("prompt-completion", answers.completion, ("prompt", "completion"), ("prompt", "completion"), ("TRL",)),
        Kind(
            "prompt-completion-text", answers.completion, ("prompt", "completion"), ("prompt", "completion"), ("TRL",)
        ),
        Kind("question-answer", answers.anything, (*_GIVEN, "question", "answer"), (), _SWIFT),
        Kind("seed-tasks", answers.anything, ("instruction", "instances"), ("instruction", "instances"), ()),
        Kind("prompts", answers.anything, ("prompt", "system"), (), ()),
        Kind("mt-bench", answers.anything, ("turns",), ("turns",), ()),
        Kind("rl", answers.prompt_only, ("prompt",), ("prompt",), ("TRL",)),
        Kind("text", answers.text, ("text",), ("text",), _OPEN),
        Kind("chatml", answers.text, ("text",), ("text",), _OPEN),
        Kind("chatml-sep", answers.text, ("text",), ("text",), _OPEN),
    )
}


def kind_of(row: Mapping[str, Any]) -> Kind | None:
    """What a row is by its columns, None where it has those of no format."""
    name = _name(row)
    return KINDS[name] if name else None


def _name(row: Mapping[str, Any]) -> str | None:
    has = row.keys()
    tagged = "kto_tag" in has or ("label" in has and _may_label(row["label"]))
    if "messages" in has:
        if "meta" in has:
            return "samples"
        if "rejected_response" in has or "rejected_messages" in has:
            return "preference-swift"
        return "preference" if "chosen" in has else "kto-swift" if tagged else "messages"
    if "conversations" in has:
        return "preference-sharegpt" if _either(has) else "kto-sharegpt" if tagged else "sharegpt"
    if "preferred_output" in has or "non_preferred_output" in has:
        return "preference-openai"
    if _either(has):
        return "preference-alpaca" if "instruction" in has else "preference"
    if "instruction" in has and ("output" in has or "response" in has):
        return "kto-alpaca" if tagged else "alpaca"
    if "completion" in has and ("prompt" in has or tagged):
        written = "prompt-completion" if isinstance(row["completion"], list) else "prompt-completion-text"
        return "kto" if tagged else written
    if (member := sniff_format(row)) is not None and member.name in _ASKED:
        return member.name
    if "prompt" in has:
        return "rl"
    if "text" not in has:
        return None
    mark = mark_of(row)
    return "text" if mark is None else "chatml-sep" if mark == SEP else "chatml"


def _either(has: Collection[str]) -> bool:
    return "chosen" in has or "rejected" in has


def _may_label(value: Any) -> bool:
    """`label` is a word of classifiers too: names and other numbers are theirs."""
    return value is None or meaning(value) is not None


def open_kind(name: str) -> Kind:
    """The kind of `--format NAME`; UsageError names the nearest. A format without rules of its own gets the common."""
    if name in KINDS:
        return KINDS[name]
    known = {*KINDS, *formats()}
    if name in known:
        return replace(UNKNOWN, name=name)
    close = get_close_matches(name, sorted(known), n=1)
    near = f"did you mean {close[0]}?" if close else f"formats: {', '.join(sorted(known))}"
    raise UsageError(f"no format is called {name!r}; {near}")


def notes(kind: Kind, columns: Collection[str], roles: Collection[str], rows: int, size: int) -> Iterator[str]:
    """The rules that are true of what was read, whoever wrote it."""
    if kind.name == "alpaca":
        yield "trl-reads-no-alpaca"
        yield from (f"axolotl-ignores-{name}" for name in ("system", "history") if name in roles)
    if kind.check is sharegpt:
        yield "trl-renders-nothing"
        if {"function_call", "observation"} & set(roles):
            yield from ("axolotl-needs-roles", "swift-one-call")
    if kind.name == "messages":
        if "tools" in columns or "tool" in roles:
            yield from ("openai-formatting", "text-arguments")
        if rows < 10:
            yield "few-rows"
    if kind.name.startswith("preference") and kind.name not in ("preference-swift", "preference-openai"):
        yield "swift-ignores-pairs"
        if kind.name == "preference" and "prompt" not in columns:
            yield "implicit-prompt"
    if kind.name == "preference" and ("tools" in columns or "tool" in roles):
        yield from ("axolotl-pairs-call", "text-arguments")
    if kind.name == "kto" and roles:
        yield "axolotl-kto-texts"
    if kind.name in ("messages", "preference-openai") and size > 512_000_000:
        yield "over-512-mb"

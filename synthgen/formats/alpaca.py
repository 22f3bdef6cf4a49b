"""Alpaca: instruction, input, output, with system and history where there are any (LLaMA-Factory's default)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.labels import judged
from synthgen.formats.turns import lost, meta_of, plain_fault, split_system, text_of
from synthgen.types import Message, Sample

_OWN = frozenset({"instruction", "input", "output", "system", "history"})
_KEEPS = frozenset({"the border of instruction and input"})


def joined(instruction: str, given: str) -> str:
    """The user's text as LLaMA-Factory and ms-swift join it."""
    return f"{instruction}\n{given}" if instruction and given else instruction or given


class Alpaca:
    """Rows of text; earlier turns go to `history`, the last pair is the row's own."""

    name = "alpaca"
    description = "instruction, input, output (+ system, history): LLaMA-Factory, ms-swift, axolotl"
    file_name = "alpaca.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        answered = "instruction" in row and ("output" in row or "response" in row)
        return answered and type(row.get("output")) is not list and not judged(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        output = "response" if "response" in row and "output" not in row else "output"  # GPTeacher's name for it
        given = given_column(row)
        split = text_of(row, "instruction", needed=True), text_of(row, given)
        messages = [*asked(row, split), Message("assistant", text_of(row, output, needed=True))]
        own = _OWN if (output, given) == ("output", "input") else (_OWN - {"input"}) | {output, given}
        return Sample(tuple(messages), input_split=split, meta=meta_of(row, own))

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        systems = histories = False
        for sample in samples:
            system, turns = split_system(sample)
            systems, histories = systems or bool(system), histories or len(turns) > 2
        more = [name for name, there in (("system", systems), ("history", histories)) if there]
        return ("instruction", "input", "output", *more)

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        system, turns = split_system(sample)
        said = [turn.content for turn in turns]
        instruction, given = _split(sample, said)
        row = {
            "instruction": instruction,
            "input": given,
            "output": said[-1],
            "system": system,
            "history": [list(pair) for pair in zip(said[:-2:2], said[1:-2:2], strict=True)],
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return plain_fault(sample)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return lost(sample, _KEEPS)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        names = {"instruction": "prompt", "input": "query", "output": "response"}
        return {"file_name": file_name, "columns": {names.get(column, column): column for column in columns}}


def given_column(row: Mapping[str, Any]) -> str:
    """The column of what an instruction is about: Dolly and others call it context."""
    return "context" if "input" not in row and isinstance(row.get("context"), str) else "input"


def asked(row: Mapping[str, Any], split: tuple[str, str]) -> list[Message]:
    """The turns up to the answer: those of the columns system and history, then what is asked now."""
    system = text_of(row, "system")
    messages = [Message("system", system)] if system else []
    for user, assistant in _history(row.get("history")):
        messages += [Message("user", user), Message("assistant", assistant)]
    return [*messages, Message("user", joined(*split))]


def _history(value: Any) -> list[tuple[str, str]]:
    if not value:
        return []
    if not isinstance(value, list):
        raise ParseError("history must be a list of pairs")
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ParseError("history must be a list of pairs [user text, assistant text]")
    return [(user, assistant) for user, assistant in value]


def _split(sample: Sample, said: Sequence[str]) -> tuple[str, str]:
    """The last user turn as instruction and input; the recipe's own border counts where it is about that turn."""
    split = sample.input_split
    if split and split[0].strip() and (len(said) == 2 or joined(*split) == said[-2]):
        return split
    return said[-2], ""


FORMAT = Alpaca()

"""Questions of several turns as MT-Bench asks them: the user's turns alone, the later ones after answers to come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.rl import prompt_loses
from synthgen.formats.turns import calls_tools, columns_of, later_turns, meta_of, to_json
from synthgen.types import Message, Sample

_COLUMNS = ("question_id", "category", "turns")
_KEEPS = frozenset({*_COLUMNS, "reference", "the reference", "weights of turns", "the user's later turns"})
_OTHERS = frozenset({"messages", "conversations", "prompt", "question", "instruction", "text"})


class MTBench:
    """One sample asks the first turn; what follows waits in its meta, since nobody has answered yet."""

    name = "mt-bench"
    description = "question_id, category, turns of the user (+ reference): FastChat's judge, Vicuna's questions"
    file_name = "mt-bench.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "turns" in row and _OTHERS.isdisjoint(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        turns = row.get("turns")
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise ParseError("turns must be a list of texts, what the user says one after the other")
        later = {"turns": turns[1:]} if len(turns) > 1 else {}
        given = row.get("reference")
        first = given[0] if isinstance(given, list) and given else given
        truth = first if isinstance(first, str) or not first else to_json(first)
        return Sample(
            (Message("user", turns[0]),),
            reference=truth or None,
            meta={**later, **meta_of(row, frozenset({"turns"} if given else {"turns", "reference"}))},
        )

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        references = [sample for sample in samples if _references(sample)]
        return (*_COLUMNS, "reference") if references else _COLUMNS

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        kept = columns_of(sample)
        turns = [turn.content for turn in sample.messages if turn.role == "user"] + [*later_turns(sample)]
        row = {
            "question_id": kept.get("question_id", kept.get("id", _id(turns))),
            "category": kept.get("category", ""),
            "turns": turns,
            "reference": _references(sample),
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        if sample.tools or calls_tools(sample):
            return "tools"
        said = [turn.content for turn in sample.messages if turn.role == "user"]
        if not said:
            return "text without turns" if sample.text is not None else "no user turn"
        return None if all(text.strip() for text in said) else "an empty user turn"

    def loses(self, sample: Sample) -> tuple[str, ...]:
        system = any(turn.role == "system" for turn in sample.messages)
        return (*(("the system text",) if system else ()), *prompt_loses(sample, _KEEPS))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # nothing is answered in it


def _references(sample: Sample) -> list[Any]:
    """The list that was read, as long as it is still about this sample."""
    kept = columns_of(sample).get("reference")
    if isinstance(kept, list) and kept and (kept[0] or None) == sample.reference:
        return kept
    return [sample.reference] if sample.reference else []


def _id(turns: Sequence[str]) -> str:
    return hashlib.blake2b(repr(turns).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


FORMAT = MTBench()

"""A question and its answer as two texts, whatever the two columns are called: GSM8K's rows, and ms-swift's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.alpaca import FORMAT as ALPACA
from synthgen.formats.alpaca import asked, given_column
from synthgen.formats.labels import label_of, spelling, tag_column
from synthgen.formats.preference import answer_of, prompt_of, system_read
from synthgen.formats.turns import lost, meta_of, noted, plain_fault, text_of, to_json, unread
from synthgen.rows.shapes import ANSWERS, PAIRED
from synthgen.types import Message, Sample

_ASKED = ("prompt", "question", "query", "problem", "instruction", "input")
_RESULTS = ("answer", "final_answer", "expected_answer")
_OWN = frozenset({"system", "history"})
# What has turns, or is a pair of TRL's, is a row of another format.
_OTHERS = PAIRED | {"messages", "conversations", "turns", "meta", "kto_tag"}


def asked_column(row: Mapping[str, Any]) -> str | None:
    """The column of what is asked, as text or as turns; None where there is none."""
    return next((name for name in _ASKED if row.get(name) and isinstance(row[name], str | list)), None)


def answer_column(row: Mapping[str, Any], question: str | None = None) -> str | None:
    """The column of the answer, the first that holds something, else the first that is there."""
    there = [name for name in ANSWERS if name in row and name != question]
    return next((name for name in there if row[name] not in (None, "", [])), there[0] if there else None)


class QuestionAnswer:
    """An answer that is a bare number is a truth to hold answers against: no model should learn to say that alone."""

    name = "question-answer"
    description = "question, answer (+ system, history; read: query, problem, response, solution, ...): ms-swift"
    file_name = "question-answer.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        question = asked_column(row)
        if question is None or not _OTHERS.isdisjoint(row) or (answer := answer_column(row)) is None:
            return False
        if answer == "completion" and ("label" in row or "prompt" in row):
            return False
        return not ALPACA.sniff({**row, "label": None})

    def read(self, row: Mapping[str, Any]) -> Sample:
        question = asked_column(row)
        answer = answer_column(row, question)
        if question is None or answer is None:
            raise ParseError(f"no question with an answer; a question is in one of {', '.join(_ASKED)}")
        split, own, messages = _asked(row, question)
        said, truth, taken = _said(row, answer)
        label, notes = None, tuple[str, ...]()
        if (tag := tag_column(row)) is not None:
            label, notes, own = label_of(row, tag), spelling(row, tag), own | {tag}
        meta = noted(meta_of(row, own | taken) | unread(row[question], row[answer]), *notes)
        return Sample((*messages, *said), reference=truth, label=label, input_split=split, meta=meta)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return ("question", "answer", *ALPACA.columns(samples)[3:])

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        row = ALPACA.row(sample, ("instruction", "input", "output", "system", "history"))
        row |= {"question": [m.content for m in sample.messages if m.role == "user"][-1], "answer": row["output"]}
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return plain_fault(sample)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return lost(sample, frozenset())

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        names = {"question": "prompt", "answer": "response"}
        return {"file_name": file_name, "columns": {names.get(column, column): column for column in columns}}


def _asked(row: Mapping[str, Any], question: str) -> tuple[tuple[str, str] | None, frozenset[str], list[Message]]:
    """The border of question and context if there is one, the columns that are read, and the turns."""
    if not isinstance(row[question], str):
        prompt = prompt_of(row, question)
        return None, frozenset({question}) | system_read(row, prompt), prompt
    split, own = split_of(row, question)
    return (split if split[1] else None), _OWN | own, asked(row, split)


def split_of(row: Mapping[str, Any], question: str) -> tuple[tuple[str, str], frozenset[str]]:
    """What is asked and what it is about, with the columns of both; a column `prompt` is all of it."""
    given = given_column(row)
    if question != "instruction" and (given != "context" or question == "prompt"):
        return (row[question], ""), frozenset({question})
    return (row[question], text_of(row, given)), frozenset({question, given})


def _said(row: Mapping[str, Any], answer: str) -> tuple[list[Message], str | None, frozenset[str]]:
    """The answer's turns, the truth beside it or instead of it, and the columns of both."""
    if _is_result(row[answer]):
        return [], to_json(row[answer]), frozenset({answer})
    result = next((name for name in _RESULTS if name != answer and row.get(name) not in (None, "", [])), None)
    truth = row[result] if result else None
    truth = truth if truth is None or isinstance(truth, str) else to_json(truth)
    return answer_of(row, answer), truth, frozenset({answer, result} if result else {answer})


def _is_result(value: Any) -> bool:
    """A number, true or false, or texts that are all right: what an answer is held against."""
    return isinstance(value, int | float) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


FORMAT = QuestionAnswer()

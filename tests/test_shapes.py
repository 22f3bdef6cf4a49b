"""Shapes that data sets have beside the formats: each is read as what it says, and what changes is counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from test_formats import PAIR, PLAIN, said, through

from synthgen.errors import ParseError
from synthgen.formats import SampleReader, open_format, read_row
from synthgen.formats.write import write_samples
from synthgen.inputs import Inputs
from synthgen.rows.shapes import canonical
from synthgen.seeds import read_seeds
from synthgen.types import Message, Sample

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TWICE = said("q1", "a1", "q2", "a2")


@pytest.mark.parametrize(
    ("row", "name", "messages"),
    [
        ({"question": "q", "answer": "a"}, "question-answer", PLAIN.messages),
        ({"query": "q", "response": "a"}, "question-answer", PLAIN.messages),
        ({"prompt": "q", "response": "a"}, "question-answer", PLAIN.messages),
        ({"problem": "q", "solution": "a"}, "question-answer", PLAIN.messages),
        ({"input": "q", "output": "a"}, "question-answer", PLAIN.messages),
        ({"instruction": "q", "answer": "a"}, "question-answer", PLAIN.messages),
        ({"question": "q", "completion": "a"}, "question-answer", PLAIN.messages),
        ({"query": "q", "targets": "a", "system": "s"}, "question-answer", said("q", "a", system="s")),
        ({"system_prompt": "s", "question": "q", "response": "a"}, "question-answer", said("q", "a", system="s")),
        ({"query": "q2", "response": "a2", "history": [["q1", "a1"]]}, "question-answer", TWICE),
        ({"prompt": [Q], "response": "a"}, "question-answer", PLAIN.messages),
        ({"instruction": "q", "context": "", "response": "a", "category": "x"}, "alpaca", PLAIN.messages),
        ({"instruction": "q", "instances": [{"input": "", "output": "a"}]}, "seed-tasks", PLAIN.messages),
        ({"prompt": "q"}, "prompts", said("q")),
        ({"question": "q", "context": "about"}, "prompts", said("q\nabout")),
        ({"instruction": "do", "input": "this"}, "prompts", said("do\nthis")),
        ({"turns": ["q"]}, "mt-bench", said("q")),
        ({"conversation": [Q, A]}, "sharegpt", PLAIN.messages),
        ({"conversation": [{"human": "q1", "assistant": "a1"}, {"human": "q2", "assistant": "a2"}]}, "sharegpt", TWICE),
        ({"conversation": [{"system": "s", "input": "q", "output": "a"}]}, "sharegpt", said("q", "a", system="s")),
        ({"conversation": [{"human": "q", "assistant": "a"}], "system": "s"}, "sharegpt", said("q", "a", system="s")),
        ({"id": "1", "data": ["q1", "a1", "q2", "a2"]}, "fastchat", TWICE),
        ({"dialog": ["q", "a"], "act": [1, 2]}, "sharegpt", PLAIN.messages),
        ({"dialogue": [{"from": "USER", "value": "q"}, {"from": "ASSISTANT", "value": "a"}]}, "sharegpt", PLAIN.messages),
        ({"messages": [{"role": "Human", "content": "q"}, {"role": "AI", "content": "a"}]}, "messages", PLAIN.messages),
        ({"messages": [{"role": "user", "text": "q"}, {"from": "bot", "value": "a"}]}, "messages", PLAIN.messages),
        ({"messages": json.dumps([Q, A])}, "messages", PLAIN.messages),
        ({"conversations": json.dumps([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}])}, "fastchat", PLAIN.messages),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_one_conversation_in_many_shapes(row: dict[str, Any], name: str, messages: tuple[Message, ...]) -> None:
    row = {"id": "1", **row} if name == "fastchat" else row
    before = json.dumps(row)
    member, (sample,) = read_row(row)
    assert (member.name, sample.messages) == (name, messages)
    assert json.dumps(row) == before


def test_calls_of_their_own_role_are_read_and_parallel_ones_are_one_turn() -> None:
    calls = [{"role": "tool_call", "content": json.dumps({"name": "f", "arguments": {"x": n}})} for n in (1, 2)]
    results = [{"role": "tool_response", "content": str(n)} for n in (1, 2)]
    member, (sample,) = read_row({"messages": [Q, *calls, *results, A], "tools": [{"name": "f"}]})
    assert (member.name, [message.role for message in sample.messages]) == (
        "messages", ["user", "assistant", "tool", "tool", "assistant"]
    )  # fmt: skip
    assert [call.arguments for call in sample.messages[1].tool_calls] == [{"x": 1}, {"x": 2}]
    assert (member.carries(sample), open_format("sharegpt").carries(sample)) == (None, None)


def test_a_dialogue_beside_a_question_is_what_the_question_is_about() -> None:
    member, (sample,) = read_row({"dialogue": ["M: hello", "W: hi"], "question": "q", "answer": "a"})
    assert (member.name, sample.messages) == ("question-answer", PLAIN.messages)
    assert "column dialogue" in member.loses(sample)
    member, (sample,) = read_row({"prompt": "q", "conversation": [Q, A]})
    assert (member.name, sample.messages) == ("sharegpt", PLAIN.messages)


def test_a_bare_result_is_what_an_answer_is_held_against_and_no_answer() -> None:
    for row, reference in (
        ({"question": "q", "answer": 42}, "42"),
        ({"question": "q", "answer": True}, "true"),
        ({"question": "q", "answer": ["Paris", "paris"]}, '["Paris", "paris"]'),
    ):
        member, (sample,) = read_row(row)
        assert (member.name, sample.messages, sample.reference) == ("question-answer", said("q"), reference)
    _, (sample,) = read_row({"problem": "q", "solution": "a, so 4", "answer": "4"})
    assert (sample.messages, sample.reference) == (said("q", "a, so 4"), "4")


@pytest.mark.parametrize(
    "row",
    [
        {"title": "x", "body": "y"},
        {"question": {"a": 1}, "answer": "b"},
        {"dialogue": "A: hello", "summary": "hi"},
        {"data": [1, 2]},
        {"premise": "p", "hypothesis": "h", "label": 1},
    ],
    ids="+".join,
)
def test_what_is_no_sample_stays_unknown(row: dict[str, Any]) -> None:
    with pytest.raises(ParseError, match="a row of no known format"):
        read_row(row)


def test_question_answer_rows() -> None:
    member = open_format("question-answer")
    long = Sample(said("q1", "a1", "q2", "a2", system="s"))
    assert through(member, PLAIN) == [{"question": "q", "answer": "a"}]
    assert through(member, long) == [{"question": "q2", "answer": "a2", "system": "s", "history": [["q1", "a1"]]}]
    assert [member.read(row) for row in through(member, PLAIN, long)] == [PLAIN, long]
    split = Sample(said("do\nthis", "a"), input_split=("do", "this"))
    assert through(member, split) == [{"question": "do\nthis", "answer": "a"}]
    assert member.loses(split) == ("the border of instruction and input",)


def test_seed_tasks_have_a_sample_for_each_instance(tmp_path: Path) -> None:
    row = {"id": "t", "name": "n", "instruction": "do", "is_classification": True}
    row["instances"] = [{"input": "a", "output": "1"}, {"input": "b", "output": "2"}, {"input": "c", "output": ""}]
    member, samples = read_row(row)
    assert [sample.messages[1:] for sample in samples] == [*((Message("assistant", n),) for n in "12"), ()]
    assert [sample.input_split for sample in samples] == [("do", "a"), ("do", "b"), ("do", "c")]
    written = write_samples(samples, member, tmp_path / "seeds.jsonl")
    assert written.left_out == {"no answer (the last turn is not the assistant's)": 1}
    rows = [json.loads(line) for line in written.path.read_text().splitlines()]
    assert [(one["id"], one["instances"], one["is_classification"]) for one in rows] == [
        ("t", [{"input": "a", "output": "1"}], True), ("t~2", [{"input": "b", "output": "2"}], True)
    ]  # fmt: skip
    assert [seed.fields["input"] for seed in read_seeds([written.path])] == ["a", "b"]  # what --seeds takes
    source = tmp_path / "one.jsonl"
    source.write_text(json.dumps(row) + "\n")
    assert [seed.fields["messages"][-1].content for seed in Inputs([source])] == ["do\na", "do\nb", "do\nc"]


def test_later_turns_wait_and_are_counted_where_there_is_no_place_for_them() -> None:
    member, (sample,) = read_row({"question_id": 81, "category": "w", "turns": ["q", "q2"], "reference": ["r", "r2"]})
    assert (sample.messages, sample.reference, sample.meta["turns"]) == (said("q"), "r", ["q2"])
    assert through(member, sample) == [
        {"question_id": 81, "category": "w", "turns": ["q", "q2"], "reference": ["r", "r2"]}
    ]
    assert "the user's later turns" in open_format("rl").loses(sample)
    assert member.loses(sample) == ()
    (row,) = through(member, Sample(TWICE))
    assert row["turns"] == ["q1", "q2"]
    assert member.loses(Sample(TWICE)) == ("the answer",)
    with pytest.raises(ParseError, match="turns must be a list of texts"):
        member.read({"turns": ["q", 1]})


def test_prompts_take_one_turn_and_a_system_text() -> None:
    member = open_format("prompts")
    asked = Sample(said("q", system="s"))
    assert through(member, asked, Sample(said("q"))) == [{"prompt": "q", "system": "s"}, {"prompt": "q", "system": ""}]
    assert [member.read(row) for row in through(member, asked)] == [asked]
    assert (member.carries(Sample(TWICE)), member.loses(PLAIN)) == ("earlier turns", ("the answer",))


VERL = {
    "data_source": "math", "prompt": [Q], "ability": "math", "reward_model": {"style": "rule", "ground_truth": "4"},
    "extra_info": {"index": 0, "split": "train"},
}  # fmt: skip


def test_rows_of_verl_come_back_as_they_were(tmp_path: Path) -> None:
    member, (sample,) = read_row(VERL)
    assert (member.name, sample.reference) == ("rl", "4")
    assert through(member, sample) == [{column: VERL[column] for column in member.columns([sample])}]
    assert member.columns([sample]) == ("prompt", "data_source", "ability", "reward_model", "extra_info")
    assert member.loses(sample) == ()
    number = {**VERL, "reward_model": {"style": "rule", "ground_truth": 4}}
    assert through(member, member.read(number))[0]["reward_model"] == number["reward_model"]
    ours = Sample(said("q"), reference="5")
    mixed = through(member, sample, ours)
    assert [(row["ground_truth"], row["reward_model"]) for row in mixed] == [("4", VERL["reward_model"]), ("5", None)]
    assert [member.read(row).reference for row in mixed] == ["4", "5"]


def test_function_calling_questions_ask_with_their_tools() -> None:
    tool = {"name": "f", "parameters": {"type": "dict", "properties": {"x": {"type": "float"}, "y": {"type": "any"}}}}
    member, (sample,) = read_row(
        {"id": "b", "question": [[Q], [{"role": "user", "content": "q2"}]], "function": [tool]}
    )
    assert (member.name, sample.messages, sample.meta["turns"]) == ("rl", said("q"), ["q2"])
    assert sample.tools[0]["parameters"] == {"type": "object", "properties": {"x": {"type": "number"}, "y": {}}}
    assert "types of tools that JSON Schema does not know" in member.loses(sample)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "q", "input": "", "output": "good", "rejected_response": "bad"},
        {"query": "q", "response": "good", "rejected_response": "bad"},
        {"messages": [Q, {"role": "assistant", "content": "good"}], "rejected_response": "bad"},
        {"prompt": "q", "completion": "good", "rejected_response": "bad"},
    ],
    ids="+".join,
)
def test_a_rejected_response_makes_a_pair_of_any_row(row: dict[str, Any]) -> None:
    member, (sample,) = read_row(row)
    assert member.name == "preference-swift"
    assert (sample.messages, sample.rejected) == (PAIR.messages, PAIR.rejected)


@pytest.mark.parametrize(
    ("value", "label"), [(1, True), (-1, False), (0, False), ("true", True), ("+1", True), ("-1.0", False)]
)
def test_labels_in_other_spellings_are_mapped_and_counted(value: Any, label: bool) -> None:
    member, (sample,) = read_row({"messages": [Q, A], "label": value})
    assert (member.name, sample.label) == ("kto-swift", label)
    assert "the spelling of label" in member.loses(sample)
    (row,) = through(member, sample)
    assert row["label"] is label
    assert "the spelling of label" not in member.loses(member.read(row))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": [Q, A], "tools": [{"name": "f"}]}, "messages"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}, "sharegpt"),
        ({"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]]}, "alpaca"),
        ({"prompt": [Q], "chosen": [A], "rejected": [{**A, "content": "b"}]}, "preference"),
        ({"prompt": [Q], "completion": [A], "label": True}, "kto"),
        ({"messages": [Q, A], "rejected_messages": [Q, {**A, "content": "b"}]}, "preference-swift"),
        ({"instruction": "q", "instances": [{"input": "i", "output": "a"}]}, "seed-tasks"),
        ({"prompt": [Q], "reward_model": {"ground_truth": "4"}}, "rl"),
        ({"turns": ["q", "q2"]}, "mt-bench"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_cells_of_a_table_hold_lists_as_json(tmp_path: Path, row: dict[str, Any], name: str) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(row)
        table.writerow([value if isinstance(value, str) else json.dumps(value) for value in row.values()])
    (found,) = SampleReader(path)
    (fields,) = [json.loads(json.dumps(row))]
    member, (expected,) = read_row(fields)
    assert member.name == name
    assert (found.messages, found.rejected, found.label, found.tools, found.reference, found.meta.get("turns")) == (
        expected.messages, expected.rejected, expected.label, expected.tools, expected.reference, expected.meta.get("turns")
    )  # fmt: skip


def test_text_about_json_stays_text() -> None:
    for text in ("[1, 2]", json.dumps([Q]), json.dumps(Q), "[not json", "[NaN]"):
        row = {"prompt": text, "completion": "a", "messages": "x"}
        assert canonical(row) == row
        assert read_row({"prompt": text, "completion": "a"})[1][0].messages == said(text, "a")
    assert canonical({"instruction": "[]", "output": "a"}) == {"instruction": "[]", "output": "a"}


def test_what_pairs_and_turns_hold_besides_is_counted() -> None:
    _, (sample,) = read_row({"conversation": [{"human": "q", "assistant": "a", "emotion": "glad"}]})
    assert "turn key emotion" in open_format("sharegpt").loses(sample)
    _, (sample,) = read_row({"messages": [{**Q, "value": "other"}, A]})
    assert "turn key value" in open_format("messages").loses(sample)

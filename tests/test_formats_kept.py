"""What rows hold beside the usual is kept or counted: keys of turns, second labels, ids of calls, wide numbers."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from test_formats import said

from synthgen import bodies
from synthgen.formats import open_format, read_row, read_samples
from synthgen.formats.write import write_samples
from synthgen.types import Message, Sample, ToolCall

USER, MORE = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "thinking": "hm"}
SPOKEN = {"from": "gpt", "value": "a", "thinking": "hm"}
ROWS: list[dict[str, Any]] = [
    {"messages": [USER, MORE]},
    {"conversations": [{"from": "human", "value": "q"}, SPOKEN]},
    {"prompt": [USER], "completion": [MORE]},
    {"prompt": [USER], "completion": [MORE], "label": True},
    {"prompt": "q", "completion": MORE, "label": True},
    {"prompt": [USER], "chosen": [MORE], "rejected": "b"},
    {"prompt": [{**USER, "thinking": "hm"}], "chosen": "a", "rejected": "b"},
    {"conversations": [{"from": "human", "value": "q"}], "chosen": SPOKEN, "rejected": {"from": "gpt", "value": "b"}},
    {"input": {"messages": [USER]}, "preferred_output": [MORE], "non_preferred_output": [{**MORE, "content": "b"}]},
    {"messages": [USER, MORE], "rejected_response": "b"},
    {"messages": [USER, {**MORE, "thinking": None}], "rejected_messages": [USER, {**MORE, "content": "b"}]},
    {"question": "q", "answer": [MORE]},
]


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_key_of_a_turn_that_nobody_reads_is_counted(row: dict[str, Any]) -> None:
    member, (sample,) = read_row(row)
    assert "turn key thinking" in member.loses(sample)


def test_what_a_turn_of_sharegpt_says_of_itself_is_read() -> None:
    turns = [
        {"from": "human", "value": "q", "name": "Bo"},
        {"from": "gpt", "value": "a", "weight": 0, "reasoning": "r"},
    ]
    _, (sample,) = read_row({"conversations": turns})
    assert sample.messages == (Message("user", "q", name="Bo"), Message("assistant", "a", weight=0, reasoning="r"))
    assert "weights of turns" in open_format("sharegpt").loses(sample)


@pytest.mark.parametrize("column", ["conversations", "messages"])
def test_a_call_that_is_text_has_a_weight_too(column: str) -> None:
    spoken = {"from": "function_call", "value": '{"name": "f", "arguments": {}}', "weight": 0, "tool_calls": ["odd"]}
    _, (sample,) = read_row({column: [{"from": "human", "value": "q"}, spoken]})
    assert sample.messages[-1] == Message("assistant", "", tool_calls=(ToolCall("f", {}),), weight=0)


def test_a_second_label_is_counted() -> None:
    kto, (sample,) = read_row({"prompt": "q", "completion": "a", "kto_tag": True, "label": "sport"})
    assert kto.loses(sample) == ("column label",)
    swift, (sample,) = read_row(
        {"messages": [USER, {"role": "assistant", "content": "a"}], "kto_tag": True, "label": False}
    )
    assert (sample.label, swift.loses(sample)) == (True, ("column label",))


def test_a_result_under_an_id_that_no_call_has_is_that_of_the_call_without_one() -> None:
    calls = (ToolCall("f", {}, "x"), ToolCall("g", {}))
    results = (Message("tool", "of g", tool_call_id="y"), Message("tool", "of f", tool_call_id="x"))
    sample = Sample((said("q")[0], Message("assistant", "", tool_calls=calls), *results, Message("assistant", "a")))
    row = open_format("messages").row(sample, ("messages",))
    assert [turn["tool_call_id"] for turn in row["messages"] if turn["role"] == "tool"] == ["call_2", "x"]


@pytest.mark.parametrize(
    "numbers", [[2**60 + 1, 1.5], [2**60 + 1, 1], [1, 1.5], [2**53, 0.5], [-(2**63), 1], [2**70 + 1, 1]]
)
def test_parquet_keeps_every_digit(tmp_path: Path, numbers: list[float]) -> None:
    pytest.importorskip("pyarrow")
    rows = [Sample(said("q"), reference="1", meta={"columns": {"extra_info": {"n": number}}}) for number in numbers]
    written = write_samples(rows, open_format("rl"), tmp_path / "a.parquet")
    back = [sample.meta["columns"]["extra_info"]["n"] for sample in read_samples(written.path)]
    assert [json.dumps(int(number)) for number in back] == [json.dumps(int(number)) for number in numbers]


@pytest.mark.parametrize("number", [2**64 + 1, -(2**63) - 1, 2**70])
def test_json_lines_keep_every_digit(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "q", "ground_truth": number, "extra_info": {"n": [number]}}) + "\n")
    (sample,) = read_samples(path)
    assert sample.reference == str(number)
    assert bodies.load(bodies.dump(sample)) == sample
    written = write_samples([sample], open_format("rl"), tmp_path / "b.jsonl")
    assert json.loads(written.path.read_text())["extra_info"] == {"n": [number]}


def test_values_of_tables_that_json_has_no_word_for_are_text(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {
        "prompt": "q",
        "ground_truth": Decimal("1.50"),
        "at": [datetime(2024, 1, 2, 3, 4, 5)],
        "day": date(2024, 1, 2),
        "image": {"bytes": b"\xff\x00", "path": "x.png"},
        "name": b"caf\xc3\xa9",
        "took": timedelta(seconds=3),
        "none": None,
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    (sample,) = read_samples(tmp_path / "a.parquet")
    assert sample.reference == "1.50"
    assert sample.meta["columns"] == {
        "at": ["2024-01-02T03:04:05"],
        "day": "2024-01-02",
        "image": {"bytes": "/wA=", "path": "x.png"},
        "name": "café",
        "took": "0:00:03",
        "none": None,
    }
    written = write_samples([sample], open_format("samples"), tmp_path / "b.jsonl")
    assert list(read_samples(written.path)) == [sample]

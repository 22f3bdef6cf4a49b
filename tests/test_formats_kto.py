"""Labels of answers in every shape: booleans in each row, spelled in many ways by others, and pairs taken apart."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from pairs import FEW, TOOL, labelled, nameless, pairs, rows
from test_formats import PAIR, call, said

from synthgen.errors import ParseError, UsageError
from synthgen.formats import open_format, read_samples, sniff_format
from synthgen.formats.card import dataset_info
from synthgen.formats.write import write_samples
from synthgen.formats.written import CannotCarryError
from synthgen.types import Message, Sample

SHAPES = ("kto", "kto-alpaca", "kto-sharegpt", "kto-swift")
TRL, ALPACA, SHAREGPT, SWIFT = map(open_format, SHAPES)
GOOD, BAD = Sample(said("q", "good"), label=True), Sample(said("q", "bad"), label=False)
CALLED = Sample((Message("user", "q"), Message("assistant", "", tool_calls=(call(),))), tools=(TOOL,), label=False)


def test_the_row_of_each_shape() -> None:
    user, bad = {"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}
    assert [rows(open_format(name), BAD) for name in SHAPES] == [
        [{"prompt": [user], "completion": [bad], "label": False}],
        [{"instruction": "q", "input": "", "output": "bad", "kto_tag": False}],
        [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "bad"}], "kto_tag": False}],
        [{"messages": [user, bad], "label": False}],
    ]


@pytest.mark.parametrize("name", SHAPES)
@FEW
@given(sample=labelled())
def test_labelled_answers_come_back(name: str, sample: Sample) -> None:
    member = open_format(name)
    assert member.carries(sample) is None
    assert member.loses(sample) == ()
    (row,) = rows(member, sample)
    assert sniff_format(row) is member
    assert replace(member.read(row), input_split=None) == sample


@pytest.mark.parametrize("name", ["kto", "kto-sharegpt", "kto-swift"])
@FEW
@given(sample=labelled(tools=True))
def test_labelled_answers_with_tools_come_back(name: str, sample: Sample) -> None:
    member = open_format(name)
    (row,) = rows(member, sample)
    assert sniff_format(row) is member
    assert nameless(member.read(row)) == sample
    for second in (TRL, SHAREGPT, SWIFT):
        assert rows(member, second.read(rows(second, member.read(row))[0])) == [row]


@FEW
@given(sample=labelled())
def test_bad_answers_are_not_trained_on(sample: Sample) -> None:
    for name in ("alpaca", "sharegpt", "messages"):
        bad = "an answer marked as bad (label false)"
        assert open_format(name).carries(sample) == (None if sample.label else bad)
        assert open_format(name).loses(sample) == ("the label",)
    for name in ("preference", "preference-alpaca", "preference-sharegpt", "preference-openai", "preference-swift"):
        assert open_format(name).carries(sample) == "no rejected answer"


@pytest.mark.parametrize("name", ["kto", "kto-sharegpt", "kto-swift"])
@FEW
@given(pair=pairs(tools=True))
def test_a_pair_is_two_rows_that_do_not_know_each_other(tmp_path_factory: Any, name: str, pair: Sample) -> None:
    path = tmp_path_factory.mktemp("pair") / "p.jsonl"
    result = write_samples([pair], open_format(name), path)
    assert (result.rows, result.left_out, result.lost) == (2, {}, {"the other answer of the pair": 2})
    good, bad = map(nameless, read_samples(path))
    assert (good.messages, good.label) == (pair.messages, True)
    assert (bad.messages, bad.label) == ((*pair.messages[:-1], *pair.rejected), False)
    with pytest.raises(CannotCarryError, match="the other answer of the pair"):
        write_samples([pair], open_format(name), path, strict=True)


@pytest.mark.parametrize("name", SHAPES)
def test_answers_that_teach_nothing_are_refused(name: str) -> None:
    member = open_format(name)
    refused = {
        "no label": Sample(said("q", "a")),
        "no turns": Sample(label=True),
        "an empty answer": Sample(said("q", " "), label=False),
        "no answer (the last turn is not the assistant's)": Sample(said("q"), label=True),
        "no prompt before the answer": Sample((Message("assistant", "a"),), label=True),
    }
    for reason, sample in refused.items():
        assert member.carries(sample) == reason
    same = replace(PAIR, rejected=PAIR.messages[1:])
    assert {member.carries(one) for one in member.apart(same)} == {"chosen and rejected are the same"}
    assert member.carries(replace(GOOD, label=1)) == "no label"
    assert ALPACA.carries(CALLED) == "tools"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "q", "completion": "bad"}, "kto"),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": "bad"}, "kto"),
        ({"completion": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}]}, "kto"),
        ({"instruction": "q", "completion": "bad"}, "kto"),
        ({"question": "q", "completion": "bad", "system": None}, "kto"),
        ({"instruction": "q", "output": "bad"}, "kto-alpaca"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "bad"}]}, "kto-sharegpt"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}]}, "kto-swift"),
    ],
)
@pytest.mark.parametrize("column", ["label", "kto_tag"])
def test_shapes_around_are_read_with_either_column(row: dict[str, Any], name: str, column: str) -> None:
    for value, sample in ((False, BAD), (True, replace(BAD, label=True))):
        labelled_row = {**row, column: value}
        assert sniff_format(labelled_row) is open_format(name)
        assert replace(open_format(name).read(labelled_row), input_split=None) == sample


@pytest.mark.parametrize(
    ("value", "label"),
    [(1, True), (0, False), (1.0, True), ("True", True), ("false", False), ("1", True), ("0", False), (" no ", False)],
)
def test_other_spellings_become_booleans(value: Any, label: bool) -> None:
    for row in (
        {"prompt": "q", "completion": "a", "label": value},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": value},
        {"instruction": "q", "output": "a", "kto_tag": value},
    ):
        member = sniff_format(row)
        assert member is not None
        sample = member.read(row)
        assert sample.label is label
        (written,) = rows(member, sample)
        assert (written.get("label", written.get("kto_tag"))) is label


@pytest.mark.parametrize(
    ("value", "found"),
    [pytest.param(10**9999, "int", id="huge"), (2, "2"), (-2, "-2"), (None, "None"), ("good", "'good'"), ([True], "list"), (float("nan"), "float"), ({"a": "b" * 99}, "dict")],
)  # fmt: skip
def test_nonsense_is_told(value: Any, found: str) -> None:
    words = f"must be true or false \\(or 1 and 0, or 1 and -1\\), found {found}"
    for name, row in (
        ("kto", {"prompt": "q", "completion": "a", "label": value}),
        ("kto-alpaca", {"instruction": "q", "output": "a", "kto_tag": value}),
        ("kto-swift", {"messages": [{"role": "user", "content": "q"}], "label": value}),
    ):
        with pytest.raises(ParseError, match=words):
            open_format(name).read(row)


def test_nonsense_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    fine = {"prompt": "q", "completion": "a", "label": True}
    path.write_text("".join(json.dumps(row) + "\n" for row in (fine, {**fine, "label": "maybe"})))
    with pytest.raises(UsageError) as caught:
        list(read_samples(path))
    assert str(caught.value) == (
        f"{path}:2: no kto row: label must be true or false (or 1 and 0, or 1 and -1), found 'maybe'; fix or delete the row"
    )


def test_labels_of_classifiers_are_not_of_kto() -> None:
    asked = [{"role": "user", "content": "q"}]
    for row, name in (
        ({"messages": [*asked, {"role": "assistant", "content": "a"}], "label": "sports"}, "messages"),
        ({"messages": asked, "label": 0}, "messages"),
        ({"instruction": "q", "output": "a", "label": 1}, "alpaca"),
        ({"conversations": [{"from": "human", "value": "q"}], "label": 3}, "sharegpt"),
    ):
        member = sniff_format(row)
        assert member is open_format(name)
        assert "column label" in member.loses(member.read(row))


def test_llama_factory_is_told_where_the_label_is() -> None:
    info = json.loads(dataset_info({name: (f"{name}.jsonl", open_format(name).columns([GOOD])) for name in SHAPES}))
    assert info.keys() == {"kto-alpaca", "kto-sharegpt", "kto-swift"}
    assert info["kto-alpaca"]["columns"] == {
        "prompt": "instruction", "query": "input", "response": "output", "kto_tag": "kto_tag"
    }  # fmt: skip
    assert info["kto-sharegpt"]["columns"] == {"messages": "conversations", "kto_tag": "kto_tag"}
    assert info["kto-swift"]["columns"] == {"messages": "messages", "kto_tag": "label"}
    assert info["kto-swift"]["tags"]["user_tag"] == "user"
    assert SWIFT.dataset_info("f", SWIFT.columns([CALLED])) is None


def test_real_labels_come_back_from_every_shape(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lf_kto_en_demo.json"
    samples = list(read_samples(path))
    assert Counter(sample.label for sample in samples) == {True: 150, False: 150}
    for name in SHAPES:
        result = write_samples(samples, open_format(name), tmp_path / f"{name}.jsonl", strict=True)
        assert result.rows == 300
        back = list(read_samples(result.path))
        assert [replace(sample, input_split=None) for sample in back] == samples
        assert rows(SWIFT, *back) == json.loads(path.read_text("utf-8"))
    left = write_samples(samples, open_format("sharegpt"), tmp_path / "s.jsonl")
    assert (left.rows, left.left_out) == (150, {"an answer marked as bad (label false)": 150})
    assert left.lost == {"the label": 150}


@pytest.mark.parametrize("name", SHAPES)
def test_datasets_loads_each_shape(tmp_path: Path, hub_offline: Any, name: str) -> None:
    member = open_format(name)
    samples = [sample for sample in (GOOD, BAD, CALLED) if member.carries(sample) is None]
    path = write_samples(samples, member, tmp_path / "k.jsonl", strict=True).path
    loaded = hub_offline.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
    assert loaded.column_names == list(member.columns(samples))
    tag = "label" if "label" in loaded.column_names else "kto_tag"
    assert loaded.features[tag].dtype == "bool"
    assert [nameless(member.read(row)).messages for row in loaded] == [sample.messages for sample in samples]

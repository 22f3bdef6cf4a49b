"""Preference data in every shape: what comes back exactly, what is counted as lost, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz import mutated
from hypothesis import given
from pairs import FEW, TOOL, nameless, pairs, rows
from test_formats import PAIR, call, said

from synthgen.errors import ParseError, UsageError
from synthgen.formats import formats, open_format, read_samples, sniff_format
from synthgen.formats.card import dataset_info
from synthgen.formats.pairs import split_answer
from synthgen.formats.write import write_samples
from synthgen.types import Message, Sample

SHAPES = ("preference", "preference-alpaca", "preference-openai", "preference-sharegpt", "preference-swift")
TRL, ALPACA, OPENAI, SHAREGPT, SWIFT = map(open_format, SHAPES)
A, B = Message("assistant", "good"), Message("assistant", "bad")
ASKED = Message("assistant", "", tool_calls=(call(city="北京"),))
LOOKED = (Message("user", "天气?"), ASKED, Message("tool", "1 度"))
# The answer to the last result, and the call itself, are both things to prefer.
AFTER_A_TOOL = Sample((*LOOKED, A), rejected=(B,), tools=(TOOL,))
CALL_OR_TALK = Sample(LOOKED[:2], rejected=(B,), tools=(TOOL,))
LONGER = Sample((*LOOKED, A), rejected=(B,), tools=(TOOL,), meta={"answer_turns": 3})


def test_the_row_of_each_shape() -> None:
    user, good, bad = {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}, "bad"
    wrong = {"role": "assistant", "content": bad}
    assert [rows(open_format(name), PAIR) for name in SHAPES] == [
        [{"prompt": [user], "chosen": [good], "rejected": [wrong]}],
        [{"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"}],
        [{"input": {"messages": [user]}, "preferred_output": [good], "non_preferred_output": [wrong]}],
        [
            {
                "conversations": [{"from": "human", "value": "q"}],
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            }
        ],
        [{"messages": [user, good], "rejected_response": "bad"}],
    ]


@pytest.mark.parametrize("name", SHAPES)
@FEW
@given(sample=pairs())
def test_pairs_of_text_come_back(name: str, sample: Sample) -> None:
    member = open_format(name)
    assert member.carries(sample) is None
    assert member.loses(sample) == ()
    (row,) = rows(member, sample)
    assert sniff_format(row) is member
    again = member.read(row)
    assert replace(again, input_split=None) == sample
    assert rows(member, again) == [row]


@pytest.mark.parametrize("name", ["preference", "preference-openai", "preference-sharegpt", "preference-swift"])
@FEW
@given(sample=pairs(tools=True))
def test_pairs_with_tools_come_back(name: str, sample: Sample) -> None:
    member = open_format(name)
    assert member.carries(sample) is None
    assert member.loses(sample) == ()
    (row,) = rows(member, sample)
    assert sniff_format(row) is member
    assert nameless(member.read(row)) == sample
    assert rows(member, member.read(row)) == [row]


@pytest.mark.parametrize("name", ["preference", "preference-swift"])
@FEW
@given(sample=pairs(tools=True, turns=True))
def test_answers_of_several_turns_come_back(name: str, sample: Sample) -> None:
    member = open_format(name)
    assert member.carries(sample) is None
    (row,) = rows(member, sample)
    assert nameless(member.read(row)) == sample
    assert rows(member, member.read(row)) == [row]


@FEW
@given(sample=pairs(tools=True))
def test_rows_go_from_shape_to_shape_and_back(sample: Sample) -> None:
    """The lossless cells of the matrix; TRL's form and OpenAI's share the ids of calls, ShareGPT has none."""
    for first in (SHAREGPT, OPENAI, TRL, SWIFT):
        (row,) = rows(first, sample)
        for second in (SHAREGPT, OPENAI, TRL, SWIFT):
            (between,) = rows(second, first.read(row))
            assert rows(first, second.read(between)) == [row]


@FEW
@given(sample=pairs())
def test_implicit_prompts_are_the_turns_that_open_both(sample: Sample) -> None:
    (row,) = rows(TRL, sample)
    implicit = {key: row["prompt"] + row[key] for key in ("chosen", "rejected")}
    assert sniff_format(implicit) is TRL
    assert TRL.read(implicit) == sample
    assert TRL.read({"prompt": row["prompt"], **implicit}) == sample  # and where it is there twice
    text = row["prompt"][-1]["content"]
    assert TRL.read({"prompt": text, **implicit}) == sample
    other_text = TRL.read({"prompt": f"{text}!", **implicit})
    assert TRL.loses(other_text) == ("column prompt",)


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, said("q")),
        ({"prompt": "q", "system": "s", "chosen": "good", "rejected": "bad"}, said("q", system="s")),
        ({"system": "", "question": "q", "chosen": "good", "rejected": "bad"}, said("q")),
        ({"messages": [{"role": "user", "content": "q"}], "chosen": {"role": "assistant", "content": "good"}, "rejected": "bad"}, said("q")),
        ({"instruction": "q", "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}]}, said("q")),
        ({"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"}, said("q")),
        ({"chosen": "Human: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: good", "rejected": "Human: a\n\nAssistant: b\n\nHuman: q\n\nAssistant: bad"}, said("a", "b", "q")),
    ],
    ids=["text", "text and system", "question", "one turn each", "instruction and turns", "transcript", "transcripts"],
)  # fmt: skip
def test_trl_and_its_neighbours_are_read(row: dict[str, Any], prompt: tuple[Message, ...]) -> None:
    assert sniff_format(row) is TRL
    sample = TRL.read(row)
    assert (sample.messages, sample.rejected) == ((*prompt, A), (B,))
    assert TRL.carries(sample) is None


def test_texts_that_begin_alike_keep_their_beginning() -> None:
    sample = TRL.read({"prompt": "How is it?", "chosen": "good answer", "rejected": "great answer"})
    assert (sample.messages[-1].content, sample.rejected[0].content) == ("good answer", "great answer")
    with pytest.raises(ParseError, match="chosen is text and there is no prompt; put what is asked into"):
        TRL.read({"chosen": "good answer", "rejected": "great answer"})


def test_other_shapes_of_the_same_formats_are_read() -> None:
    turns = {"conversations": [{"from": "human", "value": "q"}], "chosen": "good", "rejected": "bad"}
    assert sniff_format(turns) is SHAREGPT
    assert SHAREGPT.read(turns) == PAIR
    user = {"role": "user", "content": "q"}
    listed = {"messages": [user, {"role": "assistant", "content": "good"}]}
    for column, value in (
        ("rejected_response", "bad"),
        ("rejected_response", [{"role": "assistant", "content": "bad"}]),
        ("rejected_messages", [user, {"role": "assistant", "content": "bad"}]),
    ):
        row = {**listed, column: value}
        assert sniff_format(row) is SWIFT
        assert SWIFT.read(row) == PAIR
    row = {"instruction": "q", "chosen": "good", "rejected": "bad", "output": "third"}
    assert sniff_format(row) is ALPACA
    assert ALPACA.loses(ALPACA.read(row)) == ("column output",)
    parallel = {**rows(OPENAI, AFTER_A_TOOL)[0]}
    parallel["input"]["parallel_tool_calls"] = False
    assert rows(OPENAI, OPENAI.read(parallel)) == [parallel]
    assert OPENAI.loses(OPENAI.read(parallel)) == ()
    assert TRL.loses(OPENAI.read(parallel)) == ("column parallel_tool_calls",)


@pytest.mark.parametrize("name", SHAPES)
def test_pairs_that_teach_nothing_are_refused(name: str) -> None:
    member = open_format(name)
    refused = {
        "no rejected answer": Sample(PAIR.messages),
        "no answer (the last turn is not the assistant's)": Sample(said("q"), rejected=(B,)),
        "an answer marked as bad (label false)": replace(PAIR, label=False),
        "an empty user turn": Sample(said(" ", "good"), rejected=(B,)),
        "an empty answer": Sample(said("q", " "), rejected=(B,)),
        "the rejected one is an empty answer": Sample(said("q", "good"), rejected=(Message("assistant", "\n"),)),
        "the rejected one is no answer (the last turn is not the assistant's)": replace(PAIR, rejected=(B, *said("q"))),
        "answers that do not follow one prompt": replace(PAIR, rejected=said("other", "bad")),
        "no prompt before the answer": Sample((Message("system", "s"), A), rejected=(B,)),
        "chosen and rejected are the same": replace(PAIR, rejected=(A,)),
    }
    for reason, sample in refused.items():
        assert member.carries(sample) == reason
    assert member.loses(replace(PAIR, label=True)) == ("the label",)


def test_what_the_matrix_refuses() -> None:
    """Alpaca has no tools; LLaMA-Factory and OpenAI take one turn as the answer."""
    for sample in (AFTER_A_TOOL, CALL_OR_TALK):
        assert ALPACA.carries(sample) == "tools"
        assert {member.carries(sample) for member in (TRL, OPENAI, SHAREGPT, SWIFT)} == {None}
    for member in (ALPACA, OPENAI, SHAREGPT):
        assert member.carries(LONGER) == "an answer of several turns"
    assert {member.carries(LONGER) for member in (TRL, SWIFT)} == {None}
    unanswered = replace(PAIR, rejected=(ASKED, A))
    for member in (TRL, SWIFT):
        assert member.carries(unanswered) == "a tool call that nothing answers"


def test_what_the_matrix_counts() -> None:
    split = replace(PAIR, messages=said("do\nthis", "good"), input_split=("do", "this"))
    assert ALPACA.loses(split) == ()
    assert ALPACA.read(rows(ALPACA, split)[0]) == split
    for member in (TRL, OPENAI, SHAREGPT, SWIFT):
        assert member.loses(split) == ("the border of instruction and input",)
    for name in ("alpaca", "sharegpt", "messages"):
        assert open_format(name).loses(PAIR) == ("the rejected answer",)
        assert open_format(name).carries(PAIR) is None
    thought = replace(PAIR, rejected=(Message("assistant", "bad", reasoning="hm"),))
    for member in (TRL, ALPACA, OPENAI, SHAREGPT, SWIFT):
        assert member.loses(thought) == ("reasoning",)
    alike = Sample((*LOOKED, A), rejected=(*LOOKED[1:], B), meta={"answer_turns": 3})
    assert TRL.loses(alike) == ()
    assert nameless(TRL.read(rows(TRL, alike)[0])) == alike
    assert SWIFT.loses(alike) == ("where answers that open alike begin",)
    assert split_answer(SWIFT.read(rows(SWIFT, alike)[0]))[1] == (A,)
    weighed = replace(PAIR, messages=(Message("user", "q"), Message("assistant", "good", weight=1)))
    assert OPENAI.loses(weighed) == ("weights of turns",)
    assert "weight" not in json.dumps(rows(OPENAI, weighed))


def test_swift_shows_the_tools_to_both_conversations() -> None:
    """ms-swift puts a `rejected_response` in the place of the results too, and gives `rejected_messages` no tools."""
    (text,) = rows(SWIFT, replace(PAIR, tools=(TOOL,)))
    assert set(text) == {"messages", "rejected_response", "tools"}
    mixed = rows(SWIFT, PAIR, AFTER_A_TOOL)
    assert [set(row) for row in mixed] == [{"messages", "rejected_messages", "tools", "rejected_tools"}] * 2
    assert [row["rejected_tools"] for row in mixed] == [None, json.dumps([TOOL], ensure_ascii=False)]
    assert [len(row["rejected_messages"]) for row in mixed] == [2, 4]


@pytest.mark.parametrize("order", [1, -1])
def test_swift_files_have_one_column_for_the_rejected(tmp_path: Path, order: int) -> None:
    samples = [PAIR, AFTER_A_TOOL][::order]
    result = write_samples(samples, SWIFT, tmp_path / "s.jsonl", strict=True)
    assert (result.rows, result.columns) == (2, ("messages", "rejected_messages", "tools", "rejected_tools"))
    assert [nameless(sample) for sample in read_samples(result.path)] == samples


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("preference", {"prompt": "q", "chosen": "a", "rejected": None}, "rejected must be text, found null"),
        ("preference", {"prompt": "q", "chosen": 3, "rejected": "b"}, "chosen must be text, found int"),
        ("preference", {"prompt": "q", "chosen": [], "rejected": "b"}, "chosen must be a list of turns"),
        ("preference", {"prompt": "q", "chosen": [{"role": "x"}], "rejected": "b"}, "chosen, turn 1: unknown role"),
        ("preference", {"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt must be a list of turns"),
        ("preference", {"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}, "a prompt column is missing"),
        ("preference", {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "user", "content": "q"}], "rejected": [{"role": "user", "content": "q"}]}, "chosen has no turn after the prompt"),
        ("preference-alpaca", {"instruction": "q", "chosen": "a", "rejected": ["b"]}, "rejected must be text, found list"),
        ("preference-sharegpt", {"conversations": [], "chosen": "a", "rejected": "b"}, "conversations must be a list"),
        ("preference-sharegpt", {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "x"}, "rejected": "b"}, "chosen: unknown speaker 'x'"),
        ("preference-openai", {"input": "q", "preferred_output": [], "non_preferred_output": []}, "input must be an object"),
        ("preference-swift", {"messages": [{"role": "user", "content": "q"}], "rejected_response": "b"}, "the chosen answer is missing"),
        ("preference-swift", {"messages": [{"role": "user", "content": "q"}], "rejected_response": None}, "rejected_response must be text, found null"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name: str, row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        open_format(name).read(row)


def test_llama_factory_is_told_of_its_own_shapes() -> None:
    files = {name: (f"{name}.jsonl", open_format(name).columns([PAIR])) for name in SHAPES}
    info = json.loads(dataset_info(files))
    assert info == {
        "preference-alpaca": {
            "file_name": "preference-alpaca.jsonl",
            "ranking": True,
            "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
        },
        "preference-sharegpt": {
            "file_name": "preference-sharegpt.jsonl",
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
        },
    }
    entry = SHAREGPT.dataset_info(
        "f", SHAREGPT.columns([AFTER_A_TOOL, replace(PAIR, messages=said("q", "a", system="s"))])
    )
    assert entry is not None
    assert entry["columns"].keys() == {"messages", "chosen", "rejected", "system", "tools"}


@pytest.mark.parametrize("name", ["lf_dpo_en_demo.json", "lf_dpo_zh_demo.json"])
def test_real_pairs_come_back_from_every_shape(shared_data: Path, tmp_path: Path, name: str) -> None:
    samples = list(read_samples(shared_data / name))
    assert len(samples) == 300
    original = json.loads((shared_data / name).read_text("utf-8"))
    # The system text gets the column that LLaMA-Factory has for it.
    turns = [[turn for turn in row["conversations"] if turn["from"] != "system"] for row in original]
    for shape in SHAPES:
        result = write_samples(samples, open_format(shape), tmp_path / f"{shape}.jsonl", strict=True)
        assert result.rows == 300
        back = list(read_samples(result.path))
        assert [(s.messages, s.rejected) for s in back] == [(s.messages, s.rejected) for s in samples]
        again = rows(SHAREGPT, *back)
        assert [row["conversations"] for row in again] == turns
        assert [(row["chosen"], row["rejected"]) for row in again] == [(r["chosen"], r["rejected"]) for r in original]


def test_a_row_at_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    good, bad = {"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "a"}
    path.write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(UsageError) as caught:
        list(read_samples(path))
    assert str(caught.value) == (
        f"{path}:2: no preference row: rejected must be text, found missing; fix or delete the row"
    )


@pytest.mark.parametrize("name", SHAPES)
def test_datasets_loads_each_shape(tmp_path: Path, hub_offline: Any, name: str) -> None:
    member = open_format(name)
    samples = [s for s in (PAIR, AFTER_A_TOOL, CALL_OR_TALK, LONGER) if member.carries(s) is None]
    path = write_samples(samples, member, tmp_path / "p.jsonl", strict=True).path
    loaded = hub_offline.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
    assert loaded.column_names == list(member.columns(samples))
    assert len(loaded) == len(samples)
    assert [nameless(member.read(row)) for row in loaded] == [
        nameless(member.read(row)) for row in rows(member, *samples)
    ]


def test_mutated_rows_are_read_or_told_and_what_is_written_is_whole() -> None:
    rng, told, read, longest = Random(6), 0, 0, 0
    members = [member for name, member in formats().items() if name.startswith(("preference", "kto"))]
    sources = [replace(AFTER_A_TOOL, tools=()), replace(PAIR, messages=said("q", "a", "q", "good", system="s"))]
    sources += [replace(PAIR, rejected=(), label=False)]
    whole = [
        (member, row)
        for member in members
        for one in sources
        if member.carries(one) is None
        for row in rows(member, one)
    ]
    for _ in range(4000):
        member, row = rng.choice(whole)
        for _ in range(rng.randint(1, 3)):
            changed = mutated(row, rng)
            row = changed if isinstance(changed, dict) else row
        try:
            sample = member.read(row)
        except ParseError as error:
            told += 1
            longest = max(longest, len(str(error)))
            continue
        read += 1
        for into in members:
            if into.carries(sample) is None:
                again = into.read(rows(into, sample)[0])
                assert into.carries(again) is None
    assert told > 1000
    assert longest < 200
    assert read > 500

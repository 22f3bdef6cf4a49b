"""Prompt and completion: the border says what is trained, there and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from drawn import ANY_TEXT, DRAWN, TEXT, dialogues, rows_of, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import LONG, PARALLEL, PLAIN, SPLIT, TOOLS, said

from synthgen.errors import ParseError
from synthgen.formats import open_format, sniff_format
from synthgen.formats.card import dataset_info
from synthgen.types import Message, Sample

PAIRS, STRINGS = open_format("prompt-completion"), open_format("prompt-completion-text")


def trained_at_the_end(sample: Sample) -> Sample:
    """The same with the loss mask that a pair has: the last answer alone."""
    last = len(sample.messages) - 1
    return replace(
        sample,
        messages=tuple(
            replace(m, weight=0 if m.role == "assistant" and n < last else None, reasoning=None)
            for n, m in enumerate(sample.messages)
        ),
    )


@DRAWN
@given(st.lists(dialogues(tools=True, reasoning=True, weights=True), min_size=1, max_size=3))
def test_pairs_come_back_with_the_mask_of_a_pair_and_count_what_that_costs(samples: list[Sample]) -> None:
    written, back = through_file(PAIRS, samples)
    held = [sample for sample in samples if PAIRS.carries(sample) is None]
    assert held == samples
    assert back == [trained_at_the_end(sample) for sample in samples]
    exact = [replace(m, reasoning=None) for sample in samples for m in sample.messages] == [
        replace(m, reasoning=None) for sample in back for m in sample.messages
    ]
    assert exact == (not {"training on earlier answers", "weights of turns"} & written.lost.keys())
    assert written.lost.get("reasoning", 0) == sum(any(m.reasoning for m in sample.messages) for sample in samples)


@DRAWN
@given(st.lists(dialogues(tools=True).map(trained_at_the_end), min_size=1, max_size=3))
def test_a_pair_comes_back_exactly(samples: list[Sample]) -> None:
    written, back = through_file(PAIRS, samples)
    assert back == samples
    assert written.left_out == written.lost == {}


@DRAWN
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_two_texts_come_back_to_the_letter(pairs: list[tuple[str, str]]) -> None:
    samples = [Sample(said(*pair)) for pair in pairs]
    for member in (STRINGS, PAIRS):
        written, back = through_file(member, samples)
        assert back == samples
        assert written.left_out == written.lost == {}


@DRAWN
@given(dialogues(tools=True, reasoning=True), ANY_TEXT)
def test_text_counts_the_roles_that_it_has_no_place_for(sample: Sample, extra: str) -> None:
    reason = STRINGS.carries(sample)
    assert (reason == "tools") == bool(sample.tools)
    plain = replace(sample, messages=tuple(m for m in sample.messages if m.role != "tool" and not m.tool_calls))
    plain = replace(plain, tools=())
    assert STRINGS.carries(plain) is None
    (row,) = rows_of(STRINGS, plain)
    assert row == {
        "prompt": "\n\n".join(m.content for m in plain.messages[:-1]),
        "completion": plain.messages[-1].content,
    }
    assert ("the roles of the turns" in STRINGS.loses(plain)) == (len(plain.messages) > 2)
    answers = sum(m.role == "assistant" for m in plain.messages)
    assert ("training on earlier answers" in STRINGS.loses(plain)) == (answers > 1)


def test_rows() -> None:
    assert rows_of(PAIRS, LONG) == [
        {
            "prompt": [
                {"role": "system", "content": "be good"},
                {"role": "user", "content": "q1"},
                {"role": "assistant", "content": "a1"},
                {"role": "user", "content": "q2"},
            ],
            "completion": [{"role": "assistant", "content": "a2"}],
        }
    ]
    plain, tools = rows_of(PAIRS, PLAIN, TOOLS)
    assert plain["tools"] is None
    assert json.loads(tools["tools"])[0]["type"] == "function"
    assert [turn["role"] for turn in tools["prompt"]] == ["user", "assistant", "tool"]
    assert isinstance(tools["prompt"][1]["tool_calls"][0]["function"]["arguments"], str)
    assert tools["prompt"][2]["tool_call_id"] == tools["prompt"][1]["tool_calls"][0]["id"]
    assert rows_of(STRINGS, SPLIT) == [{"prompt": "do\nthis", "completion": "a"}]


def test_a_completion_of_several_turns_keeps_its_border() -> None:
    (row,) = rows_of(PAIRS, replace(PARALLEL, messages=(*said("q0", "a0"), *PARALLEL.messages)))
    row["completion"] = row["prompt"][3:] + row["completion"]
    row["prompt"] = row["prompt"][:3]
    sample = PAIRS.read(row)
    assert [m.weight for m in sample.messages] == [None, 0, None, 1, None, None, 1]
    assert PAIRS.loses(sample) == ()
    assert rows_of(PAIRS, sample) == [row]


def test_what_is_no_pair_is_refused() -> None:
    follows = "an answer that follows no user turn or tool result"
    assert PAIRS.carries(Sample((Message("assistant", "a"),))) == follows
    assert PAIRS.carries(Sample((*said("q", "a"), Message("assistant", "b")))) == follows
    assert STRINGS.carries(Sample((Message("system", "s"), Message("assistant", "a")))) == follows
    assert PAIRS.carries(Sample(TOOLS.messages[:2] + TOOLS.messages[3:])) == "a tool call that nothing answers"
    untrained = Sample((Message("user", "q"), Message("assistant", "a", weight=0)))
    assert PAIRS.loses(untrained) == STRINGS.loses(untrained) == ("weights of turns",)
    assert PAIRS.carries(Sample(said("q", "a"), label=False)) == "an answer marked as bad (label false)"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "q", "completion": " a"}, "prompt-completion-text"),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}, "prompt-completion"),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": "a"}, "prompt-completion"),
    ],
)  # fmt: skip
def test_text_and_lists_are_told_apart(row: dict[str, Any], name: str) -> None:
    found = sniff_format(row)
    assert found is not None
    assert found.name == name
    assert all(member.read(row).messages[0].content == "q" for member in (PAIRS, STRINGS))
    for more in ({"label": True}, {"chosen": "a", "rejected": "b"}, {"messages": []}):
        assert not PAIRS.sniff(row | more)
        assert not STRINGS.sniff(row | more)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "q"}, "completion: messages must be a list"),
        ({"prompt": [], "completion": "a"}, "prompt: messages must be a list"),
        ({"prompt": None, "completion": "a"}, "prompt: messages must be a list"),
        ({"prompt": [{"role": "x"}], "completion": "a"}, "prompt: turn 1: unknown role"),
        ({"prompt": "q", "completion": [{"role": "user", "content": "a"}]}, "must begin with a turn of the assistant"),
    ],
)
def test_they_say_what_is_wrong(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        PAIRS.read(row)


def test_the_registry_takes_the_texts_alone() -> None:
    made = json.loads(dataset_info({"prompt-completion-text": ("p.jsonl", STRINGS.columns(())), "prompt-completion": ("c.jsonl", ())}))  # fmt: skip
    assert made == {
        "prompt-completion-text": {"file_name": "p.jsonl", "columns": {"prompt": "prompt", "response": "completion"}}
    }

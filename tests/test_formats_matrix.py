"""The conversion matrix: what is exact comes back, what is lost is counted by its name, what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from drawn import ANY_TEXT, DRAWN, TEXT, dialogues, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import PARALLEL, TOOLS, call, said, through

from synthgen.formats import formats, open_format
from synthgen.types import Message, Sample

ALPACA, SHAREGPT, MESSAGES, SAMPLES = map(open_format, ("alpaca", "sharegpt", "messages", "samples"))


def bare(sample: Sample, *, ids: bool = True, reasoning: bool = False) -> Sample:
    """The sample without what a format is known to lose."""
    messages = tuple(
        replace(
            m,
            tool_calls=m.tool_calls if ids else tuple(replace(call, id="") for call in m.tool_calls),
            tool_call_id=m.tool_call_id if ids else None,
            reasoning=m.reasoning if reasoning and m.tool_calls else None,
            weight=None,
        )
        for m in sample.messages
    )
    return replace(sample, messages=messages, input_split=None)


@DRAWN
@given(st.lists(dialogues(), min_size=1, max_size=3))
def test_conversations_of_text_are_exact_everywhere_that_the_matrix_says(samples: list[Sample]) -> None:
    for member in (ALPACA, SHAREGPT, MESSAGES, SAMPLES, open_format("chatml"), open_format("chatml-sep")):
        written, back = through_file(member, samples)
        assert [bare(sample) for sample in back] == samples
        assert written.left_out == written.lost == {}


@DRAWN
@given(st.lists(st.tuples(TEXT, ANY_TEXT, TEXT), min_size=1, max_size=3), TEXT)
def test_alpaca_keeps_its_border(rows: list[tuple[str, str, str]], system: str) -> None:
    samples = []
    for instruction, given_, output in rows:
        asked = f"{instruction}\n{given_}" if given_ else instruction
        samples.append(Sample(said(asked, output, system=system), input_split=(instruction, given_)))
    written, back = through_file(ALPACA, samples)
    assert back == samples
    assert written.lost == {}
    elsewhere, _ = through_file(SHAREGPT, samples)
    inputs = sum(bool(given_) for _, given_, _ in rows)
    assert elsewhere.lost == ({"the border of instruction and input": inputs} if inputs else {})


@DRAWN
@given(st.lists(dialogues(tools=True, reasoning=True), min_size=1, max_size=3))
def test_tool_data_in_sharegpt_loses_thoughts_alone(samples: list[Sample]) -> None:
    written, back = through_file(SHAREGPT, samples)
    refused = [s for s in samples if any(m.tool_calls and "</think>" in (m.reasoning or "") for m in s.messages)]
    assert written.left_out == ({"a thought that holds </think>": len(refused)} if refused else {})
    held = [sample for sample in samples if sample not in refused]
    assert back == [bare(sample, ids=False, reasoning=True) for sample in held]
    assert "ids of tool calls" not in written.lost  # those that are drawn would be made again
    assert written.lost.get("reasoning", 0) == sum(any(m.reasoning and not m.tool_calls for m in s.messages) for s in held)  # fmt: skip


@DRAWN
@given(st.lists(dialogues(tools=True, reasoning=True, weights=True), min_size=1, max_size=3))
def test_tool_data_in_messages_is_exact_but_for_thoughts(samples: list[Sample]) -> None:
    written, back = through_file(MESSAGES, samples)
    plain = [replace(s, messages=tuple(replace(m, reasoning=None) for m in s.messages)) for s in samples]
    assert back == plain
    assert written.left_out == {}
    assert written.lost.keys() <= {"reasoning"}
    assert through_file(SAMPLES, samples)[1] == samples


@DRAWN
@given(st.lists(dialogues(tools=True), min_size=1, max_size=2))
def test_sharegpt_to_messages_and_back_is_the_same(samples: list[Sample]) -> None:
    """Ids are invented on the way and dropped again."""
    turns = [bare(sample, ids=False) for sample in samples]
    _, there = through_file(MESSAGES, turns)
    _, back = through_file(SHAREGPT, there)
    assert back == turns


@pytest.mark.parametrize("name", ["alpaca", "fastchat", "chatml", "chatml-sep", "prompt-completion-text"])
def test_tools_are_refused_where_there_is_no_place_for_them(name: str) -> None:
    for sample in (TOOLS, PARALLEL, Sample(said("q", "a"), tools=TOOLS.tools)):
        assert open_format(name).carries(sample) == "tools"


def test_a_thought_that_would_end_itself_is_refused() -> None:
    asked = replace(TOOLS.messages[1], reasoning="a\n</think>\n\nb")
    sample = replace(TOOLS, messages=(TOOLS.messages[0], asked, *TOOLS.messages[2:]))
    assert SHAREGPT.carries(sample) == "a thought that holds </think>"
    assert MESSAGES.carries(sample) is None


def test_sharegpt_refuses_calls_and_observations_without_each_other() -> None:
    question, asked, result, answer = TOOLS.messages
    assert SHAREGPT.carries(Sample((question, answer, result, answer))) == "tool results that do not match their calls"
    assert SHAREGPT.carries(Sample((question, asked, question, answer))) == "a tool call that nothing answers"
    assert SHAREGPT.carries(Sample((question, asked))) is None  # the call is the answer
    assert SHAREGPT.carries(Sample((*PARALLEL.messages[:3], PARALLEL.messages[4]))) is None  # one for all calls
    calls = Message("assistant", "", tool_calls=(call(id_="x"), call(id_="y")))
    wrong = tuple(Message("tool", "1", tool_call_id=id_) for id_ in ("x", "z"))
    assert SHAREGPT.carries(Sample((question, calls, *wrong, answer))) == "tool results that do not match their calls"


@DRAWN
@given(st.lists(st.one_of(ANY_TEXT, st.sampled_from(['{"a":1}', '{"a": 1}', "[]", "1e999", "[1e999]", "[" * 3000])), min_size=2, max_size=3))  # fmt: skip
def test_parallel_results_come_back_to_the_letter(results: list[str]) -> None:
    calls = Message("assistant", "", tool_calls=tuple(call() for _ in results))
    turns = (Message("user", "q"), calls, *(Message("tool", text) for text in results), Message("assistant", "a"))
    written, (back,) = through_file(SHAREGPT, [Sample(turns)])
    assert back.messages == turns
    assert written.lost == {}


@pytest.mark.parametrize("value", ['[{"a":1}, {"b": 2}]', '[{"a": 1},{"b": 2}]', '["{}", {}]', "[1e999, 2]"])
def test_an_observation_in_another_spelling_stays_as_it_is(value: str) -> None:
    (row,) = through(SHAREGPT, PARALLEL)
    row["conversations"][2]["value"] = value
    assert through(SHAREGPT, SHAREGPT.read(row)) == [row]


def test_what_reading_has_no_place_for_is_counted_by_every_format() -> None:
    turns: list[dict[str, Any]] = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": "q", "weight": 0},
        {"role": "assistant", "content": "a", "refusal": "no", "audio": None},
    ]
    sample = MESSAGES.read({"messages": turns})
    unread = ("the role developer", "turn key refusal")
    assert sample.messages[0] == Message("system", "s")
    for member in formats().values():
        if member.name != "samples" and member.carries(sample) is None:
            assert set(unread) <= set(member.loses(sample)), member.name
    (kept,) = through(SAMPLES, sample)
    assert SAMPLES.read(kept) == sample  # and is counted when it goes on from there
    (row,) = through(MESSAGES, sample)
    assert "weight" not in row["messages"][1]  # the API knows it of the assistant alone
    moved = SHAREGPT.read(
        {"conversations": [{"from": "human", "value": "q", "time": 1}, {"from": "gpt", "value": "a"}]}
    )
    assert SHAREGPT.loses(moved) == ("turn key time",)


def test_a_speaker_may_be_written_large() -> None:
    value = '{"name": "f", "arguments": {}}'
    row = {"conversations": [{"from": "Human", "value": "q"}, {"from": "Function_Call", "value": value}]}
    assert SHAREGPT.read(row).messages[1].tool_calls[0].name == "f"

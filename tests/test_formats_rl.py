"""RL prompts: what is asked, and how an answer to it is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from drawn import DRAWN, TEXT, dialogues, rows_of, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import ASKED, LONG, PAGE, PLAIN, TOOLS, said

from synthgen.errors import ParseError
from synthgen.formats import open_format, sniff_format
from synthgen.types import Message, Sample

RL = open_format("rl")
NAME = st.one_of(st.just(""), TEXT)


@st.composite
def prompts(draw: st.DrawFn) -> Sample:
    sample = draw(dialogues(tools=True))
    told = {name: text for name in ("verifier", "data_source") if (text := draw(NAME))}
    return replace(sample, messages=(*sample.messages, Message("user", draw(TEXT))), reference=draw(NAME) or None, meta=told)  # fmt: skip


@DRAWN
@given(st.lists(prompts(), min_size=1, max_size=3))
def test_prompts_come_back_exactly(samples: list[Sample]) -> None:
    written, back = through_file(RL, samples)
    assert back == samples
    assert written.left_out == written.lost == {}


@DRAWN
@given(st.lists(dialogues(tools=True, reasoning=True), min_size=1, max_size=3))
def test_an_answer_that_is_there_is_counted(samples: list[Sample]) -> None:
    written, back = through_file(RL, samples)
    assert written.left_out == {}
    assert written.lost["the answer"] == len(samples)
    for sample, prompt in zip(samples, back, strict=True):
        assert prompt.messages[-1].role == "user"
        assert [replace(m, reasoning=None) for m in sample.messages[: len(prompt.messages)]] == list(prompt.messages)
        assert not any(m.role == "user" for m in sample.messages[len(prompt.messages) :])


def test_rows() -> None:
    question = [{"role": "user", "content": "2 + 2?"}]
    told = {"ground_truth": "4", "verifier": "math", "data_source": "gsm8k"}
    assert rows_of(RL, ASKED) == [{"prompt": question, **told}]
    assert rows_of(RL, PLAIN) == [{"prompt": [{"role": "user", "content": "q"}]}]  # TRL's prompt-only
    bare, full, tools = rows_of(RL, PLAIN, ASKED, TOOLS)
    assert (bare["ground_truth"], bare["verifier"], bare["data_source"], bare["tools"]) == ("", "", "", None)
    assert full == {"prompt": question, **told, "tools": None}
    assert (len(tools["prompt"]), type(tools["tools"])) == (1, str)
    assert RL.loses(ASKED) == ()
    assert RL.loses(Sample(LONG.messages, label=True)) == ("the answer", "the label")


def test_a_prompt_may_end_with_the_result_of_a_tool() -> None:
    sample = replace(TOOLS, messages=tuple(replace(m, reasoning=None) for m in TOOLS.messages[:3]))
    (row,) = rows_of(RL, sample)
    assert [turn["role"] for turn in row["prompt"]] == ["user", "assistant", "tool"]
    assert rows_of(RL, RL.read(row)) == [row]


def test_what_asks_nothing_is_refused() -> None:
    assert RL.carries(PAGE) == "text without turns"
    assert RL.carries(Sample((Message("system", "s"),))) == "no user turn"
    assert RL.carries(Sample(said(" "))) == "an empty user turn"
    assert RL.carries(Sample((*TOOLS.messages[:2], Message("user", "x")))) == "a tool call that nothing answers"


@pytest.mark.parametrize(
    ("truth", "reference"), [("4", "4"), (4, "4"), (0, "0"), (["a", "b"], '["a", "b"]'), (None, None), ("", None)]
)
def test_the_truth_may_be_any_json(truth: Any, reference: str | None) -> None:
    assert RL.read({"prompt": "2 + 2?", "ground_truth": truth}).reference == reference


def test_a_bare_prompt_is_one_and_an_answered_one_is_not() -> None:
    assert sniff_format({"prompt": [{"role": "user", "content": "q"}], "id": 1}) is RL
    assert sniff_format({"prompt": "q", "ground_truth": "4"}) is RL
    assert RL.read({"prompt": "q", "id": 1}) == Sample(said("q"), meta={"columns": {"id": 1}})
    for column in ("completion", "chosen", "label", "response", "answer", "output", "messages"):
        assert not RL.sniff({"prompt": "q", column: "a"})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": []}, "prompt: messages must be a list"),
        ({"prompt": [{"role": "assistant", "content": "a"}]}, "prompt must end with a turn of the user"),
        ({"prompt": "q", "verifier": 3}, "verifier must be text"),
    ],
)
def test_they_say_what_is_wrong(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        RL.read(row)

"""Random pairs and labelled samples for the tests of formats: unicode, system, history, tools."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from synthgen.formats import Format
from synthgen.types import Message, Sample, ToolCall

FEW = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    str.strip
)
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.lists(st.integers(), max_size=2)
CALL = st.builds(ToolCall, st.sampled_from(["weather", "search"]), st.dictionaries(TEXT, VALUES, max_size=2))
SAID = st.builds(Message, st.just("assistant"), TEXT)
CALLED = st.builds(
    lambda calls: Message("assistant", "", tool_calls=tuple(calls)), st.lists(CALL, min_size=1, max_size=2)
)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "天气", "parameters": {"type": "object", "properties": {}}},
}


@st.composite
def rounds(draw: st.DrawFn, *, tools: bool) -> tuple[Message, ...]:
    """What a user says and is answered, tools among it."""
    turns = [Message("user", draw(TEXT))]
    if tools and draw(st.booleans()):
        turns.append(draw(CALLED))
        turns += [Message("tool", "{}") for _ in turns[-1].tool_calls]
    return (*turns, draw(SAID))


@st.composite
def prompts(draw: st.DrawFn, *, tools: bool) -> tuple[Message, ...]:
    """A conversation that ends before an answer."""
    system = (Message("system", draw(TEXT)),) if draw(st.booleans()) else ()
    history = [turn for one in draw(st.lists(rounds(tools=tools), max_size=2)) for turn in one]
    return (*system, *history, *draw(rounds(tools=tools))[:-1])


def same(answer: tuple[Message, ...], rejected: tuple[Message, ...]) -> bool:
    return answer[0] == rejected[0]


@st.composite
def pairs(draw: st.DrawFn, *, tools: bool = False, turns: bool = False) -> Sample:
    """A pair; `turns`: answers of several turns, which differ from their first one on."""
    answers = rounds(tools=tools).map(lambda said: said[1:]) if turns else one_answer(tools)
    chosen = draw(answers)
    rejected = draw(answers.filter(lambda answer: not same(answer, chosen)))
    with_tools = tools and draw(st.booleans())
    meta = {"answer_turns": len(chosen)} if len(chosen) > 1 else {}
    said = (*draw(prompts(tools=tools)), *chosen)
    return Sample(said, rejected=rejected, tools=(TOOL,) if with_tools else (), meta=meta)


def one_answer(tools: bool) -> st.SearchStrategy[tuple[Message, ...]]:
    return st.tuples(SAID | CALLED if tools else SAID)


@st.composite
def labelled(draw: st.DrawFn, *, tools: bool = False) -> Sample:
    """An answer that is good or bad."""
    pair = draw(pairs(tools=tools))
    return replace(pair, rejected=(), label=draw(st.booleans()))


def rows(member: Format, *samples: Sample) -> list[dict[str, Any]]:
    """The rows of a file as its reader sees them."""
    columns = member.columns(samples)
    found = [json.loads(json.dumps(member.row(sample, columns))) for sample in samples]
    assert all(tuple(row) == columns for row in found)
    return found


def nameless(sample: Sample) -> Sample:
    """The sample without the ids that calls and results get where they are written."""

    def bare(turn: Message) -> Message:
        return replace(turn, tool_call_id=None, tool_calls=tuple(replace(call, id="") for call in turn.tool_calls))

    return replace(sample, messages=tuple(map(bare, sample.messages)), rejected=tuple(map(bare, sample.rejected)))

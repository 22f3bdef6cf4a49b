"""Samples drawn by chance: what any recipe, file or person may put into a format."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from synthgen.formats import Format, read_samples
from synthgen.formats.write import write_samples
from synthgen.formats.written import Written
from synthgen.types import Message, Sample, ToolCall

DRAWN = settings(derandomize=True, deadline=None, max_examples=150)

_LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
_ODD = ("", " ", "\n", "\r\n", "\u2028", "<think>\n", "\n</think>\n\n", "{{idx}}", '{"a": 1}', "[]", "null", "你好", "\U0001f600", "| ", '"')  # fmt: skip
ANY_TEXT = st.lists(st.one_of(st.text(_LETTERS, max_size=8), st.sampled_from(_ODD)), max_size=4).map("".join)
TEXT = ANY_TEXT.filter(str.strip)
_ARGUMENTS = st.dictionaries(
    st.text(_LETTERS, max_size=4),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), ANY_TEXT),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(ANY_TEXT, inner, max_size=2)),
        max_leaves=4,
    ),
    max_size=3,
)
TOOLS = st.lists(
    st.builds(
        lambda name, text: {
            "type": "function",
            "function": {
                "name": name,
                "description": text,
                "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
            },
        },
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        ANY_TEXT,
    ),
    min_size=1,
    max_size=2,
).map(tuple)


@st.composite
def dialogues(
    draw: st.DrawFn, *, turns: int = 3, tools: bool = False, reasoning: bool = False, weights: bool = False
) -> Sample:
    """User and assistant in turns, the assistant last; with calls, their ids and results where `tools`."""
    messages = [Message("system", draw(TEXT))] if draw(st.booleans()) else []
    number = 0
    for _ in range(draw(st.integers(1, turns))):
        messages.append(Message("user", draw(TEXT)))
        for _ in range(draw(st.integers(0, 2)) if tools else 0):
            asked = draw(st.lists(st.tuples(st.sampled_from(["a", "b_1"]), _ARGUMENTS), min_size=1, max_size=3))
            calls = [ToolCall(name, given, f"call_{number + n}") for n, (name, given) in enumerate(asked, start=1)]
            number += len(calls)
            messages.append(Message("assistant", "", tool_calls=tuple(calls), reasoning=_maybe(draw, reasoning)))
            messages += [Message("tool", draw(ANY_TEXT), tool_call_id=call.id) for call in calls]
        weight = draw(st.sampled_from([None, 0])) if weights else None
        messages.append(Message("assistant", draw(TEXT), reasoning=_maybe(draw, reasoning), weight=weight))
    return Sample(tuple(messages), tools=draw(TOOLS) if tools else ())


def _maybe(draw: st.DrawFn, wanted: bool) -> str | None:
    return draw(st.one_of(st.none(), TEXT)) if wanted else None


def several(strategy: st.SearchStrategy[Sample], count: int) -> list[Sample]:
    """The same `count` samples each time, for readers that take a file at once."""
    found: list[Sample] = []

    @settings(derandomize=True, database=None, deadline=None, max_examples=count, phases=[Phase.generate])
    @given(strategy)
    def draw(sample: Sample) -> None:
        found.append(sample)

    draw()
    return found


def rows_of(member: Format, *samples: Sample) -> list[dict[str, Any]]:
    """The rows as a reader of the file would see them."""
    columns = member.columns(samples)
    return [json.loads(json.dumps(member.row(sample, columns))) for sample in samples]


def through_file(member: Format, samples: Sequence[Sample]) -> tuple[Written, list[Sample]]:
    """What was counted while writing, and what the file gives back."""
    with tempfile.TemporaryDirectory() as folder:
        written = write_samples(samples, member, Path(folder) / member.file_name)
        return written, list(read_samples(written.path, member.name)) if written.rows else []

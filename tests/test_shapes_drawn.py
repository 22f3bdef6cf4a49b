"""Rows drawn by chance: whatever stands in a row, reading it says so or gives a sample that our own format keeps."""

from __future__ import annotations

import json
from typing import Any

from drawn import DRAWN, through_file
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthgen.errors import ParseError
from synthgen.formats import formats, open_format, read_row
from synthgen.rows.shapes import ANSWERS, COMPARED, PAIRED, REFERENCES

SAMPLES = open_format("samples")
_COLUMNS = sorted(
    {*COMPARED, *ANSWERS, *REFERENCES, *PAIRED, "chosen", "rejected", "input", "context", "system", "system_prompt"}
    | {"history", "tools", "function", "label", "kto_tag", "meta", "id", "instances", "spans", "data", "dialog"}
    | {"conversation", "reward_model", "data_source", "verifier", "extra_info", "is_classification", "input_split"}
)
_TEXT = st.sampled_from(
    (
        "", " ", "q", "你好", "<|im_start|>user\nq<|im_end|>", "\n\nHuman: q\n\nAssistant: a", "[]", "{}", '["a"]', "1.0",
        '[{"role": "user", "content": "q"}]', '{"name": "f", "arguments": {}}', "true", "-1", '{"ground_truth": 1}',
        "[" * 3000, "\u2028", '[{"from": "human", "value": null}]', '[{"role": "USER", "content": "a"}, 1]',
    )
)  # fmt: skip
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.just(2**53 + 1), st.just(0.5), _TEXT)
_ROLES = ["user", "human", "assistant", "gpt", "BOT", "AI", "system", "tool", "function_call", "observation", "judge"]
_TURN_KEYS = ["role", "from", "content", "value", "text", "tool_calls", "weight", "name", "human", "assistant"]
_TURNS = st.lists(
    st.one_of(
        _SCALARS,
        st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(_ROLES), _SCALARS),
        st.builds(lambda role, text: {"from": role, "value": text}, st.sampled_from(_ROLES), _SCALARS),
        st.dictionaries(st.sampled_from([*_TURN_KEYS, "input", "output", "arguments"]), _SCALARS, max_size=3),
    ),
    max_size=4,
)
_VALUES = st.recursive(
    st.one_of(_SCALARS, _TURNS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*_TURN_KEYS, *_COLUMNS]), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip
_ASKED, _SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
_PAIR = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
_KNOWN: list[dict[str, Any]] = [
    {"messages": [_ASKED, _SAID]}, {"messages": [_ASKED, _SAID], "rejected_response": "b"}, {"conversations": _PAIR},
    {"messages": [_ASKED, _SAID], "label": -1}, {"conversations": _PAIR, "kto_tag": "true"}, {"text": "a page"},
    {"instruction": "q", "context": "c", "response": "a"}, {"question": "q", "answer": 3}, {"turns": ["q", "q2"]},
    {"problem": "q", "solution": "a", "answer": "3"}, {"query": "q", "response": "a", "rejected_response": "b"},
    {"prompt": [_ASKED], "chosen": [_SAID], "rejected": [_SAID]}, {"prompt": "q", "completion": "a", "label": 1},
    {"instruction": "q", "instances": [{"input": "", "output": "a"}, {"input": "b"}]}, {"input": "q", "output": "a"},
    {"prompt": [_ASKED], "reward_model": {"ground_truth": 1, "style": "rule"}, "extra_info": {"index": 1}},
    {"question": [[_ASKED], [_ASKED]], "function": [{"name": "f", "parameters": {"type": "dict"}}]}, {"prompt": "q"},
    {"conversation": [{"human": "q", "assistant": "a", "system": "s"}]}, {"id": 1, "data": ["q", "a", "q"]},
    {"input": {"messages": [_ASKED]}, "preferred_output": [_SAID], "non_preferred_output": [_SAID]},
    {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
]  # fmt: skip


def _changed(row: dict[str, Any], more: dict[str, Any], less: list[str]) -> dict[str, Any]:
    return {column: value for column, value in {**row, **more}.items() if column not in less or column in more}


_FEW = st.dictionaries(st.sampled_from(_COLUMNS), _VALUES, max_size=2)
_LESS = st.lists(st.sampled_from(_COLUMNS), max_size=1)
ROWS = st.one_of(
    st.dictionaries(st.sampled_from(_COLUMNS), _VALUES, max_size=5),
    *[st.builds(_changed, st.sampled_from(_KNOWN), _FEW, _LESS)] * 3,
)


def kept(row: dict[str, Any]) -> int:
    """How many samples a row gives, each of which our own format writes and reads as it is."""
    try:
        member, samples = read_row(row)
    except ParseError:
        return 0
    assert formats()[member.name] is member
    written, back = through_file(SAMPLES, samples)
    assert (written.rows, back) == (len(samples), list(samples))
    assert json.loads(json.dumps(row)) == row  # nobody wrote into it
    for into in formats().values():
        for sample in samples:
            if into.carries(sample) is None and not hasattr(into, "apart"):
                read_row(json.loads(json.dumps(into.row(sample, into.columns((sample,))))))
                into.loses(sample)
    return len(samples)


@settings(DRAWN, max_examples=1000)
@given(ROWS)
@example({"question": [[]], "function": []})
@example({"question": [], "function": []})
@example({"instruction": "i", "instances": []})
@example({"messages": [{"role": "user", "content": "q"}], "rejected_response": None})
def test_a_row_is_read_or_refused_and_kept(row: dict[str, Any]) -> None:
    kept(row)

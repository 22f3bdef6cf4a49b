"""The conversion matrix cell by cell: a row of each format in each other, exact, with a counted loss, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthgen.formats import open_format, read_row, read_samples
from synthgen.formats.write import write_samples
from synthgen.types import Sample

Row = dict[str, Any]
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
WRAPPED = {"type": "function", "function": TOOL}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
ROWS: dict[str, Row] = {
    "alpaca": {"instruction": "do", "input": "this", "output": "a"},
    "alpaca with system and history": {
        "instruction": "do",
        "input": "",
        "output": "b",
        "system": "s",
        "history": [["q", "a"]],
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": "a"},
            {"from": "human", "value": "r"},
            {"from": "gpt", "value": "b"},
        ],
        "system": "s",
    },
    "sharegpt with tools": {
        "conversations": [
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "a"},
        ],
        "tools": json.dumps([TOOL]),
    },
    "messages": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "weight": 0},
            {"role": "user", "content": "r", "name": "eve"},
            {"role": "assistant", "content": "b"},
        ]
    },
    "messages with tools": {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "look", "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "assistant", "content": "a"},
        ],
        "tools": [WRAPPED],
    },
    "prompt-completion": {
        "prompt": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "r"},
        ],
        "completion": [{"role": "assistant", "content": "b"}],
    },
    "prompt-completion-text": {"prompt": "q", "completion": "a"},
}
COMPARED: dict[str, Row] = {
    "preference-alpaca": {"instruction": "do", "input": "this", "chosen": "a", "rejected": "b"},
    "preference-sharegpt": {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
        "system": "s",
    },
    "preference": {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    },
    "preference of several turns": {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "assistant", "content": "a"},
        ],
        "rejected": [{"role": "assistant", "content": "b"}],
        "tools": json.dumps([WRAPPED]),
    },
    "preference-openai": {
        "input": {"messages": [{"role": "user", "content": "q"}], "tools": [WRAPPED]},
        "preferred_output": [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    },
    "preference-swift": {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "rejected_response": "b",
    },
    "kto": {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
        "label": True,
    },
    "kto of a bad answer": {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
        "label": False,
    },
}

ANSWERS: dict[str, dict[str, str]] = {
    "alpaca": {
        "alpaca": "=",
        "sharegpt": "the border of instruction and input",
        "messages": "the border of instruction and input",
        "prompt-completion": "the border of instruction and input",
        "prompt-completion-text": "the border of instruction and input",
    },
    "alpaca with system and history": {
        "alpaca": "=",
        "sharegpt": "same turns",
        "messages": "same turns",
        "prompt-completion": "training on earlier answers",
        "prompt-completion-text": "the roles of the turns; training on earlier answers",
    },
    "sharegpt": {
        "alpaca": "same turns",
        "sharegpt": "=",
        "messages": "=",
        "prompt-completion": "training on earlier answers",
        "prompt-completion-text": "the roles of the turns; training on earlier answers",
    },
    "sharegpt with tools": {
        "alpaca": "x tools",
        "sharegpt": "=",
        "messages": "same turns",
        "prompt-completion": "training on earlier answers",
        "prompt-completion-text": "x tools",
    },
    "messages": {
        "alpaca": "weights of turns; names of speakers",
        "sharegpt": "weights of turns; names of speakers",
        "messages": "=",
        "prompt-completion": "=",
        "prompt-completion-text": "the roles of the turns; names of speakers",
    },
    "messages with tools": {
        "alpaca": "x tools",
        "sharegpt": "text beside a tool call; ids of tool calls",
        "messages": "=",
        "prompt-completion": "training on earlier answers",
        "prompt-completion-text": "x tools",
    },
    "prompt-completion": {
        "alpaca": "weights of turns",
        "sharegpt": "weights of turns",
        "messages": "=",
        "prompt-completion": "=",
        "prompt-completion-text": "the roles of the turns",
    },
    "prompt-completion-text": {
        "alpaca": "same turns",
        "sharegpt": "=",
        "messages": "=",
        "prompt-completion": "=",
        "prompt-completion-text": "=",
    },
}
PAIRS: dict[str, dict[str, str]] = {
    "preference-alpaca": {
        "preference-alpaca": "=",
        "preference-sharegpt": "the border of instruction and input",
        "preference": "the border of instruction and input",
        "preference-openai": "the border of instruction and input",
        "preference-swift": "the border of instruction and input",
        "kto": "the border of instruction and input; the other answer of the pair",
        "messages": "the rejected answer; the border of instruction and input",
    },
    "preference-sharegpt": {
        "preference-alpaca": "same turns",
        "preference-sharegpt": "=",
        "preference": "=",
        "preference-openai": "=",
        "preference-swift": "=",
        "kto": "the other answer of the pair",
        "messages": "the rejected answer",
    },
    "preference": {
        "preference-alpaca": "same turns",
        "preference-sharegpt": "=",
        "preference": "=",
        "preference-openai": "=",
        "preference-swift": "=",
        "kto": "the other answer of the pair",
        "messages": "the rejected answer",
    },
    "preference of several turns": {
        "preference-alpaca": "x an answer of several turns",
        "preference-sharegpt": "x an answer of several turns",
        "preference": "=",
        "preference-openai": "x an answer of several turns",
        "preference-swift": "=",
        "kto": "the other answer of the pair",
        "messages": "the rejected answer",
    },
    "preference-openai": {
        "preference-alpaca": "x tools",
        "preference-sharegpt": "ids of tool calls",
        "preference": "=",
        "preference-openai": "=",
        "preference-swift": "=",
        "kto": "the other answer of the pair",
        "messages": "the rejected answer",
    },
    "preference-swift": {
        "preference-alpaca": "same turns",
        "preference-sharegpt": "=",
        "preference": "=",
        "preference-openai": "=",
        "preference-swift": "=",
        "kto": "the other answer of the pair",
        "messages": "the rejected answer",
    },
    "kto": {
        "preference-alpaca": "x no rejected answer",
        "preference-sharegpt": "x no rejected answer",
        "preference": "x no rejected answer",
        "preference-openai": "x no rejected answer",
        "preference-swift": "x no rejected answer",
        "kto": "=",
        "messages": "the label",
    },
    "kto of a bad answer": {
        "preference-alpaca": "x no rejected answer",
        "preference-sharegpt": "x no rejected answer",
        "preference": "x no rejected answer",
        "preference-openai": "x no rejected answer",
        "preference-swift": "x no rejected answer",
        "kto": "=",
        "messages": "x an answer marked as bad (label false)",
    },
}


def turns(sample: Sample) -> list[tuple[Any, ...]]:
    """What is said, without ids and weights."""
    return [
        (m.role, m.content, [(call.name, call.arguments) for call in m.tool_calls])
        for m in (*sample.messages, *sample.rejected)
    ]


@pytest.mark.parametrize(
    ("source", "target", "cell"),
    [
        (source, target, cell)
        for table in (ANSWERS, PAIRS)
        for source, cells in table.items()
        for target, cell in cells.items()
    ],
)
def test_a_cell_of_the_matrix(tmp_path: Path, source: str, target: str, cell: str) -> None:
    """`=`: the same sample comes back. `same turns`: what is said does, and nothing else is to be named.

    `x`: the row is left out for this reason. Otherwise the row is there, and loses what the cell says.
    """
    member, (sample,) = read_row({**ROWS, **COMPARED}[source])
    assert member.name == source.partition(" ")[0]
    written = write_samples([sample], open_format(target), tmp_path / open_format(target).file_name)
    if cell.startswith("x "):
        assert (written.rows, written.left_out, written.lost) == (0, {cell[2:]: 1}, {})
        return
    lost = [] if cell in ("=", "same turns") else cell.split("; ")
    assert written.left_out == {}
    assert set(written.lost) == set(lost)
    first = next(iter(read_samples(written.path, target)))
    if cell == "=":
        assert first == sample
    elif cell == "same turns":
        assert turns(first) == turns(sample)
    again = write_samples([first], open_format(target), tmp_path / f"again-{open_format(target).file_name}")
    assert again.path.read_bytes() == open_bytes(written.path)[0]


def open_bytes(path: Path) -> list[bytes]:
    """The first row's bytes, with its newline; an array whole."""
    data = path.read_bytes()
    return [data] if data.startswith(b"[") else data.splitlines(keepends=True)


def test_the_matrix_is_whole() -> None:
    """Each source has a cell for each target of its table."""
    for table in (ANSWERS, PAIRS):
        assert len({tuple(cells) for cells in table.values()}) == 1
    assert list(ANSWERS) == list(ROWS)
    assert list(PAIRS) == list(COMPARED)

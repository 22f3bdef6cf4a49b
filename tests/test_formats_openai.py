"""OpenAI's fine-tuning takes our rows: its published specification says so, of drawn samples and of real files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn import dialogues, several
from jsonschema import Draft202012Validator
from pairs import pairs
from test_formats import LONG, PARALLEL, PLAIN, SPLIT, TOOLS
from test_formats_preference import AFTER_A_TOOL, CALL_OR_TALK, PAIR

from synthgen.formats import open_format, read_samples
from synthgen.formats.write import write_samples
from synthgen.types import Sample

SPECIFICATION = Path(__file__).parent / "data" / "openai_fine_tuning.json"
SHAPES = {"messages": "chat", "preference-openai": "preference"}
Faults = Callable[[str, Any], list[str]]


@pytest.fixture(scope="module")
def faults() -> Faults:
    """What the specification says against a row of one of our formats."""
    known = json.loads(SPECIFICATION.read_text("utf-8"))
    Draft202012Validator.check_schema(known)
    by_name = {
        name: Draft202012Validator({"$ref": f"#/$defs/{shape}", "$defs": known["$defs"]})
        for name, shape in SHAPES.items()
    }
    return lambda name, row: [f"{error.json_path}: {error.message}"[:300] for error in by_name[name].iter_errors(row)]


def rows_of(samples: Iterable[Sample], name: str, folder: Path) -> Iterator[Any]:
    """The rows of a file, without the null that `tools` is in rows without any where others have some.

    The specification has no null there, the readers of tables want the column in every row.
    """
    path = write_samples(list(samples), open_format(name), folder / f"{name}.jsonl").path
    for line in path.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        yield {column: value for column, value in row.items() if column != "tools" or value is not None}


def samples_for(name: str) -> list[Sample]:
    if name == "preference-openai":
        return [PAIR, AFTER_A_TOOL, CALL_OR_TALK, *several(pairs(tools=True), 200)]
    return [PLAIN, SPLIT, LONG, TOOLS, PARALLEL, *several(dialogues(tools=True, reasoning=True, weights=True), 200)]


@pytest.mark.parametrize("name", SHAPES)
def test_rows_are_as_the_specification_wants_them(tmp_path: Path, faults: Faults, name: str) -> None:
    samples = samples_for(name)
    assert [faults(name, row) for row in rows_of(samples, name, tmp_path)] == [[]] * len(samples)


@pytest.mark.parametrize("name", SHAPES)
def test_plain_rows_have_no_column_of_tools(tmp_path: Path, name: str) -> None:
    samples = [PAIR if name == "preference-openai" else PLAIN] * 2
    path = write_samples(samples, open_format(name), tmp_path / "a.jsonl", strict=True).path
    assert b"tools" not in path.read_bytes()


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        *(
            ("messages", f"lf_{kind}_{lang}_demo.json")
            for kind in ("alpaca", "glaive_toolcall")
            for lang in ("en", "zh")
        ),
        *(("preference-openai", f"lf_dpo_{lang}_demo.json") for lang in ("en", "zh")),
        ("messages", "fastchat_dummy_conversation.json"),
    ],
)
def test_real_files_are(tmp_path: Path, shared_data: Path, faults: Faults, name: str, file_name: str) -> None:
    rows = list(rows_of(read_samples(shared_data / file_name), name, tmp_path))
    assert len(rows) >= 290
    assert [found for row in rows if (found := faults(name, row))] == []


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": [{"role": "developer", "content": "s"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "assistant"}]},
        {"messages": [{"role": "assistant", "content": "a", "weight": 2}]},
        {"messages": [{"role": "tool", "content": "1"}]},
        {"messages": [{"role": "user", "content": "q"}], "id": 1},
        {"messages": [{"role": "user", "content": "q"}], "tools": [{"name": "f"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {}}}]}]},
    ],
)  # fmt: skip
def test_the_specification_refuses_what_it_should(faults: Faults, row: Any) -> None:
    assert faults("messages", row)

"""What an export says of rows that the format does not take: where they are, and when nothing is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import result, synthgen, write_rows

from synthgen.formats import open_format, read_row

PAIR: dict[str, Any] = {"question": "q", "answer": "a"}
CALL = {"name": "find", "arguments": {"of": "x"}}


@pytest.mark.parametrize(("out", "strict"), [("o.jsonl", []), ("o/", []), ("o/", ["--strict"])])
def test_where_every_sample_is_left_out_nothing_is_written(tmp_path: Path, out: str, strict: list[str]) -> None:
    write_rows(tmp_path / "a.jsonl", [PAIR, PAIR])
    done = synthgen("export", "a.jsonl", "--to", "preference", "-o", out, *strict, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "preference cannot hold any of the 2 samples: no rejected answer (2); nothing was written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_rows_left_out_are_told_with_their_places(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [PAIR, *[{**PAIR, "answer": " "}] * 5, PAIR])
    done = synthgen("export", "a.jsonl", "--to", "messages", "-o", "m.jsonl", "--json", cwd=tmp_path)
    out = result(done)
    assert out["left_out_at"] == {"an empty answer": ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"]}
    assert "5 left out: an empty answer (a.jsonl:2, a.jsonl:3, a.jsonl:4, ...)" in done.stderr


@pytest.mark.parametrize("to", ["messages", "alpaca", "sharegpt", "prompts", "samples"])
def test_a_row_with_pictures_is_left_out_of_all_formats_but_our_own(tmp_path: Path, to: str) -> None:
    rows = [{**PAIR, "images": images} for images in (["a.png"], [], None)] + [{**PAIR, "videos": ["v.mp4"]}]
    write_rows(tmp_path / "a.jsonl", rows)
    out = result(synthgen("export", "a.jsonl", "--to", to, "-o", "o.jsonl", "--json", cwd=tmp_path))
    held = {} if to == "samples" else {"images, videos or audio": 2}
    assert (out["rows"], out["left_out"]) == (4 if to == "samples" else 2, held)


@pytest.mark.parametrize(
    ("row", "to", "mapped"),
    [
        ({"prompt": "q", "completion": "a", "label": 1}, "kto", {"the spelling of label": 1}),
        ({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "q"},
                       {"role": "assistant", "content": "a"}]}, "alpaca", {"the role developer": 1}),
    ],
)  # fmt: skip
def test_a_spelling_that_is_mapped_is_no_loss(tmp_path: Path, row: dict[str, Any], to: str, mapped: Any) -> None:
    write_rows(tmp_path / "a.jsonl", [row])
    done = synthgen("export", "a.jsonl", "--to", to, "-o", "o.jsonl", "--strict", "--json", cwd=tmp_path)
    out = result(done)
    assert (out["lost"], out["mapped"]) == ({}, mapped)
    assert "was mapped, nothing is lost" in done.stderr


@pytest.mark.parametrize(("name", "lost"), [("call_1", ()), ("call_x", ("ids of tool calls",))])
def test_ids_that_would_be_made_again_are_no_loss(name: str, lost: tuple[str, ...]) -> None:
    call = {"id": name, "type": "function", "function": CALL}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": name, "content": "r"},
        {"role": "assistant", "content": "a"},
    ]
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}]
    _, (sample,) = read_row({"messages": turns, "tools": tools})
    assert open_format("sharegpt").loses(sample) == lost


def test_a_reference_is_counted_once() -> None:
    _, (sample,) = read_row({"question_id": 1, "category": "math", "turns": ["q"], "reference": ["r"]})
    assert [part for part in open_format("prompts").loses(sample) if "reference" in part] == ["the reference"]


def test_who_loses_reasoning_is_told_what_keeps_it(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "a", "reasoning_content": "t"}
    write_rows(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": "q"}, answer]}])
    done = synthgen("export", "a.jsonl", "--to", "messages", "-o", "o.jsonl", cwd=tmp_path)
    assert "1 samples lose: reasoning (--to samples keeps it, and sharegpt where a tool call follows)" in done.stderr
    assert done.returncode == 0


def test_a_nul_is_told_without_a_word_of_servers(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [PAIR, {**PAIR, "answer": "a\0"}])
    done = synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "o.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.jsonl:2: a NUL character, which is no text to most tools; fix or delete the row" in done.stderr

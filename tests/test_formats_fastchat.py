"""FastChat's ShareGPT: one array, streamed, that its own loader would take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawn import DRAWN, dialogues, rows_of, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import ALL, LONG, PLAIN, TOOLS, said

from synthgen.errors import UsageError
from synthgen.formats import open_format, read_samples, sniff_format
from synthgen.formats.card import dataset_info
from synthgen.formats.write import write_samples
from synthgen.formats.written import CannotCarryError
from synthgen.types import Message, Sample

FASTCHAT, SHAREGPT = open_format("fastchat"), open_format("sharegpt")


def fastchat_takes(source: list[dict[str, str]]) -> list[tuple[str, str]]:
    """What fastchat/train/train.py makes of a conversation: KeyError, AssertionError, or the turns."""
    roles = {"human": "USER", "gpt": "ASSISTANT"}
    if roles[source[0]["from"]] != "USER":
        source = source[1:]
    for place, turn in enumerate(source):
        assert roles[turn["from"]] == ("USER", "ASSISTANT")[place % 2]
    return [(turn["from"], turn["value"]) for turn in source]


@DRAWN
@given(st.lists(dialogues(reasoning=True, weights=True), max_size=3))
def test_conversations_come_back_and_the_rest_is_counted(samples: list[Sample]) -> None:
    written, back = through_file(FASTCHAT, samples)
    assert written.left_out == {}
    for sample, again in zip(samples, back, strict=True):
        turns = [m for m in sample.messages if m.role != "system"]
        assert again.messages == tuple(replace(m, reasoning=None, weight=None) for m in turns)
        assert again.tools == ()
    systems = sum(sample.messages[0].role == "system" for sample in samples)
    assert written.lost.get("the system text", 0) == systems
    assert written.lost.get("reasoning", 0) == sum(any(m.reasoning for m in s.messages) for s in samples)
    assert written.lost.get("weights of turns", 0) == sum(any(m.weight == 0 for m in s.messages) for s in samples)


@DRAWN
@given(st.lists(dialogues(tools=True), min_size=1, max_size=3))
def test_its_own_loader_would_take_every_row(samples: list[Sample]) -> None:
    carried = [sample for sample in samples if FASTCHAT.carries(sample) is None]
    for row, sample in zip(rows_of(FASTCHAT, *carried), carried, strict=True):
        turns = [m.content for m in sample.messages if m.role != "system"]
        assert [text for _, text in fastchat_takes(row["conversations"])] == turns
        assert isinstance(row["id"], str)
        assert row["id"]


def test_the_bytes_of_an_array(tmp_path: Path) -> None:
    result = write_samples([replace(PLAIN, meta={"id": "a.0"}), LONG], FASTCHAT, tmp_path / "f.json")
    text = result.path.read_text("utf-8")
    first = '{"id": "a.0", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}'
    assert text.startswith(f"[\n{first},\n{{")
    assert text.endswith("}\n]\n")
    assert [len(row["conversations"]) for row in json.loads(text)] == [2, 4]
    assert result.lost == {"the system text": 1}
    with pytest.raises(UsageError, match=r"f\.json:2: no alpaca row"):  # a row a line: its place is told
        list(read_samples(result.path, "alpaca"))


@pytest.mark.parametrize("samples", [[], [TOOLS]])
def test_an_empty_array_is_one(tmp_path: Path, samples: list[Sample]) -> None:
    result = write_samples(samples, FASTCHAT, tmp_path / "f.json")
    assert (result.rows, result.path.read_bytes()) == (0, b"[]\n")


def test_strict_leaves_no_array(tmp_path: Path) -> None:
    with pytest.raises(CannotCarryError, match=r"fastchat cannot hold 1 of 2 samples whole: the system text \(1\)"):
        write_samples([PLAIN, LONG], FASTCHAT, tmp_path / "f.json", strict=True)
    assert list(tmp_path.iterdir()) == []


def test_what_its_loader_would_stop_at_is_refused() -> None:
    assert FASTCHAT.carries(TOOLS) == "tools"
    assert FASTCHAT.carries(Sample((Message("assistant", "hi"), *said("q", "a")))) == "user and assistant do not take turns"  # fmt: skip
    inside = Sample((*said("q", "a"), Message("system", "s"), *said("q", "a")))
    assert FASTCHAT.carries(inside) == "a system turn inside the conversation"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"id": "1", "conversations": [{"from": "human", "value": "q"}]}, "fastchat"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "sharegpt"),
        ({"id": "1", "conversations": [{"from": "human", "value": "q"}], "system": ""}, "sharegpt"),
        ({"id": "1", "conversations": [{"from": "system", "value": "s"}]}, "sharegpt"),
        ({"id": "1", "conversations": []}, "sharegpt"),
    ],
)
def test_an_id_and_two_speakers_are_the_original(row: dict[str, Any], name: str) -> None:
    found = sniff_format(row)
    assert found is not None
    assert found.name == name


def test_both_read_the_same() -> None:
    rows = rows_of(SHAREGPT, *(sample for sample in ALL if SHAREGPT.carries(sample) is None))
    assert [FASTCHAT.read(row) for row in rows] == [SHAREGPT.read(row) for row in rows]


def test_an_id_is_of_the_content_and_text() -> None:
    first, second, third = rows_of(FASTCHAT, PLAIN, PLAIN, LONG)
    assert first["id"] == second["id"] != third["id"]
    assert rows_of(FASTCHAT, replace(PLAIN, meta={"columns": {"id": 7}}))[0]["id"] == "7"


def test_the_registry_has_it() -> None:
    made = json.loads(dataset_info({"fastchat": ("fastchat.json", FASTCHAT.columns(()))}))
    assert made["fastchat"] == {"file_name": "fastchat.json", "formatting": "sharegpt", "columns": {"messages": "conversations"}}  # fmt: skip

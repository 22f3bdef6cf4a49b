"""Pre-training text: one column, exactly as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawn import ANY_TEXT, DRAWN, TEXT, dialogues, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import LONG, PLAIN

from synthgen.errors import ParseError
from synthgen.formats import open_format, sniff_format
from synthgen.formats.card import dataset_info
from synthgen.types import Sample

MEMBER = open_format("text")


@DRAWN
@given(st.lists(TEXT, max_size=4))
def test_texts_come_back_exactly(texts: list[str]) -> None:
    samples = [Sample(text=text) for text in texts]
    written, back = through_file(MEMBER, samples)
    assert back == samples
    assert written.left_out == written.lost == {}


@DRAWN
@given(st.lists(st.one_of(ANY_TEXT.map(lambda text: Sample(text=text)), dialogues()), max_size=6))
def test_what_is_no_text_is_counted(samples: list[Sample]) -> None:
    written, back = through_file(MEMBER, samples)
    assert written.left_out.get("turns without a text", 0) == sum(sample.text is None for sample in samples)
    assert written.left_out.get("an empty text", 0) == sum(
        sample.text is not None and not sample.text.strip() for sample in samples
    )
    assert len(back) == written.rows == len(samples) - sum(written.left_out.values())


def test_what_a_text_loses() -> None:
    assert MEMBER.carries(Sample()) == "neither text nor turns"
    assert MEMBER.loses(Sample(PLAIN.messages, text="page", reference="4")) == ("the turns", "the reference")
    page = MEMBER.read({"text": "page", "url": "x"})
    assert page == Sample(text="page", meta={"columns": {"url": "x"}})
    assert MEMBER.loses(page) == ("column url",)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"text": "page", "url": "x", "date": "2024-01-01"}, "text"),
        ({"text": "rendered", "instruction": "q", "input": "", "output": "a"}, "alpaca"),
        ({"text": "page", "messages": [], "meta": {}}, "samples"),
        ({"text": "page", "label": 1}, "text"),
    ],
)
def test_a_text_column_beside_others(row: dict[str, Any], name: str) -> None:
    found = sniff_format(row)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("value", [None, 3, ["page"]])
def test_text_says_what_is_wrong(value: Any) -> None:
    with pytest.raises(ParseError, match="text must be text"):
        MEMBER.read({"text": value})


def test_other_formats_count_a_text_without_turns() -> None:
    for name in ("alpaca", "sharegpt", "messages"):
        assert open_format(name).carries(Sample(text="page")) == "text without turns"
        assert "text beside the turns" in open_format(name).loses(Sample(LONG.messages, text="page"))


def test_the_registry_reads_it_for_the_stage_of_pre_training() -> None:
    made = json.loads(dataset_info({"text": ("text.jsonl", ("text",))}))
    assert made == {"text": {"file_name": "text.jsonl", "columns": {"prompt": "text"}}}  # as its own c4_demo

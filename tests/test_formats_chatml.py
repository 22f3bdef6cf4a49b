"""ChatML text: both spellings come back exactly, and nothing in a turn can end it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawn import DRAWN, TEXT, dialogues, rows_of, through_file
from hypothesis import given
from hypothesis import strategies as st
from test_formats import LONG, PLAIN, TOOLS, said

from synthgen.errors import ParseError
from synthgen.formats import open_format, sniff_format
from synthgen.formats.write import write_samples
from synthgen.types import Message, Sample

CHATML, SEP = open_format("chatml"), open_format("chatml-sep")
BOTH = pytest.mark.parametrize("name", ["chatml", "chatml-sep"])
MODEL = Path(__file__).parents[1] / "models" / "base"
TRAINED = dialogues(weights=True).filter(lambda sample: CHATML.carries(sample) is None)


@DRAWN
@given(st.lists(dialogues(reasoning=True, weights=True), min_size=1, max_size=3))
def test_conversations_come_back_exactly(samples: list[Sample]) -> None:
    for member in (CHATML, SEP):
        written, back = through_file(member, samples)
        carried = [sample for sample in samples if member.carries(sample) is None]
        assert back == [
            replace(sample, messages=tuple(replace(m, reasoning=None) for m in sample.messages)) for sample in carried
        ]
        untrained = len(samples) - len(carried)
        assert written.left_out == ({"no answer that is trained (weight 0)": untrained} if untrained else {})
        thoughts = sum(any(m.reasoning for m in sample.messages) for sample in carried)
        assert written.lost == ({"reasoning": thoughts} if thoughts else {})


@DRAWN
@given(TRAINED)
def test_a_span_is_an_answer_with_its_end(sample: Sample) -> None:
    for member in (CHATML, SEP):
        (row,) = rows_of(member, sample)
        parts = [row["text"][start:end] for start, end in row["spans"]]
        answers = [m.content for m in sample.messages if m.role == "assistant" and m.weight is None]
        assert parts == [f"{answer}<|im_end|>" for answer in answers]


PIECES = st.lists(st.sampled_from(["<|", "|>", "im_start", "im_end", "im_sep", "<", "|", "user\n", "x", "endoftext", "\n"]), max_size=8).map("".join)  # fmt: skip


@DRAWN
@given(PIECES, PIECES)
def test_no_turn_can_end_itself(asked: str, answered: str) -> None:
    sample = Sample(said(f"q{asked}", f"a{answered}"))
    control = any(re.search(r"<\|[^\s<>|]+\|>", m.content) for m in sample.messages)
    for member in (CHATML, SEP):
        assert member.carries(sample) == ("a control token inside a turn" if control else None)
        if not control:
            assert [member.read(row) for row in rows_of(member, sample)] == [sample]


@BOTH
@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>"])
def test_each_control_token_is_refused_in_each_turn(name: str, token: str) -> None:
    member = open_format(name)
    for sample in (
        Sample(said(f"q{token}", "a")),
        Sample(said("q", f"{token}a")),
        Sample(said("q", "a", system=token)),
    ):
        assert member.carries(sample) == "a control token inside a turn"


def test_rows() -> None:
    assert rows_of(CHATML, PLAIN) == [
        {"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n", "spans": [[51, 62]]}
    ]
    assert rows_of(SEP, PLAIN) == [
        {"text": "<|im_start|>user<|im_sep|>q<|im_end|><|im_start|>assistant<|im_sep|>a<|im_end|>", "spans": [[68, 79]]}
    ]
    assert CHATML.carries(TOOLS) == "tools"
    assert CHATML.loses(LONG) == ()


def test_the_spelling_is_told_from_the_text() -> None:
    for member in (CHATML, SEP):
        (row,) = rows_of(member, LONG)
        del row["spans"]
        assert sniff_format(row) is member
        assert CHATML.read(row) == SEP.read(row) == LONG
    assert sniff_format({"text": "Write <|im_start|>user\n first"}) is open_format("text")
    assert sniff_format({"text": "<|im_start|>user\nq<|im_end|>", "instruction": "q", "output": "a"}) is open_format("alpaca")  # fmt: skip


def test_what_others_write_is_read() -> None:
    text = "\n<|im_start|>developer\ns<|im_end|><|im_start|>user\n q <|im_end|>\n\n<|im_start|>assistant\na<|im_end|>"
    assert CHATML.read({"text": text}).messages == said(" q ", "a", system="s")
    without_end = {"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n", "spans": [[51, 52]]}
    assert CHATML.read(without_end) == PLAIN
    assert [m.weight for m in CHATML.read(without_end | {"spans": []}).messages] == [None, 0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": ""}, "turn 1: must be"),
        ({"text": "a page"}, "turn 1: must be"),
        ({"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"}, "turn 2: must be"),
        ({"text": "<|im_start|>user\nq<|im_start|>assistant\na<|im_end|>"}, "turn 1: must be"),
        ({"text": "<|im_start|>user\nq<|im_end|> so"}, "turn 2: must be"),
        ({"text": "<|im_start|>judge\nq<|im_end|>"}, "unknown role 'judge'"),
        ({"text": "<|im_start|>user\nq<|im_end|>", "spans": [[0, 3]]}, "must be those of whole answers"),
        ({"text": "<|im_start|>user\nq<|im_end|>", "spans": [[17, 18]]}, "must be those of whole answers"),
        ({"text": "<|im_start|>user\nq<|im_end|>", "spans": [[1]]}, "must be a list of"),
        ({"text": "<|im_start|>user\nq<|im_end|>", "spans": [[True, 2]]}, "must be a list of"),
        ({"text": "<|im_start|>user\nq<|im_end|>", "spans": "0-3"}, "must be a list of"),
    ],
)
def test_chatml_says_what_is_wrong(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=re.escape(words)):
        CHATML.read(row)


def test_a_model_of_that_template_would_see_the_same_text() -> None:
    from jinja2 import Environment

    source = (MODEL / "chat_template.jinja").read_text("utf-8")
    template = Environment().from_string(re.sub(r"\{%-? (end)?generation %\}", "", source))
    turns = [{"role": m.role, "content": m.content} for m in LONG.messages]
    assert template.render(messages=turns) == rows_of(CHATML, LONG)[0]["text"]


@DRAWN
@given(st.lists(TEXT.filter(lambda text: not text[0].isspace() and "<" not in text), min_size=4, max_size=4))
def test_a_real_tokenizer_trains_on_whole_tokens(texts: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    (row,) = rows_of(CHATML, Sample(said(*texts)))
    encoded = tokenizer.encode(row["text"], add_special_tokens=False)
    for start, end in row["spans"]:
        inside = [n for n, (a, b) in enumerate(encoded.offsets) if a >= start and b <= end]
        across = [n for n, (a, b) in enumerate(encoded.offsets) if a < start < b or a < end < b]
        assert across == []
        assert encoded.tokens[inside[-1]] == "<|im_end|>"
        assert (encoded.offsets[inside[0]][0], encoded.offsets[inside[-1]][1]) == (start, end)


@BOTH
def test_datasets_keeps_the_spans(tmp_path: Path, hub_offline: Any, name: str) -> None:
    member = open_format(name)
    masked = Sample((*said("q", "a"), Message("user", "q"), Message("assistant", "b", weight=0)))
    result = write_samples([PLAIN, LONG, masked], member, tmp_path / member.file_name)
    data = hub_offline.load_dataset("json", data_files=str(result.path), split="train", cache_dir=str(tmp_path))
    assert data.to_list() == rows_of(member, PLAIN, LONG, masked)
    assert [len(row["spans"]) for row in data] == [1, 2, 1]

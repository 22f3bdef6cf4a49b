"""Chunks are the text: in order, without gaps, under the limit, cut where a reader would cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from command import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import cjk_count
from synthgen.documents import chunks
from synthgen.documents.chunks import sentence_ends


def estimate(text: str) -> int:
    """As a speaker counts: by characters, rounded up."""
    return int((len(text) - cjk_count(text)) * 0.3 + cjk_count(text)) + 1


def by_words(text: str) -> int:
    """A count that does not add up: a word that is cut in two is two."""
    return len(text.split())


def check(text: str, most: int, count: Callable[[str], int]) -> list[str]:
    found = chunks(text, most, count)
    assert "".join(one.of(text) for one in found) == text
    assert [one.start for one in found] == [0, *(one.end for one in found[:-1])][: len(found)]
    for one in found:
        assert one.start < one.end
        assert one.tokens == count(one.of(text))
        assert one.tokens <= most or one.end - one.start == 1
    return [one.of(text) for one in found]


_PARTS = st.sampled_from(
    ["A sentence. ", "Dr. Lee said 3.14! ", "一句话。", "“真的吗？”他问。", "word ", "word, ", "\n", "\n\n", "\n \n", "x" * 90, "字" * 70,
     "e\u0301", "e.g. this ", "…… ", "\t", "。", "."]
)  # fmt: skip


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.lists(_PARTS, max_size=40).map("".join), st.integers(1, 60), st.sampled_from([estimate, by_words, len]))
def test_chunks_joined_are_the_text_whatever_it_is(text: str, most: int, count: Callable[[str], int]) -> None:
    check(text, most, count)


def test_real_texts_are_cut_at_paragraphs_and_come_out_whole(shared_data: Path) -> None:
    for name in ("lf_alpaca_en_demo.json", "lf_alpaca_zh_demo.json"):
        rows = json.loads((shared_data / name).read_text(encoding="utf-8"))
        text = "\n\n".join(row["output"] for row in rows)
        found = check(text, 1000, estimate)
        assert len(found) > 50
        inside = [one for one in found[:-1] if not one.rstrip(" ").endswith("\n")]
        assert inside == []  # no paragraph here is longer than the limit


def test_a_text_under_the_limit_is_one_chunk() -> None:
    assert check("One. Two.", 10, estimate) == ["One. Two."]
    assert chunks("", 10, estimate) == []


def test_chunks_are_about_equally_long() -> None:
    text = "\n\n".join(f"Paragraph {n} has some ten words in it, all told." for n in range(105))
    found = [estimate(one) for one in check(text, 1000, estimate)]
    assert len(found) == 2  # not one of 1,000 tokens and a crumb
    assert max(found) - min(found) < 40


def test_paragraphs_then_lines_then_sentences_are_kept_whole() -> None:
    text = "First line here.\nSecond line here.\n\nThe other one. It has two sentences."
    assert check(text, 8, by_words) == [
        "First line here.\nSecond line here.\n\n",
        "The other one. It has two sentences.",
    ]
    assert check(text, 4, by_words) == [
        "First line here.\n",
        "Second line here.\n\n",
        "The other one. ",
        "It has two sentences.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ("Mr. Hill and Dr. Lee met e.g. in spring. Then they left.", ["Mr. Hill and Dr. Lee met e.g. in spring. ", "Then they left."]),
        ("It costs 3.50 euros. Or 4. Who knows?", ["It costs 3.50 euros. ", "Or 4. ", "Who knows?"]),
        ("J. Smith wrote it. No. 5 is best.", ["J. Smith wrote it. ", "No. 5 is best."]),
        ("\"Really?\" he asked. 'Yes.' She left.", ["\"Really?\" he asked. ", "'Yes.' ", "She left."]),
        ("Wait... what? (It ended.) Then more.", ["Wait... what? ", "(It ended.) ", "Then more."]),
        ("See www.example.org for more. Good.", ["See www.example.org for more. ", "Good."]),
        ("他问：“真的吗？”我说：“是的。”然后走了。", ["他问：“真的吗？”", "我说：“是的。”", "然后走了。"]),
        ("第一句。第二句！第三句？！第四句……第五句", ["第一句。", "第二句！", "第三句？！", "第四句……", "第五句"]),
        ("价格是3.5元。（见下表。）他说：“好。”", ["价格是3.5元。", "（见下表。）", "他说：“好。”"]),
        ("用Python写。It works. 很好。", ["用Python写。", "It works. ", "很好。"]),
    ],
)  # fmt: skip
def test_sentences_of_both_languages(text: str, expected: list[str]) -> None:
    starts = [0, *sentence_ends(text, 0, len(text))]
    assert [text[a:b] for a, b in pairwise(starts)] == expected


def test_a_sentence_that_is_too_long_alone_is_cut_at_a_gap() -> None:
    for one in check("many words and no end " * 40, 20, by_words)[:-1]:
        assert one.endswith(" ")
    for one in check("很多字，没有句号，" * 60, 50, estimate)[:-1]:
        assert one.endswith("，")
    parts = check("e\u0301" * 500, 100, len)
    assert not any(one.startswith("\u0301") for one in parts)


def test_examples_keep_their_sentences_at_any_limit() -> None:
    for path in sorted((ROOT / "examples/documents").glob("*/*.txt")):
        text = path.read_text(encoding="utf-8").strip()
        sentences = {0, len(text), *sentence_ends(text, 0, len(text))}
        ends = {at + 1 for at, character in enumerate(text) if character == "\n"}
        for most in (120, 200, 350):
            check(text, most, estimate)
            assert {one.end for one in chunks(text, most, estimate)} <= sentences | ends, path


def test_a_count_is_asked_for_no_more_than_a_few_times_a_character() -> None:
    asked = 0

    def count(text: str) -> int:
        nonlocal asked
        asked += len(text)
        return estimate(text)

    for text in ("A sentence of six words. " * 8_000, "字" * 200_000, "x" * 200_000, "Line.\n" * 30_000):
        asked = 0
        chunks(text, 500, count)
        assert asked < 12 * len(text)

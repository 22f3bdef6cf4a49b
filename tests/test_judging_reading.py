"""A judge's answer is a verdict within its scale or none at all: strict, whatever a model writes around it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import ParseError
from synthgen.judging import CONTRADICTION, PAIRWISE, STYLE, Rubric, Scale
from synthgen.judging.reading import score, scores, word

FIVE, TEN = Scale(1, 5), Scale(1, 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Score: 4/5", 4), ("4 分", 4), ("评分：4", 4), ("评分：４ 分", 4), ("4", 4), ("**4**", 4), ("4/5", 4), ("[[4]]", 4),
        ("Score: **4**", 4), ("**Score:** 4 out of 5", 4), ("Score (1-5): 4", 4), ("score = 4.", 4), ("The score is 4.", 4),
        ("评分：4分（满分5分）", 4), ("满分5分，得分：４／５", 4), ("我给4分。", 4), ("得分是 4", 4), ("4\n\nIt keeps most of it.", 4),
        ("It keeps most points.\n\n4", 4), ("Both agree.\nScore: 4\nScore: 4/5", 4),
        ("First I thought of score: 2. Final score: 4", 4),
        ('{"analysis": "fine", "score": 4}', 4), ('```json\n{"analysis": "a {brace}", "score": 4}\n```\nDone.', 4),
        ("{'analysis': 'it', 'score': '4/5',}", 4), ('{"score": 4.0}', 4), ('{"分析": "好", "评分": "4分"}', 4),
        ("｛“analysis”：“x”｝ 评分：4", 4), ('<think>score: 1</think>{"score": 4}', 4), ("no tag, score: 1</think>Score: 4", 4),
        ('{"analysis": "he said "no" to it", "score": 4}', 4),  # quotes that were not escaped
        ('{"analysis": "Score: 2 would be too hard", "Score": 4}', 4), ("最终得分：4，其中流畅性评分：5", 4),
    ],
)  # fmt: skip
def test_a_score(text: str, expected: int) -> None:
    assert score(text, FIVE)[0] == expected


@pytest.mark.parametrize(
    "text",
    ["", "four", "Score: four", "评分：四", "<think>Score: 4", "Score: 6", "Score: 0", "Score: -4", "Score: 4.5", "Score: 4/10", "4分（满分10分）",
     "Score: 3-4", "Score: 3 to 4", "Score: 3\nScore: 4", "7", "40", "4 of the 5 points are kept.", '{"score": true}',
     '{"score": null}', '{"score": {"value": 4}}', '{"score": 4} {"score": 5}', '{"analysis": "only"}', "Score: 45",
     '{"score": "4 or 5"}', "1. It is good.\n2. It is short.", "4\nor rather\n5", '{"score": 1e400}', '{"score": [4]}',
     "Score: 4" + "0" * 5000, "Score:" + " " * 100_000, "[" * 100_000],
)  # fmt: skip
def test_no_score(text: str) -> None:
    with pytest.raises(ParseError):
        score(text, FIVE)


def test_ten_points_are_no_one() -> None:
    assert score("Score: 10", TEN)[0] == 10
    assert score("10/10", TEN)[0] == 10
    with pytest.raises(ParseError):
        score("Score: 10", FIVE)


def test_the_analysis_is_kept_as_it_was_written() -> None:
    assert score('{"analysis": "两段文本，一致。", "score": 4}', FIVE)[1] == "两段文本，一致。"
    assert score("They agree.\nScore: 4", FIVE)[1] == "They agree.\nScore: 4"


def test_a_list_of_scores() -> None:
    assert scores('{"analysis": "x", "scores": [4, "5", "3/5"]}', FIVE, 3) == ((4, 5, 3), "x")
    for text in ('{"scores": [4, 5]}', '{"scores": [4, 5, 6]}', '{"scores": 4}', "4, 5, 3", '{"scores": [4, 5, null]}'):
        with pytest.raises(ParseError):
            scores(text, FIVE, 3)


@pytest.mark.parametrize(
    ("rubric", "text", "expected"),
    [
        (PAIRWISE, '{"analysis": "x", "winner": "A"}', "first"), (PAIRWISE, "[[B]]", "second"), (PAIRWISE, "Winner: tie", "tie"),
        (PAIRWISE, "A is vague. B is right.\n\n**Winner:** Answer B", "second"), (PAIRWISE, "胜者：回答Ａ", "first"),
        (PAIRWISE, "B", "second"), (PAIRWISE, "更好的是B。", "second"), (PAIRWISE, '{"winner": "平局"}', "tie"),
        (CONTRADICTION, '{"analysis": "years differ", "contradicts": "yes"}', "yes"), (CONTRADICTION, "No.", "no"),
        (CONTRADICTION, '{"contradicts": false}', "no"), (CONTRADICTION, "矛盾：是", "yes"),
        (STYLE, '```json\n{"fits": "Yes"}\n```', "yes"), (STYLE, "<think>no</think>是的", "yes"),
    ],
)  # fmt: skip
def test_a_word(rubric: Rubric, text: str, expected: str) -> None:
    assert rubric.read(text)[0] == expected


@pytest.mark.parametrize(
    "text",
    ["", "A is good and B is good.", "Winner: C", '{"winner": "A or B"}', "[[A]] [[B]]", "Winner: Bob", '{"winner": ["A", "B"]}',
     "A\n\nB", "Both", "Answer A is long. Answer B is short."],
)  # fmt: skip
def test_no_word(text: str) -> None:
    with pytest.raises(ParseError):
        PAIRWISE.read(text)


_PIECES = st.sampled_from(
    ["score", "Score:", "评分：", "4", "/5", "５", "分", "{", "}", '"', "'", ",", "[", "]", "winner", "A", "tie", "final ", "<think>",
     "</think>", "\n", " ", "-", ".", "\\", "\x00", "\ud800", "out of 5", "是", "null", "true", "```json", "满分5分", "9" * 400, "1e999"]
)  # fmt: skip


@settings(max_examples=600, derandomize=True, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=14).map("".join)))
def test_nothing_but_a_parse_error_comes_of_odd_text(text: str) -> None:
    for read in (
        lambda: score(text, FIVE)[0] in range(1, 6),
        lambda: set(scores(text, FIVE, 2)[0]) <= set(range(1, 6)),
        lambda: word(text, PAIRWISE.keys, PAIRWISE.words)[0] in ("first", "second", "tie"),
    ):
        try:
            assert read()
        except ParseError:
            continue

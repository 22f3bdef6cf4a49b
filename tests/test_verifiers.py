"""What verifiers read of a text, in both languages, and what they find to contradict a reference."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.verifiers.contradiction import contradiction
from synthgen.verifiers.dates import compatible, dates
from synthgen.verifiers.names import names
from synthgen.verifiers.negations import negations
from synthgen.verifiers.numerals import chinese, numerals
from synthgen.verifiers.quantities import numbers, same
from synthgen.verifiers.text import normal, sentences, stem

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234), ("1 234 567 m", 1234567), ("１，２３４", 1234), ("1.5万", 15000), ("2250万千瓦", 22_500_000), ("7B模型", 7 * 10**9),
        ("1e3", 1000), ("-5 °C", -5), ("2.25×10^4 MW", 22500), ("3.5 million", 3_500_000), ("三千五百万", 35_000_000), ("一百二十", 120),
        ("一千零五", 1005), ("一千五", 1500), ("二〇二〇", 2020), ("三点一四", "3.14"), ("两万七千", 27000), ("一亿两千万", 120_000_000),
        ("twenty-two", 22), ("two thousand two hundred and twenty-four", 2224), ("fifteen hundred", 1500), ("half a million", 500_000),
        ("three and a half", "3.5"), ("a hundred", 100),
    ],
)  # fmt: skip
def test_numerals(text: str, value: object) -> None:
    (found,) = numerals(normal(text))
    assert found.value == Fraction(str(value))


def test_numerals_that_stand_in_words_and_names() -> None:
    assert [n.value for n in numerals("FP16, H2O and x86")] == []
    assert chinese("") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,200 mg in 24 hours", [("1200", "mg"), ("24", "h")]), ("four to six hours", [("4", "h"), ("6", "h")]),
        ("12到38公斤", [("12", "kg"), ("38", "kg")]), ("4小时18分", [("4", "h"), ("18", "min")]), ("120元", [("120", "unit")]),
        ("half a kilo of flour", [("0.5", "kg")]), ("an hour and a half", [("1.5", "h")]), ("a quarter of an hour", [("0.25", "h")]),
        ("一个半小时", [("1.5", "h")]), ("一年半", [("1.5", "year")]), ("半斤", [("0.5", "jin")]), ("三分之一", [("100/3", "%")]),
        ("one fifth of it", [("20", "%")]), ("3/4", [("75", "%")]), ("高出两成", [("2", "tenth")]), ("5％", [("5", "%")]),
        ("13,200 houses", [("13200", "hous")]), ("1892种药物", [("1892", "种")]), ("18个月", [("18", "month")]),
        ("七十二万平方米", [("720000", "m²")]), ("€0.20", [("0.2", "unit")]), ("three quarters", [("75", "%")]),
        ("千万不能，一样，万一，十分危险，一些", []), ("几十斤，数百人", []), ("第14圈", []),
    ],
)  # fmt: skip
def test_numbers_and_what_they_count(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(q.value, q.unit) for q in numbers(normal(text))] == [(Fraction(v), unit) for v, unit in expected]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("1.2 g", "1,200 mg", True), ("90 minutes", "一个半小时", True), ("three weeks", "21 days", True), ("500克", "一斤", True),
        ("more than 1,500 people", "1,512 people", True), ("1800多种", "1892种", True), ("快三十年", "27年", True),
        ("nearly 4,000 miles", "6,400 km", True), ("8849米", "8848.86米", True), ("20 cents", "€0.20", True), ("20%", "one fifth", True),
        ("1,500 hours", "15,000 hours", False), ("300克", "100克", False), ("1982种", "1892种", False), ("0.4毫克", "4毫克", False),
        ("100 g", "60 g", False), ("30 minutes", "35 minutes", False), ("1,200 mg", "1,250 mg", False), ("9 watts", "9 hours", False),
    ],
)  # fmt: skip
def test_one_amount_written_in_two_ways(one: str, other: str, alike: bool) -> None:
    (a,), (b,) = numbers(normal(one)), numbers(normal(other))
    assert same(a, b) is same(b, a) is alike


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 29 May 1953", (1953, 5, 29, None)), ("May 29th, 1953", (1953, 5, 29, None)), ("the 29th of May", (None, 5, 29, None)),
        ("in September 1928", (1928, 9, None, None)), ("2020-12-08", (2020, 12, 8, None)), ("in 1953 he", (1953, None, None, None)),
        ("prize (1903, shared)", (1903, None, None, None)), ("every Tuesday", (None, None, None, 1)),
        ("2020年12月8日", (2020, 12, 8, None)), ("二〇二〇年十二月", (2020, 12, None, None)), ("农历五月初五", (None, 5, 5, None)),
        ("每周三", (None, None, None, 2)), ("礼拜天", (None, None, None, 6)), ("１９５３年", (1953, None, None, None)),
    ],
)  # fmt: skip
def test_dates(text: str, expected: tuple[int | None, ...]) -> None:
    assert [d.parts for d in dates(normal(text))] == [expected]


@pytest.mark.parametrize(
    "text",
    ["By May we may march.", "in 1200 mg", "1928 kg", "一周五天", "每周一次", "六月", "five months", "room 1953"],
)
def test_no_dates(text: str) -> None:
    assert dates(normal(text)) == []


def test_dates_that_may_be_one_day() -> None:
    def one(text: str) -> object:
        return dates(text)[0]

    assert compatible(one("on 29 May 1953"), one("in 1953"))  # type: ignore[arg-type]
    assert compatible(one("the 1940s"), one("in 1943"))  # type: ignore[arg-type]
    assert not compatible(one("on 29 May 1953"), one("on 28 May"))  # type: ignore[arg-type]
    assert not compatible(one("in 1953"), one("on Monday"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Later Edmund Hillary and Tenzing Norgay met.", ["Edmund Hillary", "Tenzing Norgay"]),
        ("The poem by Johann Wolfgang von Goethe is long.", ["Johann Wolfgang von Goethe"]),
        ("Yesterday it rained. Everybody in London knew.", ["London"]),
        ("Tom: Who was it? Lily asked. \"Look!\" said Emma.", []), ("I'm here on Monday in May, Grandpa.", []),
        ("他读《红楼梦》和《三国演义》。", ["红楼梦", "三国演义"]), ("是清代作家曹雪芹写的", ["曹雪芹"]), ("韩国棋手李世石", ["韩国", "李世石"]),
        ("由爱因斯坦提出", ["爱因斯坦"]), ("李叔，王奶奶来了", []), ("他和AlphaGo下棋", ["AlphaGo"]),
    ],
)  # fmt: skip
def test_names(text: str, expected: list[str]) -> None:
    assert [n.text for n in names(normal(text))] == expected


@pytest.mark.parametrize(
    "text",
    ["It is not only cheap.", "If you do not water it, it dies.", "Why don't you come?", "No more than ten.", "这不仅便宜", "如果不浇水就会死",
     "要不要吃饭", "特别好", "差不多了", "并不是完全不能吃"],
)  # fmt: skip
def test_what_looks_like_a_negation(text: str) -> None:
    assert negations(normal(text)) == []


def test_negations_with_what_they_deny() -> None:
    (found,) = negations("Ibuprofen should not be taken on an empty stomach.")
    assert found.head == {"tak", "empty", "stomach"}
    assert found.subject == {"ibuprofen"}
    assert [n.clause.text for n in negations("发芽时要避光,不能晒太阳。")] == ["不能晒太阳。"]


def test_sentences_and_stems() -> None:
    assert [s.text.strip() for s in sentences(normal("Dr. Wu ate 3.5 eggs. “好！”他说。What?"))] == [
        "Dr. Wu ate 3.5 eggs.", "“好!”", "他说。", "What?"
    ]  # fmt: skip
    assert {stem(w) for w in ("take", "takes", "taken", "taking", "took")} == {"tak"}
    assert stem("bus") == "bus"


# --- contradictions ---------------------------------------------------------------------------------------------------


def planted(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "wrong", "right"), [("contradictions.jsonl", 40, 60), ("contradictions_held_out.jsonl", 30, 50)]
)
def test_planted_contradictions_are_found_and_faithful_rewrites_pass(name: str, wrong: int, right: int) -> None:
    rows = planted(name)
    found = [{c.kind for c in contradiction(row["reference"], row["rewrite"])} for row in rows]
    assert sum(row["kind"] is not None for row in rows) == wrong
    assert sum(row["kind"] is None for row in rows) == right
    caught = sum(row["kind"] in kinds for row, kinds in zip(rows, found, strict=True) if row["kind"])
    refused = [row["rewrite"] for row, kinds in zip(rows, found, strict=True) if not row["kind"] and kinds]
    assert caught >= 0.95 * wrong
    assert refused == []
    assert all(row["lang"] in ("en", "zh") for row in rows)


def test_what_is_said_of_a_conflict() -> None:
    (found,) = contradiction("The loaf bakes for 35 minutes at 230 °C.", "Then the loaf bakes for 55 minutes.")
    assert str(found) == "number: 35 minutes -> 55 minutes"


@pytest.mark.parametrize(
    "rewrite",
    [
        "", "Something else entirely.", "Bake the loaf for a good half hour, thirty-five minutes to be exact.",
        "My neighbour has 3 cats. The loaf bakes for 35 minutes.", "It bakes at 230 degrees.",
    ],
)  # fmt: skip
def test_what_is_left_out_or_added_is_no_contradiction(rewrite: str) -> None:
    assert contradiction("The loaf bakes for 35 minutes at 230 °C.", rewrite) == []


@pytest.mark.parametrize("name", ["contradictions.jsonl", "contradictions_held_out.jsonl"])
def test_no_text_contradicts_itself_or_a_part_of_itself(name: str) -> None:
    for reference in {row["reference"] for row in planted(name)}:
        assert contradiction(reference, reference) == []
        for sentence in sentences(reference):
            assert contradiction(reference, sentence.text) == []


def test_no_rewrite_contradicts_a_text_on_something_else() -> None:
    """Every reference against the rewrites of all others: what shares a word or two is not about one thing."""
    rows = planted("contradictions.jsonl")
    references = sorted({row["reference"] for row in rows})
    pairs = [(r, row["rewrite"]) for r in references for row in rows if row["reference"] != r]
    wrong = sum(bool(contradiction(reference, rewrite)) for reference, rewrite in pairs)
    assert wrong / len(pairs) < 0.01


_PIECES = st.sampled_from(
    ["not ", "不", "没有", "12", "1,000", " mg", "万", "一百", "年", "May ", "1953", "3/0", "0分之0", "《", "》", ".", "。", "？", " and a half",
     "John ", "李", "的", "\n", "10^99", "1e400", "e", "×", "-", "点", "零", "\x00", "\ud800", "half a ", "hundred ", "第", "³", "½", "①"]
)  # fmt: skip


@settings(max_examples=500, derandomize=True, deadline=None)
@given(
    st.lists(_PIECES, max_size=16).map("".join),
    st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=16).map("".join)),
)
def test_no_text_breaks_a_verifier(reference: str, rewrite: str) -> None:
    for found in contradiction(reference, rewrite):
        assert found.kind in ("number", "date", "name", "negation")
    assert contradiction(rewrite, rewrite) == []

"""Rows of benchmarks in texts: vectors, brute force over n-gram sets, spans to the character, odd texts."""

from __future__ import annotations

import json
import tracemalloc
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from brute import is_cjk, lcs, tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import decontam, ngrams, words
from synthgen.dedup.decontam import Common, Decontam, Hit
from synthgen.dedup.tokens import spans

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
CLIPS = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips?"
ZH = "小明在四月份卖给四十八个朋友发夹，五月份卖出的数量是四月份的一半，请问他一共卖出多少个发夹？"


def against(*rows: str) -> Decontam:
    found = Decontam()
    for number, row in enumerate(rows):
        found.add("bench", str(number), row)
    return found


def only(hits: list[Hit]) -> Hit:
    assert len(hits) == 1
    return hits[0]


def numbered(start: int, count: int) -> str:
    return " ".join(f"w{n}" for n in range(start, start + count))


@pytest.mark.parametrize("text", [CLIPS, CLIPS.upper(), CLIPS.replace(" ", "\n\n"), CLIPS.replace(",", ";")])
def test_the_row_itself_is_exact(text: str) -> None:
    hit = only(against(CLIPS).check(text))
    assert (hit.by, hit.score, hit.cover, hit.run, hit.span) == ("exact", 1.0, 1.0, 23, text)


def test_a_row_inside_a_longer_text_is_named_by_its_place() -> None:
    text = f"{numbered(0, 300)}. ¡Olé! {CLIPS} {numbered(300, 300)}"
    hit = only(against("something else entirely, which is not there", CLIPS).check(text))
    assert (hit.benchmark, hit.row, hit.by, hit.run, hit.cover) == ("bench", "1", "run", 23, 1.0)
    assert hit.span == CLIPS.removesuffix("?")
    assert hit.evidence == f"23 tokens in a row, 100% of bench:1: {hit.span}"


@pytest.mark.parametrize(("shared", "by"), [(12, None), (13, "run"), (14, "run")])
def test_thirteen_words_in_a_row_are_a_hit(shared: int, by: str | None) -> None:
    found = against(numbered(0, 60)).check(f"x y z {numbered(20, shared)} z y x")
    assert [hit.by for hit in found] == ([by] if by else [])
    assert [hit.span for hit in found] == ([numbered(20, shared)] if by else [])


@pytest.mark.parametrize(("shared", "hit"), [(15, False), (16, True)])
def test_sixteen_chinese_characters_in_a_row_are_a_hit(shared: int, hit: bool) -> None:
    row = "".join(chr(0x4E00 + n) for n in range(60))
    assert bool(against(row).check(f"问：{row[20 : 20 + shared]}。答")) is hit


@pytest.mark.parametrize(("length", "hit"), [(15, True), (16, False), (17, False)])
def test_more_than_half_of_a_row_is_a_hit(length: int, hit: bool) -> None:
    text = f"x y z u v {numbered(0, 8)} u v z y x q r s t"
    found = against(numbered(0, length)).check(text)
    assert [h.by for h in found] == (["cover"] if hit else [])
    if hit:
        assert (found[0].run, found[0].span) == (8, numbered(0, 8))
        assert found[0].cover == found[0].score == 8 / 15


def test_every_tenth_word_changed_is_found_without_a_run() -> None:
    row = numbered(0, 60).split()
    changed = [f"x{n}" if n % 10 == 9 else word for n, word in enumerate(row)]
    hit = only(against(numbered(0, 60)).check(" ".join([*"abcdefghijkl", *changed, *["end"] * 60])))
    assert (hit.by, hit.run) == ("cover", 9)
    assert hit.cover == 0.9


def test_one_word_in_five_changed_is_found_by_likeness() -> None:
    row = numbered(0, 40).split()
    changed = " ".join(f"x{n}" if n % 5 == 4 else word for n, word in enumerate(row))
    hit = only(against(numbered(0, 40)).check(changed))
    assert (hit.by, hit.score, hit.run, hit.span) == ("rouge-l", 0.8, 0, changed)
    assert hit.evidence == f"0.800 rouge-l to bench:0: {changed}"


def test_short_rows_are_compared_as_wholes() -> None:
    found = against("Name three rivers.", "hi", "Say hello to the whole wide world")
    assert only(found.check("name  three RIVERS")).by == "exact"
    assert only(found.check("Name three big rivers")).by == "rouge-l"
    assert only(found.check("Hi!")).row == "1"
    assert not found.check(f"Please say hello to the whole wide world, then name three rivers, hi: {numbered(0, 9)}")
    assert not found.check("high")


def test_rows_without_words_are_compared_as_they_are() -> None:
    found = against("🦁 👑", "???", "", "  ", "é́")
    assert [hit.row for hit in found.check("🦁  👑")] == ["0"]
    assert [hit.row for hit in found.check(" ??? ")] == ["1"]
    assert only(found.check("é́")).row == "4"
    for text in ("", " ", "!!!", "🦁", "words and 🦁 👑"):
        assert not found.check(text)


def test_a_row_of_two_benchmarks_is_met_in_both_and_turns_share_their_row() -> None:
    found = Decontam()
    found.add("a", "1", CLIPS)
    found.add("b", "7", CLIPS.replace("clips", "pens"))
    found.add("b", "7", "Now say it in one word.")
    assert [(h.benchmark, h.row) for h in found.check(CLIPS)] == [("a", "1"), ("b", "7")]
    assert [(h.benchmark, h.row) for h in found.check("now say it in one word")] == [("b", "7")]
    assert len(found) == 3


def test_chinese() -> None:
    found = against(ZH)
    assert only(found.check(ZH)).by == "exact"
    hit = only(found.check(f"请先认真阅读下面的题目，再一步一步写出答案。{ZH}谢谢你的回答，祝你学习进步，天天开心。"))
    assert (hit.by, hit.span) == ("run", ZH.removesuffix("？"))
    assert only(found.check(ZH.replace("小明", "小红").replace("发夹", "铅笔"))).by in ("run", "cover", "rouge-l")
    assert not found.check(ZH.replace("月份", "年")[::-1])
    assert against("臺灣最高的山是哪一座").check("臺灣最高的山是哪一座？")


def test_mixed_scripts() -> None:
    row = "Translate into Chinese and explain each of the words with care: 你好世界"
    found = against(row, f"请把这句话翻译成英文并且说明理由：{ZH}")
    assert only(found.check(f"一、{row}。二、其他的问题")).span == row
    assert only(found.check(f"Please do this for me today: {ZH} Thank you very much indeed.")).row == "1"


def test_full_width_and_combining_marks_are_seen_through_and_stay_in_the_span() -> None:
    row = "Wie viele Äpfel hat Jürgen über den Sommer geerntet, wenn er jeden Tag drei pflückt?"
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in unicodedata.normalize("NFD", row))
    assert len(wide) > len(row)
    hit = only(against(row).check(f"«{wide}» {numbered(0, 99)}"))
    assert hit.span == wide[:-1]
    assert (hit.by, hit.cover) == ("run", 1.0)


def test_a_million_characters_of_one_word() -> None:
    text = "word " * 200_000
    assert not against(CLIPS, ZH).check(text)
    hit = only(against(CLIPS, "word " * 30).check(text))
    assert (hit.row, hit.run, hit.span) == ("1", 30, ("word " * 30).strip())
    assert not against(CLIPS).check("a" * 1_000_000)
    assert only(against(CLIPS).check(f"{text}{CLIPS}{text}")).span == CLIPS.removesuffix("?")
    assert not against(text).check(CLIPS)


def test_rows_and_texts_of_one_word_do_not_fill_the_memory() -> None:
    rows = [f"grid a{number} " + "0 " * 200 for number in range(100)]
    found = against(*rows)
    found.check("nothing")
    tracemalloc.start()
    try:
        assert [hit.run for hit in found.check("0 " * 2_000)] == [200] * 100
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20_000_000  # each place of the text with each place of the rows: 40 million pairs, 1 GB


@pytest.mark.parametrize("places", [1, 50])
def test_pairs_are_looked_at_in_parts(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = against(*(numbered(10 * n, 20) for n in range(30)))
    texts = [numbered(7 * n, 35) for n in range(40)]
    at_once = found.check_many(texts)
    assert sum(map(len, at_once)) > 100
    monkeypatch.setattr(ngrams, "_PLACES", places)
    assert found.check_many(texts) == at_once


def test_a_long_text_that_holds_many_rows_is_taken_apart_once() -> None:
    rows = [numbered(100 * n, 30) for n in range(50)]
    with mock.patch.object(decontam, "spans", wraps=spans) as taken_apart:
        assert len(against(*rows).check(" and ".join(rows))) == 50
    assert taken_apart.call_count == 1


def test_nothing_against_nothing() -> None:
    assert Decontam().check(CLIPS) == []
    assert Decontam().check_many([]) == []
    empty = Decontam()
    empty.count([[CLIPS], []])
    assert empty.common() == []
    assert against("only short").check(CLIPS) == []


PREFIX = "Below is an instruction that describes a task, write a response that completes the request."


def test_what_stands_in_many_rows_is_no_evidence_and_is_listed() -> None:
    rows = [f"{PREFIX} {numbered(100 * n, 30)}" for n in range(12)]
    found = against(f"{PREFIX} Count the trees.")
    assert all(hits[0].by in ("run", "cover") for hits in found.check_many(rows))
    found.count([[row] for row in rows[:10]])
    assert found.common() == []
    assert all(found.check_many(rows))
    found.count([[row] for row in rows[10:]])
    assert found.common() == [Common(PREFIX.removesuffix("."), 12)]
    assert not any(found.check_many(rows))
    found.add("bench", "new", CLIPS)
    assert found.common() == []


def test_one_of_ten_thousand_rows_is_not_many() -> None:
    found = against(CLIPS)
    found.count([[f"{n} {CLIPS}"] for n in range(40)])
    assert found.common() != []
    found.count([["other"]] * 400_000)
    assert found.common() == []


def test_a_prompt_of_many_answers_is_no_boilerplate() -> None:
    found = against(CLIPS)
    long = f"{CLIPS} {numbered(0, 99)}"
    found.count([[long]] * 50)
    found.count([["other", long]] * 50)
    assert found.common() == []
    assert only(found.check(long)).by == "run"


def test_a_row_that_many_texts_hold_whole_is_a_hit_whatever_is_common() -> None:
    """Sixteen templates around one leaked question make all of it common."""
    found = against(CLIPS, f"{PREFIX} {numbered(0, 5)}")
    wrapped = [f"{numbered(100 * n, 30)}: {CLIPS}" for n in range(16)]
    found.count([[text] for text in wrapped])
    assert [one.text for one in found.common()] == [CLIPS.removesuffix("?")]
    assert [only(hits).row for hits in found.check_many(wrapped)] == ["0"] * 16
    assert not found.check(f"{numbered(0, 30)} {CLIPS.removesuffix('How many clips?')}")


def test_both_turns_of_one_row_count_once() -> None:
    found = against(PREFIX)
    found.count([[f"{PREFIX} {n}", f"{PREFIX} and {n}"] for n in range(10)])
    assert found.common() == []


def brute(rows: Sequence[str], text: str, common: frozenset[tuple[str, ...]] = frozenset()) -> list[tuple[object, ...]]:
    """(row, by is rouge-l, run, cover) of every hit, from sets of tuples and the textbook table."""
    asked = tuple(tokens(text))
    found: list[tuple[object, ...]] = []
    for number, row in enumerate(rows):
        said = tuple(tokens(row))
        n, long, limit = (10, 16, 8) if is_cjk(list(said)) else (8, 13, 7)
        grams = {asked[i : i + n] for i in range(len(asked) - n + 1)}
        at = [p for p in range(len(said) - n + 1) if said[p : p + n] in grams - common]
        cover = len({i for p in at for i in range(p, p + n)}) / max(1, len(said))
        run = 0
        for p in at:
            for end in range(p + n, len(said) + 1):
                if end - n not in at or not inside(said[p:end], asked):
                    break
                run = max(run, end - p)
        if len(said) >= long and inside(said, asked):
            run, cover = len(said), 1.0
        near = len(said) <= 400 and is_cjk(list(said)) == is_cjk(list(asked)) and said and asked
        is_near = bool(near) and 20 * lcs(list(said), list(asked)) > limit * (len(said) + len(asked))
        if run >= long or cover > 0.5 or is_near:
            found.append((str(number), not (run >= long or cover > 0.5), run, cover))
    return found


def seen(hits: list[Hit]) -> list[tuple[object, ...]]:
    return sorted((h.row, not (h.by == "run" or h.cover > 0.5), h.run, h.cover) for h in hits)


LATIN = st.lists(st.sampled_from(["a", "b"]), max_size=40).map(" ".join)
CHINESE = st.lists(st.sampled_from(["甲", "乙"]), max_size=40).map("".join)
MIXED = st.lists(st.sampled_from(["a ", "甲", "b ", "乙"]), max_size=30).map("".join)


@FIXED
@given(st.data(), st.sampled_from([LATIN, CHINESE, MIXED]))
def test_against_brute_force(data: st.DataObject, kind: st.SearchStrategy[str]) -> None:
    rows = data.draw(st.lists(kind, min_size=1, max_size=4))
    texts = data.draw(st.lists(kind, min_size=1, max_size=4))
    found = against(*rows)
    for text, hits in zip(texts, found.check_many(texts), strict=True):
        assert seen(hits) == [hit for hit in brute(rows, text) if words(text)]
        assert hits == found.check(text)
        assert all(hit.span in text for hit in hits)


@FIXED
@given(st.lists(LATIN, min_size=1, max_size=4), st.lists(LATIN, min_size=1, max_size=30), LATIN)
def test_against_brute_force_with_what_is_common(rows: list[str], counted: list[str], text: str) -> None:
    """A limit of one text instead of ten, which few examples reach."""
    found = against(*rows)
    with mock.patch.object(ngrams, "_LEAST_COMMON", 1):
        found.count([[one] for one in counted])
    grams = [{tuple(one.split()[i : i + 8]) for i in range(len(one.split()) - 7)} for one in set(counted)]
    common = frozenset(g for some in grams for g in some if sum(g in other for other in grams) > 1)
    assert seen(found.check(text)) == brute(rows, text, common)
    listed = {tuple(one.text.split()[i : i + 8]) for one in found.common() for i in range(len(one.text.split()) - 7)}
    assert listed == {g for g in common if any(inside(g, tuple(row.split())) for row in rows)}


def inside(gram: tuple[str, ...], tokens_: tuple[str, ...]) -> bool:
    return any(tokens_[i : i + len(gram)] == gram for i in range(len(tokens_) - len(gram) + 1))


@settings(FIXED, max_examples=60)
@given(st.lists(LATIN, min_size=1, max_size=4), LATIN)
def test_keys_that_collide_tell_no_lie(rows: list[str], text: str) -> None:
    """Every n-gram has the same key."""
    with mock.patch.object(ngrams._Index, "_hash", lambda self, flat: 0 * flat[self._n - 1 :].astype("uint64")):
        assert seen(against(*rows).check(text)) == brute(rows, text)


ODD = st.text(st.sampled_from("aé가각ᄀ\u1161\u11a8ｶﾞか\u3099\u0301\u0323\u0334\u0345ß½ﬁ㍿Ａ 。漢\U0001f9d1\u200dर\u093f\u09be\u0f71İſ"), max_size=12)  # fmt: skip


@settings(FIXED, max_examples=2000)
@given(ODD | st.text(max_size=12))
def test_spans_are_where_the_words_stand(text: str) -> None:
    found = spans(text)
    assert len(found) == len(words(text))
    for (start, end), word in zip(found, words(text), strict=True):
        assert word in unicodedata.normalize("NFKC", text[start:end]).casefold()
    assert found == sorted(found)


def test_spans_of_ascii() -> None:
    assert spans("Hello, World_2!") == [(0, 5), (7, 12), (13, 14)]
    assert spans("e\u0301t\u0323\u0301, 你好") == [(0, 5), (7, 8), (8, 9)]
    assert spans("㍿") == [(0, 1)] * 4
    assert spans("e\uff9e\u0301 a") == [(0, 3), (0, 3), (4, 5)]  # the accent joins the letter past the sound mark
    assert spans("") == []


def changed(text: str, rng: Random, others: Sequence[str]) -> str:
    """Every tenth word is another one."""
    said = text.split()
    said[9::10] = [rng.choice(others) for _ in said[9::10]]
    return " ".join(said)


def questions(path: Path, *columns: str) -> list[str]:
    raw = path.read_text(encoding="utf-8")
    rows = json.loads(raw) if raw.startswith("[") else [json.loads(line) for line in raw.splitlines()]
    return ["\n".join(filter(None, (row[c] for c in columns))) for row in rows]


def found_share(found: Decontam, texts: Sequence[str]) -> float:
    hits = found.check_many(texts)
    return sum(any(hit.row == str(n) for hit in row) for n, row in enumerate(hits)) / len(texts)


def test_planted_leaks_of_gsm8k(shared_data: Path) -> None:
    rows = questions(shared_data / "gsm8k_test.jsonl", "question")
    train = questions(shared_data / "gsm8k_train.jsonl", "question")
    found, rng = against(*rows), Random(0)
    vocabulary = " ".join(train).split()
    inner = [" ".join([rng.choice(train), row, rng.choice(train)]) for row in rows]
    assert found_share(found, rows) == 1.0
    assert found_share(found, inner) == 1.0
    assert found_share(found, [changed(row, rng, vocabulary) for row in rows]) >= 0.9
    met = [(n, hits) for n, hits in enumerate(found.check_many(train)) if hits]
    assert len(met) == 6  # each of them is a rewritten question: the same story with other names and numbers


def test_planted_leaks_of_chinese(shared_data: Path) -> None:
    rows = questions(shared_data / "lf_alpaca_zh_demo.json", "instruction", "input")
    others = questions(shared_data / "belle_zh_seed_tasks.json", "instruction")
    found, rng = against(*rows), Random(0)
    assert found_share(found, rows) == 1.0
    long = [(n, row) for n, row in enumerate(rows) if len(words(row)) >= 10]
    assert len(long) > 800
    inner = found.check_many([f"{rng.choice(others)}\n{row}\n{rng.choice(others)}" for _, row in long])
    assert all(any(hit.row == str(n) for hit in hits) for (n, _), hits in zip(long, inner, strict=True))

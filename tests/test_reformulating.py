"""Pairs of genre and audience, the library, what `--set pairs=` says, and a rewrite beside its source."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.data import folder
from synthgen.errors import ParseError, UsageError
from synthgen.reformulating import Pair, Titled, library, read_pairs, unfit, wanted
from synthgen.reformulating.pairs import ALIKE, alike, titled, visual
from synthgen.reformulating.texts import coverage, keywords, overlap, tidy, too_near

GENRES = ("News report", "Fairy tale", "Checklist", "Debate", "Letter home")
AUDIENCES = ("Nurses", "Fishermen", "First graders", "Tax lawyers", "People who hate maths")


def answer(count: int = 5, **more: Any) -> dict[str, Any]:
    """What a model that does as it is told writes."""
    found: dict[str, Any] = {}
    for n in range(1, count + 1):
        found[f"audience_{n}"] = f"{AUDIENCES[n - 1]}: Adults of forty. They read at night."
        found[f"genre_{n}"] = f"{GENRES[n - 1]}: Short and dry. It ends with a question."
    return {**found, **more}


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


FORMS = {
    "plain": dumped(answer()),
    "fenced": f"```json\n{dumped(answer())}\n```",
    "prose around": f"Here are [five] pairs:\n{dumped(answer())}\nI hope that helps {{you}}.",
    "fence and trailing prose": f"Sure!\n```json\n{dumped(answer())}\n```\nNote: all are text.",
    "trailing comma": dumped(answer())[:-1].rstrip() + ",\n}",
    "single quotes": repr(answer()),
    "reasoning first": f'<think>maybe {{"audience_1": "x"}}</think>{dumped(answer())}',
    "one line": json.dumps(answer()),
    "other spellings": dumped({k.replace("_", " ").title(): v for k, v in answer().items()}),
    "Chinese keys": dumped({k.replace("audience_", "受众").replace("genre_", "体裁"): v for k, v in answer().items()}),
    "full-width colons": dumped({k: v.replace(": ", "：", 1) for k, v in answer().items()}),
    "objects": dumped({k: dict(zip(("title", "description"), v.split(": "), strict=True)) for k, v in answer().items()}),
    "a list": dumped([{"audience": a, "genre": g} for a, g in zip(*[iter(answer().values())] * 2, strict=True)]),
    "a list below a key": dumped({"pairs": [{"audience": answer()[f"audience_{n}"], "genre": answer()[f"genre_{n}"]} for n in range(1, 6)]}),
    "genres first": dumped(dict(sorted(answer().items(), reverse=True))),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_five_pairs_are_read_in_every_form(form: str) -> None:
    pairs = read_pairs(FORMS[form], 5)
    assert [p.genre.title for p in pairs] == list(GENRES)
    assert [p.audience.title for p in pairs] == list(AUDIENCES)
    assert {p.genre.description for p in pairs} == {"Short and dry. It ends with a question."}
    assert str(pairs[0].audience) == "Nurses: Adults of forty. They read at night."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is no JSON object"),
        ("I cannot do that.", "there is no JSON object"),
        ("{}", "there is no JSON object"),
        ("[1, 2]", "there is no JSON object"),
        (dumped(answer())[:-40], "there is no JSON object"),
        (dumped(answer(4)), "there are 4 pairs, not 5"),
        (dumped(answer(audience_6="A: b.", genre_6="C: d.")), "there are 6 pairs, not 5"),
        (dumped(answer(genre_3="")), "genre_3 is missing"),
        (dumped(answer(genre_3=None)), "genre_3 is missing"),
        (dumped(answer(audience_2=7)), "audience_2 is missing"),
        (dumped(answer(genre_4="Sonnet")), "genre_4 has no description"),
        (dumped(answer(genre_4={"title": "Sonnet"})), "genre_4 has no description"),
        ('{"genre_1": ' * 500, "there is no JSON object"),
    ],
)
def test_anything_else_is_a_fault_that_can_be_told(text: str, fault: str) -> None:
    with pytest.raises(ParseError, match=fault):
        read_pairs(text, 5)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(["genre_1", "audience_1", "genre", "audience 2", "title", "description"]), st.text(max_size=8)), inner, max_size=5),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=300)
@given(value=_JSON, around=st.text(max_size=20), count=st.integers(1, 5))
def test_whatever_a_model_writes_is_pairs_or_a_fault(value: Any, around: str, count: int) -> None:
    try:
        pairs = read_pairs(f"{around}{json.dumps(value)}{around}", count)
    except ParseError:
        return
    assert len(pairs) == len(unfit(pairs)) == count
    assert all(p.genre.title and p.genre.description and p.audience.title and p.audience.description for p in pairs)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(text=st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["```\n", "\n\nNote: ", "<text>", "</text>", "Sure!\n", "以下是文本：\n", "---\n", "<think>"])), max_size=6).map("".join))  # fmt: skip
def test_a_tidied_text_is_tidy(text: str) -> None:
    once = tidy(text)
    assert tidy(once) == once


# What a model in a loop writes, as much of it as fits an answer.
LOOPS = (
    "\n",
    " \n",
    " ",
    "*",
    "a\n\n",
    "a\n\nNote: x",
    "Sure ",
    "Here is the ",
    "```\n",
    "<text>",
    "{",
    "\n\n > * ",
    "genre_1 ",
    "- ",
)


@pytest.mark.parametrize("piece", LOOPS)
@pytest.mark.timeout(20)  # a pattern that goes back and forth takes minutes
def test_a_model_in_a_loop_costs_no_more_than_another(piece: str) -> None:
    text = f"a{piece * (40_000 // len(piece))}b"
    tidy(text)
    titled(text)
    visual(Titled(text[:4000], text))
    coverage(BEES, text)
    with pytest.raises(ParseError):
        read_pairs(text, 5)
    with pytest.raises(ParseError):
        read_pairs(json.dumps({text: text, "genre_1": text}), 5)


def test_a_value_without_a_colon_is_named_by_its_first_sentence() -> None:
    assert titled("A sad ballad. It rhymes.") == Titled("A sad ballad", "A sad ballad. It rhymes.")
    assert titled("**科普文章**：面向大众。") == Titled("科普文章", "面向大众。")
    assert titled("Ballad") == Titled("Ballad")


def pair(genre: str, audience: str, description: str = "Plain prose.") -> Pair:
    return Pair(Titled(genre, description), Titled(audience, "Adults."))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pair("学术论文", "科研人员"), pair("学术论文", "家庭主妇")),
        (pair("学术论文", "科研人员"), pair("学术小论文", "家庭主妇")),
        (pair("News report", "Nurses"), pair("news  report!", "Tax lawyers")),
        (pair("Debate", "Nurses in wards"), pair("Fairy tale", "Nurses in a ward")),
    ],
)
def test_a_title_that_repeats_within_a_document_is_caught(first: Pair, second: Pair) -> None:
    found = unfit([first, second])
    assert found[0] is None
    assert found[1] is not None
    assert found[1][0] == "repeated pair"


def test_titles_at_the_threshold_do_not_repeat() -> None:
    assert alike("甲乙丙丁戊", "甲乙丙己庚") == ALIKE  # three of five
    assert unfit([pair("甲乙丙丁戊", "一"), pair("甲乙丙己庚", "二")]) == [None, None]
    assert alike(
        "今天请为初学者解释一下什么是二叉搜索树吧", "今天请为初学者解释一下什么是二叉查找树吧"
    ) == pytest.approx(0.95, abs=0.06)
    assert alike("NASA", "nasa") == 1
    assert alike("", "") == 1
    assert alike("a", "") == 0


@pytest.mark.parametrize(
    "genre",
    [
        *("Comic strip", "Comics", "A comic", "Graphic novel", "Picture book", "Children's picture-book", "Short video", "Video script"),
        *("Infographic", "Photo essay", "Storyboard", "Animated film", "Illustrated guide", "Slide deck", "Cartoon", "Manga"),
        *("漫画", "四格漫画", "绘本故事", "短视频脚本", "视频解说", "图文教程", "连环画", "动画剧本", "信息图", "电影剧本"),
    ],
)  # fmt: skip
def test_a_visual_genre_is_refused(genre: str) -> None:
    assert unfit([pair(genre, "Nurses")]) == [("visual genre", f'the genre "{genre}" is not text alone')]


@pytest.mark.parametrize(
    "genre",
    [
        *(
            "Comic monologue",
            "Video game guide",
            "Film review",
            "Travelogue",
            "Comedy",
            "Radio talk",
            "影评",
            "电影评论",
            "图书推荐",
            "视频游戏攻略",
        )
    ],
)
def test_text_about_something_to_be_seen_is_text(genre: str) -> None:
    assert unfit([pair(genre, "Nurses")]) == [None]


def test_a_description_says_it_too_unless_it_says_no() -> None:
    assert visual(Titled("Guide", "Each step has its illustration. Illustrations carry the text."))
    assert visual(Titled("故事", "图文并茂，配有插图。"))
    assert not visual(Titled("Guide", "It does without illustrations."))
    assert not visual(Titled("故事", "文字为主，没有插图。"))


# The library.
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_library_is_large_and_no_entry_stands_there_twice(lang: str) -> None:
    found = library(lang)
    assert len(found.genres) >= 60
    assert len(found.audiences) >= 80
    for entries in (found.genres, found.audiences):
        near = [(a.title, b.title) for a, b in combinations(entries, 2) if alike(a.title, b.title) > 0.8]
        assert not near
        texts = [(a.title, b.title) for a, b in combinations(entries, 2) if overlap(a.description, b.description) > 0.6]
        assert not texts
        assert not [e.title for e in entries if (lang == "zh") != any("\u4e00" <= c <= "\u9fff" for c in str(e))]
    assert not [g.title for g in found.genres if visual(g)]


def sentences(text: str) -> int:
    return sum(text.count(mark) for mark in ".?!。？！")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_genre_has_two_or_three_sentences_and_an_audience_has_two(lang: str) -> None:
    found = library(lang)
    assert [g.title for g in found.genres if not 2 <= sentences(g.description) <= 3] == []
    assert [a.title for a in found.audiences if sentences(a.description) != 2] == []


def test_the_library_is_spread_over_the_dimensions() -> None:
    rows = {
        name: [
            json.loads(line)
            for line in (folder("prompts") / "reformulate" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for name in ("genres", "audiences")
    }
    for name, dimension, values in (
        ("genres", "purpose", 7), ("genres", "structure", 8), ("genres", "style", 4), ("genres", "depth", 3),
        ("audiences", "age", 5), ("audiences", "knowledge", 3), ("audiences", "motivation", 6),
    ):  # fmt: skip
        counts = Counter(row[dimension] for row in rows[name])
        assert len(counts) == values, (dimension, counts)
        assert min(counts.values()) >= 2, (dimension, counts)
    unwilling = sum(row["motivation"] in ("averse", "indifferent") for row in rows["audiences"])
    assert unwilling >= 15


def test_pairs_drawn_for_a_document_never_repeat_and_the_seed_decides() -> None:
    for lang in ("en", "zh"):
        for seed in range(200):
            drawn = library(lang).draw(5, Random(seed))
            assert unfit(drawn) == [None] * 5
    assert library("en").draw(5, Random(1)) == library("en").draw(5, Random(1))
    assert library("en").draw(5, Random(1)) != library("en").draw(5, Random(2))
    assert len(library("zh").draw(20, Random(0))) == 20


def test_a_library_of_ones_own_goes_before_the_built_in_one(tmp_path: Path) -> None:
    own = tmp_path / "reformulate"
    own.mkdir()
    (own / "genres.jsonl").write_text('{"en": {"title": "Haiku", "description": "Three lines."}}\n')
    found = library("en", [tmp_path])
    assert [g.title for g in found.genres] == ["Haiku"]
    assert len(found.audiences) >= 80
    assert wanted("library", found).said != wanted("library", library("en")).said  # another library, other tasks
    with pytest.raises(UsageError, match=r"genres.jsonl:1: JSON with zh"):
        library("zh", [tmp_path])


# What --set pairs= says.
THREE = "学术论文-科研人员;对话体-老年人;教科书-中学生"


def test_the_three_pairs_of_the_field_are_read_and_described_by_the_library() -> None:
    found = wanted(THREE, library("zh"))
    assert found.source == "given"
    assert [str(p) for p in found.pairs] == ["学术论文 - 科研人员", "对话体 - 老年人", "教科书 - 中学生"]
    assert all(p.genre.description and p.audience.description for p in found.pairs)


@pytest.mark.parametrize(
    ("text", "source", "count"),
    [
        *(
            ("", "generated", None),
            ("generated", "generated", None),
            ("generated:4", "generated", 4),
            ("3", "generated", 3),
        ),
        *(("library", "library", None), ("library:7", "library", 7)),
    ],
)
def test_words_and_numbers(text: str, source: str, count: int | None) -> None:
    found = wanted(text, library("en"))
    assert (found.source, found.count, found.pairs) == (source, count, ())


def test_names_that_the_library_does_not_know_have_no_description() -> None:
    (first, second) = wanted("Q-and-A - deep-sea divers； Ode-toasters ;", library("en")).pairs
    assert str(first) == "Q-and-A - deep-sea divers"
    assert (str(second.genre), str(second.audience)) == ("Ode", "toasters")


def test_a_long_list_is_no_name_of_a_file() -> None:
    text = ";".join(f"Genre number {n} - Audience number {n}" for n in range(20))
    assert len(wanted(text, library("en")).pairs) == 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("学术论文科研人员", "'学术论文科研人员' is no pair: genre-audience is expected"),
        ("libary", "did you mean library?"),
        ("generatd:3", "did you mean generated?"),
        ("a-b-c", "with spaces around the dash"),
        ("学术论文-;对话体-老年人", "'学术论文-' is no pair"),
        ("-老年人", "'-老年人' is no pair"),
        ("对话体-老年人;对话体-老年人", "stands there twice"),
        ("漫画-小学生", 'the genre "漫画" is not text alone'),
        ("0", "1 to 20 pairs"),
        ("library:99", "1 to 20 pairs"),
        (";;", "no pairs"),
        ("pairz.jsonl", "no such file"),
    ],
)
def test_a_typo_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        wanted(text, library("zh"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "pairs" in str(error.value)


def test_files_of_pairs(tmp_path: Path) -> None:
    rows = tmp_path / "p.jsonl"
    rows.write_text(
        '{"genre": "Ode", "audience": "Toasters", "genre_description": "Lofty."}\n'
        '{"genre": "Report: Dry.", "audience": "Nurses"}\n'
    )
    lines = tmp_path / "p.txt"
    lines.write_text("\ufeff对话体 - 老年人\n\n教科书-中学生\n", encoding="utf-8")
    found = wanted(str(rows), library("en"))
    assert [str(p.genre) for p in found.pairs] == ["Ode: Lofty.", "Report: Dry."]
    assert found.pairs[1].audience.description.startswith("Professionals on shifts")
    assert [str(p) for p in wanted(str(lines), library("zh")).pairs] == ["对话体 - 老年人", "教科书 - 中学生"]
    rows.write_text('{"genre": "Ode", "audience": "Kettles"}\n')
    assert wanted(str(rows), library("en")).said != found.said
    rows.write_text('{"genre": "Ode"}\n')
    with pytest.raises(UsageError, match=r"p.jsonl:1: no audience"):
        wanted(str(rows), library("en"))
    lines.write_text("对话体 - 老年人\n教科书中学生\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"p.txt:2: .*is no pair"):
        wanted(str(lines), library("zh"))


# A rewrite beside its source.
@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Bees dance.", "Bees dance."),
        ("Here is the rewritten text:\n\nBees dance.", "Bees dance."),
        ("Sure! Here's your story:\nBees dance.", "Bees dance."),
        ("The following is the polished version:\n---\nBees dance.\n---", "Bees dance."),
        ("```\nBees dance.\n```", "Bees dance."),
        ("<text>\nBees dance.\n</text>", "Bees dance."),
        ("<think>hm</think>\n\nBees dance.", "Bees dance."),
        ("Bees dance.\n\nNote: I kept all facts.", "Bees dance."),
        ("Bees dance.\n\n**Notes:** short.\nvery short.", "Bees dance."),
        ("Bees dance.\n\nPlease note that names are invented.", "Bees dance."),
        ("Bees dance.\n\nThe above is as required by the genre.", "Bees dance."),
        ("Bees dance.\n\nI hope this helps!\n\nLet me know if you want more.", "Bees dance."),
        ("以下是改写后的文本：\n\n蜜蜂跳舞。\n\n注：保留了原意。", "蜜蜂跳舞。"),
        ("好的，这是为老年人改写的版本。\n蜜蜂跳舞。\n\n以上是改写的内容。", "蜜蜂跳舞。"),
        ("改写后的文本：\n蜜蜂跳舞。", "蜜蜂跳舞。"),
        (
            "Notes of a beekeeper\n\nNote: bees dance.\n\nThey fly.",
            "Notes of a beekeeper\n\nNote: bees dance.\n\nThey fly.",
        ),
        ("Here is where the story begins: in a hive.", "Here is where the story begins: in a hive."),
        ("Sure!", ""),
        ("", ""),
    ],
)
def test_what_a_model_says_around_a_rewrite_goes(said: str, left: str) -> None:
    assert tidy(said) == left


BEES = (
    "Honey bees tell one another where flowers are by dancing. The dance of a bee points to the flowers: its angle gives "
    "the direction from the sun, its length the distance. Other bees follow the dancing bee in the dark hive."
)
BEES_ZH = (
    "蜜蜂用舞蹈告诉同伴花在哪里。舞蹈的角度表示花与太阳的方向，舞蹈的长度表示距离。同伴在黑暗的蜂巢里跟随跳舞的蜜蜂。"
)


def test_keywords_are_what_a_text_says_most() -> None:
    assert keywords(BEES)[:3] == ["bee", "danc", "flower"]
    assert {"蜜蜂", "舞蹈"} <= set(keywords(BEES_ZH)[:6])
    assert keywords("") == []
    assert keywords("the of and") == []


@pytest.mark.parametrize(
    ("source", "kept", "lost"),
    [
        (BEES, "Little bees dance in their hive, children! The way they dance points at flowers, and the sun helps with direction.",
         "Once there was a king who built a castle by the sea."),
        (BEES_ZH, "孩子们，蜜蜂会跳舞蹈，告诉同伴花的方向和距离，太阳帮它们指路。", "从前有一位国王，在海边造了一座城堡。"),
    ],
)  # fmt: skip
def test_coverage_tells_a_rewrite_from_something_else(source: str, kept: str, lost: str) -> None:
    assert coverage(source, kept) >= 0.4
    assert coverage(source, lost) < 0.1
    assert coverage(source, source) == 1.0
    assert coverage("", "anything") == 1.0


def test_overlap_is_rouge_l() -> None:
    assert overlap("write a short poem about the ocean", "write a poem about the sea") == pytest.approx(
        0.769, abs=0.001
    )
    assert overlap(BEES_ZH, BEES_ZH) == 1.0
    assert overlap("", "x") == 0.0


def test_the_first_sibling_that_is_too_near_is_named() -> None:
    siblings = ["something else altogether, in other words", BEES]
    assert too_near(BEES.replace("Honey ", ""), siblings, latin=0.7, cjk=0.7) == (1, pytest.approx(0.985, abs=0.02))
    assert too_near("a b c d", ["a b x y"], latin=0.5, cjk=0.7) == (
        0,
        0.5,
    )  # below the threshold passes, at it does not
    assert too_near("a b c d", ["a b x y"], latin=0.51, cjk=0.7) is None
    assert too_near(BEES_ZH, [BEES_ZH[:30]], latin=0.01, cjk=0.99) is None

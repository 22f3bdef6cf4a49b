"""Novelty as its users see it: spans of orders, many at once, the ten nearest, odd texts, evidence."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from random import Random

import pytest

from synthgen.dedup import Near, Novelty, NoveltyByScript, Seen, scan
from synthgen.errors import UsageError

ENGLISH = [
    "name three rivers of Europe and the seas they reach",
    "bake a loaf of rye bread without any yeast at all",
    "explain to a child why the sky is blue at noon",
    "write a short letter to a landlord about a leaking tap",
]
CHINESE = ["请列出三条欧洲的大河以及它们流入的海洋", "请用简单的语言解释为什么天空看起来是蓝色的"]


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(-1, 2), Fraction(11, 10)])
def test_a_threshold_outside_0_to_1_is_one_clear_line(threshold: Fraction) -> None:
    for make in (
        lambda: Novelty(threshold),
        lambda: NoveltyByScript(latin=threshold),
        lambda: NoveltyByScript(cjk=threshold),
    ):
        with pytest.raises(
            UsageError, match=rf"a novelty threshold of {float(threshold):g}: it lies above 0"
        ) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_since_and_before_over_both_scripts() -> None:
    pool = NoveltyByScript()
    for n, text in enumerate((ENGLISH[0], CHINESE[0], ENGLISH[1], ENGLISH[0], CHINESE[1])):
        pool.add(f"e{n}", text)
    assert len(pool) == 5

    def met(text: str, since: int | None, before: int | None) -> str | None:
        near = pool.nearest(text, since=since, before=before)
        assert pool.nearest_many([text, text], since=since, before=before) == [near, near]
        return near and near.id

    spans = [(None, None), (0, 1), (1, None), (1, 3), (1, 4), (None, 0), (4, None), (5, None), (4, 4)]
    assert [met(ENGLISH[0], *span) for span in spans] == ["e0", "e0", "e3", None, "e3", None, None, None, None]
    assert [met(CHINESE[1], *span) for span in spans] == ["e4", None, "e4", None, None, None, "e4", None, None]


def test_many_keep_the_order_of_the_texts() -> None:
    pool = NoveltyByScript()
    for n, text in enumerate((*ENGLISH, *CHINESE)):
        pool.add(f"e{n}", text)
    texts = [CHINESE[1], "nothing like it", ENGLISH[2], "", CHINESE[0], ENGLISH[0], "全然不同"]
    found = pool.nearest_many(texts)
    assert [near and near.id for near in found] == ["e5", None, "e2", None, "e4", "e0", None]
    assert [pool.nearest(text) for text in texts] == found
    assert pool.nearest_many([]) == []
    top = pool.top(texts, k=2)
    assert [[near.id for near in nears][:1] for nears in top] == [["e5"], ["e0"], ["e2"], [], ["e4"], ["e0"], ["e4"]]
    assert [len(nears) for nears in top] == [2, 2, 2, 0, 2, 2, 2]


def test_the_ten_nearest_are_ordered_and_the_earliest_of_equals_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SQUARE", (2, 3))
    pool = Novelty()
    for n, text in enumerate(("a b c d", "a b x y", "p q r s", "a b c z", "z b c a", "a b c d", "")):
        pool.add(str(n), text)
    nears = pool.top(["a b c d"], k=5)[0]
    assert [(near.id, near.score) for near in nears] == [("0", 1.0), ("5", 1.0), ("3", 0.75), ("1", 0.5), ("4", 0.5)]
    assert pool.top(["a b c d"], k=2, before=5)[0] == [nears[0], nears[2]]
    assert [near.score for near in pool.top(["none of these"], k=9)[0]] == [0.0] * 7


@pytest.mark.parametrize("chinese", [False, True])
def test_one_swapped_word_is_found_in_a_pool_with_an_index(monkeypatch: pytest.MonkeyPatch, chinese: bool) -> None:
    monkeypatch.setattr(scan, "INDEX_FROM", 100)
    monkeypatch.setattr(scan, "TAIL", 16)
    rng = Random(1)
    vocabulary = [chr(0x4E00 + n) if chinese else f"w{n}" for n in range(700)]
    texts = [rng.sample(vocabulary, rng.randint(8, 30)) for _ in range(600)]
    pool, join = NoveltyByScript(), ("" if chinese else " ").join
    for n, text in enumerate(texts):
        pool.add(str(n), join(text))
    for n, text in enumerate(texts):
        swapped = list(text)
        swapped[rng.randrange(len(text))] = "新" if chinese else "new"
        near = pool.nearest(join(swapped))
        assert near is not None
        assert (near.id, near.score, near.span) == (str(n), (len(text) - 1) / len(text), join(text))


def test_a_family_of_one_template_is_compared_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every entry is a candidate: the earliest of the best must still be found."""
    monkeypatch.setattr(scan, "INDEX_FROM", 100)
    pool = Novelty()
    for n in range(700):
        pool.add(str(n), f"write a formal letter of {n % 50} lines to the town hall about noise number {n}")
    near = pool.nearest("write a formal letter of 7 lines to the town hall about noise number many")
    assert near is not None
    assert near.id == "7"
    assert pool.nearest_many([near.span] * 3) == [pool.nearest(near.span)] * 3


def test_many_copies_of_a_long_text_do_not_fill_the_memory() -> None:
    pool = Novelty()
    words = [f"w{n}" for n in range(1_000)]
    for n in range(200):
        pool.add(str(n), " ".join(words))
    texts = [" ".join([*words[:n], "other", *words[n + 1 :]]) for n in range(64)]
    pool.nearest("words that no entry has")
    tracemalloc.start()
    try:
        found = pool.nearest_many(texts)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [near and (near.id, near.score) for near in found] == [("0", 999 / 1_000)] * 64
    assert peak_bytes < 15_000_000  # with a string for each of the 12,800 pairs it is 276 MB


def test_odd_texts() -> None:
    pool = NoveltyByScript()
    long = "word " * 200_000
    texts = [
        "",
        "...",
        "hi",
        "👋 🌍!",
        "cafe\u0301 au lait s'il vous plai\u0302t",
        "用 Python 写一个 hello world 程序",
        "\ud800 half",
        long,
    ]
    for n, text in enumerate(texts):
        pool.add(str(n), text)
    found = pool.nearest_many(texts)
    assert [near and near.id for near in found] == [None, None, "2", None, "4", "5", "6", "7"]
    assert [near and near.span for near in found] == [None, None, "hi", None, *texts[4:]]
    composed = pool.nearest("CAFÉ au lait, s'il vous plaît")
    assert composed is not None
    assert (composed.id, composed.score) == ("4", 1.0)
    assert pool.nearest("hi there you") is None
    assert pool.nearest("用 Python 写两个 hello world 程序") is not None
    other = pool.nearest("other " + long[: -5 * 20_000])
    assert other is not None
    assert other.score == 2 * 180_000 / 380_001
    assert pool.nearest(long.replace("word", "else")) is None
    assert [near.id for near in pool.top([long], k=1)[0]] == ["7"]


def test_seen_respects_the_span_for_exact_copies_too() -> None:
    seen = Seen(NoveltyByScript())
    for n, text in enumerate(("Hi!", ENGLISH[0], "hi", CHINESE[0])):
        seen.add_instruction(f"s{n}", text)

    def met(text: str, since: int | None, before: int | None) -> Near | None:
        near = seen.nearest(text, since=since, before=before)
        assert seen.nearest_many([text, "unlike all"], since=since, before=before) == [near, None]
        return near

    assert met("HI", None, None) == Near("s0", 1.0, "exact", "Hi!")
    assert met("HI", 1, None) == Near("s2", 1.0, "exact", "hi")
    assert met("HI", 1, 2) is None
    assert met("HI", None, 0) is None
    assert met(CHINESE[0] + "。", 3, 4) == Near("s3", 1.0, "exact", CHINESE[0])
    near = met(ENGLISH[0] + " today", None, 2)
    assert near is not None
    assert (near.id, near.by) == ("s1", "rouge-l")
    assert met(ENGLISH[0] + " today", 2, None) is None
    assert [near.id for near in seen.novelty.top(["hi you"], k=3, before=2)[0]] == ["s0", "s1"]

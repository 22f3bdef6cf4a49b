"""The greedy pass over levels: the same as one by one without an index, whatever the window."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from brute import greedy as brute
from brute import is_cjk, lcs, tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.cleaning.copying import Files
from synthgen.cleaning.texts import texts_of
from synthgen.dedup import Near
from synthgen.dedup import greedy as room
from synthgen.dedup.greedy import Greedy, Opened, Texts, Verdict, in_order, opened
from synthgen.errors import UsageError
from synthgen.rows import Row

WORDS = ("a", "b", "c", "dd", "天", "空")


def texts(most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(WORDS), max_size=most).map(" ".join)


rows_of_words = st.lists(st.tuples(texts(9), st.sampled_from(["", "x", "y"]), st.sampled_from(["p", "q"])), max_size=40)


def verdicts(
    rows: Sequence[tuple[str, str, str]], methods: Sequence[str], threshold: Fraction | None, *, keep_all: bool
) -> list[Verdict]:
    work = Greedy(opened(methods, threshold), exact="exact" in methods, keep_all=keep_all)
    return list(work.decide((str(n), Texts(*row, input=row[1])) for n, row in enumerate(rows)))


@settings(max_examples=400, derandomize=True, deadline=None)
@given(
    rows=rows_of_words,
    methods=st.sampled_from([("exact", "rouge"), ("exact",), ("rouge",)]),
    threshold=st.sampled_from([None, Fraction(1, 2), Fraction(2, 3), Fraction(9, 10)]),
    keep_all=st.booleans(),
    window=st.sampled_from([1, 2, 5, 512]),
)
def test_it_equals_one_by_one(
    rows: list[tuple[str, str, str]],
    methods: tuple[str, ...],
    threshold: Fraction | None,
    keep_all: bool,
    window: int,
) -> None:
    latin, cjk = threshold or Fraction(7, 10), threshold or Fraction(8, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "WINDOW", window)
        found = verdicts(rows, methods, threshold, keep_all=keep_all)
    wanted = brute(rows, methods, latin, cjk, keep_all=keep_all)
    assert [(v.level, int(v.near.id), v.near.score) if v.near else None for v in found] == [
        w and (w[0], w[1], float(w[2])) for w in wanted
    ]
    again = [w is not None and rows[w[1]] == rows[n] and w[0] == "exact" for n, w in enumerate(wanted)]
    assert [v.dropped for v in found] == [
        (w is not None and not keep_all) or a for w, a in zip(wanted, again, strict=True)
    ]


class Overlap:
    """A level of whole rows, for want of a second: F1 of the longest common subsequence of their characters."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.asked = 0

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, id_: str, text: str) -> None:
        self.entries.append((id_, text))

    def nearest(self, text: str, *, since: int = 0) -> Near | None:
        self.asked += 1
        scores = [(2 * lcs(list(text), list(e)) / (len(text) + len(e)), -n) for n, (_, e) in enumerate(self.entries)]
        best = max(scores[since:], default=(0.0, 0))
        return Near(self.entries[-best[1]][0], best[0], "overlap", self.entries[-best[1]][1]) if best[0] > 0.8 else None

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        return [self.nearest(text) for text in texts]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(rows=rows_of_words, keep_all=st.booleans(), window=st.sampled_from([2, 5, 512]))
def test_windows_change_nothing_with_more_levels(rows: list[tuple[str, str, str]], keep_all: bool, window: int) -> None:
    def decided(size: int) -> list[Verdict]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "WINDOW", size)
            levels = [*opened(["rouge", "minhash"]), Opened("overlap", True, Overlap())]
            work = Greedy(levels, exact=True, keep_all=keep_all)
            return list(work.decide((str(n), Texts(*row, input=row[1])) for n, row in enumerate(rows)))

    assert decided(window) == decided(1)


def test_a_dear_level_is_not_asked_for_what_a_cheap_one_has_met() -> None:
    dear = Overlap()
    work = Greedy([*opened(["rouge"]), Opened("overlap", True, dear)], exact=True)
    kept = Texts("name three rivers that cross a border", "", "Rhine")
    assert not next(iter(work.decide([("0", kept)]))).level
    asked = dear.asked
    near = [kept, Texts("name three large rivers that cross a border", "", "Oder")]
    assert [v.level for v in work.decide([(str(n), text) for n, text in enumerate(near)])] == ["exact", "rouge"]
    assert dear.asked == asked


def test_instances_of_one_task_pass_where_prompts_are_compared() -> None:
    rows = [("Sort the words by their length.", given, "an answer") for given in ("b a", "c d e", "b a")]
    assert [v.level for v in verdicts(rows, ["rouge"], None, keep_all=False)] == ["", "", "rouge"]
    assert [v.level for v in verdicts(rows, ["exact", "rouge"], None, keep_all=False)] == ["", "", "exact"]


def test_at_one_only_equal_words_are_near() -> None:
    rows = [("a b c d", "", "p"), ("A, b, c... d", "", "q"), ("a b c d e", "", "r")]
    found = verdicts(rows, ["rouge"], Fraction(1), keep_all=False)
    assert [v.level for v in found] == ["", "rouge", ""]


def test_methods_by_name() -> None:
    assert in_order(["minhash", "rouge", "exact", "rouge"]) == ["exact", "rouge", "minhash"]
    with pytest.raises(UsageError, match=r"no method is called 'rouge-l'; did you mean rouge?"):
        in_order(["rouge-l"])


def test_long_rows_are_compared_whole() -> None:
    story = " ".join(f"word{n} of a story" for n in range(60))
    rows = [
        ("Write a story.", "", story),
        ("Tell me a tale that nobody knows yet.", "", story.replace("word30", "another")),
        ("Tell me a tale that somebody else knows.", "", " ".join(f"quite{n} another" for n in range(60))),
    ]
    found = verdicts(rows, ["exact", "rouge", "minhash"], None, keep_all=False)
    assert [v.level for v in found] == ["", "minhash", ""]
    assert found[1].near is not None
    assert 0.8 < found[1].near.score < 1
    assert found[1].near.span.startswith("Write a story.")
    assert [v.level for v in verdicts(rows, ["minhash"], Fraction(99, 100), keep_all=False)] == ["", "", ""]


def test_real_chinese_tasks_as_brute_force_finds_them(shared_data: Path) -> None:
    path = shared_data / "lf_alpaca_zh_demo.json"
    found = [texts_of(row.fields) for row in Files([path]).rows() if isinstance(row, Row)]
    rows = [(t.prompt, t.given, t.answer) for t in found if t is not None]
    assert len(rows) == len(json.loads(path.read_text(encoding="utf-8")))
    near = verdicts(rows, ["rouge"], None, keep_all=False)
    met = {n: (int(v.near.id), v.near.score) for n, v in enumerate(near) if v.near}
    assert len(met) == 9
    assert met == brute_over_shared_words([prompt for prompt, _, _ in rows])


def brute_over_shared_words(prompts: list[str]) -> dict[int, tuple[int, float]]:
    """As `brute`, with a bound that spares most tables: no subsequence is longer than the words that two texts share."""
    split = [tokens(prompt) for prompt in prompts]
    counts, kept, found = [Counter(one) for one in split], list[int](), dict[int, tuple[int, float]]()
    for n, one in enumerate(split):
        best: tuple[Fraction, int] | None = None
        limit = Fraction(8, 10) if is_cjk(one) else Fraction(7, 10)
        for m in kept:
            total = len(one) + len(split[m])
            if 2 * min(len(one), len(split[m])) <= limit * total:
                continue
            if not one or is_cjk(one) != is_cjk(split[m]) or 2 * (counts[n] & counts[m]).total() <= limit * total:
                continue
            score = Fraction(2 * lcs(one, split[m]), total)
            if score > limit and (best is None or score > best[0]):
                best = (score, m)
        if best is None:
            kept.append(n)
        else:
            found[n] = (best[1], float(best[0]))
    return found

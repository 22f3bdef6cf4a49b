"""The novelty index gives the answers of brute force: on random texts, on real ones, whatever the shape of the index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from brute import lcs, lcs_bits, tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import Novelty, NoveltyByScript, entries, levels, scan
from synthgen.dedup.rule import Rule, Tables

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
Texts = list[list[str]]


class Oracle:
    """Every pair, by integers: the best of the entries in [since, before), the earliest of equals."""

    def __init__(self, threshold: Fraction, *, reject_equal: bool) -> None:
        self.threshold, self.reject_equal = threshold, reject_equal
        self.stored: list[tuple[int, list[str]]] = []

    def nearest(self, text: list[str], since: int | None, before: int | None) -> tuple[int, Fraction] | None:
        best = None
        for n, (order, other) in enumerate(self.stored):
            if (since is not None and order < since) or (before is not None and order >= before) or not text:
                continue
            score = Fraction(2 * lcs_bits(text, other), len(text) + len(other))
            near = score >= self.threshold if self.reject_equal else score > self.threshold
            if score and near and (best is None or score > best[1]):
                best = (n, score)
        return best


def _text(rng: Random, words: int) -> list[str]:
    """Up to 40 words; the first of the vocabulary are the commonest."""
    return [f"w{int(rng.random() ** 2 * words)}" for _ in range(rng.randint(0, 40))]


def _edited(text: list[str], rng: Random, words: int) -> list[str]:
    text = list(text)
    for _ in range(rng.randint(0, 4)):
        if text:
            text[rng.randrange(len(text))] = f"w{rng.randrange(words + 2)}"
    if text and rng.random() < 0.3:
        del text[rng.randrange(len(text)) :]
    return text


def _walk(rng: Random, threshold: Fraction, *, reject_equal: bool, words: int, steps: int) -> tuple[int, int]:
    """Additions and questions in turn, each answer held to the oracle's: how many were asked, how many were near."""
    pool, oracle = Novelty(threshold, reject_equal=reject_equal), Oracle(threshold, reject_equal=reject_equal)
    asked = near = order = 0

    def some() -> list[str]:
        old = oracle.stored and rng.random() < 0.6
        return _edited(rng.choice(oracle.stored)[1], rng, words) if old else _text(rng, words)

    for _ in range(steps):
        for _ in range(rng.choice((0, 1, 1, 1, 7))):
            text = some()
            order += rng.choice((1, 1, 3))
            pool.add(f"id{len(oracle.stored)}", " ".join(text), order=order)
            oracle.stored.append((order, text))
        texts = [some() for _ in range(rng.choice((1, 1, 3)))]
        since, before = (rng.choice((None, None, rng.randint(0, order + 1))) for _ in range(2))
        found = pool.nearest_many([" ".join(text) for text in texts], since=since, before=before)
        for text, got in zip(texts, found, strict=True):
            best = oracle.nearest(text, since, before)
            expected = best and (f"id{best[0]}", float(best[1]), "rouge-l", " ".join(oracle.stored[best[0]][1]))
            assert (got and (got.id, got.score, got.by, got.span)) == expected, (text, since, before)
            asked, near = asked + 1, near + (best is not None)
    return asked, near


def _shaped(patch: pytest.MonkeyPatch, rng: Random, **fixed: float) -> None:
    """An index so small that a hundred entries walk every path of it."""
    shape = {
        "scan.TAIL": 4, "scan.INDEX_FROM": rng.choice((1, 8, 20)), "scan.SQUARE": rng.choice(((2, 3), (64, 8_192))),
        "scan.ROWS": rng.choice((2, 512)), "scan.FIRST": rng.choice((1, 2, 32)),
        "scan.FEW": rng.choice((0, 64)), "scan.FINE_TOTAL": rng.choice((1, 2_047)), "levels.BLOCK": rng.choice((3, 2_048)),
        "levels.CHUNK": rng.choice((7, 32_768)), "levels.GROUP": rng.choice((20, 1 << 20)),
        "levels.FAN": rng.choice((1, 8)), "levels.HEAVY": rng.choice((1, 1_000_000, 1_000_000)), **fixed,
    }  # fmt: skip
    for name, value in shape.items():
        module, constant = name.split(".")
        patch.setattr({"scan": scan, "levels": levels, "entries": entries}[module], constant, value)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    threshold=st.integers(10, 19).map(lambda twentieths: Fraction(twentieths, 20)),
    reject_equal=st.booleans(),
    words=st.sampled_from((5, 5, 12, 40)),
)
def test_the_index_answers_as_brute_force(seed: int, threshold: Fraction, reject_equal: bool, words: int) -> None:
    rng = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        _shaped(patch, rng)
        _walk(rng, threshold, reject_equal=reject_equal, words=words, steps=30)


@pytest.mark.parametrize("reject_equal", [False, True])
def test_that_walk_takes_every_path(monkeypatch: pytest.MonkeyPatch, reject_equal: bool) -> None:
    calls: Counter[str] = Counter()

    def counted(owner: type, name: str) -> None:
        original: Callable[..., object] = getattr(owner, name)

        def call(*args: object) -> object:
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (levels.Levels, "_freeze"), (levels.Levels, "_merge"), (levels.Levels, "candidates"), (scan.Scan, "_compared"),
        (scan.Scan, "_verified"),
    ):  # fmt: skip
        counted(owner, name)
    rng = Random(3)
    _shaped(monkeypatch, rng, **{"levels.HEAVY": 1_000_000, "scan.INDEX_FROM": 8, "levels.FAN": 1, "scan.FEW": 0})
    asked, near = _walk(rng, Fraction(7, 10), reject_equal=reject_equal, words=12, steps=150)
    assert calls["_freeze"] >= 4
    assert calls["_merge"] >= 10
    assert min(calls["candidates"], calls["_verified"]) >= 100
    assert 50 <= near <= asked - 50


def test_words_past_the_last_code_point_share_one_and_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(12):
        rng = Random(seed)
        _shaped(monkeypatch, rng, **{"scan.CODES": 3})
        _walk(rng, Fraction(rng.randint(10, 19), 20), reject_equal=bool(seed % 2), words=12, steps=30)
        pool = NoveltyByScript()
        pool.add("x", "a b c d e f g")
        pool.add("y", "a b x x e f g")
        assert [(near.id, near.score) for near in pool.top(["d e f g a b c"])[0]] == [("x", 4 / 7), ("y", 3 / 7)]


def test_texts_too_long_for_a_key_are_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (entries, levels, scan):
        monkeypatch.setattr(module, "LONG_TOKENS", 15)
    for seed in range(12):
        rng = Random(seed)
        _shaped(monkeypatch, rng)
        _walk(rng, Fraction(rng.randint(10, 19), 20), reject_equal=bool(seed % 2), words=5, steps=30)


@pytest.mark.parametrize("threshold", [Fraction(1, 20), Fraction(3, 10), Fraction(0.7), Fraction(1)])
@pytest.mark.parametrize("reject_equal", [False, True])
def test_thresholds_without_an_index_and_those_of_floats(
    monkeypatch: pytest.MonkeyPatch, threshold: Fraction, reject_equal: bool
) -> None:
    rng = Random(str(threshold))
    _shaped(monkeypatch, rng)
    _walk(rng, threshold, reject_equal=reject_equal, words=5, steps=30)


@pytest.mark.parametrize("threshold", [Fraction(7, 10), Fraction(4, 5), Fraction(0.7), Fraction(1), Fraction(1, 20)])
@pytest.mark.parametrize("reject_equal", [False, True])
def test_the_rule_by_its_definition(threshold: Fraction, reject_equal: bool) -> None:
    rule = Rule(threshold, reject_equal=reject_equal)
    tables = Tables(rule)
    tables.reach(60)

    def near(common: int, total: int) -> bool:
        return Fraction(2 * common, total) >= threshold if reject_equal else Fraction(2 * common, total) > threshold

    for total in range(1, 121):
        needed = next(common for common in range(total + 2) if near(common, total))
        assert rule.need(total) == tables.need[total] == needed
    for m in range(1, 61):
        partners = [n for n in range(1, 61 * 41) if near(min(m, n), m + n)]
        assert tables.least[m] == rule.least(m)
        assert rule.most(m) == tables.most[m]
        if partners:
            assert (rule.least(m), rule.most(m) - m) == (partners[0], partners[-1])
        else:  # nothing is above 1
            assert rule.least(m) > m


def test_a_threshold_with_fifty_bits_and_long_texts_do_not_overflow() -> None:
    rule = Rule(Fraction(0.7), reject_equal=False)
    tables = Tables(rule)
    tables.reach(3_000)
    assert tables.need.tolist() == [rule.need(total) for total in range(6_001)]
    assert tables.least.tolist() == [rule.least(m) for m in range(3_001)]
    assert tables.most.tolist() == [rule.most(common) for common in range(3_001)]


def test_the_oracle_by_the_textbook_table() -> None:
    rng = Random(0)
    for _ in range(300):
        a, b = _text(rng, 5), _text(rng, 5)
        assert lcs_bits(a, b) == lcs(a, b)


def _instructions(path: Path) -> list[str]:
    return [json.loads(line)["instruction"] for line in path.read_text(encoding="utf-8").splitlines()]


def _scores_are_those_of_rouge_score(texts: list[str]) -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    texts = [text for text in texts if text.isascii()]
    pool = Novelty()
    for n, text in enumerate(texts):
        pool.add(str(n), text)
    assert len(texts) >= 100
    for text, nears in zip(texts[:60], pool.top(texts[:60], k=12), strict=True):
        assert len(nears) == 12
        for near in nears:
            reference = scorer.score(near.span, text)["rougeL"].fmeasure
            assert near.score == pytest.approx(reference, abs=1e-9)
        rest = [scorer.score(other, text)["rougeL"].fmeasure for other in texts[:300]]
        assert sum(score > nears[-1].score + 1e-9 for score in rest) <= 11


def test_scores_are_those_of_rouge_score_on_the_seeds() -> None:
    _scores_are_those_of_rouge_score(_instructions(SEEDS / "en" / "tasks.jsonl"))


def test_scores_are_those_of_rouge_score_on_real_instructions(shared_data: Path) -> None:
    rows = json.loads((shared_data / "lf_alpaca_en_demo.json").read_text(encoding="utf-8"))
    _scores_are_those_of_rouge_score([row["instruction"] for row in rows])


def test_scores_on_chinese_are_those_of_an_lcs_on_characters() -> None:
    texts = _instructions(SEEDS / "zh" / "tasks.jsonl")
    pool = Novelty()
    for n, text in enumerate(texts):
        pool.add(str(n), text)
    split = [tokens(text) for text in texts]
    for text, a, nears in zip(texts[:30], split, pool.top(texts[:30], k=5), strict=False):
        scores = [2 * lcs(a, b) / (len(a) + len(b)) for b in split]
        expected = sorted(range(len(texts)), key=lambda n: (-scores[n], n))[:5]
        assert [(near.id, near.score) for near in nears] == [
            (str(n), pytest.approx(scores[n], abs=1e-9)) for n in expected
        ]
        assert nears[0].span == text


def test_real_pools_in_batches_one_by_one_and_by_brute_force(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both languages in one pool, half of it asked again with a word or a character less."""
    rows = [
        row
        for name in ("lf_alpaca_en_demo.json", "lf_alpaca_zh_demo.json")
        for row in json.loads((shared_data / name).read_text(encoding="utf-8"))
    ]
    texts = [row["instruction"] for row in rows]
    monkeypatch.setattr(scan, "TAIL", 32)
    monkeypatch.setattr(scan, "INDEX_FROM", 64)
    indexed, plain = NoveltyByScript(), NoveltyByScript()
    for n, text in enumerate(texts):
        indexed.add(str(n), text)
        plain.add(str(n), text)
    rng = Random(0)
    questions = [
        " ".join(rng.sample(text.split(), len(text.split()))) if n % 3 == 0 else text[: rng.randint(3, 60)] + text[-9:]
        for n, text in enumerate(texts)
    ]
    many = indexed.nearest_many(questions)
    assert [indexed.nearest(question) for question in questions[:400]] == many[:400]
    monkeypatch.setattr(scan, "INDEX_FROM", 1_000_000)
    assert plain.nearest_many(questions) == many
    assert 100 < sum(near is not None for near in many) < len(many) - 100

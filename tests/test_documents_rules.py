"""Each rule on both sides of its threshold, on texts that were counted by hand and on real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from command import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.document_recipe import DocumentRecipe
from synthgen.documents import RULES, Document, Rule, read_documents, reason
from synthgen.documents.features import Features, Repeats
from synthgen.documents.rules import defaults

EN = (ROOT / "examples/documents/en/lighthouses.txt").read_text(encoding="utf-8").strip()
ZH = (ROOT / "examples/documents/zh/bridges.txt").read_text(encoding="utf-8").strip()
WORDS = "ant bee cat dog elk fox gnu hen ibis jay koi lynx mole newt owl pig ram seal toad wren yak".split()


def value(rule: str, text: str) -> float:
    (found,) = (one for one in RULES if one.name == rule)
    return found.measure(Features(text))


def lines(n: int, line: str) -> str:
    return "\n".join([line] * n)


# (rule, text, what is measured): counted by hand. A document of exactly the threshold passes.
VECTORS = [
    ("size", "one two-three, four's", 5), ("size", "灯塔是塔，塔顶有灯。", 8), ("most_size", "one two", 2),
    ("word_length", "ab cde f", 2), ("word_length", "Use NumPy 库 now", 11 / 3), ("most_word_length", "abcd ef", 3),
    ("stop_words", "the cat and the dog with THE bird", 3), ("stop_words", "我的书在桌上", 2), ("stop_words", "cats dogs", 0),
    ("symbols", "# one\n## two", 1.5), ("symbols", "one... two… three four", 0.5), ("symbols", "one two", 0),
    ("alphabetic", "12 b3 4 five", 0.5), ("punctuation", "灯塔，高。", 0.4), ("most_punctuation", "灯塔，高。", 0.4),
    ("bullet_lines", "- a\n* b\n• c\nd", 0.75), ("ellipsis_lines", "a...\nb…\nc.\n\nd", 0.5),
    ("sentences", "One. Two! Three? 3.14 is pi… Four", 4), ("sentences", "一。二！三？“四。”五", 4),
    ("lorem_ipsum", "Lorem Ipsum dolor lorem ipsum", 2),
    ("curly_lines", "if (x) {\n  y\n}\nz", 0.5), ("curly_lines", "none", 0),
    ("ended_lines", "a.\nb\n“c.”\nd:", 0.5), ("ended_lines", "一。\n二\n（三）\n四；", 0.5),
    ("short_lines", f"{'x' * 30}\n{'x' * 31}", 0.5), ("short_lines", f"{'字' * 15}\n{'字' * 16}", 0.5),
    ("newlines", "one two\nthree four\n\nfive", 0.6), ("newlines", "灯塔\n高塔", 0.5),
    ("duplicate_lines", "a\nb\na\na", 0.5), ("duplicate_line_chars", "aa\nbb\n\naa", 2 / 9),
    ("duplicate_paragraphs", "a\nb\n\nc\n\na\nb\n\nd", 0.25), ("duplicate_paragraph_chars", "aaaa\n\nb\n\naaaa", 4 / 13),
    ("top_2gram", "a b c a b d a b", 12 / 15), ("top_2gram", "a b c d", 0), ("top_3gram", "a b c x a b c", 12 / 13),
    ("top_4gram", "a b c d", 0), ("top_4gram", "a b c d a b c d", 16 / 15),
    ("repeated_5grams", "a b c d e x a b c d e y", 10 / 23), ("repeated_5grams", "a b c d e f a b c d e f", 12 / 23),
    ("repeated_6grams", "a b c d e x a b c d e y", 0), ("repeated_10grams", " ".join(WORDS), 0),
    ("repeated_5grams", "灯塔是建在岸边的高塔啊灯塔是建在岸边的", 8 / 19), ("repeated_5grams", "灯塔是建在岸边高灯塔是建在岸边塔", 0),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "expected"), VECTORS)
def test_a_measure_counts_what_was_counted_by_hand(rule: str, text: str, expected: float) -> None:
    assert value(rule, text) == pytest.approx(expected)


BOTH = [
    pytest.param(rule, text, id=f"{rule.name}-{lang}")
    for rule in RULES
    for lang, text in (("en", EN), ("zh", ZH))
    if rule.threshold(text is ZH, {}) is not None
]


@pytest.mark.parametrize(("rule", "text"), BOTH)
def test_at_its_threshold_a_real_text_passes_and_just_beyond_it_fails(rule: Rule, text: str) -> None:
    is_cjk = text is ZH
    found = rule.measure(Features(text))
    knob = rule.cjk_name if is_cjk and rule.cjk_name in rule.knobs() else rule.name
    others = {name: 0.0 if one.least else 1e9 for one in RULES for name in one.knobs()}
    assert reason(text, {**others, knob: found}) is None
    beyond = found + 1e-6 if rule.least else found - 1e-6
    failed = reason(text, {**others, knob: beyond})
    assert failed is not None
    assert failed[0] == rule.name
    assert failed[1].endswith("is asked for")


def test_the_thresholds_are_those_of_the_papers() -> None:
    assert defaults() == {
        "size": 50, "size_cjk": 200, "most_size": 100_000, "most_size_cjk": 200_000, "word_length": 3, "most_word_length": 10,
        "stop_words": 2, "symbols": 0.1, "alphabetic": 0.8, "punctuation": 0.02, "most_punctuation": 0.25, "bullet_lines": 0.9,
        "ellipsis_lines": 0.3, "sentences": 5, "lorem_ipsum": 0, "curly_lines": 0, "ended_lines": 0.12, "short_lines": 0.67,
        "newlines": 0.3, "newlines_cjk": 0.2, "duplicate_lines": 0.3, "duplicate_line_chars": 0.01, "duplicate_paragraphs": 0.3,
        "duplicate_paragraph_chars": 0.2, "top_2gram": 0.2, "top_3gram": 0.18, "top_4gram": 0.16, "repeated_5grams": 0.15,
        "repeated_6grams": 0.14, "repeated_7grams": 0.13, "repeated_8grams": 0.12, "repeated_9grams": 0.11, "repeated_10grams": 0.1,
    }  # fmt: skip
    assert all(rule.source.split()[0] in ("Gopher", "C4", "FineWeb", "its") for rule in RULES)


def test_every_threshold_is_a_knob_with_its_source() -> None:
    knobs = DocumentRecipe.knobs()
    for name, default in defaults().items():
        assert knobs[name].default == default
        assert isinstance(knobs[name].parse(name, str(default)), float)
        assert any(source in knobs[name].help for source in ("Gopher", "C4", "FineWeb", "Chinese variant"))


def test_the_examples_pass_all_rules() -> None:
    found = [one for one in read_documents(ROOT / "examples/documents") if isinstance(one, Document)]
    assert [(one.where, why) for one in found if (why := reason(one.text))] == []


# -- what is spoilt -----------------------------------------------------------------------------------------------------

MENU = lines(30, "Home | News | Sport | Weather | Contact")
SPOILT = [
    (EN[:200], "size"), (ZH[:150], "size"), (EN + "\n\n" + EN, "duplicate_lines"), (EN + "\n\n" + EN.split("\n")[0], "duplicate_line_chars"),
    (EN + "\nLorem ipsum dolor sit amet.", "lorem_ipsum"), (EN + "\nfunction f() { return 1; }", "curly_lines"),
    (EN.replace(".", ","), "sentences"), ("\n".join(EN.split()), "ended_lines"),
    ("\n".join(f"- {word} house" for word in EN.split()), "bullet_lines"), (EN.replace(".\n", "...\n") + "...", "ellipsis_lines"),
    (" ".join(str(n) for n in range(300)) + " the of. and! be? to. a.", "word_length"),
    (" ".join(f"{n}{n}" for n in range(100, 400)) + " the of. and! be? to. a.", "alphabetic"),
    ("".join(c for c in ZH if c not in "，。、；："), "punctuation"), ("，".join(ZH), "most_punctuation"),
    (EN + " buy now" * 60, "top_2gram"), ("这里便宜的灯塔" * 60 + ZH, "top_2gram"),
    (EN + "\n" + " ".join([*WORDS, "x", *WORDS, "y", *WORDS, "z", *WORDS]), "repeated_5grams"),
    (MENU + "\n\n" + EN, "duplicate_lines"), (" ".join(WORDS * 5).replace("fox", "fox."), "stop_words"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SPOILT, ids=lambda value: value if len(value) < 40 else "text")
def test_a_spoilt_text_fails_for_what_was_done_to_it(text: str, expected: str) -> None:
    failed = reason(text)
    assert failed is not None
    assert failed[0] == expected


def test_most_real_long_answers_pass_and_each_rejection_has_its_reason(shared_data: Path) -> None:
    for name, shortest, most in (("lf_alpaca_en_demo.json", 1000, 0.15), ("lf_alpaca_zh_demo.json", 400, 0.25)):
        rows = json.loads((shared_data / name).read_text(encoding="utf-8"))
        found = [reason(row["output"]) for row in rows if len(row["output"]) >= shortest]
        failed = Counter(one[0] for one in found if one)
        assert len(found) > 30
        assert failed.total() / len(found) < most, failed


# -- stretches that come again ------------------------------------------------------------------------------------------


def brute_places(numbers: list[int], n: int) -> list[int]:
    grams = [tuple(numbers[at : at + n]) for at in range(len(numbers) - n + 1)]
    times = Counter(grams)
    return [at for at, gram in enumerate(grams) if times[gram] > 1]


def brute_repeated(words: list[str], n: int) -> float:
    text, seen, covered = " ".join(words), set(), set()
    for at in range(len(words) - n + 1):
        gram = tuple(words[at : at + n])
        if gram in seen:
            covered |= set(range(at, at + n))
        seen.add(gram)
    return sum(len(words[k]) + 1 for k in covered) / len(text)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from("ab cd ef gh".split()), min_size=1, max_size=60))
def test_what_comes_again_is_what_brute_force_finds(words: list[str]) -> None:
    found = Features(" ".join(words))
    repeats = Repeats(found.numbers)
    for n in range(2, 11):
        assert [at for at, _ in repeats.of(n)] == brute_places(found.numbers, n)
        if n >= 5:
            assert value(f"repeated_{n}grams", found.text) == pytest.approx(brute_repeated(words, n))


def test_a_text_that_only_repeats_costs_what_its_length_is() -> None:
    """Counted, not timed: the places looked at for all lengths together are at most that many times the words."""
    rng = Random(1)
    for text in ("word " * 20_000, " ".join(rng.choices("ab", k=20_000)), " ".join(WORDS * 1_000)):
        repeats = Repeats(Features(text).numbers)
        assert sum(len(repeats.of(n)) for n in range(2, 11)) <= 9 * len(Features(text).numbers)
        assert reason(text) is not None

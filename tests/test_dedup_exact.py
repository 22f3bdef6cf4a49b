"""Exact keys: what is the same text, and what only looks like it."""

from __future__ import annotations

import hashlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import key
from synthgen.dedup.exact import normal

SAME = {
    "width and marks": ("Ｈｅｌｌｏ，　World!", "hello world"),
    "full stop at the end": ("Name three rivers.", "name  three rivers"),
    "full stop within the quotes": ('He said "yes."', 'He said "yes".'),
    "typographic quotes": ("It’s “fine”", 'It\'s "fine"'),
    "dashes": ("1990–2000", "1990-2000"),
    "minus sign": ("−5 °C", "-5 °C"),
    "ellipsis": ("Well…", "Well ..."),
    "isolated quotes": ("the word ' is '", "the word is"),
    "composed and decomposed": ("café", "cafe\u0301"),
    "zero-width space": ("hel\u200blo", "hello"),
    "byte order mark": ("\ufeffhello", "hello"),
    "soft hyphen": ("co\u00adoperate", "cooperate"),
    "direction marks": ("\u200ehello\u200f", "hello"),
    "variation selector": ("❤\ufe0f", "❤"),
    "sharp s": ("STRASSE", "straße"),
    "chinese marks": ("你好，世界！", "你好 世界"),
    "brackets": ("（一）二", "一 二"),
    "white space": ("a\r\n\tb\u3000c\u2028d", "a b c d"),
    "exponent": ("x²", "x2"),
}
OTHER = {
    "C": ("C++", "C"),
    "C sharp": ("C#", "C"),
    "sign": ("-5", "5"),
    "decimal point": ("3.14", "3 14"),
    "leading point": (".5", "5"),
    "sum and difference": ("5 + 3", "5 - 3"),
    "product and quotient": ("5 * 3", "5 / 3"),
    "comparison": ("is 3 < 5", "is 3 > 5"),
    "comparison in code": ("if n <= 1:", "if n == 1:"),
    "not equal": ("a != b", "a = b"),
    "factorial": ("What is 5!?", "What is 5?"),
    "per cent": ("5 %", "5"),
    "symbols beyond ASCII": ("x ≤ y", "x ≥ y"),
    "currency": ("€5", "£5"),
    "traditional": ("臺灣", "台湾"),
    "emoji": ("I feel 😀", "I feel 😢"),
    "emoji alone": ("😀", ""),
    "skin tone": ("👍🏻", "👍🏿"),
    "flags of tags": (
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ),
    "vowel signs": ("कि", "का"),
    "vowel sign and none": ("कि", "क"),
    "marks alone": ("?", "!"),
    "marks alone and empty": ("...", ""),
    "accent": ("resume", "résumé"),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_idle_differences_give_the_same_key(pair: tuple[str, str]) -> None:
    assert normal(pair[0]) == normal(pair[1])
    assert key(pair[0]) == key(pair[1])


@pytest.mark.parametrize("pair", OTHER.values(), ids=OTHER.keys())
def test_differences_of_meaning_give_another_key(pair: tuple[str, str]) -> None:
    assert key(pair[0]) != key(pair[1])


def test_compat_keeps_exponents_apart_and_still_joins_the_rest() -> None:
    assert key("x²", compat=False) != key("x2", compat=False)
    assert key("½", compat=False) != key("1⁄2", compat=False)
    assert key("CAFÉ!", compat=False) == key("cafe\u0301", compat=False)


def test_a_key_is_sixteen_bytes_of_the_normal_form() -> None:
    assert key("") == hashlib.blake2b(b"", digest_size=16).digest()
    assert key(" \n\u3000") == key("")
    assert key("Hello, World!") == hashlib.blake2b(b"hello world", digest_size=16).digest()
    assert len(key("\ud800 half of a pair")) == 16


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.text(max_size=12).filter(lambda t: t.split() == [t]), max_size=8),
    st.sampled_from(["\n", "\t ", "\u3000", " \r\n"]),
)
def test_the_kind_of_white_space_never_matters(pieces: list[str], space: str) -> None:
    assert normal(space.join(pieces)) == normal(" ".join(pieces))
    assert normal(space + " ".join(pieces) + space) == normal(" ".join(pieces))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=60))
def test_every_letter_and_digit_survives(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert [c for c in normal(text) if c.isalnum()] == [c for c in folded if c.isalnum()]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(alphabet="ab5 .!'\"-+,:=\n_", max_size=30))
def test_marks_of_ascii_text_are_kept_or_dropped_and_nothing_is_added(text: str) -> None:
    rest = iter(text)
    assert all(c == " " or c in rest for c in normal(text))
    assert "  " not in normal(text)
    assert normal(text.upper()) == normal(text)


@pytest.mark.parametrize("mark", [".", "!"])
def test_a_long_run_of_marks_is_looked_at_once(mark: str) -> None:
    # From each of its marks on, ten million of them would take hours: the run of tests would not end.
    assert normal(mark * 10_000_000 + "a") == mark * 10_000_000 + "a"


@pytest.mark.parametrize(
    ("text", "left"), [("5!!", "5!"), ("5!!!a", "5!!!a"), ("a!!", "a"), ("n... !m", "n !m"), ("a..b..", "a..b")]
)
def test_a_run_of_marks_stays_or_goes_as_a_whole(text: str, left: str) -> None:
    assert normal(text) == left

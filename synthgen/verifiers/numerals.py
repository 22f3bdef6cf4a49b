"""Numbers as they are written: digits with separators, English number words, Chinese numerals; all exact fractions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_WORDS = {
    **{"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9},
    **{"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16},
    **{"seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50},
    **{"sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90},
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ANY = "|".join(sorted([*_WORDS, *_SCALES], key=len, reverse=True))
_ENGLISH = re.compile(
    rf"\b(?:(?:an?|half\s+a)\s+(?=(?:{'|'.join(_SCALES)})\b))?(?:{_ANY})\b"
    rf"(?:(?:[ \t]+|-)(?:and[ \t]+(?=(?:{'|'.join(_WORDS)})\b))?(?:{_ANY})\b)*(?P<half>[ \t]+and[ \t]+a[ \t]+half\b)?",
    re.IGNORECASE,
)
# 1,234.5 or 1 234 or 1234; a sign only where no word or number goes before it.
_DIGITS = re.compile(
    r"(?<![A-Za-z0-9_.])(?:(?<![A-Za-z0-9])[-−](?=\d))?"
    r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ \u00a0]\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3}\b)?"
    r"(?:\s?[×x*]\s?10\^?(?P<power>-?\d{1,2}))?"
)
_DIGITS_ZH = "零〇一二两三四五六七八九"
_VALUE_ZH = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_SMALL_ZH, _LARGE_ZH = {"十": 10, "百": 100, "千": 1000}, {"万": 10**4, "亿": 10**8}
_CHINESE = re.compile(rf"[{_DIGITS_ZH}十百千万亿]+(?:点[{_DIGITS_ZH}]+)?")
_SCALE = re.compile(
    r"(?:\s?(万亿|百万|千万|万|亿|trillion\b|billion\b|million\b|thousand\b)|([kKMB])(?![A-Za-z0-9_/]))", re.IGNORECASE
)
_SCALE_OF = {
    **{"万亿": 10**12, "百万": 10**6, "千万": 10**7, "万": 10**4, "亿": 10**8, "k": 1000, "m": 10**6, "b": 10**9},
    **_SCALES,
}


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number in a text; `step` is the value of its last digit that is not a trailing zero: 100 for 13,200."""

    value: Fraction
    step: Fraction
    start: int
    end: int
    chinese: bool = False


def numerals(text: str) -> Iterator[Numeral]:
    """Every number of a text in NFKC, in order of place; none stands in another."""
    found = sorted((*_digits(text), *_english(text), *_chinese(text)), key=lambda n: (n.start, -n.end))
    end = 0
    for one in found:
        if one.start >= end:
            yield one
            end = one.end


def _digits(text: str) -> Iterator[Numeral]:
    for found in _DIGITS.finditer(text):
        said = re.sub(r"[, \u00a0]", "", found[0].split("×")[0]).replace("−", "-")
        said = re.sub(r"[x*].*\Z", "", said)
        exponent = re.search(r"[eE]([+-]?\d+)\Z", said)
        plain = said[: exponent.start()] if exponent else said
        factor = Fraction(10) ** (int(exponent[1]) if exponent else int(found["power"] or 0))
        end = found.end()
        scale = _SCALE.match(text, end)
        if scale and not found["power"]:
            factor, end = factor * _SCALE_OF[(scale[1] or scale[2]).lower()], scale.end()
        yield Numeral(Fraction(plain) * factor, _step(plain) * factor, found.start(), end)


def _step(plain: str) -> Fraction:
    if "." in plain:
        return Fraction(1, 10 ** len(plain.partition(".")[2]))
    digits = plain.lstrip("-")
    zeros = len(digits) - len(digits.rstrip("0"))
    return Fraction(10 ** min(zeros, len(digits) - 1))


def _english(text: str) -> Iterator[Numeral]:
    for found in _ENGLISH.finditer(text):
        words = re.findall(r"[a-z]+", found[0].lower())
        total, current = Fraction(0), Fraction(0)
        for word in words:
            if word in _WORDS:
                current += _WORDS[word]
            elif word == "hundred":
                current = (current or Fraction(1)) * 100
            elif word in _SCALES:
                total, current = total + (current or Fraction(1)) * _SCALES[word], Fraction(0)
        value = total + current
        if words[:2] == ["half", "a"]:
            value /= 2
        if found["half"]:
            value += Fraction(1, 2)
        yield Numeral(value, _step_of(value), found.start(), found.end())


def _step_of(value: Fraction) -> Fraction:
    if value.denominator != 1:
        return Fraction(1, value.denominator)
    return _step(str(value.numerator))


def _chinese(text: str) -> Iterator[Numeral]:
    for found in _CHINESE.finditer(text):
        value = chinese(found[0])
        if value is not None:
            yield Numeral(value, _step_of(value), found.start(), found.end(), chinese=True)


def chinese(said: str) -> Fraction | None:
    """三千五百万 -> 35000000, 二〇二〇 -> 2020, 三点一四 -> 3.14; None where the signs make no number."""
    whole, _, decimals = said.partition("点")
    if decimals:
        digits = "".join(str(_VALUE_ZH[c]) for c in decimals)
        before = chinese(whole)
        return None if before is None else before + Fraction(int(digits), 10 ** len(digits))
    if len(whole) > 1 and all(c in _VALUE_ZH for c in whole):
        return Fraction(int("".join(str(_VALUE_ZH[c]) for c in whole)))
    total = section = digit = 0  # total: what stands before the last 万 or 亿, times it
    last = 1
    for c in whole:
        if c in _VALUE_ZH:
            digit = _VALUE_ZH[c]
            last = 10 if c in "零〇" else last  # 一千零五 is 1005, 一千五 is 1500
        elif c in _SMALL_ZH:
            section += (digit or 1) * _SMALL_ZH[c]
            digit, last = 0, _SMALL_ZH[c]
        else:
            size, here = _LARGE_ZH[c], section + digit
            # 两千万 after 一亿 adds to it; in 一万亿 the 亿 multiplies all that is there.
            total = total + (here or 1) * size if total > size else (total + here or 1) * size
            section, digit, last = 0, 0, size
    if digit and last > 10:
        digit *= last // 10
    return Fraction(total + section + digit) if whole else None

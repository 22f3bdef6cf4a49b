"""Read a judge's answer strictly: a score on its scale or one of the words asked for, or ParseError, never a guess."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from synthgen.errors import ParseError
from synthgen.parsing import json_values

V = TypeVar("V")

_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)
_ANALYSIS_KEYS = ("analysis", "rationale", "reason", "reasoning", "explanation", "分析", "理由")
_SCORE_KEYS = ("score", "rating", "overall", "评分", "分数", "得分")
_SCORE_NAMES = r"(?:score|rating|grade|评分|得分|总分|分数|打分|評分|總分|分數)"
_FINAL = r"(?:overall|final|total|最终|最後|最后|综合|总体)"
_NUMBER = r"(-?\d{1,6}(?:\.\d{1,6})?)"
_MARK = r"[\s*_`\"'\[]{0,12}"  # bold, quotes, brackets around a number
# What belongs to a number: "/5", "out of 5", "分", "points", "(满分5分)".
_OF = (
    r"(?:\s{0,4}(?:/|out\s+of)\s{0,4}(\d{1,6}))?(?:\s{0,4}(?:分|星|points?\b|stars?\b))?"
    r"(?:\s{0,4}[,(]?\s{0,4}满分\s{0,4}(\d{1,6})\s{0,4}分?\s{0,4}\)?)?"
)
_NO_RANGE = r"(?![\d.]*\d)(?!\s{0,4}(?:-|~|–|—|至|到|to\b)\s{0,4}\d)"
_LABELLED = re.compile(
    rf"({_FINAL}[\s_]{{0,4}})?{_SCORE_NAMES}{_MARK}(?:\([^()\n]{{0,40}}\))?{_MARK}(?::|=|\bis\b|为|是){_MARK}"
    rf"{_NUMBER}{_NO_RANGE}{_MARK}{_OF}",
    re.IGNORECASE,
)
_GIVEN = re.compile(rf"(?:给|给出|打|打出)了?{_MARK}{_NUMBER}{_MARK}分(?!以|的)")
_ALONE = re.compile(rf"{_MARK}{_NUMBER}{_MARK}{_OF}[\s\]*_`.。!]{{0,12}}", re.IGNORECASE)
_AROUND = " \t\r\n*_`\"'[](){}.,。!“”"
_CJK_OR_NO_LETTER = r"(?![^\W\u4e00-\u9fff])"


@dataclass(frozen=True, slots=True)
class Scale:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    def score(self, value: object) -> int:
        """The whole number on this scale that a value says ("4", 4.0, "4/5", "4 分"). Raises ParseError."""
        said = unicodedata.normalize("NFKC", str(value))
        numeric = isinstance(value, int | float | str) and not isinstance(value, bool)
        found = _ALONE.fullmatch(said) if numeric else None
        if found is None:
            raise ParseError(f"no number where the score belongs: {said[:80]!r}")
        return self.within(found[1], found[2] or found[3])

    def within(self, number: str, highest: str | None = None) -> int:
        """The same for a number in digits, and what it says to be the highest. Raises ParseError."""
        if highest is not None and int(highest) != self.high:
            raise ParseError(f"a score of {number} out of {highest}, on a scale up to {self.high}")
        value = float(number)
        if not value.is_integer() or not self.low <= value <= self.high:
            raise ParseError(f"a score of {number}, on a scale of whole numbers from {self.low} to {self.high}")
        return int(value)


def without_reasoning(text: str) -> str:
    """The answer after the last think block; nothing, where the block never ends."""
    text = _THOUGHT.sub("", text)
    return "" if text.lstrip().startswith("<think>") else text


def score(text: str, scale: Scale) -> tuple[int, str]:
    """(score, analysis). Several different scores are none, unless one says that it is final. Raises ParseError."""
    answer = without_reasoning(text)
    objects = _objects(answer, _SCORE_KEYS)
    if objects:
        return _one({scale.score(_value(one, _SCORE_KEYS)) for one in objects}), _analysis(objects[-1])
    plain = unicodedata.normalize("NFKC", answer)
    found = [(m[1], scale.within(m[2], m[3] or m[4])) for m in _LABELLED.finditer(plain)]
    found += [(None, scale.within(m[1])) for m in _GIVEN.finditer(plain)]
    final = {value for mark, value in found if mark}
    if found:
        return _one(final or {value for _, value in found}), answer.strip()
    return _one({scale.score(line) for line in _outer_lines(plain) if _ALONE.fullmatch(line)}), answer.strip()


def scores(text: str, scale: Scale, number: int) -> tuple[tuple[int, ...], str]:
    """(so many scores, analysis) from a JSON list. Raises ParseError."""
    objects = _objects(without_reasoning(text), ("scores",))
    lists = [one["scores"] for one in objects if isinstance(one["scores"], list)]
    values = _one({tuple(scale.score(value) for value in one) for one in lists})
    if len(values) != number:
        raise ParseError(f"{len(values)} scores for {number} texts")
    return values, _analysis(objects[-1])


def word(text: str, keys: Collection[str], words: Mapping[str, str]) -> tuple[str, str]:
    """(verdict, analysis): `words` maps what may be said under one of `keys` to verdicts, all in lower case.

    Outside JSON the word must stand behind a key, in double brackets, or alone on the first or the last line.
    Raises ParseError.
    """
    answer = without_reasoning(text)
    objects = _objects(answer, keys)
    if objects:
        return _one({_meant(str(_value(one, keys)), words) for one in objects}), _analysis(objects[-1])
    plain = unicodedata.normalize("NFKC", answer)
    labels, said = ("|".join(map(re.escape, sorted(some, key=len, reverse=True))) for some in (keys, words))
    pattern = (
        rf"(?<![A-Za-z])(?:{labels}){_MARK}(?::|=|\bis\b|是|为){_MARK}({said}){_CJK_OR_NO_LETTER}|\[\[ ?({said}) ?\]\]"
    )
    found = {_meant(m[1] or m[2], words) for m in re.finditer(pattern, plain, re.IGNORECASE)}
    alone = (line for line in _outer_lines(plain) if _bare(line) in words)
    return _one(found or {_meant(line, words) for line in alone}), answer.strip()


def _one(values: set[V]) -> V:
    if len(values) != 1:
        raise ParseError("several verdicts that differ" if values else "no verdict in the answer")
    return next(iter(values))


def _objects(answer: str, keys: Collection[str]) -> list[dict[str, Any]]:
    """JSON objects that have one of the keys; full-width signs are made narrow only where there is none without."""
    return _having(json_values(answer), keys) or _having(json_values(unicodedata.normalize("NFKC", answer)), keys)


def _having(values: Iterator[Any], keys: Collection[str]) -> list[dict[str, Any]]:
    found = ({str(k).casefold(): v for k, v in value.items()} for value in values if isinstance(value, dict))
    return [one for one in found if any(key in one for key in keys)]


def _value(found: Mapping[str, Any], keys: Collection[str]) -> Any:
    return next((found[key] for key in keys if key in found), None)


def _analysis(found: Mapping[str, Any]) -> str:
    value = _value(found, _ANALYSIS_KEYS)
    return "" if value is None else str(value).strip()


def _outer_lines(answer: str) -> list[str]:
    """The first line and the last that are not blank: where a bare verdict stands."""
    lines = [line for line in answer.splitlines() if line.strip()]
    return [*lines[:1], *lines[1:][-1:]]


def _bare(said: str) -> str:
    return unicodedata.normalize("NFKC", said).strip(_AROUND).casefold()


def _meant(said: str, words: Mapping[str, str]) -> str:
    found = words.get(_bare(said))
    if found is None:
        raise ParseError(f"{_bare(said)[:80]!r} is none of the verdicts asked for")
    return found

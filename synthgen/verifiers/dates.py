"""Dates of a text, English and Chinese, in one form: years, months, days, weekdays, and what they leave open."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from synthgen.verifiers.lexicon import ERAS
from synthgen.verifiers.numerals import chinese

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTH = (
    r"(?P<{0}>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_YEAR = r"(?P<{0}>1\d{{3}}|20\d\d)"
_DAY = r"(?P<{0}>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
# A year alone: behind a word that years stand behind, and before nothing that it would count.
_BEFORE_YEAR = (
    r"\b(?:in|since|by|until|before|after|of|from|during|to|year|and|early|late|mid|spring|summer|autumn|winter|the)"
)
_COUNTED = r"[ -]?(?:mg|g|kg|km|m|ml|°|%|years?|people|words|items|times|hours?)\b"
_ENGLISH = re.compile(
    "|".join(
        [
            rf"\b{_DAY.format('d1')}(?: of)? {_MONTH.format('m1')}\b(?:,? {_YEAR.format('y1')}\b)?",
            rf"\b{_MONTH.format('m2')} {_DAY.format('d2')}\b(?!\d|:)(?:,? {_YEAR.format('y2')}\b)?",
            rf"\b{_MONTH.format('m3')},? {_YEAR.format('y3')}\b",
            rf"(?<![\d-]){_YEAR.format('y4')}-(?P<m4>0[1-9]|1[0-2])-(?P<d4>0[1-9]|[12]\d|3[01])(?![\d-])",
            r"\b(?P<decade>1\d{2}0|20\d0)s\b",
            r"\b(?P<weekday>Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b",
            rf"{_BEFORE_YEAR}[ -](?P<bare>{_YEAR.format('y5')})(?![\d,.]\d|\d|['’]?s\b|{_COUNTED})",
            rf"\((?P<alone>{_YEAR.format('y6')})[,)]",
        ]
    )
)
_ZH = "[〇零一二三四五六七八九十廿]"
_MONTH_ZH, _DAY_ZH = rf"\d{{1,2}}|{_ZH}{{1,2}}", rf"\d{{1,2}}|{_ZH}{{1,3}}"
_CHINESE = re.compile(
    "|".join(
        [
            rf"(?P<cy>\d{{4}}|[〇零一二三四五六七八九]{{4}})年(?!代)(?:(?P<cm>{_MONTH_ZH})月(?:(?P<cd>{_DAY_ZH})[日号]?)?)?",
            rf"(?P<lm>正|腊|{_MONTH_ZH})月初?(?P<ld>{_DAY_ZH})[日号]?(?!个)",
            r"(?P<cdecade>\d{4}|\d{2})年代",
            r"(?:星期|周|礼拜)(?P<cw>[一二三四五六日天])(?!次|回|共|本|天)",
            r"(?<!\d)(?P<cd4>\d{1,2})[日号](?=\d{1,2}[时点]|凌晨|清晨|上午|中午|下午|晚)",
            rf"(?:{'|'.join(ERAS)}){_ZH}{{1,3}}年",  # a reign: no span of years
        ]
    )
)


@dataclass(frozen=True, slots=True)
class Date:
    """What is known of a day; None is left open. `year` is the first of ten where `decade`."""

    year: int | None
    month: int | None
    day: int | None
    weekday: int | None
    start: int
    end: int
    said: str
    decade: bool = False

    @property
    def parts(self) -> tuple[int | None, ...]:
        return self.year, self.month, self.day, self.weekday


def dates(text: str) -> list[Date]:
    """Every date of a text in NFKC; a year alone counts where it stands as one ("in 1953", "(1903", 1953年)."""
    found = [*map(_english, _ENGLISH.finditer(text)), *map(_chinese, _CHINESE.finditer(text))]
    return sorted(found, key=lambda d: d.start)


def compatible(one: Date, other: Date) -> bool:
    """Whether both may be one day: nothing that both tell differs, and something is told by both."""
    if (one.decade or other.decade) and one.year is not None and other.year is not None:
        return one.year // 10 == other.year // 10
    pairs = [(a, b) for a, b in zip(one.parts, other.parts, strict=True) if a is not None and b is not None]
    return bool(pairs) and all(a == b for a, b in pairs)


def comparable(one: Date, other: Date) -> bool:
    """Whether both tell the same kind of thing: years, days of a year, weekdays."""
    return any(a is not None and b is not None for a, b in zip(one.parts, other.parts, strict=True))


def _english(found: re.Match[str]) -> Date:
    named = {name[0]: value for name, value in found.groupdict().items() if value and name[1:].isdigit()}
    start = found.start("bare") if found["bare"] else found.start("alone") if found["alone"] else found.start()
    end = found.end("alone") if found["alone"] else found.end()
    date = Date(None, None, None, None, start, end, found.string[start:end])
    if found["decade"]:
        return replace(date, year=int(found["decade"]), decade=True)
    if found["weekday"]:
        return replace(date, weekday=_WEEKDAYS.index(found["weekday"][:3].lower()))
    month = named.get("m")
    return replace(
        date,
        year=int(named["y"]) if "y" in named else None,
        month=None if month is None else _month(month),
        day=int(named["d"]) if "d" in named else None,
    )


def _month(said: str) -> int:
    return int(said) if said.isdigit() else _MONTHS.index(said[:3].lower()) + 1


def _chinese(found: re.Match[str]) -> Date:
    date = Date(None, None, None, None, found.start(), found.end(), found[0])
    if found["cy"]:
        return replace(date, year=_number(found["cy"]), month=_number(found["cm"]), day=_number(found["cd"]))
    if found["lm"]:
        return replace(
            date, month={"正": 1, "腊": 12}.get(found["lm"]) or _number(found["lm"]), day=_number(found["ld"])
        )
    if found["cdecade"]:
        year = int(found["cdecade"])
        return replace(date, year=year if year > 99 else 1900 + year, decade=True)
    if found["cw"]:
        return replace(date, weekday="一二三四五六日".index(found["cw"].replace("天", "日")))
    return replace(date, day=_number(found["cd4"]))


def _number(said: str | None) -> int | None:
    if not said:
        return None
    value = int(said) if said.isdecimal() else chinese(said.replace("廿", "二十"))
    return None if value is None else int(value)

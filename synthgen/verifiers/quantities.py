"""Numbers with what they count, units brought to a common base: 1.2 g is 1,200 mg, 一个半小时 is 90 minutes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from synthgen.verifiers.lexicon import PREPOSITIONS
from synthgen.verifiers.numerals import Numeral, numerals
from synthgen.verifiers.text import Spans, inside, stem

# dimension: unit = how it is written, and its size in the dimension's base.
_UNITS: dict[str, dict[str, tuple[str, str]]] = {
    "mass": {
        "µg": ("µg|μg|mcg|micrograms?|微克", "1/1000000"),
        "mg": ("mg|milligrams?|毫克", "1/1000"),
        "g": ("g|grams?|克", "1"),
        "kg": ("kg|kilos?|kilograms?|公斤|千克", "1000"),
        "jin": ("斤", "500"),
        "t": ("t|tonnes?|tons?|吨", "1000000"),
        "lb": ("lbs?|pounds?|磅", "453.592"),
        "oz": ("oz|ounces?|盎司", "28.35"),
    },
    "length": {
        "mm": ("mm|millimet(?:re|er)s?|毫米", "1/1000"),
        "cm": ("cm|centimet(?:re|er)s?|厘米|公分", "1/100"),
        "m": ("m|met(?:re|er)s?|米", "1"),
        "km": ("km|kilomet(?:re|er)s?|公里|千米", "1000"),
        "li": ("里", "500"),
        "mile": ("miles?|英里", "1609.344"),
        "ft": ("ft|feet|foot|英尺", "0.3048"),
        "in": ("inch(?:es)?|英寸", "0.0254"),
    },
    "area": {
        "m²": ("m2|square met(?:re|er)s?|平方米|平米", "1"),
        "km²": ("km2|square kilomet(?:re|er)s?|平方公里|平方千米", "1000000"),
        "ha": ("ha|hectares?|公顷", "10000"),
        "mu": ("亩", "666.67"),
        "acre": ("acres?|英亩", "4046.86"),
    },
    "volume": {
        "ml": ("ml|millilit(?:re|er)s?|毫升", "1/1000"),
        "l": ("l|lit(?:re|er)s?|升", "1"),
        "m³": ("m3(?:/s)?|cubic met(?:re|er)s?|立方米|立方", "1000"),
    },
    "time": {
        "s": ("seconds?|secs?|秒钟?", "1"),
        "min": (r"minutes?|mins?|分钟|分(?=[,，。;；、 ]|\Z|即|后)", "60"),
        "h": ("hours?|hrs?|h|个?小时|个?钟头", "3600"),
        "day": ("days?|d|天", "86400"),
        "week": ("weeks?|个?星期|周", "604800"),
        "month": ("months?|个月", "2629746"),
        "year": ("years?|年", "31556952"),
    },
    "temperature": {
        "°C": ("°C|degrees? Celsius|摄氏度|degrees?|度", "1"),
        "°F": ("°F|degrees? Fahrenheit|华氏度", "1"),
    },
    "power": {
        "W": ("W|watts?|瓦", "1"),
        "kW": ("kW|kilowatts?|千瓦", "1000"),
        "MW": ("MW|megawatts?|兆瓦", "1000000"),
    },
    "data": {
        "KB": ("KB", "1/1000"),
        "MB": ("MB|megabytes?", "1"),
        "GB": ("GB|gigabytes?", "1000"),
        "TB": ("TB|terabytes?", "1000000"),
    },
    "share": {"%": ("%|per ?cent|个百分点", "1/100"), "tenth": ("成(?![为了立员熟功就分])", "1/10")},
    "money": {
        "unit": ("dollars?|euros?|pounds sterling|yuan|元|美元|欧元|块钱?", "1"),
        "cent": ("cents?|pence|分钱", "1/100"),
    },
    "glucose": {"mmol/l": ("mmol/[lL]|毫摩尔每升|毫摩尔/升", "1")},
}
_SIZE = {name: (dimension, Fraction(size)) for dimension, units in _UNITS.items() for name, (_, size) in units.items()}
_NAMES = [name for units in _UNITS.values() for name in units]
_WRITTEN = [written for units in _UNITS.values() for written, _ in units.values()]
_NAMED = "|".join(f"(?P<u{n}>{written})" for n, written in enumerate(_WRITTEN))
_UNIT = re.compile(rf"[多余来]?[ \t\u00a0-]?(?:多个?|个多)?(?:{_NAMED})(?![A-Za-z]|(?<=[A-Za-z])[0-9])")
_CLASSIFIER = re.compile(
    r"[多余来]?(?P<c>[名位种首册部章回台枚颗只头条张座层圈次人户家页倍岁件篇辆株棵匹款项步级站艘子线块粒]"
    r"|个(?P<noun>[\u4e00-\u9fff]))"
)
_NOUN = re.compile(r"[ \t]+(?:or more[ \t]+)?([a-z]+)")
_HALF = re.compile(
    r"\bhalf an? (?P<half>kilo|kilogram|litre|liter|hour|mile|year|century)\b"
    r"|\b(?P<quarter>quarter) of an hour\b"
    r"|\b(?:an?|one) (?P<more>month|hour|year|week|day|kilo|mile) and a half\b"
    r"|(?<![零〇一二两三四五六七八九十百千万亿])(?P<number>[一两二三四五六七八九])"
    r"(?:个半(?P<after>月|小时|钟头|星期)|(?P<before>年|斤|公斤)半)"
    r"|半个?(?P<zh>年|月|小时|钟头|斤|公斤|星期)"
)
_HALVED = {
    **{"kilo": "kg", "kilogram": "kg", "litre": "l", "liter": "l", "hour": "h"},
    **{"年": "year", "月": "month", "小时": "h", "钟头": "h", "斤": "jin", "公斤": "kg", "星期": "week"},
}
_PARTS = {
    "half": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "tenth": 10,
}
_FRACTION_ZH = re.compile(r"([一二两三四五六七八九十百]+|\d+)分之([一二两三四五六七八九十百]+|\d+)")
_FRACTION_EN = re.compile(
    rf"(?<!and )\b(?P<above>an?|one|two|three|four|five|six|seven|eight|nine)[ -](?P<below>{'|'.join(_PARTS)})s?\b"
    r"(?! (?:of )?an? (?:hour|kilo|mile|year))",
    re.IGNORECASE,
)
_SLASH = re.compile(r"(?<![\d/.])(\d{1,3})/(\d{1,3})(?![\d/])")
_VAGUE_BEFORE = re.compile(r"[几数]\Z|[上好]\Z")
_MORE = re.compile(r"(?:more than|over|above|exceed\w*|at least|超过|不少于|逾|超)[ \t]*\Z", re.IGNORECASE)
_ALMOST = re.compile(
    r"(?:almost|nearly|under|less than|up to|close to|近|快|将近|接近|不到|差不多)[ \t]*\Z", re.IGNORECASE
)
_LEAST, _SHARED_UNIT = re.compile(r"[多余]"), re.compile(r"[ \t]?(?:to|or|and|-|–|—|~|至|到|、)[ \t]?\Z")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit: a name of a table, or the noun or measure word behind it; empty where there is none."""

    value: Fraction
    unit: str
    step: Fraction
    start: int
    end: int
    said: str
    more: bool = False  # "over 2,200", "1800多"
    almost: bool = False

    @property
    def dimension(self) -> str:
        return _SIZE[self.unit][0] if self.unit in _SIZE else ""

    @property
    def base(self) -> Fraction:
        return self.value * _SIZE[self.unit][1] if self.unit in _SIZE else self.value


def numbers(text: str, taken: Spans = ()) -> list[Quantity]:
    """Every quantity of a text in NFKC, less those inside `taken` (dates, say) and those that only say "some"."""
    special = [*_fractions(text), *_halves(text)]
    used = [*taken, *((one.start, one.end) for one in special)]
    found: list[Quantity] = []
    end = 0
    for numeral in numerals(text):
        if (
            numeral.start < end
            or inside((numeral.start, numeral.end), used)
            or _VAGUE_BEFORE.search(text[max(0, numeral.start - 1) : numeral.start])
        ):
            continue
        one = _quantity(text, numeral)
        if one is not None:
            found.append(one)
            end = one.end
    return sorted((*_share_units(text, found), *special), key=lambda q: q.start)


def _quantity(text: str, numeral: Numeral) -> Quantity | None:
    unit, end = _unit(text, numeral)
    if numeral.chinese and not unit:
        return None  # 一些, 千万, 万一: a part of a word
    if text[numeral.end : numeral.end + 1] in ("几", "来") or "几" in text[numeral.start : end]:
        return None
    before, after = text[max(0, numeral.start - 16) : numeral.start], text[numeral.end : end]
    if before.rstrip().endswith(("第", "$", "€", "£", "¥")):
        if before.endswith("第"):
            return None
        unit = "unit"
    return Quantity(
        numeral.value,
        unit,
        numeral.step,
        numeral.start,
        end,
        text[numeral.start : end].strip(),
        more=bool(_LEAST.search(after) or _MORE.search(before)),
        almost=bool(_ALMOST.search(before)),
    )


def _unit(text: str, numeral: Numeral) -> tuple[str, int]:
    """(unit, where it ends) of what stands behind a number."""
    found = _UNIT.match(text, numeral.end)
    if found:
        return next(_NAMES[n] for n in range(len(_NAMES)) if found[f"u{n}"] is not None), found.end()
    found = _CLASSIFIER.match(text, numeral.end)
    if found:
        return found["noun"] or found["c"], found.end()
    noun = _NOUN.match(text, numeral.end)
    if noun and noun[1] not in PREPOSITIONS:
        return stem(noun[1]), noun.end()
    return "", numeral.end


def _share_units(text: str, found: Sequence[Quantity]) -> Iterator[Quantity]:
    """In "four to six hours" the four are hours too."""
    for n, one in enumerate(found):
        after = found[n + 1] if n + 1 < len(found) else None
        joined = after is not None and _SHARED_UNIT.fullmatch(text[one.end : after.start])
        if not one.unit and after is not None and joined:
            yield Quantity(one.value, after.unit, one.step, one.start, one.end, one.said, one.more, one.almost)
        else:
            yield one


def _fractions(text: str) -> Iterator[Quantity]:
    for found in _FRACTION_EN.finditer(text):
        above = next(iter(numerals(found["above"].lower())), None)
        yield _share(Fraction(above.value if above else 1, _PARTS[found["below"].lower()]), found)
    for found in _FRACTION_ZH.finditer(text):
        below, above = (next(iter(numerals(part)), None) for part in found.groups())
        if below is not None and above is not None and below.value:
            yield _share(above.value / below.value, found)
    for found in _SLASH.finditer(text):
        if int(found[2]):
            yield _share(Fraction(int(found[1]), int(found[2])), found)


def _share(value: Fraction, found: re.Match[str]) -> Quantity:
    return Quantity(value * 100, "%", Fraction(1), found.start(), found.end(), found[0])


def _halves(text: str) -> Iterator[Quantity]:
    """Half a kilo, an hour and a half, a quarter of an hour, 一个半小时, 半年, 一年半."""
    half = Fraction(1, 2)
    for found in _HALF.finditer(text):
        unit = next(filter(None, (found[name] for name in ("half", "more", "after", "before", "zh"))), "hour")
        value = Fraction(1, 4) if found["quarter"] else half
        if found["more"]:
            value += 1
        elif found["number"]:
            value += next(iter(numerals(found["number"]))).value
        yield Quantity(value, _HALVED.get(unit, unit), Fraction(1), found.start(), found.end(), found[0])


def same(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities may speak of one amount: equal, rounded, or in another unit of nearly the same size."""
    if one.unit != other.unit and one.dimension != other.dimension and one.dimension and other.dimension:
        return False
    if not one.dimension or not other.dimension:
        return _near(one.value, other.value, one, other)
    if one.unit == other.unit:
        return _near(one.value, other.value, one, other)
    return abs(one.base - other.base) <= max(abs(one.base), abs(other.base)) * Fraction(8, 100)


def _near(a: Fraction, b: Fraction, one: Quantity, other: Quantity) -> bool:
    if a == b:
        return True
    for x, y, rounded in ((a, b, one), (b, a, other)):  # x is the rounded one
        step, off = rounded.step, y - x
        if (rounded.more and 0 <= off < step) or (rounded.almost and -step < off <= 0 and abs(off) * 5 <= abs(x)):
            return True
        if abs(off) * 2 < step and abs(off) * 100 <= 12 * max(abs(x), abs(y)):
            return True
    return False


def product(one: Quantity, of: Sequence[Quantity]) -> bool:
    """Whether a quantity is the product of two others: 30 minutes on 5 days are 150 minutes, 8 by 8 squares 64."""
    return any(_times(one, a, b) for a in of for b in of)


def factor(one: Quantity, of: Quantity, beside: Sequence[Quantity]) -> bool:
    """Whether a quantity and one beside it make another one when they are multiplied."""
    return any(_times(of, one, other) or _times(of, other, one) for other in beside)


def _times(one: Quantity, amount: Quantity, count: Quantity) -> bool:
    if (count.dimension and count.unit not in ("day", "week")) or 1 in (amount.value, count.value):
        return False
    return one.dimension == amount.dimension and one.base == amount.base * count.value

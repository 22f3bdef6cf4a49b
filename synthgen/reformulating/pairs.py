"""A genre and an audience: read from a model's answer, and what makes a pair unfit among those of its document."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from synthgen.dedup import cjk_share
from synthgen.errors import ParseError
from synthgen.parsing import json_values

# Two titles whose characters agree by more than this are one, said twice (F1 = 2 LCS / (m + n)).
ALIKE = Fraction(6, 10)
_LONGEST_TITLE = 80
_NAMES = {
    "genre": ("genre", "体裁", "體裁", "文体", "類型", "类型"),
    "audience": ("audience", "受众", "受眾", "读者", "讀者", "人群"),
}
_SIDE_OF = {name: side for side, names in _NAMES.items() for name in names}
_KEY = re.compile(rf"({'|'.join(_SIDE_OF)})[\s_\-]*(\d{{1,3}})?", re.IGNORECASE)
_TITLE_KEYS = ("title", "name", "genre", "audience", "标题", "名称", "体裁", "受众")
_DESCRIPTION_KEYS = ("description", "text", "detail", "details", "描述", "说明")
_COLON = re.compile(r"\s*(?:[:：]|——|—| [–-] )\s*")
_SENTENCE = re.compile(r"[.。!！?？;；\n]")
# Genres that need eyes. A game and a criticism of something to be seen are still text.
_VISUAL = re.compile(
    r"\b(?:comics|comic(?:[- ](?:strip|book)s?|(?=\s*$))|manga|webtoons?|graphic novels?|picture[- ]?books?|cartoons?"
    r"|storyboards?|photo (?:essay|stor(?:y|ies)|book|album)s?|infographics?|slide ?(?:show|deck)s?|animations?"
    r"|animated|illustrated|vlogs?|memes?"
    r"|(?:videos?|films?|movies?)(?!\s*(?:games?|reviews?|criti\w+)))\b"
    r"|漫画|漫畫|连环画|連環畫|绘本|繪本|图画书|圖畫書|画册|图文|插图|插画|信息图|图解|图表|海报|分镜|幻灯片|动画|表情包"
    r"|(?:短?视频|短?視頻|电影|影片)(?!游戏|评|影评|观后)",
    re.IGNORECASE,
)
# In a description these say what a genre is, unless they say what it is not.
_SHOWN = re.compile(
    r"(?<!no )(?<!without )(?<!not )\b(?:comic strips?|picture[- ]?books?|illustrat(?:ions?|ed)|storyboards?|videos?)\b"
    r"|(?<![无無没沒不非])(?<!没有)(?:漫画|绘本|插图|配图|图文并茂|分镜|短视频)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Titled:
    """A short title, and sentences that say what is meant by it."""

    title: str
    description: str = ""

    def __str__(self) -> str:
        if not self.description:
            return self.title
        colon = "：" if cjk_share(self.title) >= 0.3 else ": "
        return f"{self.title}{colon}{self.description}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What a text is rewritten into, and for whom."""

    genre: Titled
    audience: Titled

    def __str__(self) -> str:
        return f"{self.genre.title} - {self.audience.title}"


def read_pairs(text: str, count: int) -> list[Pair]:
    """Exactly `count` pairs out of a model's answer: JSON with audience_1, genre_1 and so on, prose and fences around.

    Raises ParseError with what is wrong, in words that a repair request can repeat.
    """
    found: list[dict[str, Titled]] = []
    for value in json_values(text):
        found = max(found, _sides(value), key=len)
    if not found:
        raise ParseError("there is no JSON object with audience_1, genre_1 and so on", text=text)
    if len(found) != count:
        raise ParseError(f"there are {len(found)} pairs, not {count}", text=text)
    for number, one in enumerate(found, 1):
        for side in _NAMES:
            if side not in one:
                raise ParseError(f"{side}_{number} is missing", text=text)
            if not one[side].description:
                raise ParseError(f"{side}_{number} has no description", text=text)
    return [Pair(one["genre"], one["audience"]) for one in found]


def _sides(value: Any) -> list[dict[str, Titled]]:
    """The sides of each pair of a JSON value, in the order of their numbers."""
    found: dict[int, dict[str, Titled]] = {}
    for number, side, said in _entries(value):
        one = _titled(said)
        if one is not None:
            found.setdefault(number, {})[side] = one
    return [found[number] for number in sorted(found)]


def _entries(value: Any) -> Iterator[tuple[int, str, Any]]:
    """(number, side, what is said): numbered keys, or a list of objects with a genre and an audience each."""
    if isinstance(value, list):
        for number, one in enumerate(value, 1):
            for _, side, said in _entries(one) if isinstance(one, dict) else ():
                yield number, side, said
        return
    if not isinstance(value, dict):
        return
    named = [
        (found, said) for key, said in value.items() if (found := _KEY.fullmatch(str(key).strip()[:_LONGEST_TITLE]))
    ]
    if not named and len(value) == 1:  # {"pairs": [...]}
        yield from _entries(next(iter(value.values())))
    for found, said in named:
        yield int(found[2] or 1), _SIDE_OF[found[1].lower()], said


def _titled(said: Any) -> Titled | None:
    """Title and description of "title: description", or of an object with both; None where there is nothing."""
    if isinstance(said, Mapping):
        title = next((str(said[key]) for key in _TITLE_KEYS if said.get(key)), "")
        description = next((str(said[key]) for key in _DESCRIPTION_KEYS if said.get(key)), "")
        return Titled(_tidy(title), _tidy(description)) if title.strip() else None
    if not isinstance(said, str) or not said.strip():
        return None
    return titled(said)


def titled(text: str) -> Titled:
    """A text as title and description: "title: description", else its first sentence names it."""
    text = _tidy(text)
    colon = _COLON.search(text)
    if colon is not None and 0 < colon.start() <= _LONGEST_TITLE:
        return Titled(text[: colon.start()].strip('*"“”《》 '), text[colon.end() :])
    end = _SENTENCE.search(text)
    if end is None or end.end() == len(text):
        return Titled(text[:_LONGEST_TITLE].rstrip(".。"), text if len(text) > _LONGEST_TITLE else "")
    return Titled(text[: end.start()][:_LONGEST_TITLE], text)


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def unfit(pairs: Sequence[Pair]) -> list[tuple[str, str] | None]:
    """For each pair why it cannot be used among the others, (reason, detail), or None."""
    return [_visual(pair.genre) or _repeated(pair, pairs[:number]) for number, pair in enumerate(pairs)]


def visual(genre: Titled) -> bool:
    """Whether a genre is more than text: comics, picture books, videos."""
    return _VISUAL.search(genre.title) is not None or _SHOWN.search(genre.description) is not None


def _visual(genre: Titled) -> tuple[str, str] | None:
    return ("visual genre", f'the genre "{genre.title}" is not text alone') if visual(genre) else None


def _repeated(pair: Pair, earlier: Sequence[Pair]) -> tuple[str, str] | None:
    for other in earlier:
        for mine, its in ((pair.genre.title, other.genre.title), (pair.audience.title, other.audience.title)):
            if alike(mine, its) > ALIKE:
                return "repeated pair", f'"{mine}" repeats "{its}"'
    return None


def alike(one: str, other: str) -> Fraction:
    """F1 of the characters of two titles, letters and digits alone, in their order; 1 for two empty ones."""
    from rapidfuzz.distance import LCSseq

    a, b = _characters(one), _characters(other)
    return Fraction(2 * LCSseq.similarity(a, b), len(a) + len(b)) if a or b else Fraction(1)


@lru_cache(maxsize=1 << 10)
def _characters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())

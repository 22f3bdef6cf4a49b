"""A rewrite beside its source: without what a model says around it, how much of the source it holds, how near it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from synthgen.dedup import cjk_share, words
from synthgen.dedup.tokens import is_cjk
from synthgen.parsing import split_reasoning

KEYWORDS = 20  # of the source, that coverage is counted over
CJK_SHARE = 0.3
# What a chat model says before the text: a line that ends with a colon, or an answer to the request itself.
_LEAD = re.compile(
    r"\A\s*\**\s*(?:"
    r"(?:sure|certainly|of course|okay|absolutely)\b[^\n]{0,160}"
    r"|(?:here(?:'s| is| are)|below is|the following is|this is)\b[^\n]{0,160}"
    r"\b(?:text|version|rewrite|rewritten|answer|article|dialogue|letter|story)\b[^\n]{0,120}[:：]"
    r"|(?:the )?(?:rewritten|polished|new|revised) (?:text|version)\s*[:：]"
    r"|(?:好的|当然|没问题)[，,。！!][^\n]{0,80}|(?:以下|下面)(?:是|为)[^\n]{0,60}[:：]"
    r"|(?:改写|润色|修改|重写)(?:后)?(?:的)?(?:文本|版本|内容|文章)?(?:如下)?\s*[:：]"
    r")\s*\**[ \t]*(?:\n+|\Z)",
    re.IGNORECASE,
)
# And after it, as its last paragraph: MGA's frequent boilerplate.
_TAIL = re.compile(
    r"[\s>*_(（\[【-]*(?:"
    r"notes?\s*[:：]|please note(?: that)?\b|the above (?:is|text|meets|content|has been)\b"
    r"|as (?:required|requested),? (?:above|the)\b"
    r"|(?:i hope|hope) this\b|let me know\b|feel free to\b|this (?:rewrite|version|rewritten text)\b"
    r"|注(?:意|释)?\s*[:：]|备注\s*[:：]|请注意[，,：:]|(?:以上|上述)(?:是|为|就是|内容|文本|改写)"
    r"|希望(?:这|以上|对你|对您)|如(?:有|果)(?:需要|其他|任何)"
    r")",
    re.IGNORECASE,
)
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_FENCED = re.compile(r"\A```[\w+-]*\n((?:(?!```).)*)```\Z", re.DOTALL)
# A model that copies the marks of the prompt.
_MARKED = re.compile(r"\A<(text|answer|rewrite)>(.*)</\1>\Z", re.DOTALL | re.IGNORECASE)
_RULE = re.compile(r"\A(?:-{3,}|\*{3,}|={3,})[ \t]*\n|\n[ \t]*(?:-{3,}|\*{3,}|={3,})\Z")
_STOP_WORDS = frozenset(
    words(
        "a about after all also an and any are as at be because been before being but by can could did do does "
        "each for from had has have he her here him his how if in into is it its just like made make many may more "
        "most much must no not of on one only or other our out over said same she should so some such than that "
        "the their them then there these they this those through to too under up use used very was way we were "
        "what when where which while who will with would you your "
    )
)
_STOP_CHARACTERS = frozenset(
    "的了是在和与及或也就都而把被让对从向于为之其这那有不很更最我你他她它们个一上下中后前到着过会能可以要"
)
_CJK_PAIR = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]{2,}")
_ENDINGS = ("ies", "ing", "ed", "es", "s")


def tidy(answer: str) -> str:
    """The rewrite alone: no reasoning, no fence or marks around it, no remark before or after it."""
    # One empty line is as good as thousands, which a model in a loop writes and patterns are slow on.
    text, before = _EMPTY_LINES.sub("\n\n", answer.strip()), ""
    while text != before:
        before = text
        text = split_reasoning(text)[0].strip()
        for mark in (_FENCED, _MARKED):
            found = mark.match(text)
            text = (found[found.lastindex or 0] if found else text).strip()
        for remark in (_LEAD, _RULE):
            text = remark.sub("", text, count=1).strip()
        above, _, last = text.rpartition("\n\n")
        while above and _TAIL.match(last):
            text = above.strip()
            above, _, last = text.rpartition("\n\n")
    return text


def is_chinese(text: str) -> bool:
    """Whether most of a text is Chinese, as everywhere here: three tenths of what is not white space."""
    return cjk_share(text) >= CJK_SHARE


def keywords(text: str, most: int = KEYWORDS) -> list[str]:
    """The words that a text uses most, the earlier ones first among equals: stems of words, two Chinese characters.

    A text with a few Chinese words in it has keywords of both kinds.
    """
    counts: Counter[str] = Counter()
    for word in tokens(text):
        if len(word) > 2 and not word.isdigit() and word not in _STOP_WORDS:
            counts[_stem(word)] += 1
    for run in _CJK_PAIR.findall(text):
        counts.update(pair for pair in map("".join, pairwise(run)) if not _STOP_CHARACTERS & set(pair))
    return [word for word, _ in counts.most_common(most)]


def coverage(source: str, rewrite: str) -> float:
    """Share of the source's keywords that the rewrite has; 1.0 where the source has none."""
    wanted = _keywords(source)
    if not wanted:
        return 1.0
    there = {_stem(word) for word in set(tokens(rewrite))}
    return sum(1 for word in wanted if word in there or (not word.isascii() and word in rewrite)) / len(wanted)


# The rewrites of one document are looked at one after the other.
@lru_cache(maxsize=8)
def _keywords(text: str) -> tuple[str, ...]:
    return tuple(keywords(text))


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= (3 if ending == "s" else 4):
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word.removesuffix("e") if word.isascii() and len(word) > 4 else word


@lru_cache(maxsize=32)
def tokens(text: str) -> tuple[str, ...]:
    """Words of Latin scripts and single Chinese characters: what ROUGE-L is counted on."""
    return tuple(words(text))


def overlap(one: str, other: str) -> float:
    """ROUGE-L F1 of two texts, 2 LCS / (m + n): 1.0 where they are the same, 0.0 where one has no words."""
    from rapidfuzz.distance import LCSseq

    a, b = tokens(one), tokens(other)
    return 2 * LCSseq.similarity(a, b) / (len(a) + len(b)) if a and b else 0.0


def too_near(text: str, siblings: Sequence[str], *, latin: float, cjk: float) -> tuple[int, float] | None:
    """The first of the siblings whose ROUGE-L to the text is not below the threshold of its script, and how near."""
    threshold = cjk if is_cjk(tokens(text)) else latin
    for number, other in enumerate(siblings):
        near = overlap(text, other)
        if near >= threshold:
            return number, near
    return None

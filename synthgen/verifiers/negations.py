"""Negations of a text: what is said not to be, with the words that the "not" goes with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synthgen.verifiers.text import Sentence, clauses, sentences, terms

_EN = re.compile(
    r"\b(?:not|never|no|nor|neither|without|cannot|nothing|nobody|none|hardly|(?:ca|wo|do|does|did|is|are|was|were|has|have|had|could|would|"
    r"should|must|need)n['’]t)\b",
    re.IGNORECASE,
)
# "not" that denies nothing: not only, no more than, no longer than, whether or not, no matter.
_EN_NOT = re.compile(
    r"\bnot (?:only|just|merely|least|to mention|until|all|always|necessarily|every)\b|\bno (?:more|less|fewer|later|longer|matter|doubt|one knows|wonder)\b"
    r"|\bor not\b|\bwhy not\b|\bno,|\bno\.|\bno!",
    re.IGNORECASE,
)
_ZH = re.compile(
    r"不|没有?|未|无法|无(?!论|数|线|锡|疑|非|不)|并非|勿|别(?!人|的|墅|处|致|名|离)|切忌|禁止|严禁|不得|忌"
)
_ZH_NOT = re.compile(
    r"不(?:仅|但|只|过|断|同|久|少|料|禁|如|论|管|妨|愧|由|时|一样|错|易|好意思|是吗|知道|见得|要紧|定期)|[好对要行是能会可]不[好对要行是能会可]|是不是|差不多|了不起|舍不得|来不及|不得不|无不|没关系|没想到|没事"
    r"|[特区分个级告性派]别|未来|未必|不然|从来不|不一定|不完全|不能不|不可不|不都|不是.{0,6}都不"
)
# Words that deny in their own way: a clause that has one is no plain yes.
_SOFT = re.compile(
    r"\b(?:avoid\w*|refus\w+|fail\w*|forb\w+|prohibit\w*|prevent\w*|stop\w*|refrain\w*|un(?:able|safe|suitable|necessary|likely|til|less)|im\w+ible|"
    r"wrong|myth|dangerous|rather than|instead|keep .{0,30}(?:away|out|shut|closed)|closed|shut|only|except|lack\w*|free of|rarely|seldom|few|little|too(?= \w)|"
    r"invisible|hidden|outside|never|might|perhaps|ban\w*|without)\b"
    r"|避免|防止|禁|忌|拒绝|危险|不|没|未|无|非|别|勿|误|错|难|少|以免|除非|只有|才|停止|才能|怎么|为什么|吗|呢|有害|小心|当心|千万|反对|很难|除|仅",
    re.IGNORECASE,
)
_IF = re.compile(
    r"^\W*(?:if|unless|when|whether|until|in case|without)\b|如果|假如|要是|除非|若|否则|的话|倘|只要|无论|不管",
    re.IGNORECASE,
)
_HEAD_WORDS = 4


@dataclass(frozen=True, slots=True)
class Negation:
    """A clause that denies; `subject` are the terms before the word that does, `head` those right behind it."""

    word: str
    subject: frozenset[str]
    head: frozenset[str]
    said: str
    clause: Sentence
    sentence: Sentence


def negations(text: str) -> list[Negation]:
    """Every clause of a text in NFKC that denies once; conditions, questions and double negations are left out."""
    found = []
    for sentence in sentences(text):
        if sentence.text.rstrip("\"'”’) \n").endswith(("?", "？")):
            continue
        for clause in clauses(sentence):
            idle = [m.span() for pattern in (_EN_NOT, _ZH_NOT) for m in pattern.finditer(clause.text)]
            words = [
                m
                for pattern in (_EN, _ZH)
                for m in pattern.finditer(clause.text)
                if not any(start <= m.start() < end for start, end in idle)
            ]
            if len(words) != 1 or idle or _IF.search(clause.text):
                continue
            head = _behind(clause.text, words[0].end())
            if terms(head):
                found.append(
                    Negation(
                        words[0][0],
                        _subject(clause.text[: words[0].start()]),
                        terms(head),
                        head.strip(),
                        clause,
                        sentence,
                    )
                )
    return found


def affirms(clause: Sentence, sentence: Sentence) -> bool:
    """Whether a clause says a plain yes: nothing in it denies, limits, asks or supposes."""
    if sentence.text.rstrip("\"'”’) \n").endswith(("?", "？")) or _IF.search(clause.text):
        return False
    return not (_EN.search(clause.text) or _ZH.search(clause.text) or _SOFT.search(clause.text))


def _subject(before: str) -> frozenset[str]:
    return frozenset(term for term in terms(before) if not term[0].isdigit())


def _behind(text: str, at: int) -> str:
    """The next few words, or Chinese characters, that a negation goes with."""
    found = re.match(
        r"(?:\s*[A-Za-z'’-]+){1,%d}|\s*(?:应该?|需要?|能够?|可以?|要|会|得|宜|用|允许|许|该|自行)?[\u4e00-\u9fff]{1,6}"
        % (_HEAD_WORDS + 2),
        text[at:],
    )
    return found[0] if found else ""

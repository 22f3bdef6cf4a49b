"""Negations of a text: what is said not to be, with the words that the "not" goes with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synthgen.verifiers.text import Sentence, clauses, sentences, terms

_EN = re.compile(
    r"\b(?:not|never|no|nor|neither|without|cannot|nothing|nobody|none|hardly"
    r"|(?:ca|wo|do|does|did|is|are|was|were|has|have|had|could|would|should|must|need)n['’]t)\b",
    re.IGNORECASE,
)
_ZH = re.compile(r"不|没有?|未|无(?!论|数|线|锡|疑|非|不)|并非|勿|别(?!人|的|墅|处|致|名|离)|切忌|禁止|严禁|忌")
# What looks like it and denies nothing, or not all of it: not only, no more than, 不过, 要不要, 差不多, 不一定.
_IDLE = re.compile(
    r"\bnot (?:only|just|merely|least|to mention|until|all|always|necessarily|every)\b"
    r"|\bno (?:more|less|fewer|later|longer|matter|doubt)\b|\bor not\b|\bwhy not\b|\bno[,.!]"
    r"|不(?:仅|但|只|过|断|同|久|少|料|禁|如|论|管|妨|愧|由|时|一样|错|易|知道|见得|要紧|定期|然|一定|完全|都)"
    r"|([好对要行是能会可])不\1|差不多|了不起|舍不得|来不及|不得不|[能可]不[能可]?不|无不"
    r"|没(?:关系|想到|事)|[特区分个级告性派]别|未[来必]|不是.{0,6}不",
    re.IGNORECASE,
)
# Words that deny, limit or doubt in their own way: a clause that has one is no plain yes.
_SOFT = re.compile(
    r"\b(?:avoid\w*|refus\w+|fail\w*|forb\w+|prohibit\w*|prevent\w*|stop\w*|refrain\w*|lack\w*|ban\w*|free of|instead"
    r"|un(?:able|safe|suitable|necessary|likely|til|less)|im\w+ible|wrong|myth|dangerous|rather than|closed|shut|hidden"
    r"|keep .{0,30}(?:away|out)|only|except|rarely|seldom|few|little|too(?= \w)|invisible|outside|might|perhaps)\b"
    r"|避免|防止|禁|忌|拒绝|危险|不|没|未|无|非|别|勿|误|错|难|少|以免|除|只有|才|停止|怎么|为什么|吗|呢|有害|小心|当心|千万|反对|仅",
    re.IGNORECASE,
)
_IF = re.compile(
    r"^\W*(?:if|unless|when|whether|until|in case|without)\b"
    r"|如果|假如|要是|除非|若|否则|的话|倘|只要|无论|不管",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"(?:\s*[A-Za-z'’-]+){1,6}|\s*(?:应该?|需要?|能够?|可以?|允许|自行|[要会得宜用许该])?[\u4e00-\u9fff]{1,6}"
)


@dataclass(frozen=True, slots=True)
class Negation:
    """A clause that denies; `subject` are the terms before the word that does, `head` those right behind it."""

    subject: frozenset[str]
    head: frozenset[str]
    clause: Sentence


def negations(text: str) -> list[Negation]:
    """Every clause of a text in NFKC that denies once; conditions, questions and double negations are left out."""
    found = []
    for sentence in sentences(text):
        if sentence.text.rstrip("\"'”’) \n").endswith(("?", "？")):
            continue
        for clause in clauses(sentence):
            words = [m for pattern in (_EN, _ZH) for m in pattern.finditer(clause.text)]
            if len(words) != 1 or _IDLE.search(clause.text) or _IF.search(clause.text):
                continue
            behind = _BEHIND.match(clause.text, words[0].end())
            if behind and terms(behind[0]):
                subject = (term for term in terms(clause.text[: words[0].start()]) if not term[0].isdigit())
                found.append(Negation(frozenset(subject), terms(behind[0]), clause))
    return found


def affirms(clause: Sentence, sentence: Sentence) -> bool:
    """Whether a clause says a plain yes: nothing in it denies, limits, asks or supposes."""
    if sentence.text.rstrip("\"'”’) \n").endswith(("?", "？")) or _IF.search(clause.text):
        return False
    return not (_EN.search(clause.text) or _ZH.search(clause.text) or _SOFT.search(clause.text))

"""What a rewrite says otherwise than its reference: a number, date, name or negation in place of another, by rule.

What is left out or added is no contradiction. A rule speaks up only where the rewrite has something that the reference
does not have, the reference has something of the same kind that the rewrite does not have, and both stand in sentences
that speak of one thing. All else is for a judge.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, TypeVar

from synthgen.verifiers import text as texts
from synthgen.verifiers.dates import Date, comparable, compatible, dates
from synthgen.verifiers.names import Name, names, variant
from synthgen.verifiers.negations import Negation, affirms, negations
from synthgen.verifiers.quantities import Quantity, factor, numbers, product, same
from synthgen.verifiers.text import Sentence

Kind = Literal["number", "date", "name", "negation"]
_RELATIVE = re.compile(r"\s*(?:ago|later|old|earlier|以?前|以?后|多?岁)")
_PRONOUN = re.compile(
    r"\W*(?:(?:and|but|so)\s)?(?:it|its|they|their|he|his|she|her|this|these|that)\b|\W*[他她它这那]", re.IGNORECASE
)
_ON_ONE_THING = 3  # terms that two texts share, at least: with fewer, nothing of the one is said in the other
_NEAR_CHARACTERS = 8
_LONG_HEAD = 4  # so much said of something says what it is said of


@dataclass(frozen=True, slots=True)
class Conflict:
    """One contradiction: what the reference says, and what the rewrite says in its place."""

    kind: Kind
    reference: str
    rewrite: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reference} -> {self.rewrite}"


class _Placed(Protocol):
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


P = TypeVar("P", bound=_Placed)


class _Read:
    """A text with all that verifiers find in it."""

    def __init__(self, text: str) -> None:
        self.text = texts.normal(text)
        self.sentences = texts.sentences(self.text)
        self.clauses = [clause for sentence in self.sentences for clause in texts.clauses(sentence)]
        self._sentence_starts = [s.start for s in self.sentences]
        self._clause_starts = [c.start for c in self.clauses]
        self.terms = frozenset().union(*(s.terms for s in self.sentences))
        self.dates = dates(self.text)
        self.numbers = numbers(self.text, [(d.start, d.end) for d in self.dates])
        self.amounts = list({(q.value, q.unit, q.more, q.almost): q for q in self.numbers}.values())
        self.names = names(self.text)
        self.words = frozenset(re.findall(r"[a-zà-ÿ]+", self.text.lower()))
        self.by_sentence: dict[int, list[Quantity]] = {}
        for one in self.numbers:
            self.by_sentence.setdefault(self.number(one), []).append(one)

    def number(self, at: _Placed) -> int:
        """Which sentence a place is in."""
        return max(0, bisect_right(self._sentence_starts, at.start) - 1)

    def sentence(self, at: _Placed) -> Sentence:
        return self.sentences[self.number(at)]

    def clause(self, at: _Placed) -> Sentence:
        return self.clauses[max(0, bisect_right(self._clause_starts, at.start) - 1)]

    def about(self, at: _Placed) -> frozenset[str]:
        """The terms of a place's sentence; where it opens with a pronoun, those of the one before too."""
        n = self.number(at)
        found = self.sentences[n]
        return found.terms | (self.sentences[n - 1].terms if n and _PRONOUN.match(found.text) else frozenset())

    def around(self, at: _Placed) -> frozenset[str]:
        """The terms of a place's sentence and of the one before."""
        n = self.number(at)
        return self.sentences[n].terms | (self.sentences[n - 1].terms if n else frozenset())

    def beside(self, at: _Placed) -> tuple[str, str]:
        """The words right before and right behind."""
        return self.text[max(0, at.start - 40) : at.start], self.text[at.end : at.end + 40]


def contradiction(reference: str, rewrite: str) -> list[Conflict]:
    """Everything in which the rewrite contradicts the reference, as far as rules can tell; empty where nothing."""
    old, new = _Read(reference), _Read(rewrite)
    if len(old.terms & new.terms) < _ON_ONE_THING:
        return []
    found = [*_numbers(old, new), *_dates(old, new), *_names(old, new), *_negations(old, new)]
    return list(dict.fromkeys(found))


def _replaced(
    old: _Read,
    new: _Read,
    gone: Iterable[P],
    come: Iterable[P],
    alike: Callable[[P, P], bool],
    least: int,
    surely: Callable[[P, P], bool] = lambda one, other: False,
) -> Iterator[tuple[P, P]]:
    """(what is gone, what has come in its place): the best pair of each newcomer, if their sentences share enough."""
    lost = list(gone)
    for one in come:
        scored = [(_shared(old, new, other, one), -other.start, other) for other in lost if alike(other, one)]
        if scored:
            score, _, best = max(scored, key=lambda s: s[:2])
            if score >= least or surely(best, one):
                yield best, one


def _shared(old: _Read, new: _Read, gone: _Placed, come: _Placed) -> int:
    """How much two places have in common: terms of their sentences, those of their clauses counted twice."""
    own = texts.terms(old.text[gone.start : gone.end]) | texts.terms(new.text[come.start : come.end])
    sentences = old.about(gone) & new.about(come)
    clauses = old.clause(gone).terms & new.clause(come).terms
    return len(sentences - own) + len(clauses - own)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _numbers(old: _Read, new: _Read) -> Iterator[Conflict]:
    come = [q for q in new.numbers if _counts(new, q) and not _told(q, old, new)]
    gone = [q for q in old.numbers if _counts(old, q) and not _told(q, new, old)] if come else []
    for before, after in _replaced(old, new, gone, come, _same_unit, 1):
        yield Conflict("number", before.said, after.said)


def _counts(read: _Read, one: Quantity) -> bool:
    """Not "a day" or "two years later", nor a bare number, of which nobody knows what it counts."""
    return bool(one.unit) and one.value != 1 and not _RELATIVE.match(read.text, one.end)


def _same_unit(one: Quantity, other: Quantity) -> bool:
    return one.unit == other.unit


def _told(one: Quantity, by: _Read, own: _Read) -> bool:
    """Whether the other text has it in some form: rounded, in another unit, multiplied out, or as a span of years."""
    if any(same(one, other) for other in by.amounts):
        return True
    if any(product(one, here) for here in by.by_sentence.values()):
        return True
    beside = [q for q in own.by_sentence[own.number(one)] if q is not one]
    if any(factor(one, other, beside) for other in by.amounts):
        return True
    return one.unit == "year" and _spans_years(one, by)


def _spans_years(one: Quantity, by: _Read) -> bool:
    years = sorted({d.year for d in by.dates if d.year is not None})
    return any(abs(b - a - one.value) <= max(Fraction(1), one.value / 8) for a in years for b in years if a < b)


# --- dates ------------------------------------------------------------------------------------------------------------


def _dates(old: _Read, new: _Read) -> Iterator[Conflict]:
    come = [d for d in new.dates if not any(compatible(d, other) for other in old.dates) and _says(d)]
    gone = [d for d in old.dates if not any(compatible(d, other) for other in new.dates) and _says(d)]
    for before, after in _replaced(old, new, gone, come, comparable, 2, _partly_equal):
        yield Conflict("date", before.said, after.said)


def _partly_equal(one: Date, other: Date) -> bool:
    """29 May of two years: one part was changed and another was kept."""
    return any(a is not None and a == b for a, b in zip(one.parts, other.parts, strict=True))


def _says(date: Date) -> bool:
    return any(part is not None for part in date.parts)


# --- names ------------------------------------------------------------------------------------------------------------


def _names(old: _Read, new: _Read) -> Iterator[Conflict]:
    come = [n for n in new.names if not _named(n, old)]
    gone = [n for n in old.names if not _named(n, new)]
    for after in come:
        for before in gone:
            if before.kind == after.kind and not variant(before, after) and _in_place(old, new, before, after):
                yield Conflict("name", before.text, after.text)
                break


def _named(name: Name, by: _Read) -> bool:
    """Whether the other text has the name, or a part of it."""
    if name.kind != "latin":
        return name.text in by.text or any(o.kind == name.kind and (o.text in name.text) for o in by.names)
    words = [w for w in re.findall(r"[a-zà-ÿ]+", name.text.lower()) if len(w) > 2]
    return not words or any(word in by.words for word in words)


def _in_place(old: _Read, new: _Read, before: Name, after: Name) -> bool:
    """Whether one name stands where the other stood: the same words beside it, in sentences about one thing."""
    if before.kind == "title" and len(_titles(old)) == len(_titles(new)) == 1:
        return True
    (left, right), (left_now, right_now) = old.beside(before), new.beside(after)
    if before.kind == "latin":
        lefts = _run(reversed(_words(left)), reversed(_words(left_now)))
        rights = _run(_words(right), _words(right_now))
        shared = _shared(old, new, before, after)
        telling = lefts or (rights and texts.terms(_words(right)[0]))  # "had" behind both says nothing
        return bool(telling and shared >= 3) or (max(lefts, rights) >= 2 and shared >= 1)
    lefts = _run(reversed(left[-_NEAR_CHARACTERS:]), reversed(left_now[-_NEAR_CHARACTERS:]))
    rights = _run(right[:_NEAR_CHARACTERS], right_now[:_NEAR_CHARACTERS])
    shared = _shared(old, new, before, after)
    return (max(lefts, rights) >= 2 and shared >= 1) or shared >= 4


def _titles(read: _Read) -> set[str]:
    return {name.text for name in read.names if name.kind == "title"}


def _words(text: str) -> list[str]:
    return [texts.stem(word) for word in re.findall(r"\w+|[,.;:()]", text.lower())]


def _run(one: Iterable[str], other: Iterable[str]) -> int:
    """How many words, or characters, two runs have in common from their beginning on; marks end them."""
    number = 0
    for a, b in zip(one, other, strict=False):
        if a != b or not a.isalnum():
            break
        number += 1
    return number


# --- negations --------------------------------------------------------------------------------------------------------


def _negations(old: _Read, new: _Read) -> Iterator[Conflict]:
    before, after = negations(old.text), negations(new.text)
    for denied in before:
        said = _flipped(denied, old, new, after)
        if said is not None:
            yield Conflict("negation", denied.clause.text.strip(), said.text.strip())
    for denied in after:
        said = _flipped(denied, new, old, before)
        if said is not None:
            yield Conflict("negation", said.text.strip(), denied.clause.text.strip())


def _flipped(denied: Negation, own: _Read, other: _Read, denials: Sequence[Negation]) -> Sentence | None:
    """The clause of the other text that plainly says what is denied here, unless that text denies it too."""
    if any(len(denied.head & one.head) * 2 >= len(denied.head) for one in denials):
        return None
    for clause in own.clauses:
        if _plainly(denied, clause, own) and (len(denied.head) > 1 or denied.subject & clause.terms):
            return None  # it is said of one thing and denied of another
    for clause in other.clauses:
        if _plainly(denied, clause, other) and _one_subject(denied, clause, own, other):
            return clause
    return None


def _plainly(denied: Negation, clause: Sentence, read: _Read) -> bool:
    return denied.head <= clause.terms and affirms(clause, read.sentence(clause))


def _one_subject(denied: Negation, clause: Sentence, own: _Read, other: _Read) -> bool:
    """Whether both clauses speak of one thing: what stands before the negation, else what stands around it."""
    around = other.around(clause)
    elsewhere = bool((own.around(denied.clause) & around) - denied.head)
    if denied.subject and len(denied.head) < _LONG_HEAD:
        return 3 * len(denied.subject & around) >= 2 * len(denied.subject)
    return len(denied.head) > 1 and elsewhere

"""The judge of a recipe: asks the role `judge`, asks once more where an answer cannot be read, and never guesses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from synthgen.errors import BackendError, ParseError
from synthgen.judging import reading
from synthgen.judging.rubrics import PAIRWISE, TOGETHER, Rubric
from synthgen.judging.verdicts import Comparison, Rating, Verdict
from synthgen.recipe import Ask
from synthgen.types import Completion, Message, SamplingParams

if TYPE_CHECKING:
    from synthgen.prompts import Template

# Several raters are one model asked several times: at temperature 0 they would all say the same.
_ALONE, _AMONG_OTHERS = 0.0, 0.7
_LONGEST_QUOTE = 4000  # characters of an unreadable answer that are shown to the judge again
_TURNED = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class _Question:
    """One request, how its answer is read, and the words that ask for a repair."""

    prompt: tuple[Message, ...]
    read: Callable[[str], tuple[Any, str]]
    repair: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class _Reply:
    value: Any
    analysis: str
    repaired: bool

    def rating(self) -> Rating:
        return Rating(self.value, self.analysis, self.repaired)


class Judge:
    """Every request goes through `ask`, so it is stored, paid once and the same after an interruption.

    The requests of one call are made in a fixed order. Side by side in one task, judge different things, or put equal
    ones into one call: `ask` tells equal requests apart by their order alone.
    """

    def __init__(self, prompts: Mapping[str, Template], *, raters: int = 1, max_tokens: int = 1024) -> None:
        """`prompts` are those of a recipe that names its rubrics in `Recipe.rubrics`."""
        self._prompts, self._raters = prompts, raters
        self._sampling = SamplingParams(temperature=_ALONE if raters == 1 else _AMONG_OTHERS, max_tokens=max_tokens)

    async def rate(self, ask: Ask, rubric: Rubric, **values: Any) -> Verdict:
        """What the raters say of one thing; `values` are the variables of the rubric's template.

        Raises BackendError where a rater was never answered.
        """
        return (await self.rate_each(ask, rubric, [values]))[0]

    async def rate_each(self, ask: Ask, rubric: Rubric, things: Iterable[Mapping[str, Any]]) -> list[Verdict]:
        """The same for several things, each by itself, all asked at once."""
        questions = [self._question(rubric, thing) for thing in things]
        replies = await self._replies(ask, [q for q in questions for _ in range(self._raters)])
        ratings = [reply.rating() for reply in replies]
        return [
            Verdict(rubric.name, tuple(ratings[at : at + self._raters]), rubric.scale)
            for at in range(0, len(ratings), self._raters)
        ]

    async def rate_together(self, ask: Ask, answers: Sequence[str], *, prompt: str) -> list[Verdict]:
        """A verdict on each of several answers that are shown side by side, to each rater in another random order."""
        orders = [_order(answers, rater) for rater in range(self._raters)]
        read = partial(_read_scores, number=len(answers))
        questions = [
            self._question(
                TOGETHER, {"prompt": prompt, "answers": [answers[n] for n in order]}, read=read, number=len(answers)
            )
            for order in orders
        ]
        replies = await self._replies(ask, questions)
        by_answer: list[list[Rating]] = [[] for _ in answers]
        for order, reply in zip(orders, replies, strict=True):
            shown = reply.value or [None] * len(answers)
            for place, n in enumerate(order):
                by_answer[n].append(Rating(shown[place], reply.analysis, reply.repaired))
        return [Verdict(TOGETHER.name, tuple(ratings), TOGETHER.scale) for ratings in by_answer]

    async def compare(self, ask: Ask, first: str, second: str, *, prompt: str) -> Comparison:
        """Which of two answers is better, asked in both orders; equal ones are a tie that nobody is asked for."""
        if first == second:
            return Comparison(())
        straight = self._question(PAIRWISE, {"prompt": prompt, "first": first, "second": second})
        turned = self._question(PAIRWISE, {"prompt": prompt, "first": second, "second": first})
        replies = await self._replies(ask, [q for _ in range(self._raters) for q in (straight, turned)])
        ratings = [reply.rating() for reply in replies]
        return Comparison(
            tuple(
                (one, replace(other, value=_TURNED.get(str(other.value))))
                for one, other in zip(ratings[::2], ratings[1::2], strict=True)
            )
        )

    def _question(
        self,
        rubric: Rubric,
        values: Mapping[str, Any],
        *,
        read: Callable[[str], tuple[Any, str]] | None = None,
        number: int = 0,
    ) -> _Question:
        prompt = self._prompts[rubric.template].render(**rubric.fixed, **values)
        repair = self._prompts["judge/repair"].render(**rubric.form(number))
        return _Question(prompt, read or rubric.read, repair)

    async def _replies(self, ask: Ask, questions: Sequence[_Question]) -> list[_Reply]:
        """All are asked before any is repaired: the order of equal requests must not depend on which came first."""
        answers = await _all(self._ask(ask, q.prompt) for q in questions)
        replies = [_read(q, answer, repaired=False) for q, answer in zip(questions, answers, strict=True)]
        unread = [n for n, reply in enumerate(replies) if reply.value is None]
        again = await _all(self._ask(ask, _repair(questions[n], answers[n].text)) for n in unread)
        for n, answer in zip(unread, again, strict=True):
            replies[n] = _read(questions[n], answer, repaired=True)
        return replies

    async def _ask(self, ask: Ask, prompt: tuple[Message, ...]) -> Completion:
        return await ask(prompt, role="judge", sampling=self._sampling)


def _read(question: _Question, answer: Completion, *, repaired: bool) -> _Reply:
    text = answer.text
    if answer.finish_reason == "length":
        text = re.sub(r"\w+\Z", "", text)  # "Score: 1" may be the beginning of 10
    try:
        return _Reply(*question.read(text), repaired)
    except ParseError as error:
        return _Reply(None, f"{error}: {answer.text[:400]}", repaired)


def _read_scores(text: str, number: int) -> tuple[Any, str]:
    assert TOGETHER.scale is not None
    return reading.scores(text, TOGETHER.scale, number)


def _repair(question: _Question, answer: str) -> tuple[Message, ...]:
    """The same conversation with the answer and the request to write it again; servers want no empty turn."""
    said = reading.without_reasoning(answer).strip()[:_LONGEST_QUOTE] or "..."
    return (*question.prompt, Message("assistant", said), *question.repair)


def _order(answers: Sequence[str], rater: int) -> list[int]:
    """A random order that depends on the texts and the rater alone."""
    order = list(range(len(answers)))
    Random("\x00".join((str(rater), *answers))).shuffle(order)
    return order


async def _all(requests: Iterable[Any]) -> list[Any]:
    """Every result, in order. What was asked is waited for, as it is paid; then the gravest error is raised."""
    results = await asyncio.gather(*requests, return_exceptions=True)
    errors = [r for r in results if isinstance(r, BaseException)]
    for error in sorted(errors, key=lambda e: isinstance(e, BackendError) and e.fate != "stop"):
        raise error
    return results

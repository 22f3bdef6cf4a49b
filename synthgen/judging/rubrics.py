"""What judges are asked: the rubrics of prompts/judge, and the form of the answer to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synthgen.judging import reading
from synthgen.judging.reading import Scale

_YES_NO = {
    **dict.fromkeys(("yes", "y", "true", "是", "是的", "对"), "yes"),
    **dict.fromkeys(("no", "n", "false", "否", "不", "不是"), "no"),
}
_WINNERS = {
    **dict.fromkeys(("a", "answer a", "回答a"), "first"),
    **dict.fromkeys(("b", "answer b", "回答b"), "second"),
    **dict.fromkeys(("tie", "draw", "equal", "平局", "平手"), "tie"),
}


@dataclass(frozen=True, slots=True)
class Rubric:
    """A template of prompts/judge; its answer is a number on `scale`, or one of `words`, under the first of `keys`."""

    name: str
    keys: tuple[str, ...] = ("score",)
    scale: Scale | None = None
    words: Mapping[str, str] = field(default_factory=dict)  # what may be said -> the verdict
    shown: tuple[str, ...] = ()  # the words that the template asks for
    fixed: Mapping[str, Any] = field(default_factory=dict)  # variables of the template that belong to the scale

    @property
    def template(self) -> str:
        return f"judge/{self.name}"

    def read(self, text: str) -> tuple[int | str, str]:
        """(verdict, analysis) of an answer. Raises ParseError and nothing else."""
        if self.scale is None:
            return reading.word(text, self.keys, self.words)
        return reading.score(text, self.scale)

    def form(self, number: int = 0) -> dict[str, Any]:
        """The form of the answer, as the template `judge/repair` takes it; `number` for a list of scores."""
        scale = self.scale or Scale(0, 0)
        return {
            "key": self.keys[0],
            "low": scale.low,
            "high": scale.high,
            "words": list(self.shown),
            "number": number,
        }


# Is a rewrite recognisable as derived from its source? Keep 3 and more (methods of MGA).
CONSISTENCY = Rubric("consistency", scale=Scale(1, 5))
QUALITY = Rubric("quality", scale=Scale(1, 5), fixed={"high": 5})
QUALITY_10 = Rubric("quality", scale=Scale(1, 10), fixed={"high": 10})
TOGETHER = Rubric("together", ("scores",), scale=Scale(1, 5), fixed={"high": 5})
PAIRWISE = Rubric("pairwise", ("winner", "better", "胜者", "更好的"), words=_WINNERS, shown=("A", "B", "tie"))
CONTRADICTION = Rubric("contradiction", ("contradicts", "矛盾"), words=_YES_NO, shown=("yes", "no"))
STYLE = Rubric("style", ("fits", "符合"), words=_YES_NO, shown=("yes", "no"))

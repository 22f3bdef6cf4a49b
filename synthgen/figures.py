"""Figures of a dataset out of what its samples tell of themselves: spreads of numbers and words, tokens in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

_MOST_WORDS, _MOST_NAMED = 20, 3
UNPARSED = "unparsed"  # a number that should be there and could not be read


@dataclass(slots=True)
class _Spread:
    """One key of meta: how often each value came, among the accepted samples and among all that have it."""

    accepted: Counter[Any] = field(default_factory=Counter)
    all: Counter[Any] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        values = [v for v in self.all if v is not None]
        if values and all(isinstance(v, str) for v in values):
            return {"distinct": len(self.accepted), "most": dict(self.accepted.most_common(_MOST_WORDS))}
        found: dict[str, Any] = {"all": _histogram(self.all), "accepted": _histogram(self.accepted)}
        numbers = {v: n for v, n in self.accepted.items() if v is not None}
        if numbers:
            mean = sum(v * n for v, n in numbers.items()) / sum(numbers.values())
            found |= {"mean": round(mean, 4), "low": min(numbers), "high": max(numbers)}
        return found


def _histogram(counts: Counter[Any]) -> dict[str, int]:
    """By halves, or by tenths where nothing is over 1; what could not be read comes last."""
    numbers = [v for v in counts if v is not None]
    fine = all(0 <= v <= 1 for v in numbers)
    found: Counter[float] = Counter()
    for value in numbers:
        # 0.7 is not below 0.7: one more digit than any of ours has is added before cutting.
        place = floor(value * 10 + 1e-6) / 10 if fine else floor(value * 2 + 1e-6) / 2
        found[min(place, 0.9) if fine else place] += counts[value]
    bins = {f"{place:.1f}" if fine else f"{place:g}": found[place] for place in sorted(found)}
    return {**bins, **({UNPARSED: counts[None]} if counts[None] else {})}


class Figures:
    """Counts while samples come in task order. `names` are keys of meta; `tokens` and `source.tokens` are summed up."""

    def __init__(self, names: Sequence[str]) -> None:
        self._spreads = {name: _Spread() for name in names}
        self._task = ""
        self._in = self._out = 0

    def add(self, task: str, accepted: bool, meta: Mapping[str, Any]) -> None:
        """One sample, accepted or rejected; a task has one source, however many samples it gave."""
        for name, spread in self._spreads.items():
            if name in meta:
                spread.all[meta[name]] += 1
                spread.accepted[meta[name]] += accepted
        source = meta.get("source")
        if task != self._task and isinstance(source, Mapping):
            self._in += source.get("tokens", 0)
            self._task = task
        if accepted:
            self._out += meta.get("tokens", 0)

    def as_dict(self) -> dict[str, Any]:
        """For report.json: a spread a name, and `expansion` where sources have tokens."""
        for spread in self._spreads.values():
            spread.accepted += Counter()  # without those that came only among the rejected
        found = {name: spread.as_dict() for name, spread in self._spreads.items() if spread.all}
        if self._in:
            ratio = round(self._out / self._in, 4)
            found["expansion"] = {"tokens_in": self._in, "tokens_out": self._out, "ratio": ratio}
        return found


def lines(found: Mapping[str, Any], tokens_paid: int, usd: float | None) -> list[str]:
    """The same for the closing table, three lines at most."""
    said = []
    if "expansion" in found:
        grown = found["expansion"]
        line = f"expansion {grown['ratio']:.2f}: {grown['tokens_out']:,} tokens out of {grown['tokens_in']:,}"
        if grown["tokens_out"]:
            line += f"; for each kept token {tokens_paid / grown['tokens_out']:.1f} tokens"
            line += "" if usd is None else f", ${usd / grown['tokens_out']:.3g}"
        said.append(line)
    spreads = {name: spread for name, spread in found.items() if name != "expansion"}
    for some in (
        [_number(name, s) for name, s in spreads.items() if "mean" in s],
        [_words(name, s) for name, s in spreads.items() if s.get("most")],
    ):
        said += ["; ".join(some)] if some else []
    return said


def _number(name: str, spread: Mapping[str, Any]) -> str:
    if spread["high"] <= 1:
        return f"{name} {spread['mean']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"
    counts = ", ".join(f"{place}: {n}" for place, n in spread["all"].items())
    return f"{name} {spread['mean']:.2f} (of all {counts})"


def _words(name: str, spread: Mapping[str, Any]) -> str:
    most = ", ".join(f"{word} {n}" for word, n in list(spread["most"].items())[:_MOST_NAMED])
    return f"{name}: {spread['distinct']} ({most})"

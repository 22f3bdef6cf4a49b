"""From logits to tokens: penalties, temperature, top-k, top-p, one generator a request.

Meanings and order are vLLM's: repetition (prompt and answer), frequency and presence (answer), temperature, top-k,
top-p over what top-k left. Nothing of a row's draw depends on the other rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.errors import RequestRefused
from synthgen.types import SamplingParams

from .weights import Array

_GREEDY_BELOW = 1e-5  # vLLM's limit: a smaller temperature overflows float32


@dataclass(frozen=True, slots=True)
class Knobs:
    """Sampling values with every None settled."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: float = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


def settled(asked: SamplingParams, defaults: Mapping[str, float]) -> Knobs:
    """What was asked, else the model's own default, else none; RequestRefused out of range."""
    own = {name: value for name in Knobs.__slots__ if (value := getattr(asked, name)) is not None}
    knobs = Knobs(**{**defaults, **own})
    if not knobs.temperature >= 0:
        raise RequestRefused(f"temperature must be 0 or more, not {knobs.temperature}")
    if not 0 < knobs.top_p <= 1:
        raise RequestRefused(f"top_p must be above 0 and at most 1, not {knobs.top_p}")
    if not knobs.repetition_penalty > 0:
        raise RequestRefused(f"repetition_penalty must be above 0, not {knobs.repetition_penalty}")
    return knobs


class Sampler:
    """One request's draws. Philox, as it is cheap to seed and the same on every machine."""

    def __init__(self, knobs: Knobs, seed: int | None, prompt: Sequence[int], most: int) -> None:
        self.knobs = knobs
        # Any int is a seed; numpy takes none below 0.
        self._random = np.random.Generator(np.random.Philox(None if seed is None else seed % 2**64)).random
        self._place: dict[int, int] = {}  # token -> its place in the two arrays
        self._seen = np.zeros(most, np.int64)
        self._times = np.zeros(most, np.float32)  # in the answer; 0 for a token of the prompt alone
        for token in prompt:
            self._note(token)

    def note(self, token: int) -> None:
        """Count a token of the answer."""
        self._times[self._note(token)] += 1

    def penalise(self, logits: Array) -> None:
        """Apply the penalties in place; logits [vocab]."""
        knobs = self.knobs
        count = len(self._place)
        seen = self._seen[:count]
        values = logits[seen]
        if knobs.repetition_penalty != 1:
            penalty = np.float32(knobs.repetition_penalty)
            values = np.where(values > 0, values / penalty, values * penalty)
        if knobs.frequency_penalty or knobs.presence_penalty:
            times = self._times[:count]
            values -= np.float32(knobs.frequency_penalty) * times + np.float32(knobs.presence_penalty) * (times > 0)
        logits[seen] = values

    def choose(self, weights: Array, whole: float) -> int:
        """Draw from unnormalised probabilities [vocab] and their sum."""
        kept = self._candidates(weights, whole)
        likely = weights[kept].astype(np.float64)
        if self.knobs.top_p < 1:
            # By value and not by argsort: the order in which that leaves equal weights is nobody's promise.
            falling = np.sort(likely)[::-1]
            mass = np.cumsum(falling)
            # A share of what top-k left; the candidates of top-p alone are less than the whole.
            share = self.knobs.top_p * (mass[-1] if self.knobs.top_k >= 1 else whole)
            last = min(int(np.searchsorted(mass, share)), len(mass) - 1)
            nucleus = likely >= falling[last]
            kept, likely = kept[nucleus], likely[nucleus]
        mass = np.cumsum(likely)
        drawn = int(np.searchsorted(mass, self._random() * mass[-1], side="right"))
        return int(kept[min(drawn, len(mass) - 1)])

    def _candidates(self, weights: Array, whole: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Few tokens that hold all which may be drawn: 8,192 need not be sorted for it."""
        knobs, vocab = self.knobs, len(weights)
        floor = 0.0
        if 1 <= knobs.top_k < vocab:
            floor = float(np.partition(weights, vocab - int(knobs.top_k))[vocab - int(knobs.top_k)])
        elif knobs.top_p < 1:
            # All tokens below this mass hold together less than 1 - top_p: top-p needs none of them.
            floor = (1 - knobs.top_p) * whole / vocab
        return np.flatnonzero(weights >= np.float32(floor))

    def _note(self, token: int) -> int:
        place = self._place.setdefault(token, len(self._place))
        self._seen[place] = token
        return place


def draw(samplers: Sequence[Sampler], logits: Array) -> list[int]:
    """One token a row; logits [n, vocab], which are spent by it."""
    for row, sampler in zip(logits, samplers, strict=True):
        sampler.penalise(row)
    best = logits.argmax(axis=1)
    heat = np.array([s.knobs.temperature if s.knobs.temperature >= _GREEDY_BELOW else 1 for s in samplers], np.float32)
    logits -= logits[np.arange(len(best)), best][:, None]
    logits /= heat[:, None]
    weights = np.exp(logits, out=logits)
    whole = weights.sum(axis=1).tolist()
    return [
        int(best[i]) if sampler.knobs.temperature < _GREEDY_BELOW else sampler.choose(weights[i], whole[i])
        for i, sampler in enumerate(samplers)
    ]

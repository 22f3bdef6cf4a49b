"""The level `semantic`: texts that mean the same, by the cosine of embeddings that someone else makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthgen.dedup.near import Near
from synthgen.dedup.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str]], "NDArray[np.float32]"]
THRESHOLD = 0.9  # DEITA (arXiv 2312.15685), Persona Hub (arXiv 2406.20094); a threshold belongs to a model
LARGE = 20_000  # rows: before that, comparing takes seconds


class Semantic:
    """Kept texts; one is near when its cosine to a kept one is at least the threshold, the earliest of equals.

    `embed` gives a row a text, shape (n, d); a row of zeros stands for a text that has none and is near to nothing.
    """

    by = "cosine"

    def __init__(self, embed: Embed, threshold: float = THRESHOLD) -> None:
        """Raises UsageError for a threshold outside (0, 1]."""
        self._embed = embed
        self._vectors = Vectors(threshold)
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._window: dict[str, NDArray[np.float32]] = {}  # what `nearest_many` saw last: those are asked for and added

    def __len__(self) -> int:
        return len(self._ids)

    def nearest_many(self, texts: Sequence[str]) -> list[Near | None]:
        """Against what is kept now, not against each other."""
        if not texts:
            return []
        rows = self._embed(texts)
        self._window = dict(zip(texts, rows, strict=True))
        return [self._near(found) for found in self._vectors.nearest_many(rows)]

    def nearest(self, text: str, *, since: int = 0) -> Near | None:
        """Against what was added from the entry `since` on."""
        return self._near(self._vectors.nearest_many(self._row(text), since)[0])

    def add(self, id_: str, text: str) -> None:
        self._vectors.add(self._row(text))
        self._ids.append(id_)
        self._texts.append(text)

    def _row(self, text: str) -> NDArray[np.float32]:
        row = self._window.get(text)
        return self._embed([text]) if row is None else row[None]

    def _near(self, found: tuple[int, float] | None) -> Near | None:
        return None if found is None else Near(self._ids[found[0]], found[1], self.by, self._texts[found[0]])


def forecast(rows: int, dimensions: int) -> tuple[float, float]:
    """(seconds, bytes) that so many rows take at the most, all of them kept, by what this machine multiplies now."""
    side = 1024
    a = np.ones((side, max(1, dimensions)), np.float32)
    a @ a.T  # the first product starts the library's threads
    began = time.perf_counter()
    a @ a.T
    return rows * rows / 2 / side**2 * (time.perf_counter() - began), 4.0 * rows * dimensions

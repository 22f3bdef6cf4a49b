"""Novelty while a run goes on: each instruction is compared once with what was there, then with what came since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from synthgen.dedup import Near, Seen, nearer

# Texts compared in one go: numpy's fixed cost is spread over them.
WINDOW = 512
_NOTHING: tuple[int, Near | None] = (0, None)


class Comparing:
    """What the tasks of one run asked about novelty. The verdict is that of comparing one by one, in task order."""

    def __init__(self, seen: Seen, similar: int) -> None:
        """`similar`: how many of the nearest earlier instructions are told of each accepted one."""
        self.seen, self._most = seen, similar
        # By task and instruction: the nearest among the first so many entries.
        self._asked: dict[int, dict[str, tuple[int, Near | None]]] = {}
        self._similar: dict[str, dict[str, float]] = {}

    def asker(self, index: int, before: int) -> Callable[[Sequence[str]], list[Near | None]]:
        """What a task asks with: compares with the first `before` entries alone, and remembers that it did."""

        def nearest_many(texts: Sequence[str]) -> list[Near | None]:
            found = self.seen.nearest_many(texts, before=before)
            self._remember(index, zip(texts, found, strict=True), before)
            return found

        return nearest_many

    def foresee(self, ready: Iterable[tuple[int, str]]) -> None:
        """Compare instructions that are about to be decided, each with its task, with all that is there, in one go."""
        new: list[tuple[int, str]] = []
        known: list[tuple[int, str]] = []
        for index, text in ready:
            (known if text in self._asked.get(index, ()) else new).append((index, text))
        self._compare(new, 0)
        self._compare(known, min((self._asked[index][text][0] for index, text in known), default=0))

    def _compare(self, wanted: Sequence[tuple[int, str]], since: int) -> None:
        if len(wanted) < 2:
            return
        now = len(self.seen.novelty)
        found = self.seen.nearest_many([text for _, text in wanted], since=since)
        for (index, text), near in zip(wanted, found, strict=True):
            self._remember(index, [(text, nearer(self._asked.get(index, {}).get(text, _NOTHING)[1], near))], now)

    def _remember(self, index: int, found: Iterable[tuple[str, Near | None]], before: int) -> None:
        mine = self._asked.setdefault(index, {})
        for text, near in found:
            mine[text] = before, near

    def nearest(self, index: int, text: str) -> Near | None:
        """What an instruction of this task comes too close to among everything that has been accepted."""
        since, near = self._asked.get(index, {}).get(text, _NOTHING)
        return nearer(near, self.seen.nearest(text, since=since))

    def most_similar(self, text: str) -> dict[str, float]:
        """The nearest earlier instructions with their scores; instances of one task share them."""
        if text not in self._similar:
            top = self.seen.novelty.top([text], self._most)[0]
            self._similar[text] = {near.span: round(near.score, 4) for near in top}
        return self._similar[text]

    def done(self, index: int) -> None:
        """Forget what was asked of a task that is decided."""
        self._asked.pop(index, None)
        self._similar.clear()

"""How a run stands, for its own progress line and for a look from another terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson

from synthgen.queries import rates
from synthgen.run import Conveyor

_MARK_SECONDS, _MARKS = 5.0, 13  # over the last minute


class Pace:
    """Counts of the last minute; `mark` before `rates`."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, ...]] = deque(maxlen=_MARKS)

    def mark(self, now: float, *counts: float) -> Sequence[tuple[float, ...]]:
        """Remember the counts, every five seconds; all that is remembered, the oldest first."""
        if not self._marks or now - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append((now, *counts))
        return tuple(self._marks)

    def rates(self, now: float, *counts: float) -> tuple[float, ...]:
        """Each count's growth a second."""
        return rates(self.mark(now, *counts), now, *counts)


class Pulse:
    """What the writer thread stores beside the answers, once a second at most; it only reads."""

    def __init__(self, conveyor: Conveyor, seconds_before: float) -> None:
        """`seconds_before`: how long earlier lives of the run have worked."""
        self._conveyor = conveyor
        self._began = time.monotonic() - seconds_before
        self._tasks_before = conveyor.board.tasks
        self._pace = Pace()
        self._mark()

    def _mark(self) -> Sequence[tuple[float, ...]]:
        return self._pace.mark(time.time(), self._conveyor.store.completions, self._conveyor.board.accepted)

    def __call__(self) -> bytes:
        budget = self._conveyor.asking.budget
        return orjson.dumps(
            {
                "marks": self._mark(),
                "seconds": round(time.monotonic() - self._began, 2),
                "tasks_asked": self._tasks_before + self._conveyor.asking.usage.tasks,
                "in_flight": in_flight(self._conveyor),
                "servers_left_out": left_out(self._conveyor),
                "budget": budget.as_dict() if budget else None,
            }
        )


def in_flight(conveyor: Conveyor) -> int:
    """Requests on the way."""
    return sum(speaker.pool.in_flight for speaker in conveyor.asking.speakers.values())


def left_out(conveyor: Conveyor) -> list[str]:
    """Servers that get no requests now."""
    return [s.name for speaker in conveyor.asking.speakers.values() for s in speaker.pool.servers if s.out]


def numbers(conveyor: Conveyor, pace: Pace) -> dict[str, Any]:
    """What the progress line shows, by name."""
    board, usage, asking = conveyor.board, conveyor.asking.usage, conveyor.asking
    requests, tokens = usage.requests, usage.completion_tokens
    asked, written, gained = pace.rates(time.monotonic(), requests, tokens, board.accepted)
    return {
        "accepted": board.accepted,
        "target": board.target,
        "tasks": board.tasks,
        "tasks_in_all": board.tasks_in_all,
        "failed": board.failed,
        "rejected": dict(board.rejected),
        "requests": requests,
        "served_from_store": usage.served,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": tokens,
        "requests_per_second": round(asked, 2),
        "completion_tokens_per_second": round(written, 1),
        "in_flight": in_flight(conveyor),
        "servers_left_out": left_out(conveyor),
        "usd": None if asking.usd is None else round(asking.usd, 6),
        "budget": asking.budget.as_dict() if asking.budget else None,
        "eta_seconds": eta_seconds(*_end(board.target, board.accepted, gained, board.tasks, board.tasks_in_all)),
    }


def _end(
    target: int | None, accepted: int, per_second: float, tasks: int, in_all: int | None
) -> tuple[int | None, int, float]:
    """What has its end, how much of it is there, and its pace: the samples asked for, else the tasks that there are."""
    if target is not None or not accepted:
        return target, accepted, per_second
    return in_all, tasks, per_second * tasks / accepted


def eta_seconds(target: int | None, accepted: int, accepted_per_second: float) -> float | None:
    """Until the target is reached at this pace; None where nobody can say."""
    if target is None or accepted_per_second <= 0:
        return None
    return round(max(0, target - accepted) / accepted_per_second, 1)

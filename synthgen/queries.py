"""What a run has asked and paid, read from its file, which may be live."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_MINUTE, _SHORTEST = 65.0, 0.2


@dataclass(frozen=True, slots=True)
class Paid:
    """What one model was asked and paid over all lives of a run, or since a completion."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    truncated: int
    estimated: int  # answers that came without token counts


def paid(db: sqlite3.Connection, after: int = 0) -> list[Paid]:
    """By model, in the order of their first answers; of completions numbered above `after`."""
    rows = db.execute(
        "select model, count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), "
        "sum(finish = 'length'), sum(coalesce(substr(extra, 1, 17) = ?, 0)) "
        "from completion where n > ? group by model order by min(n)",
        (b'{"estimated":true', after),
    )
    return [Paid(*row) for row in rows]


def rates(marks: Sequence[Sequence[float]], now: float, *counts: float) -> tuple[float, ...]:
    """Growth a second of each count since the oldest of the last minute's marks; a mark is (time, *counts)."""
    recent = [mark for mark in marks if now - mark[0] <= _MINUTE] or list(marks[-1:])
    if not recent or now - recent[0][0] < _SHORTEST:  # also after a clock that went back
        return tuple(0.0 for _ in counts)
    then, *before = recent[0]
    return tuple((count - old) / (now - then) for count, old in zip(counts, before, strict=True))


def values(db: sqlite3.Connection, *names: str) -> dict[str, Any]:
    """What the run has noted of itself under these names; those that it never noted are missing."""
    marks = ", ".join("?" for _ in names)
    rows = db.execute(f"select name, value from meta where name in ({marks}) and value is not null", names)
    return {name: json.loads(value) if isinstance(value, str | bytes) else value for name, value in rows}


def pace(db: sqlite3.Connection, now: float, accepted: int) -> dict[str, float]:
    """Requests, completion tokens and accepted samples a second over the last minute of a live run."""
    marks = values(db, "pulse").get("pulse", {}).get("marks", [])
    if not marks:
        return {}
    recent = [mark for mark in marks if now - mark[0] <= _MINUTE] or marks[-1:]
    last = db.execute("select coalesce(max(n), 0) from completion").fetchone()[0]
    since = "select coalesce(sum(completion_tokens), 0) from completion where n > ?"
    written = db.execute(since, (recent[0][1],)).fetchone()[0]
    (then, stored, had) = recent[0]
    asked, gained, tokens = rates([(then, stored, had, 0)], now, last, accepted, written)
    return {
        "requests_per_second": round(asked, 2),
        "completion_tokens_per_second": round(tokens, 1),
        "accepted_per_second": round(gained, 4),
    }

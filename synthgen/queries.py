"""What a run has asked and paid, read from its file, which may be live."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


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


def pace(db: sqlite3.Connection, now: float) -> float | None:
    """Requests a second since the run was last taken up; None for one that never began."""
    found = dict(db.execute("select name, value from meta where name in ('began', 'stored_before')"))
    if len(found) < 2 or now <= found["began"]:
        return None
    stored = db.execute("select coalesce(max(n), 0) from completion").fetchone()[0]
    return float(stored - found["stored_before"]) / (now - float(found["began"]))

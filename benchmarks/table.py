"""The table that a benchmark of several rows prints: each with its goal and verdict, exit 1 where one is missed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `passed` None is a row that could not be measured, and the figure says why."""

    name: str
    goal: str
    figure: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return {True: "reached", False: "MISSED", None: "skipped"}[self.passed]


def main(
    about: str | None,
    rows: Mapping[str, Callable[[Any], Iterable[Row]]],
    bench: Callable[[bool], AbstractContextManager[Any]],
    *,
    full: str,
) -> int:
    """1 where a row was missed, else 0; `bench(full)` is what each row is given, `full` says what --full is."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--full", action="store_true", help=f"the long forms: {full}")
    parser.add_argument("--only", action="append", choices=list(rows), help="repeatable")
    parser.add_argument("--json", action="store_true", help="one object a row on stdout")
    args = parser.parse_args()
    began, missed = time.monotonic(), 0
    with bench(args.full) as given:
        for name in args.only or rows:
            for row in rows[name](given):
                missed += row.passed is False
                if args.json:
                    print(json.dumps({**asdict(row), "verdict": row.verdict}), flush=True)
                else:
                    print(f"{row.verdict:<8} {row.name:<28} {row.figure}\n{'':<37} goal: {row.goal}", flush=True)
    print(f"\n{missed} missed; {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    return 1 if missed else 0

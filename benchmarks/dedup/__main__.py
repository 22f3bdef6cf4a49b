"""Every row of the table of dedup: python -m benchmarks.dedup [--full] [--only ROW]... [--json]."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict

from benchmarks.dedup import decontam, files, loop, meaning, minhash, novelty
from benchmarks.dedup.kit import Bench, Row

# A module of rows names them in its ROWS.
ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {
    **novelty.ROWS, **loop.ROWS, **minhash.ROWS, **decontam.ROWS, **files.ROWS, **meaning.ROWS,
}  # fmt: skip


def main() -> int:
    """1 where a row was missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the long forms: a million entries")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="repeatable")
    parser.add_argument("--json", action="store_true", help="one object a row on stdout")
    args = parser.parse_args()
    began, missed = time.monotonic(), 0
    bench = Bench(full=args.full)
    for name in args.only or ROWS:
        for row in ROWS[name](bench):
            missed += row.passed is False
            if args.json:
                print(json.dumps({**asdict(row), "verdict": row.verdict}), flush=True)
            else:
                print(f"{row.verdict:<8} {row.name:<28} {row.figure}\n{'':<37} goal: {row.goal}", flush=True)
    print(f"\n{missed} missed; {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every row of the engine's table: python -m benchmarks.engine [--full] [--only NAME]... [--json]."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.engine import cost, durable, faulty, pace, real_vllm
from benchmarks.engine.kit import Bench, Row

ROWS: dict[str, Callable[[Bench], list[Row]]] = {
    "cpu": cost.cpu,
    "wall": cost.wall,
    "memory": cost.memory,
    "slots512": pace.slots512,
    "slots8": pace.slots8,
    "pool4": pace.pool4,
    "kills": durable.kills,
    "always400": faulty.always400,
    "faults": faulty.faults,
    "truncated": faulty.truncated,
    "grown": durable.grown,
    "vllm": real_vllm.vllm,
    "resume": durable.resume,
}


def main() -> int:
    """1 where a row was missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the long forms: 100 kills, 20,000 requests, more turns")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="repeatable")
    parser.add_argument("--json", action="store_true", help="one object a row on stdout")
    args = parser.parse_args()
    began, missed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="engine-") as home:
        bench = Bench(Path(home), full=args.full)
        for name in args.only or ROWS:
            for row in ROWS[name](bench):
                missed += row.passed is False
                if args.json:
                    print(json.dumps({**asdict(row), "verdict": row.verdict}), flush=True)
                else:
                    print(f"{row.verdict:<8} {row.name:<24} {row.figure}\n{'':<33} goal: {row.goal}", flush=True)
    print(f"\n{missed} missed; {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

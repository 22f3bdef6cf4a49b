"""Every row of the engine's table: python -m benchmarks.engine [--full] [--only NAME]... [--json]."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engine import cost, durable, faulty, pace, real_vllm
from benchmarks.engine.kit import Bench
from benchmarks.table import Row, main

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


@contextmanager
def bench(full: bool) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="engine-") as home:
        yield Bench(Path(home), full=full)


if __name__ == "__main__":
    sys.exit(main(__doc__, ROWS, bench, full="100 kills, 20,000 requests, more turns"))

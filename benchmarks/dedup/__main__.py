"""Every row of the table of dedup: python -m benchmarks.dedup [--full] [--only ROW]... [--json]."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext

from benchmarks.dedup import decontam, files, loop, meaning, minhash, novelty
from benchmarks.dedup.kit import Bench
from benchmarks.table import Row, main

# A module of rows names them in its ROWS.
ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {
    **novelty.ROWS, **loop.ROWS, **minhash.ROWS, **decontam.ROWS, **files.ROWS, **meaning.ROWS,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(__doc__, ROWS, lambda full: nullcontext(Bench(full=full)), full="a million entries"))

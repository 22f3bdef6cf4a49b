"""The cost of one novelty question as the pool grows, and a dataset checked pair by pair by brute force.

python benchmarks/novelty.py            the cost
python benchmarks/novelty.py RUN|FILE   every pair of a dataset, by the textbook table
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

from synthgen.dedup import NoveltyByScript
from synthgen.filters import parts
from synthgen.output import samples_of

ROOT = Path(__file__).resolve().parents[1]


def cost() -> None:
    """Microseconds a question against pools of random instructions of about 13 words."""
    rng = Random(0)
    vocabulary = [f"word{i}" for i in range(4000)]

    def text() -> str:
        return " ".join(rng.choices(vocabulary, k=rng.randint(6, 20)))

    pool = NoveltyByScript()
    for size in (1_000, 5_000, 20_000, 50_000):
        while len(pool) < size:
            pool.add(str(len(pool)), text())
        queries = [text() for _ in range(100)]
        began = time.perf_counter()
        for query in queries:
            pool.nearest(query)
        print(f"{size:>7,} accepted: {(time.perf_counter() - began) / len(queries) * 1e6:8.0f} us a question")


def check(path: Path) -> None:
    """Pairs above the threshold: none is expected."""
    sys.path.insert(0, str(ROOT / "tests"))
    from brute import pairs_too_near

    instructions = [parts(s)[0] for s in samples_of(path)()]
    near = pairs_too_near(instructions)
    print(f"{len(instructions)} instructions, {len(near)} pairs above the threshold")
    for pair in near[:10]:
        print(*pair, sep="\n  ")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(Path(sys.argv[1]))
    else:
        cost()

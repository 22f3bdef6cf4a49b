"""Rows of novelty: time of one question, one by one and batched, beside the reference and brute force."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmarks.dedup.kit import Bench, Row, grown, timed
from synthgen.dedup import NoveltyByScript


def cost(bench: Bench) -> Iterator[Row]:
    """Microseconds of CPU a question."""
    for size in bench.sizes[:3]:
        pool = NoveltyByScript()
        with timed() as adding:
            for n, text in enumerate(grown("english", size)):
                pool.add(str(n), text)
        queries = grown("english", 200, seed=1)
        with timed() as asking:
            for query in queries:
                pool.nearest(query)
        each = asking.seconds / len(queries) * 1e6
        yield Row(
            f"novelty {size:,} english", "<= 200 us at 52,000", f"{each:.0f} us, adding {adding.seconds:.2f} s", None
        )


ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {"novelty": cost}

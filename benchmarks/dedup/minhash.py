"""Rows of MinHash: documents a second, memory, recall and precision beside datasketch and rensa."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile

from benchmarks.dedup.kit import DATA, Bench, Row, grown, in_a_process, peak_mb, real, timed
from synthgen.dedup import words

THRESHOLD = Fraction(8, 10)
BANDS, ROWS_OF_BAND, PERMUTATIONS, LENGTH = 14, 8, 112, 5
ARMS = ("ours", "rensa", "datasketch")
COPIES = 2_000
_CHECKED = 5_000  # pairs whose precision is counted
# An arm takes documents and questions, and tells for each question the ids that it met, before and after verifying.
Answers = tuple[float, float, list[list[int]], list[list[int]] | None]


def documents(kind: str, count: int) -> list[str]:
    """Documents of about 100 words: six grown instructions each, or a template of 104 words with a slot of 11."""
    if kind == "templates":
        return list(islice(_templated(), count))
    parts = grown(kind, 6 * count)
    return ["\n".join(parts[6 * n : 6 * n + 6]) for n in range(count)]


def _templated() -> Iterator[str]:
    """Two rows of one of the twenty templates have a Jaccard of 0.74: candidates of each other, and no pair."""
    rng = Random("templates")
    common = [word for text in real("english") for word in text.split()]
    templates = [[rng.choice(common) for _ in range(104)] for _ in range(20)]
    while True:
        template = list(rng.choice(templates))
        template[50:61] = [f"slot{rng.randrange(1_000_000)}" for _ in range(11)]
        yield " ".join(template)


def copies(texts: Sequence[str]) -> list[tuple[int, str]]:
    """Copies with other words from a place on, which leaves a Jaccard even over [0.8, 1]; each with its source."""
    rng = Random("copies")
    made = []
    for _ in range(COPIES):
        n = rng.randrange(len(texts))
        tokens = words(texts[n])
        aim = rng.uniform(float(THRESHOLD), 1.0)
        changed = int((len(tokens) - LENGTH + 1) * (1 - aim) / (1 + aim))
        made.append((n, " ".join([*tokens[: len(tokens) - changed], *(f"new{m}" for m in range(changed))])))
    return made


def shingle_set(text: str) -> set[str]:
    """What an exact Jaccard is counted on: nothing of it is shared with the index."""
    tokens = words(text)
    return {" ".join(tokens[n : n + LENGTH]) for n in range(max(1, len(tokens) - LENGTH + 1))} if tokens else set()


def _near(one: str, other: str) -> bool:
    a, b = shingle_set(one), shingle_set(other)
    return len(a & b) >= THRESHOLD * len(a | b)


def ours(texts: Sequence[str], asked: Sequence[str]) -> Answers:
    from synthgen.dedup.bands import Bands
    from synthgen.dedup.minhash import MinHash, signatures

    signatures(["the tables are made once"])
    pool = MinHash(lambda id_: texts[int(id_)], THRESHOLD)
    with timed() as adding:
        pool.add_many((str(n), text) for n, text in enumerate(texts))
    peak = peak_mb()
    with timed() as asking:
        nearest = pool.nearest_many(asked)
    # What a band alone says, for the precision before verifying.
    bands = Bands(BANDS, ROWS_OF_BAND)
    for n, key in enumerate(bands.keys(signatures(texts))):
        bands.add(n, key)
    raw: list[list[int]] = [[] for _ in asked]
    for n, row in zip(*(part.tolist() for part in bands.meet(bands.keys(signatures(asked)))), strict=True):
        raw[n].append(row)
    verified = [[int(near.id)] if near else [] for near in nearest]
    _kept_peak.append(peak)
    return adding.seconds, asking.seconds, raw, verified


def rensa(texts: Sequence[str], asked: Sequence[str]) -> Answers:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(float(THRESHOLD), PERMUTATIONS, BANDS)
    with timed() as adding:
        stored = []
        for first in range(0, len(texts), 1_000):
            sets = [list(shingle_set(text)) for text in texts[first : first + 1_000]]
            found = RMinHash.from_token_sets(sets, PERMUTATIONS, 1)
            index.insert_many(found, first)
            stored += found
    with timed() as asking:
        queries = RMinHash.from_token_sets([list(shingle_set(text)) for text in asked], PERMUTATIONS, 1)
        raw = index.query_all(queries)
    # Its own way to verify: the share of equal minima.
    after = [[n for n in ids if query.jaccard(stored[n]) >= THRESHOLD] for query, ids in zip(queries, raw, strict=True)]
    return adding.seconds, asking.seconds, raw, after


def datasketch(texts: Sequence[str], asked: Sequence[str]) -> Answers:
    from datasketch import MinHash, MinHashLSH

    def hashed(some: Sequence[str]) -> Iterator[MinHash]:
        return MinHash.generator(([s.encode() for s in shingle_set(t)] for t in some), num_perm=PERMUTATIONS)

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS_OF_BAND))
    with timed() as adding:
        for n, found in enumerate(hashed(texts)):
            index.insert(n, found)
    with timed() as asking:
        raw = [index.query(found) for found in hashed(asked)]
    return adding.seconds, asking.seconds, raw, None


_kept_peak: list[float] = []
_BY_NAME: dict[str, Callable[[Sequence[str], Sequence[str]], Answers]] = {
    "ours": ours,
    "rensa": rensa,
    "datasketch": datasketch,
}


def measure(arm: str, path: str) -> None:
    """Print what an arm took and found over the documents of a file, in a process that did not have to grow them."""
    with Path(path).open(encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    size, made = len(texts), copies(texts)
    before = peak_mb()
    adding, asking, raw, verified = _BY_NAME[arm](texts, [copy for _, copy in made])
    peak = (_kept_peak or [peak_mb()])[0]
    answered = raw if verified is None else verified
    true = [n for n, (source, copy) in enumerate(made) if _near(texts[source], copy)]
    told = {
        "adding": size / adding,
        "asking": COPIES / asking,
        "mb": peak - before,
        # Another row may be as near as the source: any answer that is right is one.
        "recall": sum(any(_near(texts[m], made[n][1]) for m in answered[n]) for n in true) / len(true),
        "before": _precision(texts, made, raw),
        "after": None if verified is None else _precision(texts, made, verified),
    }
    print(json.dumps(told))


def _precision(texts: Sequence[str], made: Sequence[tuple[int, str]], met: Sequence[Iterable[int]]) -> float:
    pairs = [(n, m) for n, ids in enumerate(met) for m in ids]
    chosen = Random("pairs").sample(pairs, min(_CHECKED, len(pairs)))
    return sum(_near(texts[m], made[n][1]) for n, m in chosen) / max(1, len(chosen))


def beside(bench: Bench) -> Iterator[Row]:
    """Each arm over sizes and kinds."""
    sizes = dict.fromkeys(("english", "chinese"), bench.sizes[:4] if bench.full else (1000, 10000, 52000))
    sizes["templates"] = (1_000, 10_000, 52_000) if bench.full else (1_000, 10_000)
    for kind, those in sizes.items():
        for size in those:
            with NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl") as file:
                file.writelines(f"{json.dumps(text)}\n" for text in documents(kind, size))
                file.flush()
                yield from _arms(file.name, f"minhash {kind} {size:,}", kind)


def _arms(path: str, name: str, kind: str) -> Iterator[Row]:
    for arm in ARMS:
        if arm != "ours" and find_spec(arm) is None:
            yield Row(f"{name} {arm}", "beside ours", f"not installed: pip install {arm}", None)
        else:
            yield Row(f"{name} {arm}", *_said(in_a_process(measure, arm, path), arm, kind))


def _said(told: dict[str, float], arm: str, kind: str) -> tuple[str, str, bool | None]:
    """Goal, figure and verdict of one row."""
    after = "not verified" if told["after"] is None else f"{told['after']:.3f} after verifying"
    figure = (
        f"{told['adding']:,.0f} added a second, {told['asking']:,.0f} asked, {told['mb']:.0f} MB; "
        f"recall {told['recall']:.3f}, precision {told['before']:.3f} raw, {after}"
    )
    if arm != "ours":
        return "beside ours", figure, None
    right = told["recall"] >= 0.98 and told["after"] == 1.0
    if kind == "templates":
        return "recall >= 0.98, precision 1", figure, right
    return "15,000 added/s, recall >= 0.98, precision 1", figure, right and told["adding"] >= 15_000


def pass_over(bench: Bench) -> Iterator[Row]:
    """A whole pass over real rows as `dedup` makes it: asked in windows of 512, what is new is added."""
    for name in ("lf_alpaca_en_demo.json", "lf_alpaca_zh_demo.json", "gsm8k_train.jsonl"):
        if not (DATA / name).is_file():
            yield Row(f"minhash pass {name}", "15,000 rows/s", f"no {name} in {DATA}", None)
            continue
        told = in_a_process(passed, name)
        figure = (
            f"{told['pace']:,.0f} rows/s of {told['words']:.0f} words; {told['near']:.0f} of {told['rows']:.0f} near"
        )
        yield Row(f"minhash pass {name}", "15,000 rows/s", figure, told["pace"] >= 15_000)


def passed(name: str) -> None:
    from synthgen.dedup.minhash import MinHash, signatures

    content = (DATA / name).read_text(encoding="utf-8")
    rows = json.loads(content) if content.startswith("[") else [json.loads(line) for line in content.splitlines()]
    texts = ["\n".join(str(value) for value in row.values()) for row in rows]
    signatures(["the tables are made once"])
    pool, near = MinHash(lambda id_: texts[int(id_)], THRESHOLD), 0
    with timed() as all_of_it:
        for first in range(0, len(texts), 512):
            window, size = texts[first : first + 512], len(pool)
            for n, (text, early) in enumerate(zip(window, pool.nearest_many(window), strict=True), first):
                if early or pool.nearest(text, since=size):
                    near += 1
                else:
                    pool.add(str(n), text)
    told = {"pace": len(texts) / all_of_it.seconds, "near": near, "rows": len(texts)}
    print(json.dumps({**told, "words": sum(len(words(text)) for text in texts) / len(texts)}))


ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {"minhash-pass": pass_over, "minhash": beside}

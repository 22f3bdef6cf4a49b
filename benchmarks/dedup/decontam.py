"""Rows of decontamination: speed, planted leaks by kind, false alarms on a set without leaks, memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from benchmarks.dedup.kit import DATA, Bench, Row, grown, in_a_process, real, timed
from synthgen.dedup import words
from synthgen.dedup.decontam import Decontam

_FILES = ("gsm8k_train.jsonl", "gsm8k_test.jsonl", "mtbench_question.jsonl")


def _questions(name: str) -> list[list[str]]:
    rows = [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    return [row.get("turns") or [row["question"]] for row in rows]


def _against(rows: Iterable[Sequence[str]], name: str = "b") -> Decontam:
    found = Decontam()
    for number, turns in enumerate(rows):
        for text in turns:
            found.add(name, str(number), text)
    return found


def _gsm8k() -> tuple[list[str], list[str], Decontam]:
    """The training questions, the test questions, and the test set with MT-Bench."""
    train, test, mtbench = map(_questions, _FILES)
    return [text for (text,) in train], [text for (text,) in test], _against([*test, *mtbench])


def speed(bench: Bench) -> Iterator[Row]:
    """Rows a second of one CPU."""
    if not all((DATA / name).is_file() for name in _FILES):
        yield Row("decontam rows/s", "20,000", f"no {_FILES[0]} in {DATA}", None)
        return
    train, _, found = _gsm8k()
    found.check("the index is built at the first question")
    with timed() as counting:
        found.count([[text] for text in train])
    with timed() as checking:
        found.check_many(train)
    with timed() as one_by_one:
        for text in train[:1000]:
            found.check(text)
    rate = len(train) / checking.seconds
    figure = (
        f"{rate:,.0f} of gsm8k_train against gsm8k_test + MT-Bench; "
        f"the pass that counts {len(train) / counting.seconds:,.0f}, one by one {1000 / one_by_one.seconds:,.0f}"
    )
    yield Row("decontam rows/s", "20,000", figure, rate >= 20_000)
    for size in (20_000, *((130_000,) if bench.full else ())):
        large = _against([text] for text in grown("english", size, seed=1))
        queries = grown("english", 5000, seed=2)
        large.check(queries[0])
        with timed() as checking:
            large.check_many(queries)
        yield Row(f"decontam against {size:,} rows", "no goal", f"{5000 / checking.seconds:,.0f} rows/s", True)


def leaks(bench: Bench) -> Iterator[Row]:
    """The share of planted copies that is found, as rows of their own benchmark."""
    if all((DATA / name).is_file() for name in _FILES):
        train, test, _ = _gsm8k()
        yield from _leaks("english", test, train, " ")
    chinese = [text for text in real("chinese") if len(words(text)) >= 10]  # a shorter row is compared as a whole
    yield from _leaks("chinese", chinese, chinese, "")


def _leaks(kind: str, rows: list[str], others: list[str], space: str) -> Iterator[Row]:
    rng, found = Random(0), _against([text] for text in rows)
    vocabulary = [piece for text in others for piece in _pieces(text, space)]

    def changed(text: str, step: int) -> str:
        said = _pieces(text, space)
        said[step - 1 :: step] = [rng.choice(vocabulary) for _ in said[step - 1 :: step]]
        return space.join(said)

    planted = {
        ("verbatim", 1.0): rows,
        ("every tenth changed", 0.9): [changed(text, 10) for text in rows],
        ("inside a longer text", 1.0): [f"{rng.choice(others)}\n{text} {rng.choice(others)}" for text in rows],
        ("every fifth changed", 0.0): [changed(text, 5) for text in rows],
    }
    for (name, least), texts in planted.items():
        hits = found.check_many(texts)
        count = sum(any(hit.row == str(n) for hit in some) for n, some in enumerate(hits))
        share = count / len(texts)
        goal = f"{least:.0%}" if least else "no goal"
        yield Row(f"decontam {kind}, {name}", goal, f"{count}/{len(texts)}, {share:.1%}", share >= least)


def _pieces(text: str, space: str) -> list[str]:
    return text.split() if space else list(text)


def alarms(bench: Bench) -> Iterator[Row]:
    """Rows of a training set that meet its test set: the six are the same story told with other names and numbers."""
    if not all((DATA / name).is_file() for name in _FILES):
        yield Row("decontam alarms", "at most 10", f"no {_FILES[0]} in {DATA}", None)
        return
    train, test, found = _gsm8k()
    hits = [some for some in found.check_many(train) if some]
    rules = ", ".join(sorted(some[0].by for some in hits))
    grams = {gram for text in test for gram in _grams(text)}
    any_of_eight = sum(not _grams(text).isdisjoint(grams) for text in train)
    figure = f"{len(hits)} of {len(train):,} rows of gsm8k_train ({rules}); any shared 8-gram: {any_of_eight}"
    yield Row("decontam alarms", "at most 10", figure, len(hits) <= 10)


def _grams(text: str) -> set[tuple[str, ...]]:
    said = words(text)
    return {tuple(said[n : n + 8]) for n in range(len(said) - 7)}


def memory(bench: Bench) -> Iterator[Row]:
    """What stays of the rows that are checked: nothing but the keys of texts that share an n-gram."""
    told = in_a_process(_held)
    figure = (
        f"{told['grown_mb']:.2f} MB more after 50,000 texts than after 5,000; "
        f"{told['token_bytes']:.0f} B a token of 20,000 benchmark rows"
    )
    yield Row("decontam memory", "flat: under 1 MB", figure, told["grown_mb"] < 1)


def _held() -> None:
    rows = grown("english", 20_000, seed=1)
    tokens = sum(len(words(text)) for text in rows)
    queries = grown("english", 50_000, seed=2)
    tracemalloc.start()
    found = _against([text] for text in rows)
    found.check("built at the first question")
    built = tracemalloc.get_traced_memory()[0]
    held = []
    for part in range(0, 50_000, 5000):
        texts = queries[part : part + 5000]
        found.count([[text] for text in texts])
        found.check_many(texts)
        held.append(tracemalloc.get_traced_memory()[0])
    print(json.dumps({"token_bytes": built / tokens, "grown_mb": (held[-1] - held[0]) / 1e6}))


ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {
    "decontam": speed,
    "decontam-leaks": leaks,
    "decontam-alarms": alarms,
    "decontam-memory": memory,
}

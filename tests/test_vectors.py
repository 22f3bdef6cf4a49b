"""Cosine, exact: the same pairs and scores as float64 brute force, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import vectors
from synthgen.dedup.semantic import Semantic, forecast
from synthgen.dedup.vectors import Vectors, near, unit
from synthgen.errors import UsageError

Pairs = list[tuple[int, int, float]]
# Few directions, so that ties, repeats and scores at a threshold are common; zeros among them.
CORNERS = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=0, max_size=40)
THRESHOLDS = st.sampled_from([0.5, 0.7, 0.9, 1.0, 3 / 5, 0.8, 2**-0.5, 2 / 3])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two float32 rows, in float64, one number after the other."""
    total = length_a = length_b = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        total, length_a, length_b = total + x * y, length_a + x * x, length_b + y * y
    return min(1.0, total / (length_a * length_b) ** 0.5) if length_a and length_b else 0.0


def brute(rows: np.ndarray, threshold: float) -> Pairs:
    units = unit(rows)
    scored = [(i, j, cosine(units[i], units[j])) for j in range(len(units)) for i in range(j)]
    return sorted(pair for pair in scored if pair[2] >= threshold)


def is_brute(found: Pairs, rows: np.ndarray, threshold: float) -> None:
    """The same pairs and scores, but for pairs that float64 sums in another order put elsewhere (1e-15)."""
    expected = {(i, j): score for i, j, score in brute(rows, threshold - 1e-14)}
    got = {(i, j): score for i, j, score in found}
    assert {pair for pair, score in expected.items() if score >= threshold + 1e-14} <= got.keys() <= expected.keys()
    assert all(score == pytest.approx(expected[pair], abs=1e-14) for pair, score in got.items())


@pytest.fixture(params=[1, 2, 7, 4096])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(vectors, "BLOCK", request.param)
    return int(request.param)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rows=CORNERS, threshold=THRESHOLDS)
def test_pairs_are_those_of_brute_force(rows: list[list[int]], threshold: float) -> None:
    given_rows = np.array(rows, float).reshape(-1, 3)
    found = {}
    for size in (1, 3, 4096):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "BLOCK", size)
            found[size] = near(given_rows, threshold)
    assert found[1] == found[3] == found[4096]  # to the last bit
    is_brute(found[1], given_rows, threshold)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(rows=CORNERS, threshold=THRESHOLDS, size=st.sampled_from([1, 2, 5, 4096]), window=st.integers(1, 9))
def test_nearest_is_the_best_and_the_earliest(rows: list[list[int]], threshold: float, size: int, window: int) -> None:
    """Adds and questions interleaved, in windows, with the greedy pass's two questions against one of all."""
    given_rows = np.array(rows, float).reshape(-1, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "BLOCK", size)
        kept, plain = Vectors(threshold), Vectors(threshold)
        for first in range(0, len(given_rows), window):
            some = given_rows[first : first + window]
            size_before, met = len(kept), kept.nearest_many(some)
            for row, before in zip(some, met, strict=True):
                since = kept.nearest_many(row[None], size_before)[0]
                either = max(filter(None, (before, since)), key=lambda one: (one[1], -one[0]), default=None)
                assert either == plain.nearest_many(row[None])[0]
                kept.add(row[None])
                plain.add(row[None])
        pairs = near(given_rows, threshold)
        for j, row in enumerate(given_rows):
            earlier = [(score, -i) for i, other, score in pairs if other == j]
            alone = Vectors(threshold)
            alone.add(given_rows[:j])
            expected = max(earlier) if earlier else None
            assert alone.nearest_many(row[None]) == [expected and (-expected[1], expected[0])]


def test_large_blocks_of_real_length(block: int) -> None:
    """Planted near pairs at many angles around the threshold, in 384 dimensions."""
    rng = np.random.default_rng(7)
    base = rng.standard_normal((60, 384))
    noise = rng.standard_normal((60, 384)) * np.linspace(0.05, 0.9, 60)[:, None]
    rows = np.concatenate([base, base + noise, base * 3.5]).astype(np.float32)
    found = near(rows, 0.9)
    is_brute(found, rows, 0.9)
    assert 60 < len(found) < 180
    assert {(i, i + 120) for i in range(60)} <= {(i, j) for i, j, _ in found}


def test_a_score_at_the_threshold_is_near_whatever_the_block() -> None:
    """Thousands of pairs within 1e-6 of the threshold: blocks of all shapes give one verdict for each."""
    rng = np.random.default_rng(3)
    axis, side = np.zeros(512), rng.standard_normal((400, 512))
    axis[0] = 1
    side[:, 0] = 0
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    angles = np.arccos(0.9 + np.linspace(-1e-6, 1e-6, 400))
    rows = np.cos(angles)[:, None] * axis + np.sin(angles)[:, None] * side
    verdicts = set()
    for size, window in ((4096, 400), (64, 33), (1, 400), (400, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "BLOCK", size)
            kept = Vectors(0.9)
            kept.add(axis[None])
            kept.add(-np.eye(512)[1:300])
            found = [kept.nearest_many(rows[first : first + window]) for first in range(0, 400, window)]
            verdicts.add(tuple(one for some in found for one in some))
    assert len(verdicts) == 1
    near_ = [one is not None for one in verdicts.pop()]
    assert 150 < sum(near_) < 250
    assert not any(near_[:150])
    assert all(near_[250:])


def test_equal_rows_are_exactly_one() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((50, 1023)).astype(np.float32)
    kept = Vectors(1.0)
    kept.add(rows)
    assert kept.nearest_many(rows) == [(n, 1.0) for n in range(50)]
    kept.add(rows)
    assert kept.nearest_many(rows) == [(n, 1.0) for n in range(50)]  # the earliest
    assert kept.nearest_many(rows, since=50) == [(n + 50, 1.0) for n in range(50)]
    assert kept.nearest_many(rows[3:4], since=54) == [None]


def test_no_score_is_above_one() -> None:
    """Rows that differ in the last bit of a small number: float64 puts one in twenty a bit above 1."""
    rows = unit(np.random.default_rng(0).standard_normal((500, 8)) * 10.0 ** -np.arange(8))
    other = rows.copy()
    other[:, 5:7] = np.nextafter(other[:, 5:7], np.float32(1))
    kept = Vectors(0.9)
    kept.add(rows)
    found = [one for one in kept.nearest_many(other) if one is not None]
    assert len(found) == 500
    assert max(score for _, score in found) == 1.0


def test_zeros_are_near_to_nothing() -> None:
    rows = np.zeros((3, 4))
    rows[1] = 1
    assert near(rows, 1e-9) == []
    kept = Vectors(1e-9)
    kept.add(rows)
    assert kept.nearest_many(rows) == [None, (1, 1.0), None]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_names_its_row(bad: float) -> None:
    rows = np.ones((5000, 300))
    rows[4711, 7] = bad
    with pytest.raises(UsageError, match=r"vector 4711 holds a value that is no number"):
        near(rows)
    with pytest.raises(UsageError, match="4711"):
        Vectors().nearest_many(rows)


def test_huge_and_tiny_numbers() -> None:
    rows = np.array([[3e300, 4e300], [3e-300, 4e-300], [4.0, -3.0]])
    assert near(rows, 0.9) == [(0, 1, 1.0)]
    assert near(np.array([[3e38, 3e38], [1e-45, 1e-45]], np.float32), 0.9) == [(0, 1, 1.0)]


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.0001, float("nan")])
def test_a_threshold_that_is_none(threshold: float) -> None:
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        Vectors(threshold)


@pytest.mark.parametrize("rows", [np.ones(3), np.ones((2, 0)), [["a"]], np.ones((1, 1, 1))])
def test_what_is_no_array_of_rows(rows: object) -> None:
    with pytest.raises(UsageError, match="rows of numbers are expected"):
        near(rows)  # type: ignore[arg-type]


def test_another_length_is_another_model() -> None:
    kept = Vectors()
    kept.add(np.ones((1, 3)))
    with pytest.raises(UsageError, match="vectors of 4 numbers where the others have 3"):
        kept.nearest_many(np.ones((1, 4)))
    assert kept.nearest_many(np.ones((0, 4))) == []


def test_the_level_hands_over_evidence() -> None:
    table = {"a": [1.0, 0.0], "b": [0.99, 0.1], "c": [0.0, 1.0], "none": [0.0, 0.0]}
    asked: list[str] = []

    def embed(texts: object) -> np.ndarray:
        asked.extend(texts)  # type: ignore[call-overload]
        return np.array([table[t] for t in texts], np.float32)  # type: ignore[attr-defined]

    level = Semantic(embed)
    assert level.nearest_many([]) == []
    assert level.nearest_many(["a", "b", "c", "none"]) == [None] * 4
    level.add("1", "a")
    met = level.nearest("b", since=0)
    assert met is not None
    assert (met.id, met.by, met.span) == ("1", "cosine", "a")
    assert met.score == pytest.approx(0.99 / np.hypot(0.99, 0.1), abs=1e-6)
    assert level.nearest("b", since=1) is None
    level.add("2", "none")
    level.add("3", "c")
    assert (len(level), level.nearest("none")) == (3, None)
    found = level.nearest_many(["c", "none"])
    assert (found[0] and found[0].id, found[1]) == ("3", None)
    assert asked == ["a", "b", "c", "none", "c", "none"]  # a window's texts are embedded once


def test_a_forecast_grows_with_the_square() -> None:
    seconds, size = forecast(200_000, 64)
    assert seconds > 0
    assert size == 200_000 * 64 * 4

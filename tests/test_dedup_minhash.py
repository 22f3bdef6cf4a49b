"""MinHash against an oracle that compares sets of tuples of words, and its file of signatures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.dedup import words
from synthgen.dedup.bands import Bands
from synthgen.dedup.minhash import MinHash, bands_and_rows, mean_recall, signatures
from synthgen.dedup.shingles import _tokens, shingles
from synthgen.errors import StoreError, UsageError

T = Fraction(8, 10)


def oracle(text: str) -> set[tuple[str, ...]]:
    tokens = words(text)
    if len(tokens) < 5:
        return {tuple(tokens)} if tokens else set()
    return {tuple(tokens[n : n + 5]) for n in range(len(tokens) - 4)}


def jaccard(a: str, b: str) -> Fraction:
    one, other = oracle(a), oracle(b)
    return Fraction(len(one & other), len(one | other)) if one and other else Fraction(0)


def index(texts: Sequence[str], threshold: Fraction = T) -> MinHash:
    """Entries whose ids are their places."""
    found = MinHash(lambda id_: texts[int(id_)], threshold)
    found.add_many((str(n), text) for n, text in enumerate(texts))
    return found


def grown(rng: Random, count: int, vocabulary: int = 400, size: int = 80) -> list[str]:
    return [" ".join(f"w{rng.randrange(vocabulary)}" for _ in range(rng.randint(5, size))) for _ in range(count)]


def edited(text: str, rng: Random, edits: int) -> str:
    """Words exchanged, dropped and doubled."""
    tokens = text.split()
    for _ in range(edits):
        at = rng.randrange(len(tokens))
        tokens[at : at + 1] = rng.choice([["new"], [], [tokens[at], "new"]])
        tokens = tokens or ["new"]
    return " ".join(tokens)


TEXTS = st.lists(st.text(alphabet="ab ,_C+5天地", max_size=40), min_size=1, max_size=8)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_words_of_any_text_are_the_words_of_this_room(texts: list[str]) -> None:
    hashes, counts = _tokens(texts)
    tokens = [words(text) for text in texts]
    assert counts.tolist() == [len(found) for found in tokens]
    names: dict[int, str] = {}
    for number, token in zip(hashes.tolist(), [t for found in tokens for t in found], strict=True):
        assert names.setdefault(number, token) == token
    assert len(set(names.values())) == len(names)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(TEXTS)
def test_shingles_are_those_of_the_oracle(texts: list[str]) -> None:
    hashes, counts = shingles(texts)
    parts = np.split(hashes, np.cumsum(counts)[:-1])
    for one, part in zip(texts, parts, strict=True):
        assert len(set(part.tolist())) == len(oracle(one))
        for other, others_part in zip(texts, parts, strict=True):
            assert len(set(part.tolist()) & set(others_part.tolist())) == len(oracle(one) & oracle(other))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2**32), min_size=2, max_size=30), st.sampled_from([3, 5, 6, 8, 9, 10]))
def test_what_is_found_is_near_by_the_oracle_with_its_score(seeds: list[int], tenths: int) -> None:
    threshold = Fraction(tenths, 10)
    texts: list[str] = []
    for seed in seeds:  # half of them near copies of an earlier one
        rng = Random(seed)
        old = rng.choice(texts) if texts and seed % 2 else ""
        texts.append(edited(old, rng, rng.randrange(6)) if old.split() else grown(rng, 1, vocabulary=30)[0])
    pool = MinHash(lambda id_: texts[int(id_)], threshold)
    for n, text in enumerate(texts):
        found = pool.near(text)
        scores = [jaccard(text, texts[int(near.id)]) for near in found]
        assert all(score >= threshold for score in scores)
        assert [near.score for near in found] == [float(score) for score in scores]
        assert [(-s, int(f.id)) for s, f in zip(scores, found, strict=True)] == sorted(
            (-s, int(f.id)) for s, f in zip(scores, found, strict=True)
        )
        assert pool.nearest(text) == (found[0] if found else None)
        if text in texts[:n]:
            assert found[0].score == 1.0
            assert int(found[0].id) == min(m for m in range(n) if oracle(texts[m]) == oracle(text))
        pool.add(str(n), text)


@pytest.mark.parametrize("hundredths", [30, 50, 70, 80, 90, 95])
def test_recall_over_planted_copies_of_every_jaccard_above_the_threshold(hundredths: int) -> None:
    """104 words are 100 shingles; other words from a place on leave 100 - k of 100 + k of them."""
    rng, threshold = Random(hundredths), Fraction(hundredths, 100)
    texts = [" ".join(f"w{rng.randrange(100_000)}" for _ in range(104)) for _ in range(2000)]
    copies = []
    for text in texts:
        aim = rng.uniform(hundredths / 100, 1)
        changed = int(100 * (1 - aim) / (1 + aim))
        copies.append(" ".join([*text.split()[: 104 - changed], *(f"new{n}" for n in range(changed))]))
    true = [n for n in range(2000) if jaccard(texts[n], copies[n]) >= threshold]
    assert len(true) == 2000
    answers = index(texts, threshold).nearest_many(copies)
    found = [n for n, near in enumerate(answers) if near is not None]
    # The mean of 2,000 such draws has a deviation of 0.3 points.
    assert len(found) / 2000 > mean_recall(threshold, *bands_and_rows(threshold)) - 0.009
    assert hundredths != 80 or len(found) >= 1960
    for n in found:
        near = answers[n]
        assert near is not None
        assert near.id == str(n)
        assert near.score == float(jaccard(texts[n], copies[n]))


def test_thresholds_choose_their_bands() -> None:
    assert bands_and_rows(T) == (14, 8)
    for hundredths in range(5, 101):
        threshold = Fraction(hundredths, 100)
        bands, rows = bands_and_rows(threshold)
        assert bands * rows <= 112
        assert mean_recall(threshold, bands, rows) >= 0.98
    table = [line.split() for line in (bands_and_rows.__doc__ or "").splitlines()]
    named = next(cells[1:] for cells in table if cells[:1] == ["threshold"])
    shown = next(cells[3:] for cells in table if cells[:1] == ["bands"])
    assert shown == ["{}x{}".format(*bands_and_rows(Fraction(name))) for name in named]


@pytest.mark.parametrize("threshold", [Fraction(0), Fraction(11, 10), Fraction(-1)])
def test_a_threshold_outside_is_refused(threshold: Fraction) -> None:
    with pytest.raises(UsageError, match="above 0"):
        MinHash(str, threshold)


def test_two_unrelated_short_texts_are_no_pair() -> None:
    texts = ["name three rivers", "bake rye bread", "hi", "你好", "a b c d", "a b c d e", "…", "", "😀"]
    pool = index(texts)
    assert len(pool) == len(texts)
    for n, text in enumerate(texts):
        assert [near.id for near in pool.near(text)] == ([str(n)] if words(text) else [])
    assert pool.nearest("three rivers name") is None
    assert pool.nearest("Name three RIVERS!") is not None
    assert pool.nearest_many(["", "hi", "?"])[1] is not None
    assert pool.nearest_many(["", "?"]) == [None, None]
    assert pool.nearest_many([]) == []


def test_chinese_with_one_character_of_sixty_exchanged_is_found() -> None:
    text = "请用简单的语言解释为什么天空看起来是蓝色的，并且说明在日出和日落的时候天空为什么会变成红色或者橙色，最后举一个生活中的例子来帮助读者理解"
    pool = index([text, "给出三个节约用水的办法"])
    near = pool.nearest(text.replace("例", "列"))
    assert near is not None
    assert (near.id, near.by, near.span) == ("0", "jaccard", text)
    assert near.score == float(jaccard(text, text.replace("例", "列")))


def test_since_hides_earlier_entries_and_the_earliest_of_equals_is_told() -> None:
    texts = ["one two three four five six", "other words than these are here", "one two three four five six"]
    pool = index(texts)
    assert [near.id for near in pool.near(texts[0])] == ["0", "2"]
    assert [near.id for near in pool.near(texts[0], since=1)] == ["2"]
    assert pool.nearest(texts[0], since=3) is None
    assert [near and near.id for near in pool.nearest_many(texts, since=1)] == ["2", "1", "2"]


def test_asking_and_adding_in_a_window_is_the_same_as_one_by_one() -> None:
    rng = Random(5)
    texts = grown(rng, 700, size=250)
    texts += [edited(rng.choice(texts), rng, 2) for _ in range(900)]
    rng.shuffle(texts)

    def kept(window: int) -> list[tuple[str, float] | None]:
        pool = MinHash(lambda id_: texts[int(id_)])
        verdicts: list[tuple[str, float] | None] = []
        for first in range(0, len(texts), window):
            now, size = texts[first : first + window], len(pool)
            for n, (text, early) in enumerate(zip(now, pool.nearest_many(now), strict=True), first):
                late = pool.nearest(text, since=size)
                near = max((x for x in (early, late) if x), key=lambda x: x.score, default=None)
                verdicts.append(near and (near.id, near.score))
                if near is None:
                    pool.add(str(n), text)
        return verdicts

    one_by_one = kept(1)
    assert kept(512) == one_by_one
    assert kept(37) == one_by_one
    assert 200 < sum(verdict is not None for verdict in one_by_one) < 1200


def test_batches_and_single_texts_have_the_same_signatures() -> None:
    texts = ["", "a", *grown(Random(1), 300), "x" * 200_000, " ".join(map(str, range(40_000))), "天地" * 40_000, "!"]
    together = signatures(texts)
    assert together.shape == (len(texts), 112)
    assert together.dtype == np.uint32
    pool = MinHash(str)
    for n in (0, 1, 2, 150, 301, 302, 303, 304, 305):
        assert (pool.signature(texts[n]) == together[n]).all()


def test_signatures_never_change_from_process_to_process() -> None:
    code = (
        "import hashlib; from synthgen.dedup.minhash import signatures as s;"
        "print(hashlib.sha256(s(['The quick brown fox jumps over', 'hi', '', '写一首诗吧好吗']).astype('<u4').tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = signatures(["The quick brown fox jumps over", "hi", "", "写一首诗吧好吗"])
    assert found == {hashlib.sha256(here.astype("<u4").tobytes()).hexdigest()}
    # Saved files hold these numbers: whoever changes them changes TOKENIZER or SEED too.
    assert here[0][:3].tolist() == PINNED


PINNED = [2868561044, 2016180519, 2416138343]


def test_equal_minima_estimate_the_jaccard() -> None:
    rng = Random(2)
    pairs = [(text, edited(text, rng, rng.randint(1, 8))) for text in grown(rng, 400, size=120)]
    one, other = signatures([a for a, _ in pairs]), signatures([b for _, b in pairs])
    errors = (one == other).mean(axis=1) - np.array([float(jaccard(a, b)) for a, b in pairs])
    # The deviation of a mean of 112 is 0.047 at most; of 400 of those means 0.0024.
    assert abs(errors.mean()) < 0.008
    assert np.sqrt((errors**2).mean()) < 0.047


def test_a_megabyte_is_hashed_in_pieces() -> None:
    rng = Random(3)
    long = " ".join(f"word{rng.randrange(50_000)}" for _ in range(110_000))
    assert len(long) > 1_000_000
    changed = long.replace("word7 ", "word8 ")
    texts = [long, "x" * 1_000_000, "天" * 1_000_000]
    pool = index(texts)
    near = pool.nearest(changed)
    assert near is not None
    assert near.score == float(jaccard(long, changed))
    assert len(near.span) <= 400
    assert pool.nearest("x" * 1_000_000) is not None
    assert pool.nearest("x" * 999_999) is None
    assert [found.id for found in pool.near("天" * 7)] == ["2"]


def test_bands_meet_exactly_the_rows_that_share_one() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 4, (3000, 6), np.uint32)
    bands = Bands(2, 3)
    keys = bands.keys(table)
    for n, key in enumerate(keys):
        bands.add(n, key)
    for since in (0, 1, 1500, 2990, 3000):
        asked, rows = bands.meet(keys[:40], since)
        expected = [
            (n, m)
            for n in range(40)
            for m in range(since, 3000)
            if (table[n, :3] == table[m, :3]).all() or (table[n, 3:] == table[m, 3:]).all()
        ]
        assert list(zip(asked.tolist(), rows.tolist(), strict=True)) == expected


def test_many_candidates_are_met_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.dedup.bands._MOST_CANDIDATES", 100)
    texts = ["the same words again and again in a row"] * 700
    pool = index(texts)
    assert [near and near.id for near in pool.nearest_many(texts[:20])] == ["0"] * 20
    assert len(pool.near(texts[0])) == 700


def test_sets_that_were_forgotten_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(6)
    texts = grown(rng, 60)
    texts += [edited(text, rng, 1) for text in texts]
    expected = [index(texts).near(text) for text in texts]
    monkeypatch.setattr("synthgen.dedup.sets._KEPT", 100)  # a row or two
    pool = index(texts)
    assert [pool.near(text) for text in texts] == expected
    assert sum(len(near) > 1 for near in expected) > 10


def test_texts_that_are_gone_and_ids_that_come_twice_break_nothing() -> None:
    texts = {"a": "one two three four five six", "b": "one two three four five six"}
    pool = MinHash(texts.__getitem__)
    pool.add_many([*texts.items(), *texts.items()])
    assert [near.id for near in pool.near(texts["a"])] == ["a", "b", "a", "b"]
    pool = MinHash(texts.__getitem__)
    pool.add_many(texts.items())
    texts["a"] = ""
    assert [near.id for near in pool.near(texts["b"])] == ["b"]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, list[str]]:
    texts = ["", *grown(Random(9), 5000, size=12), "写一首诗吧好吗"]
    index(texts).save(tmp_path / "signatures")
    return tmp_path / "signatures", texts


def test_what_was_saved_answers_the_same_after_loading(saved: tuple[Path, list[str]]) -> None:
    path, texts = saved
    fresh, loaded = index(texts), MinHash(lambda id_: texts[int(id_)])
    loaded.add("other", "is gone after loading")
    loaded.load(path)
    assert len(loaded) == len(texts)
    assert loaded.nearest_many(texts) == fresh.nearest_many(texts)
    loaded.save(path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["again", "signatures"]
    other = MinHash(lambda id_: texts[int(id_)], Fraction(9, 10))  # signatures fit any threshold
    other.load(path)
    assert other.nearest(texts[7]) is not None


def _header(change: dict[str, object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        first, rest = data.split(b"\n", 1)
        return json.dumps({**json.loads(first), **change}).encode() + b"\n" + rest

    return changed


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda data: data[:-1], "cut short"),
    "cut in the ids": (lambda data: data[:1000], "cut short"),
    "cut in the header": (lambda data: data[:30], "not a file of MinHash signatures"),
    "empty": (lambda data: b"", "not a file of MinHash signatures"),
    "too long": (lambda data: data + b"x", "longer"),
    "something else": (lambda data: b'{"instruction": "hi"}\n', "not a file of MinHash signatures"),
    "binary": (lambda data: bytes(range(256)) * 40, "not a file of MinHash signatures"),
    "other tokenizer": (_header({"tokenizer": "words 0"}), "tokenizer 'words 0'"),
    "other seed": (_header({"seed": 99}), "seed 99"),
    "other shingles": (_header({"n": 3}), "n 3"),
    "other permutations": (_header({"permutations": 128}), "permutations 128"),
    "no count": (_header({"rows": None}), "not a file of MinHash signatures"),
    "negative count": (_header({"rows": -1}), "not a file of MinHash signatures"),
    "ids that are none": (lambda data: data.replace(b'["0", "1"', b'["0", "1*'), "ids cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_does_not_fit_is_refused(
    case: tuple[Callable[[bytes], bytes], str], saved: tuple[Path, list[str]]
) -> None:
    path, texts = saved
    breaks, what = case
    path.write_bytes(breaks(path.read_bytes()))
    pool = index(texts[:3])
    with pytest.raises(UsageError, match=what) as told:
        pool.load(path)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)
    assert len(pool) == 3  # what was there is there


def test_a_missing_file_and_a_missing_folder(tmp_path: Path) -> None:
    pool = MinHash(str)
    with pytest.raises(UsageError, match="cannot read the signatures"):
        pool.load(tmp_path / "none")
    with pytest.raises(StoreError, match="cannot write the signatures"):
        pool.save(tmp_path / "none" / "signatures")
    pool.save(tmp_path / "empty")
    pool.load(tmp_path / "empty")
    assert len(pool) == 0


def test_edited_copies_of_real_questions_are_found(shared_data: Path) -> None:
    rng = Random(4)
    lines = (shared_data / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()[:2000]
    texts = ["{question}\n{answer}".format(**json.loads(line)) for line in lines]
    copies = []
    for text in texts:
        tokens = text.split(" ")
        tokens[rng.randrange(len(tokens))] = "exchanged"
        copies.append(" ".join(tokens))
    true = [n for n, (text, copy) in enumerate(zip(texts, copies, strict=True)) if jaccard(text, copy) >= T]
    answers = index(texts).nearest_many(copies)
    found = sum(near is not None and near.id == str(n) for n, near in enumerate(answers) if n in set(true))
    assert len(true) > 1900
    assert found / len(true) >= 0.99
    assert all(near is None or jaccard(copies[n], texts[int(near.id)]) >= T for n, near in enumerate(answers))

"""Texts become vectors: one answer a text, on disk before it is used, whatever the server does."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import command
import fake_embeddings
import numpy as np
import pytest
from aiohttp import web
from fake_embeddings import FakeEmbeddings, vector

from synthgen.backends import ModelSpec
from synthgen.backends.embeddings import MOST_TEXTS, decode
from synthgen.budget import Budget, Price
from synthgen.dedup.semantic import Semantic
from synthgen.embedding import Embedder, Embedding, EmbeddingWish
from synthgen.errors import (
    BackendError,
    BudgetSpent,
    NotAllowed,
    RequestRefused,
    StoreError,
    SynthgenError,
    UsageError,
)
from synthgen.speakers import Effort

TEXTS = [f"text number {n} about {'rivers' if n % 2 else 'stones'}" for n in range(300)]
QUICK = Effort(concurrency=4, retries=2, timeout_seconds=20)


@pytest.fixture(scope="module")
def shared_fake() -> Iterator[FakeEmbeddings]:
    with fake_embeddings.serving() as server:
        yield server


@pytest.fixture
def fake(shared_fake: FakeEmbeddings, monkeypatch: pytest.MonkeyPatch) -> FakeEmbeddings:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key")
    shared_fake.reset()
    return shared_fake


Wish = Callable[..., EmbeddingWish]


@pytest.fixture
def wish(fake: FakeEmbeddings, tmp_path: Path) -> Wish:
    def made(name: str | None = "fake-embed", **more: Any) -> EmbeddingWish:
        spec = ModelSpec(name, (fake.base_url,), embeds=True)
        return EmbeddingWish(**{"spec": spec, "store": tmp_path / "embeddings.sqlite", "effort": QUICK, **more})

    return made


def embed(wish: EmbeddingWish, texts: Sequence[str]) -> tuple[np.ndarray, Embedder]:
    with Embedding(wish, print) as embedding:
        return embedding(texts), embedding.embedder


def is_theirs(rows: np.ndarray, texts: Iterable[str], dimensions: int = fake_embeddings.DIMENSIONS) -> None:
    assert np.array_equal(rows, np.stack([vector(text, dimensions) for text in texts]))  # to the last bit


def test_each_text_is_asked_once_and_has_its_vector(fake: FakeEmbeddings, wish: Wish) -> None:
    rows, embedder = embed(wish(), [*TEXTS, *TEXTS[:50]])
    is_theirs(rows, [*TEXTS, *TEXTS[:50]])
    assert [fake.asked[text] for text in TEXTS] == [1] * len(TEXTS)
    assert max(fake.sizes) == MOST_TEXTS
    assert embedder.paid.texts == len(TEXTS) + 1  # the first question is whether it embeds at all
    assert embedder.paid.tokens == sum(len(t.split()) for t in TEXTS) + 1
    assert (embedder.model, embedder.dimensions) == ("fake-embed", 64)
    assert fake.headers[0]["Authorization"] == "Bearer sk-test-key"


def test_what_is_stored_needs_no_server(fake: FakeEmbeddings, wish: Wish, tmp_path: Path) -> None:
    embed(wish(), TEXTS)
    requests = fake.requests
    nobody = ModelSpec("fake-embed", ("http://127.0.0.1:1/v1",), embeds=True)
    rows, embedder = embed(wish(spec=nobody), TEXTS)
    is_theirs(rows, TEXTS)
    assert (fake.requests, embedder.paid.requests, embedder.paid.stored) == (requests, 0, len(TEXTS))
    bytes_each = (tmp_path / "embeddings.sqlite").stat().st_size / len(TEXTS)
    assert bytes_each < 2 * 4 * fake_embeddings.DIMENSIONS  # bytes, not text


def test_another_model_has_its_own_vectors(fake: FakeEmbeddings, wish: Wish) -> None:
    embed(wish(), TEXTS[:10])
    fake.models, fake.dimensions = ["other"], 16
    rows, _ = embed(wish("other"), TEXTS[:10])
    is_theirs(rows, TEXTS[:10], 16)
    assert fake.asked[TEXTS[0]] == 2


def test_the_one_model_that_is_served_needs_no_name(fake: FakeEmbeddings, wish: Wish) -> None:
    rows, embedder = embed(wish(None), TEXTS[:3])
    is_theirs(rows, TEXTS[:3])
    assert embedder.model == "fake-embed"


def test_a_server_that_knows_no_base64(fake: FakeEmbeddings, wish: Wish) -> None:
    fake.takes_base64 = False
    rows, embedder = embed(wish(), TEXTS)
    is_theirs(rows, TEXTS)
    assert fake.requests <= embedder.paid.requests + 4  # what was in flight when it was learned


def test_a_server_that_takes_fewer_texts_at_once(fake: FakeEmbeddings, wish: Wish) -> None:
    fake.most_texts = 24
    texts = [f"{n} of a thousand" for n in range(1000)]
    rows, embedder = embed(wish(effort=Effort(concurrency=1)), texts)
    is_theirs(rows, texts)
    assert fake.requests - embedder.paid.requests <= 6  # those that were under way, and their first halves
    assert embedder.paid.refused == 0


def test_vectors_out_of_order_or_without_an_index(fake: FakeEmbeddings, wish: Wish, tmp_path: Path) -> None:
    fake.shape = lambda payload: payload["data"].reverse()
    is_theirs(embed(wish(), TEXTS)[0], TEXTS)

    def without(payload: dict[str, Any]) -> None:
        for entry in payload["data"]:
            del entry["index"]

    fake.shape = without
    is_theirs(embed(wish(store=tmp_path / "two.sqlite"), TEXTS)[0], TEXTS)


def test_faults_that_pass(fake: FakeEmbeddings, wish: Wish) -> None:
    faults = {
        2: fake_embeddings.error(429, "slow down", **{"Retry-After": "0.05"}),
        3: fake_embeddings.error(500, "oops"),
        5: web.Response(status=503),
    }
    fake.twist = lambda number: faults.pop(number, None)
    rows, _ = embed(wish(), TEXTS)
    is_theirs(rows, TEXTS)
    assert faults == {}
    assert set(fake.asked.values()) == {1}


def test_an_answer_that_is_not_whole_is_asked_again(fake: FakeEmbeddings, wish: Wish) -> None:
    spoilt = []

    def spoil(payload: dict[str, Any]) -> None:
        if len(payload["data"]) > 1 and not spoilt:
            spoilt.append(payload["data"].pop())

    fake.shape = spoil
    is_theirs(embed(wish(), TEXTS[:64])[0], TEXTS[:64])
    assert spoilt


def test_answers_that_are_never_whole_end_it_and_nothing_is_lost(fake: FakeEmbeddings, wish: Wish) -> None:
    def spoil(payload: dict[str, Any]) -> None:
        if len(payload["data"]) == len(TEXTS) % MOST_TEXTS:
            payload["data"].pop()

    fake.shape = spoil
    said = r"no embeddings \(the server answered 12 texts with 11 embeddings\); .* the same command goes on"
    with pytest.raises(BackendError, match=said):
        embed(wish(), TEXTS)
    fake.reset()
    is_theirs(embed(wish(), TEXTS)[0], TEXTS)
    assert sum(fake.asked.values()) == len(TEXTS) % MOST_TEXTS


def test_a_text_that_is_refused_does_not_take_others_with_it(fake: FakeEmbeddings, wish: Wish) -> None:
    long = "word " * (fake_embeddings.CONTEXT_WORDS + 1)
    texts = [*TEXTS[:100], long, "", " \n", "\ud800", *TEXTS[100:], "NAN here"]
    with Embedding(wish(), print) as embedding:
        rows = embedding(texts)
        again = embedding(texts)
    good = [n for n, text in enumerate(texts) if text in TEXTS]
    assert np.array_equal(rows, again)
    is_theirs(rows[good], TEXTS)
    assert not rows[[n for n in range(len(texts)) if n not in good]].any()
    paid = embedding.embedder.paid
    assert paid.refused == 2
    assert paid.first_refused.startswith(("word word word", "NAN here: the model's embedding"))
    assert [fake.asked[text] for text in TEXTS[:100]] == [1] * 100


def test_a_model_of_another_length_under_the_same_name(fake: FakeEmbeddings, wish: Wish, tmp_path: Path) -> None:
    embed(wish(), TEXTS[:5])
    fake.dimensions = 32
    with pytest.raises(NotAllowed, match="gives 32 numbers a text, but gave 64 before: another model under one name"):
        embed(wish(), TEXTS[:9])
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        assert {len(body) for (body,) in db.execute("select body from vector")} == {4 * 64}
    db.close()


def test_a_server_that_makes_no_embeddings(fake: FakeEmbeddings, wish: Wish) -> None:
    fake.twist = lambda number: web.json_response({"detail": "Not Found"}, status=404)
    with pytest.raises(NotAllowed, match=r"makes no embeddings \(HTTP 404\).*correct --embedding-base-url"):
        embed(wish(), TEXTS)
    fake.twist = lambda number: fake_embeddings.error(400, "The model does not support Embeddings API")
    with pytest.raises(NotAllowed, match="fake-embed makes no embeddings: HTTP 400: The model does not support"):
        embed(wish(), TEXTS)
    fake.twist = lambda number: fake_embeddings.error(401, "no such key sk-test-key")
    with pytest.raises(NotAllowed, match=r"does not accept the API key \(HTTP 401: no such key \*\*\*\)"):
        embed(wish(), TEXTS)


def test_names_of_options_are_those_of_this_model(fake: FakeEmbeddings, wish: Wish) -> None:
    with pytest.raises(NotAllowed, match="does not serve fake-embad; did you mean fake-embed"):
        embed(wish("fake-embad"), TEXTS)
    fake.models = ["one", "two"]
    with pytest.raises(UsageError, match="choose one with --embedding-model"):
        embed(wish(None), TEXTS)
    nobody = ModelSpec("x", ("http://127.0.0.1:1/v1",), embeds=True)
    with pytest.raises(NotAllowed, match=r"no server answers at .*; start one or correct --embedding-base-url"):
        embed(wish(spec=nobody), TEXTS)
    for name in ("embedded", "vllm:/models/x"):
        with pytest.raises(UsageError, match=f"--embedding-model {name}: makes no embeddings"):
            embed(wish(spec=ModelSpec(name, embeds=True)), TEXTS)
    with pytest.raises(UsageError, match="--embedding-model x: where is it served"):
        embed(wish(spec=ModelSpec("x", embeds=True)), TEXTS)


def test_a_budget_ends_it_and_the_next_command_goes_on(fake: FakeEmbeddings, wish: Wish) -> None:
    texts = [f"{n} " + "word " * 50 for n in range(1000)]
    price = Price(1.0, 0.0)
    with pytest.raises(BudgetSpent, match="of 20,000 tokens"):
        embed(wish(budget=Budget(tokens=20_000), price=price), texts)
    first = sum(fake.asked.values())
    assert 20_000 / 51 - MOST_TEXTS <= first <= 20_000 / 51 + 2 * MOST_TEXTS
    rows, embedder = embed(wish(price=price), texts)
    is_theirs(rows, texts)
    assert set(fake.asked.values()) == {1}
    assert embedder.paid.usd == pytest.approx(embedder.paid.tokens / 1e6)


def test_tokens_are_estimated_where_the_server_counts_none(fake: FakeEmbeddings, wish: Wish) -> None:
    fake.shape = lambda payload: payload.pop("usage")
    _, embedder = embed(wish(), TEXTS)
    assert 0.5 < embedder.paid.tokens / sum(len(t) / 4 for t in TEXTS) < 2


def test_long_texts_share_no_request(fake: FakeEmbeddings, wish: Wish) -> None:
    texts = [f"{n} " + "x" * 30_000 for n in range(8)]
    is_theirs(embed(wish(), texts)[0], texts)
    assert max(fake.sizes) <= 2


def test_the_level_over_a_server(fake: FakeEmbeddings, wish: Wish) -> None:
    with Embedding(wish(), print) as embedding:
        level = Semantic(embedding, 0.8)
        level.add("a:1", "name three rivers that cross a border")
        met = level.nearest_many(["name three rivers that cross a border please", "bake bread", "three rivers"])
        same = level.nearest("name three rivers that cross a border")
    assert [one and one.id for one in met] == ["a:1", None, None]
    assert same is not None
    assert same.score == 1.0


def test_stores_that_cannot_be_used(fake: FakeEmbeddings, wish: Wish, tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database at all" * 100)
    with pytest.raises(StoreError, match=r"text\.sqlite: no store of embeddings"):
        embed(wish(store=tmp_path / "text.sqlite"), TEXTS)
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("create table meta(name)")
    db.close()
    with pytest.raises(StoreError, match="no store of embeddings; move it away"):
        embed(wish(store=tmp_path / "other.sqlite"), TEXTS)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        embed(wish(store=tmp_path / "file" / "e.sqlite"), TEXTS)
    embed(wish(), TEXTS[:2])
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as db:
        db.execute("update meta set value = 99")
    db.close()
    with pytest.raises(StoreError, match=r"written by another version \(schema 99"):
        embed(wish(), TEXTS)


def test_two_at_once_on_one_store(fake: FakeEmbeddings, wish: Wish) -> None:
    async def both() -> tuple[np.ndarray, np.ndarray]:
        one, two = Embedder(wish(), print), Embedder(wish(), print)
        try:
            return tuple(await asyncio.gather(one.vectors(TEXTS), two.vectors(TEXTS[::-1])))  # type: ignore[return-value]
        finally:
            for embedder in (one, two):
                await embedder.aclose()
                embedder.close()

    first, second = asyncio.run(both())
    is_theirs(first, TEXTS)
    is_theirs(second, TEXTS[::-1])


KILLED = """
import sys
from pathlib import Path
from synthgen.backends import ModelSpec
from synthgen.embedding import Embedding, EmbeddingWish
from synthgen.speakers import Effort
texts = [f"killed {n} times" for n in range(2000)]
wish = EmbeddingWish(ModelSpec("fake-embed", (sys.argv[1],), embeds=True), Path(sys.argv[2]), Effort(concurrency=4))
with Embedding(wish, print) as embedding:
    embedding(texts)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_asks_nothing_again(fake: FakeEmbeddings, wish: Wish, tmp_path: Path, sign: int) -> None:
    fake.hangs_after = 12
    store = tmp_path / "embeddings.sqlite"
    started = subprocess.Popen(
        [sys.executable, "-c", KILLED, fake.base_url, str(store)], env=command.environment(), stderr=subprocess.PIPE
    )
    assert fake.hanging.wait(60)
    with sqlite3.connect(store) as db:  # what was answered is on disk before the next is sent, but for four in flight
        assert db.execute("select count(*) from vector").fetchone()[0] >= sum(fake.asked.values()) - 4 * MOST_TEXTS
    db.close()
    os.kill(started.pid, sign)
    started.communicate(timeout=60)
    fake.hangs_after = None
    texts = [f"killed {n} times" for n in range(2000)]
    is_theirs(embed(wish(), texts)[0], texts)
    twice = [text for text, times in fake.asked.items() if times > 1]
    assert len(twice) <= 4 * MOST_TEXTS  # in flight when it died
    assert sum(fake.asked.values()) <= 2001 + 4 * MOST_TEXTS


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, BackendError),
        ({"data": "x"}, BackendError),
        ({"data": [{"embedding": [1.0]}]}, BackendError),
        ({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, BackendError),
        ({"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, BackendError),
        ({"data": [{"embedding": []}, {"embedding": []}]}, BackendError),
        ({"data": [{"embedding": "!!"}, {"embedding": "!!"}]}, BackendError),
        ({"data": [{"embedding": "AAA="}, {"embedding": "AAA="}]}, BackendError),
        ({"data": [{"embedding": None}, {"embedding": [1.0]}]}, BackendError),
        ({"data": [{"embedding": [[1.0]]}, {"embedding": [[1.0]]}]}, BackendError),
        ({"data": [{"embedding": ["x"]}, {"embedding": [1.0]}]}, BackendError),
        ({"data": [{"embedding": [None]}, {"embedding": [1.0]}]}, RequestRefused),
        ({"data": [{"embedding": [0.0]}, {"embedding": [1.0]}]}, RequestRefused),
        ({"data": [{"embedding": [1e300]}, {"embedding": [1.0]}]}, RequestRefused),
        ({"data": [{"embedding": "AADAfw=="}, {"embedding": [1.0]}]}, RequestRefused),
    ],
)
def test_payloads_that_are_none(payload: dict[str, Any], error: type[SynthgenError]) -> None:
    with pytest.raises(error) as raised:
        decode(payload, 2)
    assert type(raised.value) is error


def test_a_signal_in_the_step_of_a_task_is_told_once(wish: Wish, caplog: pytest.LogCaptureFixture) -> None:
    async def step() -> None:
        sys.exit(143)

    async def vectors(texts: Sequence[str]) -> Any:
        await asyncio.wait([asyncio.create_task(step())])

    embedding = Embedding(wish(), print)
    embedding.embedder.vectors = vectors  # type: ignore[method-assign]
    with pytest.raises(SystemExit), embedding:
        embedding(["a"])
    gc.collect()  # when asyncio tells of what nobody asked for
    assert not caplog.records

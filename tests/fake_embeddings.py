"""A fake `/v1/embeddings`: the vector of a text is the sum of those of its words, so shared words make a high cosine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
from aiohttp import web
from faulty import threaded

DIMENSIONS = 64
CONTEXT_WORDS = 200


def vector(text: str, dimensions: int = DIMENSIONS) -> np.ndarray:
    """What the server gives for a text, float32."""
    total = np.zeros(dimensions)
    for word in text.casefold().split() or [""]:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        total += np.random.default_rng(seed).standard_normal(dimensions)
    return total.astype(np.float32)


class FakeEmbeddings:
    """`twist(number)` may answer the request of that number, counted from 1; `shape` alters the payload of one."""

    def __init__(self) -> None:
        self.base_url = ""
        self.reset()

    def reset(self) -> None:
        self.models = ["fake-embed"]
        self.takes_base64 = True
        self.most_texts = 2048
        self.dimensions = DIMENSIONS
        self.twist: Callable[[int], web.Response | None] = lambda number: None
        self.shape: Callable[[dict[str, Any]], None] = lambda payload: None
        self.hangs_after: int | None = None  # requests
        self.hanging = threading.Event()
        self.requests = 0
        self.sizes: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.asked: Counter[str] = Counter()  # texts that were answered

    async def list_models(self, request: web.Request) -> web.Response:
        entries = [{"id": name, "object": "model", "max_model_len": CONTEXT_WORDS} for name in self.models]
        return web.json_response({"data": entries})

    async def embed(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.requests += 1
        self.headers.append(dict(request.headers))
        if self.hangs_after is not None and self.requests > self.hangs_after:
            self.hanging.set()
            await asyncio.sleep(3600)
        twisted = self.twist(self.requests)
        return twisted or self._refusal(body) or self._answer(body)

    def _refusal(self, body: dict[str, Any]) -> web.Response | None:
        if "encoding_format" in body and not self.takes_base64:
            return error(400, "Unrecognized request argument supplied: encoding_format")
        if not all(text.strip() for text in body["input"]):
            return error(400, "The decoder prompt cannot be empty")
        if len(body["input"]) > self.most_texts:
            return error(413, f"batch size {len(body['input'])} > maximum allowed batch size {self.most_texts}")
        longest = max(len(text.split()) for text in body["input"])
        if longest > CONTEXT_WORDS:
            return error(400, f"This model's maximum context length is {CONTEXT_WORDS} tokens")
        return None

    def _answer(self, body: dict[str, Any]) -> web.Response:
        self.sizes.append(len(body["input"]))
        self.asked.update(body["input"])
        rows = [vector(text, self.dimensions) for text in body["input"]]
        for row, text in zip(rows, body["input"], strict=True):
            if "NAN" in text:
                row[0] = np.nan
        if body.get("encoding_format") == "base64":
            values: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
        else:
            values = [row.tolist() for row in rows]
        data = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(values)]
        used = sum(len(text.split()) for text in body["input"])
        payload = {"object": "list", "data": data, "usage": {"prompt_tokens": used, "total_tokens": used}}
        self.shape(payload)
        return web.Response(body=orjson.dumps(payload), content_type="application/json")

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/embeddings", self.embed)
        return app


def error(status: int, message: str, **headers: str) -> web.Response:
    body = {"error": {"message": message, "type": "FakeError", "param": None, "code": status}}
    return web.json_response(body, status=status, headers=headers)


@contextmanager
def serving() -> Iterator[FakeEmbeddings]:
    """One on a loop of its own, in a thread, until the end of the block."""
    with threaded(FakeEmbeddings()) as server:
        yield server

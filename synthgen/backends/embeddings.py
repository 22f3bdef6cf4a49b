"""Embeddings over HTTP: many texts in one request to `/v1/embeddings`, a vector for each of them back."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from yarl import URL

from synthgen.backends import wire
from synthgen.backends.http import Http, payload_of, refusal
from synthgen.errors import BackendError, NotAllowed, RequestRefused
from synthgen.types import Completion, Embeddings, Gauge, Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_TEXTS = 32  # a request: what the smallest servers take; a window of 512 rows fills the 16 places of a start
_COMPACT = b',"encoding_format":"base64"}'  # a third of the bytes, and the server's float32 to the last bit


class EmbeddingServer(Http):
    """A `Backend` whose requests are of kind `embed`."""

    _compact = True

    async def complete(self, request: Request) -> Completion:
        """`Embeddings`, one vector a text."""
        url = URL(f"{self.base_url}/embeddings")
        while True:
            compact = self._compact
            answer = await self._ask("POST", url, request.body[:-1] + _COMPACT if compact else request.body)
            if answer.status == 200:
                return decode(payload_of(*answer, "data", hide=self._key), len(request.texts))
            said = wire.fault(answer.body)
            if compact and answer.status in (400, 422) and "encoding_format" in f"{said.param} {said.message}":
                self._compact = False
            elif answer.status in (404, 405, 501) and "model" not in said.message.lower():
                raise NotAllowed(
                    f"{self.base_url} makes no embeddings (HTTP {answer.status}); give a server that does "
                    "(vLLM: --runner pooling), or correct --base-url"
                )
            else:
                raise refusal(*answer, hide=self._key)

    async def gauge(self) -> Gauge | None:
        """In requests, as the pool counts: the server's gauge counts texts."""
        found = await super().gauge()
        return found and Gauge(found.running / MOST_TEXTS, found.waiting / MOST_TEXTS)


def encode(model: str, texts: Sequence[str]) -> bytes:
    """Canonical JSON of a request. Raises RequestRefused for what JSON cannot carry, such as a lone surrogate."""
    try:
        return orjson.dumps({"input": list(texts), "model": model}, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise RequestRefused(f"the text cannot be written as JSON: {error}") from None


def decode(payload: Mapping[str, Any], count: int) -> Embeddings:
    """The vectors in the order of the texts, in whatever order they came. Raises BackendError for less than all."""
    data = payload.get("data")
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    if len(entries) != count:
        raise BackendError(f"the server answered {count} texts with {len(entries)} embeddings")
    places = [entry.get("index", place) for place, entry in enumerate(entries)]
    if sorted(p for p in places if isinstance(p, int)) != list(range(count)):
        raise BackendError("the server's embeddings do not say which text each belongs to")
    vectors = [_vector(entry.get("embedding")) for _, entry in sorted(zip(places, entries, strict=True), key=_place)]
    if len({len(vector) for vector in vectors}) > 1:
        raise BackendError("the server answered with embeddings of different lengths")
    usage = payload.get("usage")
    used = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    counted = used if isinstance(used, int) and not isinstance(used, bool) and used >= 0 else None
    return Embeddings("", prompt_tokens=counted, completion_tokens=0, vectors=tuple(vectors))


def check_meaning(rows: NDArray[np.float32]) -> None:
    """Raises RequestRefused when a row, shape (n, d), has no direction: it would be near to nothing, silently."""
    if not np.isfinite(rows).all():
        raise RequestRefused("the model's embedding of a text holds NaN or infinite numbers")
    if not rows.any(axis=1).all():
        raise RequestRefused("the model's embedding of a text is all zeros")


def _place(pair: tuple[int, Any]) -> int:
    return pair[0]


def _vector(value: Any) -> bytes:
    """Numbers, or base64 of float32, as the bytes of float32.

    Raises RequestRefused for what means nothing, as the texts beside it may have better ones.
    """
    try:
        with np.errstate(over="ignore"):
            text = isinstance(value, str)
            row = np.frombuffer(base64.b64decode(value, validate=True), "<f4") if text else np.asarray(value, "<f4")
    except (TypeError, ValueError):  # binascii.Error is one
        row = np.zeros(0, "<f4")
    if row.ndim != 1 or not len(row):
        raise BackendError("the server's embeddings are neither numbers nor base64 of float32")
    check_meaning(row[None])
    return row.tobytes()

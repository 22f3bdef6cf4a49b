"""What a server tells beside its answers: how much it has to do (/metrics), whether it is there at all (/health)."""

from __future__ import annotations

import re
from errno import ECONNREFUSED
from typing import Protocol

from synthgen.errors import BackendError
from synthgen.types import Gauge

SIDE_SECONDS = 5.0
ENGINE_DEAD = "EngineCore encountered an issue"  # vLLM: the API process outlives its engine for some seconds
# One line an engine; the numbers that are meant end here, histograms of longer names follow.
_GAUGES = re.compile(rb"^vllm:num_requests_(running|waiting)(?:\{[^}\n]*\})? +([0-9.eE+]+)", re.MULTILINE)


class _Answer(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def body(self) -> bytes: ...


class SideDoors:
    """`gauge` and `healthy` of a backend that can GET; both are at the server's root, above /v1."""

    base_url: str

    async def _ask(self, method: str, url: str, body: bytes = b"", seconds: float = 0) -> _Answer:
        raise NotImplementedError

    async def gauge(self) -> Gauge | None:
        """Requests that run and that wait, of all engines; None where this server does not tell."""
        answer = await self._ask("GET", self._root("/metrics"), seconds=SIDE_SECONDS)
        return read_gauge(answer.body) if answer.status == 200 else None

    async def healthy(self) -> bool | None:
        """False where the port refuses or the engine is dead (503), None where there is no /health."""
        try:
            answer = await self._ask("GET", self._root("/health"), seconds=SIDE_SECONDS)
        except BackendError as error:
            return not refused(error.__cause__)
        return None if answer.status in (404, 405, 501) else answer.status != 503

    def _root(self, path: str) -> str:
        return re.sub(r"/v\d+$", "", self.base_url) + path


def read_gauge(text: bytes) -> Gauge | None:
    """vLLM's gauges in the text format of Prometheus; None where they are not there."""
    sums: dict[bytes, float] = {}
    for name, value in _GAUGES.findall(text):
        try:
            sums[name] = sums.get(name, 0.0) + float(value)
        except ValueError:
            return None
    return Gauge(sums[b"running"], sums[b"waiting"]) if len(sums) == 2 else None


def refused(error: BaseException | None) -> bool:
    """Whether nobody listens on that port; a host with several addresses refuses on each of them."""
    return isinstance(error, OSError) and (
        error.errno == ECONNREFUSED or f"[Errno {ECONNREFUSED}]" in str(error) or "refused" in str(error).lower()
    )

"""Embeddings for a mix, which works in a thread: made on the job's own loop, by its servers, within its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import TYPE_CHECKING

from synthgen.budget import Budget
from synthgen.embedding import STORE, Embedder, EmbeddingWish
from synthgen.jobs.mixing import StoppedError
from synthgen.jobs.plan import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Meaning:
    """What the level `semantic` calls. Nothing is opened or started before a text is asked for."""

    def __init__(
        self,
        model: Model,
        base_urls: Callable[[], Awaitable[tuple[str, ...]]],
        budget: Budget | None,
        note: Callable[[str], None],
    ) -> None:
        """`base_urls`: where the model is served, once it is. To be made on the job's loop."""
        self._model, self._base_urls, self._budget, self._note = model, base_urls, budget, note
        self._loop = asyncio.get_running_loop()
        self._embedder: Embedder | None = None
        self._asked: Future[NDArray[np.float32]] | None = None
        self._working: asyncio.Task[object] | None = None
        self._stopped = False

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """From the mix's thread. Raises StoppedError."""
        if self._stopped:
            raise StoppedError("interrupted; the same command continues")
        self._asked = asyncio.run_coroutine_threadsafe(self._vectors(texts), self._loop)
        if self._stopped:  # in between
            self._asked.cancel()
        try:
            return self._asked.result()
        except CancelledError:
            raise StoppedError("interrupted; the same command continues") from None

    def stop(self) -> None:
        """From the loop's thread: what is under way ends, and nothing is asked any more."""
        self._stopped = True
        if self._asked is not None:
            self._asked.cancel()

    async def aclose(self) -> None:
        """Says what was asked and paid."""
        self.stop()
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        if self._embedder is not None:
            await self._embedder.aclose()
            self._embedder.close()
            for line in self._embedder.account():
                self._note(line)

    async def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._working = asyncio.current_task()
        if self._embedder is None:
            urls = await self._base_urls()
            spec = replace(self._model.spec, base_urls=urls)
            self._embedder = Embedder(
                EmbeddingWish(spec, STORE, price=self._model.price, budget=self._budget), self._note
            )
        return await self._embedder.vectors(texts)

"""OpenAI's Batch API: a file goes up, a batch is created under a name of ours, and two files come back within a day."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from random import uniform
from typing import TYPE_CHECKING, TypeVar

from synthgen.backends import Note
from synthgen.backends.batch import Ended, Entry, lines
from synthgen.backends.batch.lines import Line
from synthgen.backends.openai_api import Account, listed
from synthgen.backends.wire import one_line
from synthgen.errors import BackendError, NotAllowed
from synthgen.types import Capabilities

if TYPE_CHECKING:
    from openai.types import Batch

T = TypeVar("T")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PAUSE_GROWTH = 0.5, 60.0, 1.3
_RUNNING = ("validating", "in_progress", "finalizing", "cancelling")
_WHY = {"expired": "it expired before its end", "cancelled": "it was cancelled", "completed": "it ended without them"}
# A batch that was being created when its client was killed may be listed a moment later.
LOOK_AGAIN_SECONDS = 3.0
KEPT_SECONDS = 30 * 86_400  # files of batches are deleted then
CLOCK_SECONDS = 3600  # by which our clock and theirs may differ
SURE_BATCHES = 500  # that are looked at whatever the clocks say: one that is missed is paid again


class OpenAIBatches:
    """A way for `Batch`. Where a server does not answer it is asked again for as long as it takes."""

    chats_only = False

    def __init__(self, account: Account, model: str, note: Note) -> None:
        self.name, self.model, self.strict = f"batches of {model} at {account.url}", model, account.strict
        self._account, self._client, self._note = account, account.client, note

    async def probe(self) -> Capabilities:
        """Ask the server once what it has. Raises NotAllowed where no request could succeed."""
        return listed(self._account, self.model, await self._account.models())

    async def submit(self, entry: Entry, file: bytes) -> str:
        upload = f"{entry.name}.jsonl", file, "application/jsonl"
        uploaded = await self._lasting(lambda: self._client.files.create(file=upload, purpose="batch"))

        async def create() -> str:
            batch = await self._client.batches.create(
                completion_window="24h",
                endpoint=entry.state["url"],
                input_file_id=uploaded.id,
                metadata={"synthgen": entry.name},
            )
            return batch.id

        while True:  # never twice: where the answer was lost, the batch may be there
            try:
                return await self._asked(create)
            except BackendError as error:
                if error.fate != "retry":
                    raise
                await asyncio.sleep(max(error.retry_after_seconds or 0.0, uniform(0.5, 1.5)))
            found = await self.find(entry)
            if found is not None:
                return found

    async def find(self, entry: Entry) -> str | None:
        found = await self._lasting(lambda: self._listed(entry))
        if found is None:  # lists may lag
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            found = await self._lasting(lambda: self._listed(entry))
        return found

    async def _listed(self, entry: Entry) -> str | None:
        seen = 0
        async for batch in self._newest():
            if (batch.metadata or {}).get("synthgen") == entry.name:
                return batch.id
            seen += 1
            if seen >= SURE_BATCHES and batch.created_at < entry.state["created"] - CLOCK_SECONDS:
                return None
        return None

    async def _newest(self) -> AsyncIterator[Batch]:
        async for batch in self._client.batches.list(limit=100):
            yield batch

    async def wait(self, entry: Entry) -> Ended:
        """Ask how it goes, ever more rarely, until it has ended; then its two files."""
        pause, said = FIRST_PAUSE_SECONDS, ""
        while True:
            batch = await self._look(entry)
            if batch is None:
                return Ended(why="it is no longer kept")
            if batch.status not in _RUNNING:
                return await self._ended(batch)
            now = _progress(batch)
            if now != said:
                self._note(now)
                said = now
            await asyncio.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)

    async def _look(self, entry: Entry) -> Batch | None:
        try:
            return await self._lasting(lambda: self._client.batches.retrieve(entry.shown))
        except NotAllowed as error:
            if "404" in str(error):
                if time.time() - entry.state["created"] > KEPT_SECONDS:
                    return None
                raise NotAllowed(f"{entry.shown} is not known to this key; use the one that created it") from error
            raise

    async def _ended(self, batch: Batch) -> Ended:
        if batch.status == "failed":
            return self._failed(batch)
        answers: dict[str, Line] = {}
        for file_id in (batch.error_file_id, batch.output_file_id):
            if file_id:
                path = f"/files/{file_id}/content"
                raw = await self._lasting(lambda path=path: self._client.get(path, cast_to=bytes))  # type: ignore[misc]
                answers.update(lines.read(raw))
        return Ended(answers, _WHY.get(batch.status, batch.status), again=batch.status != "cancelled")

    def _failed(self, batch: Batch) -> Ended:
        """Refused as a whole, before anything was asked. Raises NotAllowed with the first reason."""
        errors = (batch.errors and batch.errors.data) or []
        if any(error.code == "token_limit_exceeded" for error in errors):
            return Ended(why="more tokens than may wait at once: in halves, one after the other", too_large=True)
        first = errors[0] if errors else None
        where = f" (line {first.line})" if first is not None and first.line is not None else ""
        said = one_line((first and (first.message or first.code)) or "no reason given")
        raise NotAllowed(f"{batch.id} was refused: {said[:300]}{where}")

    def leave(self, entry: Entry) -> str:
        return f"{entry.shown} goes on at the server; the same command takes it up"

    async def aclose(self) -> None:
        await self._client.close()

    async def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        import openai

        try:
            return await call()
        except openai.OpenAIError as error:
            raise self._account.translate(error) from error

    async def _lasting(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same, until a server answers. Raises NotAllowed and RequestRefused."""
        pause, failed = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                found = await self._asked(call)
            except BackendError as error:
                if error.fate != "retry":
                    raise
                if not failed:
                    self._note(f"{self._account.url}: {error}; asked again until it answers")
                failed = True
                await asyncio.sleep(max(error.retry_after_seconds or 0.0, pause * uniform(0.7, 1.3)))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                return found


def _progress(batch: Batch) -> str:
    counts = batch.request_counts
    if counts is None or not counts.total or batch.status == "validating":
        return f"{batch.id}: {batch.status.replace('_', ' ')}"
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    return f"{batch.id}: {batch.status.replace('_', ' ')}, {counts.completed:,} of {counts.total:,} done{failed}"

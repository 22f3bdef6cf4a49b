"""Who answers: a model specification is opened once, probed, and shared by every role and step that names it."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from synthgen.backends import ModelSpec, Note, check_same_model, open_backends, silent
from synthgen.dedup import cjk_count
from synthgen.errors import BackendError, NotAllowed, UsageError
from synthgen.load import Pool
from synthgen.types import Backend, Capabilities

FILES_BESIDE = 64  # the store, the data files, libraries that load late


@dataclass(frozen=True, slots=True)
class Speaker:
    """A role of the run: which model answers, through which pool, and what its server can do."""

    model: str
    pool: Pool
    capabilities: Capabilities
    backends: tuple[Backend, ...] = ()

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, by the rates measured with the server's tokenizer or by the stated estimate."""
        other, cjk = self.capabilities.tokens_per_char
        ideographs = cjk_count(text)
        return int((len(text) - ideographs) * other + ideographs * cjk) + 1


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard servers are worked; `concurrency` is a server's, None finds it out."""

    concurrency: int | None = None
    retries: int = 5
    timeout_seconds: float = 600.0
    rate_per_second: float | None = None


class Speakers:
    """The models of one command; `open` gives the same speaker for the same specification."""

    def __init__(self, effort: Effort, note: Note = silent) -> None:
        """`note` is told what the backends find out that a user should know."""
        self._effort, self._note = effort, note
        self._opening: dict[ModelSpec, asyncio.Task[Speaker]] = {}
        self._pools: list[Pool] = []
        self._sharing: list[Pool] = []  # those of them that hold connections

    async def open(self, spec: ModelSpec) -> Speaker:
        """The speaker of a specification. Raises UsageError and NotAllowed as its backends do."""
        if spec not in self._opening:
            self._opening[spec] = asyncio.create_task(self._open(spec))
        return await self._opening[spec]

    async def aclose(self) -> None:
        for opening in self._opening.values():
            opening.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for pool in self._pools:
            await pool.aclose()

    async def _open(self, spec: ModelSpec) -> Speaker:
        backends = open_backends(spec, self._note)
        pool = self._pool(backends, batch=spec.batch is not None)
        self._pools.append(pool)
        there = await self._probe(backends, pool)
        present, seen = [backend for backend, _ in there], [known for _, known in there]
        check_same_model(present, seen)
        # Every server of a pool must be able to take every request: the smallest context counts.
        contexts = [s.context_tokens for s in seen if s.context_tokens is not None]
        common = replace(seen[0], context_tokens=min(contexts, default=None))
        if spec.batch is None:
            self._sharing.append(pool)
            allow_files(self._sharing)
        return Speaker(_model_name(present[0], common), pool, common, tuple(backends))

    @staticmethod
    async def _probe(backends: Sequence[Backend], pool: Pool) -> list[tuple[Backend, Capabilities]]:
        """What each server is. One that does not answer is left out until it does, unless it is the last."""
        found: list[tuple[Backend, Capabilities]] = []
        absent: list[tuple[Backend, NotAllowed]] = []
        for backend in backends:
            try:
                found.append((backend, await backend.probe()))
            except NotAllowed as error:
                if not isinstance(error.__cause__, BackendError):  # it answered, and refused
                    raise
                absent.append((backend, error))
        if not found:
            raise absent[0][1]
        for backend, nobody in absent:
            pool.leave_out(backend, nobody)
        return found

    def _pool(self, backends: Sequence[Backend], *, batch: bool) -> Pool:
        """In a batch everything is asked at once and waited for as long as it takes."""
        effort = self._effort
        return Pool(
            backends,
            concurrency=max(getattr(b, "most_at_once", 1) for b in backends) if batch else effort.concurrency,
            retries=effort.retries,
            timeout_seconds=inf if batch else effort.timeout_seconds,
            rate_per_second=None if batch else effort.rate_per_second,
        )


def _model_name(backend: Backend, seen: Capabilities) -> str:
    digest = getattr(backend, "digest", None)
    if digest:  # the weights are part of the identity of the answers
        return f"{backend.name}:{digest}"
    model = getattr(backend, "model", None)
    return str(model or (seen.models[0] if seen.models else backend.name))


def allow_files(pools: Sequence[Pool]) -> None:
    """Raise the soft limit of open files, and share out what fits. Raises UsageError for what does not.

    Only what the user asked for can be too much; a limit that is found out stays below what is allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY or soft != resource.RLIM_INFINITY:
        soft = hard if hard != resource.RLIM_INFINITY else max(soft, 10_240)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return
    room = max(1, soft - FILES_BESIDE)
    connections = sum(pool.allow(room // len(pools)) for pool in pools)
    if connections > room:
        raise UsageError(
            f"{connections} requests at once need more open files than the {soft} allowed here; "
            f"give --concurrency {room} or raise the limit (ulimit -n)"
        )

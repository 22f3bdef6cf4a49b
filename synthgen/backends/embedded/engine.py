"""The loop: one thread, requests join and leave between steps (continuous batching, Orca, OSDI 2022)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from synthgen.errors import NotAllowed, RequestRefused
from synthgen.types import Completion, FinishReason, Request

from .folder import Config
from .model import Model
from .sampling import Sampler, draw, settled
from .tokenizer import Reader, Tokenizer
from .weights import read_tensors

_CLOSED = "the embedded model is closed"
_BROKEN = "the embedded model's thread has died; its error is on stderr"


class Job:
    """One request on its way: its prompt, its draws, its text so far."""

    def __init__(self, request: Request, prompt: list[int], config: Config, tokenizer: Tokenizer) -> None:
        sampling = request.sampling
        left = config.context - len(prompt)
        self.prompt = prompt
        self.budget = left if sampling.max_tokens is None else min(sampling.max_tokens, left)
        self.sampler = Sampler(settled(sampling, config.defaults), sampling.seed, prompt, config.context)
        self.cancelled = False
        self.length = len(prompt)  # positions in the cache
        self.token = -1  # drawn, not yet in the cache
        self.count = 0
        self.text = ""
        self._read = Reader(tokenizer).read
        self._eos = config.eos
        self._stops = tuple(stop for stop in sampling.stop if stop)
        self._overlap = max(map(len, self._stops), default=1) - 1
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Completion] = self._loop.create_future()

    def take(self, token: int) -> FinishReason | None:
        """Add a token; why the answer ends with it, if it does."""
        self.token = token
        self.count += 1
        if token in self._eos:
            return "stop"
        self.sampler.note(token)
        old = len(self.text)
        self.text += self._read(token)
        found = [at for stop in self._stops if (at := self.text.find(stop, max(0, old - self._overlap))) >= 0]
        if found:
            self.text = self.text[: min(found)]
            return "stop"
        return "length" if self.count >= self.budget else None

    def finish(self, reason: FinishReason) -> None:
        """Hand the completion over; from the engine's thread."""
        completion = Completion(
            text=self.text, finish_reason=reason, prompt_tokens=len(self.prompt), completion_tokens=self.count
        )
        self._tell(lambda: self.future.set_result(completion))

    def fail(self, why: str) -> None:
        """Hand a failure over; from the engine's thread."""
        self._tell(lambda: self.future.set_exception(NotAllowed(why)))

    def _tell(self, settle: Callable[[], None]) -> None:
        # RuntimeError: that event loop is closed, and nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: None if self.future.done() else settle())


class Engine:
    """The model and its thread; requests go in, completions come out by their futures."""

    def __init__(self, folder: Path, config: Config, tokenizer: Tokenizer, slots: int) -> None:
        self._config, self._tokenizer, self._slots = config, tokenizer, slots
        self._model = Model(config, read_tensors(folder), slots)
        self._active: list[Job] = []  # the place in this list is the slot
        self._queue: deque[Job] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._why = _BROKEN  # why nobody answers any more, until aclose() gives the better reason
        self._thread = threading.Thread(target=self._run, name="synthgen-embedded", daemon=True)
        self._thread.start()

    async def complete(self, request: Request, prompt: list[int]) -> Completion:
        """Queue a request and wait; cancelling the wait frees the slot before the next step."""
        self._refuse(request, prompt)
        job = Job(request, prompt, self._config, self._tokenizer)
        with self._change:
            if self._closed:
                raise NotAllowed(self._why)
            self._queue.append(job)
            self._change.notify()
        try:
            return await job.future
        finally:
            job.cancelled = True  # without effect on one that is done

    async def aclose(self) -> None:
        """End the thread after its present step; what waits fails with NotAllowed."""
        with self._change:
            self._closed, self._why = True, _CLOSED
            self._change.notify()
        await asyncio.to_thread(self._thread.join)

    def _refuse(self, request: Request, prompt: list[int]) -> None:
        context, most = self._config.context, request.sampling.max_tokens
        if not prompt:
            raise RequestRefused("the prompt is empty")
        if len(prompt) >= context:
            raise RequestRefused(f"the prompt has {len(prompt)} tokens, the embedded model's context is {context}")
        if most is not None and most < 1:
            raise RequestRefused(f"max_tokens must be at least 1, not {most}")

    def _run(self) -> None:
        try:
            # exp() of a large gate overflows to inf and the quotient is 0, as it should be.
            with np.errstate(over="ignore", under="ignore"):
                while self._admit():
                    self._step()
        finally:  # closed, or a bug that ends the thread: in both cases nobody is left waiting
            with self._change:
                self._closed = True
            for job in [*self._active, *self._queue]:
                job.fail(self._why)

    def _admit(self) -> bool:
        """Fill the free slots from the queue, waiting while there is nothing to do; False when closed."""
        with self._change:
            while not (self._queue or self._active or self._closed):
                self._change.wait()
            if self._closed:
                return False
        # As many as were free and no more: answers of one token must not keep the others from their step.
        for _ in range(self._slots - len(self._active)):
            job = self._next()
            if job is None:
                break
            slot = len(self._active)
            self._active.append(job)  # before its prompt runs: should that break, it is not forgotten
            reason = job.take(draw([job.sampler], self._model.prefill(slot, job.prompt)[None])[0])
            if reason:
                job.finish(reason)
                self._active.pop()
        return True

    def _next(self) -> Job | None:
        """The first in the queue that is still wanted."""
        while self._queue:  # this thread alone takes from it
            job = self._queue.popleft()
            if not job.cancelled:
                return job
        return None

    def _step(self) -> None:
        """One token for every active job."""
        for slot in reversed(range(len(self._active))):
            if self._active[slot].cancelled:
                self._leave(slot)
        if not self._active:
            return
        tokens = np.array([job.token for job in self._active])
        lengths = np.array([job.length for job in self._active])
        logits = self._model.decode(tokens, lengths)
        drawn = draw([job.sampler for job in self._active], logits)
        for slot in reversed(range(len(self._active))):
            job = self._active[slot]
            job.length += 1
            reason = job.take(drawn[slot])
            if reason:
                job.finish(reason)
                self._leave(slot)

    def _leave(self, slot: int) -> None:
        """Free a slot; the last one moves into it."""
        last = self._active.pop()
        if slot < len(self._active):
            self._active[slot] = last
            self._model.move(len(self._active), slot, last.length)

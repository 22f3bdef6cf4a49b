"""Behind `ask`: one request gets one identity, is looked up, sent, put on disk, and only then handed back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from synthgen.backends.wire import encode, unsent_stops
from synthgen.budget import Budget, Hold, Price
from synthgen.dedup import Near
from synthgen.errors import UsageError
from synthgen.speakers import Speaker
from synthgen.store import Store
from synthgen.types import Completion, Message, Request, SamplingParams

# Chat frames cost a few tokens a turn that no text shows.
_FRAME_TOKENS = 8


@dataclass(slots=True)
class Count:
    """What one role has asked and paid so far; `estimated` answers came without token counts."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: int = 0
    estimated: int = 0


@dataclass(slots=True)
class Usage:
    """What the run has asked and paid so far, live; `served` answers came from the store and cost nothing."""

    by_role: dict[str, Count] = field(default_factory=dict)
    served: int = 0
    tasks: int = 0  # that had an answer of their own

    def add(self, role: str, completion: Completion) -> None:
        count = self.by_role.get(role) or self.by_role.setdefault(role, Count())
        count.requests += 1
        count.prompt_tokens += completion.prompt_tokens or 0
        count.completion_tokens += completion.completion_tokens or 0
        count.truncated += completion.finish_reason == "length"
        count.estimated += completion.estimated

    @property
    def requests(self) -> int:
        return sum(c.requests for c in self.by_role.values())

    @property
    def prompt_tokens(self) -> int:
        return sum(c.prompt_tokens for c in self.by_role.values())

    @property
    def completion_tokens(self) -> int:
        return sum(c.completion_tokens for c in self.by_role.values())


@dataclass(slots=True)
class Asking:
    """What all tasks of a run share: the store, the models, the seed, the counters, what may be spent."""

    store: Store
    speakers: Mapping[str, Speaker]
    run_seed: int
    usage: Usage = field(default_factory=Usage)
    prices: Mapping[str, Price] = field(default_factory=dict)
    budget: Budget | None = None

    @property
    def usd(self) -> float | None:
        """What the requests so far have cost; None without a price."""
        if not self.prices:
            return None
        counts = self.usage.by_role.items()
        each = (p.usd(c.prompt_tokens, c.completion_tokens) for role, c in counts if (p := self.prices.get(role)))
        return sum(each, 0.0)

    def hold(self, request: Request, role: str) -> Hold:
        """What a request may cost."""
        return Hold(
            request.model,
            self.prices.get(role),
            prompt_tokens(self.speaker(role), request.prompt),
            len(request.body),
            request.sampling.max_tokens,
        )

    def speaker(self, role: str) -> Speaker:
        found = self.speakers.get(role) or self.speakers.get("default")
        if found is None:
            raise UsageError(f"no model for the role {role!r}; give --model")
        return found

    def request(
        self,
        prompt: str | Sequence[Message],
        role: str,
        sampling: SamplingParams,
        schema: Mapping[str, Any] | None,
    ) -> Request:
        """The request as it will be sent, without its seed; max_tokens fits what the context leaves."""
        speaker = self.speaker(role)
        turns = prompt if isinstance(prompt, str) else tuple(prompt)
        most = room(speaker, turns, sampling.max_tokens)
        if most != sampling.max_tokens:
            sampling = replace(sampling, max_tokens=most)
        request = Request(speaker.model, turns, sampling, schema=schema)
        return Request(speaker.model, turns, sampling, schema=schema, body=encode(request))


class TaskAsk:
    """`ask` for one task: knows the task's name and what had been accepted when it was made."""

    def __init__(self, shared: Asking, task: str, nearest_many: Callable[[Sequence[str]], list[Near | None]]) -> None:
        self._shared = shared
        self._task = task
        self._ordinals: dict[bytes, int] = {}
        self._paid = False
        self.nearest_many = nearest_many

    async def __call__(
        self,
        prompt: str | Sequence[Message],
        *,
        role: str = "default",
        sampling: SamplingParams | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Completion:
        shared = self._shared
        request = shared.request(prompt, role, sampling or SamplingParams(), schema)
        ordinal = self._ordinals.get(request.body, 0)
        self._ordinals[request.body] = ordinal + 1
        key = identity(shared.run_seed, self._task, request, ordinal)
        if not shared.store.was_empty:
            stored = shared.store.find(key)
            if stored is not None:
                shared.usage.served += 1
                return stored
        seeded = Request(
            request.model,
            request.prompt,
            request.sampling.seeded(int.from_bytes(key[:4], "big") >> 1),
            schema=schema,
            body=request.body,
            id=key.hex(),
        )

        speaker, role = shared.speaker(role), role if role in shared.speakers else "default"
        completion: Completion | None = None

        async def keep(answer: Completion) -> None:
            nonlocal completion
            completion = answer if answer.counted else _estimated(speaker, request, answer)
            shared.usage.add(role, completion)
            shared.usage.tasks += not self._paid
            self._paid = True
            await shared.store.save(key, self._task, request.model, completion)

        if shared.budget is None:
            await speaker.pool.complete(seeded, self._task, keep)
        else:
            hold = shared.hold(request, role)
            await shared.budget.admit(hold)
            try:
                await speaker.pool.complete(seeded, self._task, keep)
            finally:
                shared.budget.settle(hold, completion)
        assert completion is not None  # the pool has kept what it returns
        return completion


def identity(run_seed: int, task: str, request: Request, ordinal: int) -> bytes:
    """16 bytes that name one answer: everything that shapes it, and which of several equal requests it is.

    Without the ordinal best-of-n would silently be best-of-1.
    """
    name = hashlib.blake2b(f"{run_seed}\x00{task}\x00".encode(), digest_size=16)
    name.update(request.body)
    for stop in unsent_stops(request):  # cut on our side, so not in the body, but they shape the answer
        name.update(b"\x00" + stop.encode())
    if ordinal:
        name.update(b"\x00%d" % ordinal)
    return name.digest()


def room(speaker: Speaker, prompt: str | tuple[Message, ...], wanted: int | None) -> int | None:
    """The longest answer that is asked for: what is wanted, or what the context leaves."""
    context = speaker.capabilities.context_tokens
    if context is None:
        return wanted
    left = context - prompt_tokens(speaker, prompt)
    # Where the estimate says that nothing is left, the server shall be the judge: it refuses with exact numbers.
    left = max(left, min(16, context // 2))
    return left if wanted is None else min(wanted, left)


def prompt_tokens(speaker: Speaker, prompt: str | tuple[Message, ...]) -> int:
    """Tokens of a prompt, by the speaker's rates."""
    turns = (prompt,) if isinstance(prompt, str) else tuple(m.content for m in prompt)
    return sum(speaker.count_tokens(t) + _FRAME_TOKENS for t in turns)


def _estimated(speaker: Speaker, request: Request, answer: Completion) -> Completion:
    """The answer of a server that does not count tokens, with our count."""
    return replace(
        answer,
        prompt_tokens=prompt_tokens(speaker, request.prompt) if answer.prompt_tokens is None else answer.prompt_tokens,
        completion_tokens=speaker.count_tokens((answer.reasoning or "") + answer.text)
        if answer.completion_tokens is None
        else answer.completion_tokens,
        estimated=True,
    )

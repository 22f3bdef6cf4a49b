"""A backend for tests: it answers from a function and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from synthgen.types import Capabilities, Completion, Request


class Recording:
    """`answer` gives a text, a whole completion, or an exception to raise; `requests` are in order of asking."""

    def __init__(
        self,
        answer: Callable[[Request], str | Completion | BaseException],
        *,
        model: str = "recording",
        context_tokens: int | None = None,
    ) -> None:
        self.name = self.model = model
        self.requests: list[Request] = []
        self.closed = False
        self._answer = answer
        self._context_tokens = context_tokens

    async def probe(self) -> Capabilities:
        return Capabilities(
            models=(self.model,),
            context_tokens=self._context_tokens,
            completions=True,
            seed=True,
            software="recording",
        )

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return Completion(answer) if isinstance(answer, str) else answer

    async def aclose(self) -> None:
        self.closed = True

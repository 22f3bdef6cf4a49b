"""What a run would cost, from the prompts as they would really be sent."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Any

from synthgen.errors import SynthgenError
from synthgen.recipe import Recipe
from synthgen.run import Grown
from synthgen.session import Session
from synthgen.types import Completion, Message, SamplingParams

_TASKS = 5


class _FirstPromptError(SynthgenError):
    """Carries the first prompt of a task out of its coroutine."""

    def __init__(self, messages: tuple[Message, ...]) -> None:
        super().__init__("dry run")
        self.messages = messages


class _NoAsk:
    """An `ask` that asks nobody."""

    async def __call__(
        self,
        prompt: Any,
        *,
        role: str = "default",
        sampling: SamplingParams | None = None,
        schema: Any = None,
    ) -> Completion:
        raise _FirstPromptError((Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt))

    def nearest(self, text: str) -> None:
        return None


async def first_prompts(session: Session) -> list[tuple[Message, ...]]:
    """The first request of the first few tasks, rendered as it would be sent."""
    tasks = session.recipe.rounds(session.seeds, Grown(), Random(f"{session.wish.seed}:{session.kind.name}"))
    found = []
    for task in islice(tasks, _TASKS):
        try:
            await session.recipe.run(task, _NoAsk())
        except _FirstPromptError as first:
            found.append(first.messages)
    return found


async def estimate(session: Session) -> dict[str, Any]:
    """Requests and tokens as ranges: every answer perfect, or a quarter of what it could hold is kept."""
    prompts = await first_prompts(session)
    speaker, recipe = session.speakers["default"], session.recipe
    sizes = [sum(speaker.count_tokens(m.content) for m in p) for p in prompts] or [0]
    count = session.count
    tasks = (
        (None, None)
        if count is None
        else (-(-count // recipe.most_per_task()), -(-4 * count // recipe.most_per_task()))
    )
    requests = [
        None if t is None else t + (count or 0) * extra for t, extra in zip(tasks, _extras(recipe), strict=True)
    ]
    mean = sum(sizes) // len(sizes)
    measured = (
        "measured with the server's tokenizer" if speaker.capabilities.measured_tokens else "estimated from characters"
    )
    return {
        "prompt": [{"role": m.role, "content": m.content} for m in (prompts[0] if prompts else ())],
        "model": speaker.model,
        "target": count,
        "prompt_tokens_each": mean,
        "tokens_are": measured,
        "requests_at_least": requests[0],
        "requests_at_most": requests[1],
        "prompt_tokens_at_least": None if requests[0] is None else requests[0] * mean,
        "prompt_tokens_at_most": None if requests[1] is None else requests[1] * mean,
    }


def _extras(recipe: Recipe) -> tuple[int, int]:
    """Requests beyond the first that each accepted sample takes, at least and at most."""
    more = recipe.more_requests()
    return more, 2 * more

"""What a run would cost, from the prompts as they would really be sent."""

from __future__ import annotations

from itertools import islice
from math import ceil
from random import Random
from typing import Any

from synthgen.errors import SynthgenError
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
    """Requests and tokens for two yields, from the first prompts as they would be sent; later steps count like them."""
    prompts = await first_prompts(session)
    speaker, recipe = session.speakers["default"], session.recipe
    sizes = [sum(speaker.count_tokens(m.content) for m in p) for p in prompts] or [0]
    mean = sum(sizes) // len(sizes)
    found: dict[str, Any] = {
        "prompt": [{"role": m.role, "content": m.content} for m in (prompts[0] if prompts else ())],
        "model": speaker.model,
        "target": session.count if session.count is not None else "all there is to do",
        "tokens_of_a_first_prompt": mean,
        "tokens_are": "measured" if speaker.capabilities.measured_tokens else "estimated from characters",
    }
    if session.count is not None:
        for share, words in ((1.0, "if_all_is_accepted"), (0.25, "if_a_quarter_is_accepted")):
            tasks = ceil(session.count / share / recipe.most_per_task())
            requests = tasks + ceil(session.count / share) * recipe.more_requests()
            found[f"requests_{words}"] = requests
            found[f"prompt_tokens_{words}"] = requests * mean
            found[f"completion_tokens_at_most_{words}"] = requests * (recipe.sampling.max_tokens or 0)
    return found

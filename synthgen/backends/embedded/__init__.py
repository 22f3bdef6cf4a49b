"""The embedded model: a small Llama in this process, numpy alone; to try everything offline."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import RequestRefused, UsageError
from synthgen.types import Capabilities, Completion, Message, Request

from .folder import digest, read_config
from .threads import one_blas_thread
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Embedded"]

# What the tokens of a character are measured on: prose, a list, an object, as prompts have them.
_LETTERS = (
    "Come up with a series of tasks for a small library, and write them as a numbered list:\n1. Recommend three books "
    "about the history of 19th-century railways.\n2. Summarise the paragraph below in one sentence.\n"
    '{"instruction": "Sort these numbers", "input": "4, 17, 9", "output": "4, 9, 17"}\n'
)
_CHINESE = (
    "请为一家小图书馆写出一组任务推荐三本介绍铁路历史的书用一句话概括下面这段文字并说明理由再为读者写一首关于秋天的诗"
)


class Embedded:
    """A `Backend` over a model folder; weights are read, and numpy imported, at the first question.

    Answers with a seed are the same alone and in any batch, on one machine: another BLAS has other last bits.
    """

    name = "embedded"
    most_at_once = 64  # twice the slots: the next are there when one is free

    def __init__(self, folder: Path, slots: int = 32) -> None:
        self._folder = folder
        self._slots = slots
        self._config = read_config(folder)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of weights, tokenizer and configs: a part of a run's identity."""
        return digest(self._folder)

    def count(self, text: str) -> int:
        """Tokens of ordinary text."""
        return len(self._tokenizer.encode(text))

    async def probe(self) -> Capabilities:
        """What this model is; UsageError when its folder is not whole."""
        _ = self._engine
        return Capabilities(
            models=(self._folder.name,),
            context_tokens=self._config.context,
            completions=True,
            seed=True,
            software="synthgen embedded",
            tokens_per_char=(self.count(_LETTERS) / len(_LETTERS), self.count(_CHINESE) / len(_CHINESE)),
            measured_tokens=True,
        )

    async def complete(self, request: Request) -> Completion:
        """One completion; RequestRefused for what this model cannot, NotAllowed once closed."""
        if request.kind != "generate":
            raise RequestRefused("the embedded model cannot make embeddings")
        if request.tools:
            raise RequestRefused("the embedded model cannot call tools")
        if request.schema is not None:
            raise RequestRefused("the embedded model cannot follow a JSON schema")
        return await self._engine.complete(request, self._prompt(request.prompt))

    async def aclose(self) -> None:
        """End the thread; waiting requests fail."""
        if "_engine" in self.__dict__:
            await self._engine.aclose()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self._folder)

    @cached_property
    def _engine(self) -> Engine:
        one_blas_thread()
        from .engine import Engine

        return Engine(self._folder, self._config, self._tokenizer, self._slots)

    def _prompt(self, prompt: str | tuple[Message, ...]) -> list[int]:
        """ChatML by ids for messages, the bare text for a string; neither has a token before it."""
        encode = self._tokenizer.encode
        if isinstance(prompt, str):
            return encode(prompt)
        control = self._tokenizer.control
        if not {"<|im_start|>", "<|im_end|>"} <= control.keys():
            raise UsageError(f"{self._folder} has no ChatML tokens: it completes text, it does not chat")
        start, end = control["<|im_start|>"], control["<|im_end|>"]
        ids: list[int] = []
        for message in prompt:
            if message.tool_calls:
                raise RequestRefused("the embedded model cannot call tools")
            ids += [start, *encode(f"{message.role}\n{message.content}"), end, *encode("\n")]
        return [*ids, start, *encode("assistant\n")] if prompt else []

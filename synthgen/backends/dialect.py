"""What a server of OpenAI's API takes of a request: fields that it has refused are renamed or left out from then on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from synthgen.backends import wire
from synthgen.types import Request

# vLLM's own: OpenAI answers 400 to a field that it does not know.
_BEYOND_OPENAI = ("top_k", "repetition_penalty")
_NEEDED = ("model", "messages", "prompt")
_NAMED = re.compile(r"(?:[Uu]nsupported (?:parameter|value)|argument supplied)\b\W*(\w+)")


class Dialect:
    """`strict`: OpenAI itself, or Azure. `note` is told once of every field that is left out."""

    def __init__(self, *, strict: bool, note: Callable[[str], None]) -> None:
        self.strict = strict
        self._renames = strict  # max_tokens, which OpenAI's newer models do not know
        self._left_out = set(_BEYOND_OPENAI if strict else ())
        self._told: set[str] = set()
        self._note = note

    def write(self, request: Request, most_tokens: int | None = None) -> dict[str, Any]:
        """The fields to send; `most_tokens` instead of the request's own limit."""
        body: dict[str, Any] = orjson.loads(request.body or wire.encode(request))
        if request.sampling.seed is not None:
            body["seed"] = request.sampling.seed
        if most_tokens is not None:
            body["max_tokens"] = most_tokens
        if self._renames and "messages" in body and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        for name in self._left_out & body.keys():
            del body[name]
            self._tell(name, request.model)
        return body

    def learn(self, said: wire.Fault, sent: dict[str, Any]) -> bool:
        """Whether a refusal was about one field, and the request is worth sending without it."""
        if "max_tokens" in sent and "max_completion_tokens" in said.message and "nsupported" in said.message:
            self._renames = True
            return True
        named = _NAMED.search(said.message)
        about = said.code in ("unsupported_parameter", "unsupported_value") or named is not None
        name = said.param.split(".")[-1] or (named.group(1) if named else "")
        if name == "max_completion_tokens" and self._renames and about:  # an older server
            self._renames = False
            return True
        if (not about and name != "seed") or name not in sent or name in _NEEDED:
            return False
        self._left_out.add(name)
        return True

    def _tell(self, name: str, model: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._note(f"{model} does not take {name}: it is left out")

"""The nouns: what travels between the rooms, all frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

# The field of a seed that could not be used: (reason, detail). Such a document is a task that asks nothing.
UNREAD = "unread"
UNREAD_REASON = "document: "

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Seed:
    """One row of what the user brought; `fields` keeps its own columns, `where` is `file:line`."""

    id: str
    fields: Mapping[str, Any]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work of a recipe: everything that its coroutine needs beside the answers."""

    id: str
    vars: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asks for; `arguments` is the object, not its JSON text."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str | None = None
    weight: int | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw tokens: vLLM's names and meanings; None leaves it to the server."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None

    def seeded(self, seed: int) -> SamplingParams:
        """The same with this seed; `dataclasses.replace` takes three times as long, once a request."""
        return SamplingParams(
            self.temperature,
            self.top_p,
            self.top_k,
            self.max_tokens,
            self.stop,
            seed,
            self.presence_penalty,
            self.frequency_penalty,
            self.repetition_penalty,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What one model is asked once: messages go to chat, a string to raw completion.

    `body` is the canonical JSON of everything but the seed: what is hashed is what is sent. `id` is the identity of
    the answer, by which a batch file finds it again. `texts` are what is embedded; `prompt` is the first of them then.
    """

    model: str
    prompt: str | tuple[Message, ...]
    sampling: SamplingParams = SamplingParams()
    tools: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None
    kind: Literal["generate", "embed"] = "generate"
    body: bytes = field(default=b"", compare=False, repr=False)
    id: str = field(default="", compare=False)
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back; token counts are None where the server does not tell, until `estimated` from the text."""

    text: str
    finish_reason: FinishReason = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    estimated: bool = False

    @property
    def counted(self) -> bool:
        """Whether both counts are there."""
        return self.prompt_tokens is not None and self.completion_tokens is not None


@dataclass(frozen=True, slots=True)
class Embeddings(Completion):
    """What came back of texts: a vector each, in their order, as the bytes of little-endian float32."""

    vectors: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the dataset in making, a superset of every format that it is written to."""

    messages: tuple[Message, ...] = ()
    text: str | None = None
    rejected: tuple[Message, ...] = ()
    reference: str | None = None
    label: bool | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    input_split: tuple[str, str] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejection:
    """What was answered but is not used: why, and the sample if it came that far."""

    reason: str
    detail: str = ""
    sample: Sample | None = None

    @property
    def unread(self) -> bool:
        """Whether nothing was asked: a document that is not used says nothing of what the recipe yields."""
        return self.reason.startswith(UNREAD_REASON)


@dataclass(frozen=True, slots=True)
class Failure:
    """What was never answered: the last error, and how often it was tried; `refused` says nothing of other requests."""

    error: str
    attempts: int = 1
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one server said of itself when it was asked once; None where it does not say.

    `tokens_per_char` is (letters of other scripts, Chinese characters), measured with its tokenizer or estimated.
    """

    models: tuple[str, ...] = ()
    context_tokens: int | None = None
    completions: bool | None = None
    seed: bool | None = None
    software: str = "unknown"
    tokens_per_char: tuple[float, float] = (0.3, 1.0)
    measured_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a server says of its load: requests that it works on, and those that wait in its queue."""

    running: float
    waiting: float


class Backend(Protocol):
    """One way to reach a model. Errors are those of `errors`, never the vendor's.

    It may have more: `most_at_once`, an int, where it knows how many requests are useful; `async gauge() -> Gauge |
    None`, None where there is none to read; `async healthy() -> bool | None`, False where nobody is there any more.
    """

    name: str

    async def probe(self) -> Capabilities: ...

    async def complete(self, request: Request) -> Completion: ...

    async def aclose(self) -> None: ...

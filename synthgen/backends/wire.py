"""OpenAI's wire form: a request to bytes, an answer to a completion, an error body to what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson

from synthgen.errors import BackendError, RequestRefused
from synthgen.types import Completion, FinishReason, Message, Request, ToolCall

LONGEST_RETRY_AFTER_SECONDS = 300.0
MOST_STOPS = 4  # vLLM and OpenAI refuse a fifth
_FIELDS = (
    "temperature", "top_p", "top_k", "max_tokens", "presence_penalty", "frequency_penalty", "repetition_penalty",
)  # fmt: skip
_LIMIT = re.compile(
    r"(?:maximum context length (?:is|of)|max_model_len=|supports at most|range of max_tokens is \[\d+,)\s*(\d+)"
)
_USED = re.compile(r"(\d+) (?:in the (?:messages|prompt)|tokens from the input|(?:input|prompt) tokens)")
# Every other reason ("eos", "stop_sequence", null) is a stop; these two are the server's own failures.
_FINISH: dict[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
_BROKEN_OFF = ("abort", "error")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an error body says, in one line; empty strings where it says nothing."""

    message: str
    param: str = ""
    code: str = ""


def endpoint(request: Request) -> Literal["chat/completions", "completions"]:
    """Messages go to chat, a string to raw completion."""
    return "completions" if isinstance(request.prompt, str) else "chat/completions"


def encode(request: Request) -> bytes:
    """Canonical JSON of everything but the seed and the stop strings after the fourth (see `unsent_stops`).

    Raises RequestRefused for what JSON cannot carry, such as a lone surrogate.
    """
    if request.kind != "generate":
        raise RequestRefused("this backend makes no embeddings")
    sampling = request.sampling
    body: dict[str, Any] = {"model": request.model}
    for name in _FIELDS:
        value = getattr(sampling, name)
        if value is not None:
            body[name] = value
    stops = _stops(request)
    if stops:
        _dumps(stops[MOST_STOPS:])  # not sent, but no more than the others may they be what no text can hold
        body["stop"] = stops[:MOST_STOPS]
    if isinstance(request.prompt, str):
        if request.tools:
            raise RequestRefused("tools need a chat: messages, not a bare text")
        body["prompt"] = request.prompt
    else:
        body["messages"] = [_message(m) for m in request.prompt]
    if request.tools:
        body["tools"] = [_ordered(tool) for tool in request.tools]
    if request.schema is not None:
        form = {"name": "answer", "schema": _ordered(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return _dumps(body, orjson.OPT_SORT_KEYS)


def with_seed(body: bytes, seed: int) -> bytes:
    """The body with a seed as its last field, without reading it again."""
    return b'%b,"seed":%d}' % (body[:-1], seed)


def unsent_stops(request: Request) -> list[str]:
    """The stop strings that no server is told and `decode` cuts at: part of a request's identity beside its body."""
    return _stops(request)[MOST_STOPS:]


def _stops(request: Request) -> list[str]:
    return [stop for stop in dict.fromkeys(request.sampling.stop) if stop]


def _message(message: Message) -> dict[str, Any]:
    if not isinstance(message.content, str):  # a recipe's mistake; it would end a whole file of vLLM's batch runner
        raise RequestRefused(f"a message of {message.role} holds {type(message.content).__name__} instead of text")
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        wire["name"] = message.name
    return wire


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": _dumps(call.arguments).decode()},
    }


def _ordered(value: Mapping[str, Any]) -> orjson.Fragment:
    """JSON with its keys as they stand: a constrained answer follows the schema's order, reasons before verdict."""
    return orjson.Fragment(_dumps(value))


def _dumps(value: Any, option: int | None = None) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=option)
    except TypeError as error:
        raise RequestRefused(f"the request cannot be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def decode(payload: Mapping[str, Any], request: Request) -> Completion:
    """The first choice of a chat or completion answer.

    Raises BackendError when there is none or the server broke it off, RequestRefused at a content filter.
    """
    choice = _choice(payload)
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        raise RequestRefused("the server's content filter ended the answer")
    if finish in _BROKEN_OFF:
        raise BackendError(f"the server broke the answer off (finish_reason {finish})")
    message = _mapping(choice.get("message"))
    text = _text(message.get("content") or message.get("refusal") if message else choice.get("text"))
    cut = _cut(text, unsent_stops(request))
    usage = _mapping(payload.get("usage"))
    return Completion(
        text=cut,
        finish_reason=_FINISH.get(str(finish), "stop") if cut == text else "stop",
        tool_calls=_tool_calls(message.get("tool_calls")),
        reasoning=_text(message.get("reasoning") or message.get("reasoning_content")) or None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _choice(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = payload.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or not isinstance(first.get("message", first.get("text")), dict | str | None):
        raise BackendError("the server answered without a choice")
    return first


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    """A count of tokens; None for what cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None


def _text(value: Any) -> str:
    """A string as it is; the text parts of a list of parts; nothing for null."""
    if isinstance(value, list):
        return "".join(str(part.get("text") or "") for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _cut(text: str, stops: Sequence[str]) -> str:
    found = [at for at in map(text.find, stops) if at >= 0]
    return text[: min(found)] if found else text


def _tool_calls(value: Any) -> tuple[ToolCall, ...]:
    calls = []
    for call in value if isinstance(value, list) else ():
        function = _mapping(_mapping(call).get("function"))
        if function:
            name, call_id = str(function.get("name") or ""), str(call.get("id") or "")
            calls.append(ToolCall(name, _arguments(function.get("arguments")), call_id))
    return tuple(calls)


def _arguments(value: Any) -> Mapping[str, Any]:
    """The object that a model wrote as text; what is no JSON object is kept under `_raw`."""
    if isinstance(value, dict):
        return value
    if not value:
        return {}
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"_raw": value}


def fault(raw: bytes) -> Fault:
    """What an error body says, whatever its shape: an object, a word, a `detail`, a page of HTML, nothing."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Fault(_page(raw.decode("utf-8", "replace")))
    value = _mapping(value[0] if isinstance(value, list) and value else value)
    error = value.get("error", value.get("detail", value))  # older vLLM puts message and code at the top
    if isinstance(error, list):  # FastAPI: one object a fault, each with its place
        places = [".".join(str(step) for step in _mapping(e).get("loc", ())) for e in error]
        said = "; ".join(
            f"{place}: {_mapping(e).get('msg', '')}" for place, e in zip(places, error, strict=True)
        )  # fmt: skip
        return Fault(one_line(said), param=places[0] if places else "")
    if not isinstance(error, dict):
        return Fault(one_line(str(error or "")))
    message = error.get("message") or error.get("msg") or ""
    # Some servers say the type where others say the code: "insufficient_quota".
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    return Fault(one_line(str(message)), param=str(error.get("param") or ""), code=str(code or ""))


def _page(text: str) -> str:
    """The title of a page of HTML, else its text."""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return one_line(title.group(1) if title else re.sub(r"<[^>]*>", " ", text))


def one_line(text: str) -> str:
    """White space and control characters collapsed to single spaces."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


def room_left(said: Fault, asked: int) -> int | None:
    """How many tokens an answer may have, where `max_tokens` was refused for its size; None where none would do."""
    about = said.param in ("max_tokens", "max_completion_tokens") or re.search(
        r"max_tokens|(?:in|for) the completion", said.message
    )
    limit, used = _LIMIT.search(said.message), _USED.search(said.message)
    if not about or limit is None:
        return None
    left = int(limit.group(1)) - (int(used.group(1)) if used else 0)
    return left if 0 < left < asked else None


def models(body: bytes) -> list[dict[str, Any]] | None:
    """The entries of a /models answer, or None if it is none."""
    if not is_json(body):
        return None
    value = orjson.loads(body)
    data = value.get("data") if isinstance(value, dict) else value
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def context_tokens(model: str, entries: Sequence[Mapping[str, Any]]) -> int | None:
    """`max_model_len` of a model; an adapter's is null, and its parent's counts."""
    by_name = {entry["id"]: entry for entry in entries}
    entry = by_name.get(model) or {}
    for known in (entry, by_name.get(str(entry.get("parent"))) or {}):
        if isinstance(known.get("max_model_len"), int):
            return int(known["max_model_len"])
    return None


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After, given in seconds or as a date; None where it is absent or no time, and where it has passed.

    Zero, or a date by a clock that is behind ours, would have all attempts spent within a moment: we pause as without.
    """
    named = {name.lower(): value for name, value in headers.items()}
    given = named.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d*)?", given):
        seconds = float(given)
    else:
        later = _moment(given)
        if later is None:
            return None
        # By the server's own clock, where it tells the time: ours may be wrong, or be set meanwhile.
        seconds = (later - (_moment(named.get("date", "")) or datetime.now(UTC))).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS) if seconds > 0 else None


def _moment(given: str) -> datetime | None:
    """The date of a header."""
    try:
        when = parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)

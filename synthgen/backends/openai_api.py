"""`openai:NAME` through the `openai` package: its ways to prove who asks, Azure's among them, with our requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from synthgen.backends import wire
from synthgen.backends.dialect import Dialect
from synthgen.backends.http import CONNECT_SECONDS, read, refusal
from synthgen.backends.served import choose
from synthgen.errors import BackendError, NotAllowed, RequestRefused, SynthgenError, UsageError
from synthgen.types import Capabilities, Completion, Request

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
_STRICT_HOSTS = (".openai.com", ".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


class Account:
    """A client of the package for one address, and the door through which its errors come."""

    def __init__(self, client: openai.AsyncOpenAI, *, azure: bool) -> None:
        self.client = client
        self.url = str(client.base_url).rstrip("/")
        self.azure = azure
        host = "." + (urlsplit(self.url).hostname or "")
        self.strict = azure or host.endswith(_STRICT_HOSTS)
        self._key = client.api_key

    def translate(self, error: BaseException) -> SynthgenError:
        return translate(error, self.url, hide=self._key)

    def refusal(self, status: int, body: bytes) -> SynthgenError:
        return refusal(status, {}, body, hide=self._key)

    def read(self, body: bytes, request: Request) -> Completion:
        return read(200, {}, body, request, hide=self._key)

    async def models(self) -> list[dict[str, Any]]:
        """What is listed; nothing where an address lists no models, or lists others than it serves, as Azure does."""
        import openai

        try:
            raw: bytes = await self.client.get("/models", cast_to=bytes)
        except openai.NotFoundError:
            return []
        except openai.OpenAIError as error:
            found = self.translate(error)
            if isinstance(found, NotAllowed):
                raise found from error
            raise NotAllowed(f"{self.url} does not answer ({found}); correct --base-url or try again") from error
        return [] if self.azure else wire.models(raw) or []


def open_account(base_url: str | None, key_env: str, timeout_seconds: float | None) -> Account:
    """The account at an address; without one Azure's where AZURE_OPENAI_ENDPOINT is set, else OpenAI's own.

    Raises UsageError where the package, a key or a version is missing.
    """
    try:
        import openai
    except ImportError:
        raise UsageError(
            'openai: the package is not installed; pip install "synthgen[openai]", or give --model NAME --base-url URL'
        ) from None
    timeout = openai.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
    endpoint = os.environ.get("AZURE_OPENAI_ENDPOINT", "").strip()
    azure = bool(endpoint and base_url is None)
    key = _key(key_env, optional=azure or base_url is not None)
    try:
        if azure:  # every name below is the package's own
            key = key if key_env != "OPENAI_API_KEY" else None
            client: openai.AsyncOpenAI = openai.AsyncAzureOpenAI(
                azure_endpoint=endpoint, api_key=key, timeout=timeout, max_retries=0
            )
        else:
            # retries are ours; a server of one's own may want no key, the package always does
            client = openai.AsyncOpenAI(
                base_url=base_url or OPENAI_URL, api_key=key or "none", timeout=timeout, max_retries=0
            )
    except (openai.OpenAIError, ValueError) as error:
        raise UsageError(f"openai: {wire.one_line(str(error))}") from error
    return Account(client, azure=azure)


def _key(env: str, *, optional: bool) -> str | None:
    key = os.environ.get(env, "").strip()
    if not key and not optional:
        raise UsageError(f"--model openai:NAME: {env} is not set; export it with your key")
    if not key.isascii() or not key.isprintable():
        raise UsageError("the API key has characters that no header can carry; set it again, in plain ASCII")
    return key or None


class OpenAI:
    """A `Backend` over one account; a field that the server does not take is left out once and for all."""

    def __init__(self, account: Account, model: str, note: Callable[[str], None]) -> None:
        self.name, self.model = account.url, model
        self._account = account
        self._dialect = Dialect(strict=account.strict, note=note)

    async def probe(self) -> Capabilities:
        """Ask the server once what it has. Raises NotAllowed where no request could succeed."""
        return listed(self._account, self.model, await self._account.models())

    async def complete(self, request: Request) -> Completion:
        import openai

        path, most = f"/{wire.endpoint(request)}", None
        while True:
            sent = self._dialect.write(request, most)
            try:
                raw: bytes = await self._account.client.post(path, cast_to=bytes, body=sent)
            except openai.OpenAIError as error:
                said = fault(error)
                asked = request.sampling.max_tokens
                left = None if most is not None or asked is None else wire.room_left(said, asked)
                if left is not None:
                    most = left
                elif not self._dialect.learn(said, sent):
                    raise self._account.translate(error) from _cause(error)
            else:
                return self._account.read(raw, request)

    async def aclose(self) -> None:
        await self._account.client.close()


def listed(account: Account, model: str, entries: Sequence[Mapping[str, Any]]) -> Capabilities:
    """What an address says of a model. Raises NotAllowed where it lists others only."""
    names = [str(entry["id"]) for entry in entries]
    choose(account.url, model, names)
    return Capabilities(
        models=tuple(names) or (model,),
        context_tokens=wire.context_tokens(model, entries),
        software="openai" if account.strict else "unknown",
    )


def _cause(error: openai.OpenAIError) -> BaseException | None:
    """An error with a cause is a server that did not answer at all (see `load.Pool`); a status is an answer."""
    import openai

    return None if isinstance(error, openai.APIStatusError) else error


def fault(error: openai.OpenAIError) -> wire.Fault:
    """What a refusal says; nothing for an error that is none."""
    import openai

    return wire.fault(_body(error)) if isinstance(error, openai.BadRequestError) else wire.Fault("")


def _body(error: openai.APIStatusError) -> bytes:
    """The body of an answer, or what the package has kept of it: its `error` without the name."""
    body = error.body
    return orjson.dumps(body, default=str) if isinstance(body, dict) else str(body or "").encode("utf-8", "replace")


def translate(error: BaseException, url: str = "the server", *, hide: str = "") -> SynthgenError:
    """What an exception of the package means for us; one that is a bug is raised again."""
    import openai

    why = wire.one_line(str(error).replace(hide, "***") if hide else str(error))[:300] or type(error).__name__
    if isinstance(error, SynthgenError):
        return error
    if isinstance(error, openai.APIResponseValidationError):  # before its parent; it has a status, which is 200
        return BackendError(f"the answer of {url} cannot be read: {why}")
    if isinstance(error, openai.APIStatusError):
        return refusal(error.status_code, error.response.headers, _body(error), hide=hide)
    if isinstance(error, openai.APITimeoutError):
        return BackendError(f"no answer from {url} in time")
    if isinstance(error, openai.APIConnectionError):
        inner = wire.one_line(str(error.__cause__ or error))[:300]
        return BackendError(f"no connection to {url}: {inner}")
    if isinstance(error, openai.ContentFilterFinishReasonError):
        return RequestRefused("the server's content filter ended the answer")
    if isinstance(error, openai.LengthFinishReasonError):
        return RequestRefused("the answer was cut before it had the form that was asked for")
    if isinstance(error, openai.APIError):
        return BackendError(f"{url}: {why}")
    if isinstance(error, openai.OpenAIError):  # credentials that cannot be had, sockets that we do not use
        return NotAllowed(f"{url} cannot be asked: {why}")
    raise error

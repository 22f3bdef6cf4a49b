"""`openai:NAME`: every exception of the package is translated, refused fields are left out, Azure is asked its own way."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import openai
import pytest
from aiohttp import web
from fake_server import FakeServer
from faulty import serving, synthgen

from synthgen.backends import ModelSpec, open_backends
from synthgen.backends.dialect import Dialect
from synthgen.backends.openai_api import Account, OpenAI, open_account, translate
from synthgen.backends.wire import Fault
from synthgen.errors import BackendError, NotAllowed, RequestRefused, SynthgenError, UsageError
from synthgen.types import Completion, Message, Request, SamplingParams

T = TypeVar("T")
ASK = Request(
    "fake", (Message("user", "Name a river."),), SamplingParams(max_tokens=30, seed=5, top_k=7, repetition_penalty=1.1)
)
KEY = "sk-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and nothing of the user's own."""
    for name in ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("POST", "http://host/v1"), headers={"Retry-After": "2"})


def instance(kind: type[BaseException], status: int = 500) -> BaseException:
    """One of each class, with arguments of the right kinds."""
    asked = httpx2.Request("POST", "http://host/v1")
    if issubclass(kind, openai.OAuthError):
        return kind(response=response(401), body=None)
    if issubclass(kind, openai.APIStatusError):
        return kind("said", response=response(getattr(kind, "status_code", status)), body={"message": "said"})
    if issubclass(kind, openai.APIResponseValidationError):
        return kind(response(200), None)
    if issubclass(kind, openai.APITimeoutError):
        return kind(asked)
    if issubclass(kind, openai.APIConnectionError):
        return kind(request=asked)
    if issubclass(kind, openai.APIError):
        return kind("said", asked, body=None)
    if kind is openai.LengthFinishReasonError:
        return kind(completion=openai.types.chat.ChatCompletion.model_construct(usage=None))
    if kind is openai.WebSocketConnectionClosedError:
        return kind("said", unsent_messages=[])
    bare = (openai.ContentFilterFinishReasonError, openai.WebSocketQueueFullError)
    return kind() if kind in bare else kind("said")


CLASSES = [
    value
    for module in (openai, sys.modules["openai._exceptions"])
    for value in list(vars(module).values())
    if inspect.isclass(value) and issubclass(value, openai.OpenAIError) and value.__name__[0] != "_"
]
FATES = {
    "AuthenticationError": NotAllowed,
    "OAuthError": NotAllowed,
    "PermissionDeniedError": NotAllowed,
    "NotFoundError": NotAllowed,
    "BadRequestError": RequestRefused,
    "UnprocessableEntityError": RequestRefused,
    "LengthFinishReasonError": RequestRefused,
    "ContentFilterFinishReasonError": RequestRefused,
    **dict.fromkeys(("OpenAIError", "SubjectTokenProviderError"), NotAllowed),
    **dict.fromkeys(("WebSocketConnectionClosedError", "WebSocketQueueFullError"), NotAllowed),
    **dict.fromkeys(("APIError", "APIStatusError", "APIConnectionError", "APITimeoutError"), BackendError),
    **dict.fromkeys(("APIResponseValidationError", "ConflictError", "RateLimitError"), BackendError),
    "InternalServerError": BackendError,
}


@pytest.mark.parametrize("kind", dict.fromkeys(CLASSES), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_package_is_translated(kind: type[BaseException]) -> None:
    error = translate(instance(kind), "http://host/v1")
    assert kind.__name__ in FATES, "an exception that the door does not know"
    assert type(error) is FATES[kind.__name__]
    assert "\n" not in str(error)


def test_a_status_says_what_it_says_over_plain_http() -> None:
    limited = translate(instance(openai.RateLimitError))
    assert isinstance(limited, BackendError)
    assert limited.retry_after_seconds == 2
    quota = openai.RateLimitError("x", response=response(429), body={"message": "no", "code": "insufficient_quota"})
    assert type(translate(quota)) is NotAllowed
    told = openai.BadRequestError("x", response=response(400), body={"message": f"bad key {KEY}"})
    assert KEY not in str(translate(told, hide=KEY))
    with pytest.raises(KeyError):
        translate(KeyError("a bug"))


def talk(url: str, use: Callable[[OpenAI], Awaitable[T]], notes: list[str] | None = None) -> T:
    async def main() -> T:
        (backend,) = open_backends(ModelSpec("openai:fake", (url,)), (notes if notes is not None else []).append)
        assert isinstance(backend, OpenAI)
        try:
            return await use(backend)
        finally:
            await backend.aclose()

    return asyncio.run(main())


def asked(fault: str = "", request: Request = ASK, **more: Any) -> tuple[Completion, FakeServer, list[str]]:
    """One answer of the fake server, with the server and the notes."""
    notes: list[str] = []

    async def main() -> tuple[Completion, FakeServer]:
        async with FakeServer(owned_by="x", fault=fault, **more) as server:
            (backend,) = open_backends(ModelSpec("openai:fake", (server.base_url,)), notes.append)
            try:
                await backend.probe()
                return await backend.complete(request), server
            finally:
                await backend.aclose()

    completion, server = asyncio.run(main())
    return completion, server, notes


def test_an_answer_of_a_compatible_server() -> None:
    completion, server, notes = asked(api_key=KEY)
    assert completion.text
    assert completion.completion_tokens
    (body,) = server.bodies
    assert {"top_k": 7, "repetition_penalty": 1.1, "seed": 5, "max_tokens": 30}.items() <= body.items()
    assert notes == []


def test_fields_that_are_refused_are_left_out_and_said_once() -> None:
    _, server, notes = asked("seed")
    assert [("seed" in body) for body in server.bodies] == [True, False]
    assert notes == ["fake does not take seed: it is left out"]
    _, server, notes = asked("max-tokens")
    assert [("max_tokens" in b, b.get("max_completion_tokens")) for b in server.bodies] == [(True, None), (False, 30)]
    assert notes == []
    many = Request("fake", ASK.prompt, SamplingParams(max_tokens=30_000))
    _, server, _ = asked(request=many)
    assert server.bodies[-1]["max_tokens"] < 8192


@pytest.mark.parametrize(
    ("fault", "kind", "answered"),
    [
        ("400", RequestRefused, True),
        ("401", NotAllowed, True),
        ("503", BackendError, True),
        ("html", BackendError, True),
        ("half", BackendError, True),
        ("disconnect", BackendError, False),
        ("cut", BackendError, False),
    ],
)
def test_what_goes_wrong(fault: str, kind: type[SynthgenError], answered: bool) -> None:
    with pytest.raises(SynthgenError) as caught:
        asked(fault)
    assert type(caught.value) is kind
    assert (caught.value.__cause__ is None) == answered


def test_the_probe_says_what_is_wrong() -> None:
    with serving() as server:
        server.models = ["fakes", "other"]
        with pytest.raises(NotAllowed, match=r"does not serve fake; did you mean fakes\?"):
            talk(server.base_url, lambda backend: backend.probe())
        server.listing = web.json_response({"error": {"message": "wrong key"}}, status=401)
        with pytest.raises(NotAllowed, match="does not accept the API key"):
            talk(server.base_url, lambda backend: backend.probe())
        server.listing = web.json_response({"detail": "Not Found"}, status=404)
        assert talk(server.base_url, lambda backend: backend.probe()).models == ("fake",)
    with pytest.raises(NotAllowed, match="does not answer"):
        talk("http://127.0.0.1:9/v1", lambda backend: backend.probe())


def test_openai_itself_is_not_told_what_it_does_not_know() -> None:
    notes: list[str] = []
    dialect = Dialect(strict=True, note=notes.append)
    for _ in range(2):
        sent = dialect.write(ASK)
        assert sent == {
            "model": "fake", "messages": [{"role": "user", "content": "Name a river."}], "seed": 5,
            "max_completion_tokens": 30,
        }  # fmt: skip
    assert sorted(notes) == [f"fake does not take {name}: it is left out" for name in ("repetition_penalty", "top_k")]
    unknown = Fault("Unrecognized request argument supplied: max_completion_tokens", code="invalid_request_error")
    assert dialect.learn(unknown, sent)
    assert dialect.write(ASK)["max_tokens"] == 30


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (Fault("Unsupported value: 'temperature' does not support 0.7", "temperature", "unsupported_value"), True),
        (Fault("Unsupported parameter: 'stop' is not supported with this model.", "stop"), True),
        (Fault("Unsupported parameter: 'n'", "n"), False),
        (Fault("'temperature' must be at most 2", "temperature"), False),
        (Fault("no such model", "model", "unsupported_value"), False),
        (Fault(""), False),
    ],
)
def test_what_a_refusal_teaches(said: Fault, again: bool) -> None:
    dialect = Dialect(strict=True, note=lambda line: None)
    request = Request("m", ASK.prompt, SamplingParams(temperature=0.7, stop=("x",)))
    sent = dialect.write(request)
    assert dialect.learn(said, sent) == again
    assert (dialect.write(request) == sent) != again


def test_the_address_decides_what_is_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    def strict(url: str | None) -> bool:
        return open_account(url, "OPENAI_API_KEY", 60).strict

    assert [strict(None), strict("https://eu.api.openai.com/v1"), strict("http://localhost:8000/v1")] == [1, 1, 0]
    assert not strict("https://openai.com.example.net/v1")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert not strict("http://localhost:8000/v1")  # a server of one's own may want no key


def test_azure_is_asked_at_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, str | None, dict[str, Any]]] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        seen.append((request.path, request.query_string, request.headers.get("api-key"), body))
        message = {"role": "assistant", "content": "The Rhine."}
        return web.json_response({"data": [], "choices": [{"finish_reason": "stop", "message": message}]})

    async def main() -> Completion:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key")
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
        (backend,) = open_backends(ModelSpec("openai:mine"))
        try:
            assert (await backend.probe()).models == ("mine",)
            return await backend.complete(Request("mine", ASK.prompt, ASK.sampling))
        finally:
            await backend.aclose()
            await runner.cleanup()

    assert asyncio.run(main()).text == "The Rhine."
    path, query, key, body = seen[-1]
    assert (path, query, key) == ("/openai/deployments/mine/chat/completions", "api-version=2024-10-21", "azure-key")
    assert body["max_completion_tokens"] == 30
    assert "top_k" not in body


def test_azure_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://host")
    with pytest.raises(UsageError, match="AZURE_OPENAI_API_KEY"):
        open_account(None, "OPENAI_API_KEY", 60)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    with pytest.raises(UsageError, match="OPENAI_API_VERSION"):
        open_account(None, "OPENAI_API_KEY", 60)
    assert isinstance(open_account("http://other/v1", "OPENAI_API_KEY", 60), Account)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UsageError, match=r"pip install \"synthgen\[openai\]\""):
        open_backends(ModelSpec("openai:x"))


def test_a_run_over_the_package_makes_the_files_of_plain_http(tmp_path: Any) -> None:
    with serving() as server:
        for name, out in (("fake", "http"), ("openai:fake", "package")):
            done = synthgen(
                "generate", "alpaca", "--count", "20", "--model", name, "--base-url", server.base_url, "--out", out,
                cwd=tmp_path, OPENAI_API_KEY=KEY,
            )  # fmt: skip
            assert done.code == 0, done.err
    for name in ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl"):
        assert (tmp_path / "http" / name).read_bytes() == (tmp_path / "package" / name).read_bytes()
    assert KEY not in json.dumps([p.read_text(errors="replace") for p in (tmp_path / "package").iterdir()])

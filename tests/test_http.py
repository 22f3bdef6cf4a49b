"""Servers over HTTP: what a probe finds out, what a request gets back, what a user reads when it fails."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from fake_server import HTML, FakeServer

from synthgen.backends import ModelSpec, check_same_model, open_backends, wire
from synthgen.backends.http import Http
from synthgen.backends.openai_api import OPENAI_URL, OpenAI
from synthgen.backends.recording import Recording
from synthgen.errors import BackendError, NotAllowed, RequestRefused, UsageError
from synthgen.load import Pool
from synthgen.types import Capabilities, Completion, Message, Request, SamplingParams

T = TypeVar("T")
ASK = Request("fake", (Message("user", "Say something."),), SamplingParams(max_tokens=40, seed=5))
ROOT = Path(__file__).parents[1]


def talk(
    server: FakeServer, use: Callable[[Http], Awaitable[T]], model: str | None = "fake", key: str | None = None
) -> T:
    """Start the server, open a backend on it, use it, close both."""

    async def main() -> T:
        async with server:
            http = Http(server.base_url, model=model, api_key=key, timeout_seconds=5)
            try:
                return await use(http)
            finally:
                await http.aclose()

    return asyncio.run(main())


async def probe(http: Http) -> Capabilities:
    return await http.probe()


async def ask(http: Http) -> Completion:
    return await http.complete(ASK)


@asynccontextmanager
async def app(*routes: web.RouteDef) -> AsyncIterator[str]:
    """A server of one's own; gives its root."""
    made = web.Application()
    made.add_routes(routes)
    runner = web.AppRunner(made, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def probing(path: str, *routes: web.RouteDef, model: str | None = "m") -> tuple[Http, Capabilities]:
    async def main() -> tuple[Http, Capabilities]:
        async with app(*routes) as root:
            http = Http(root + path, model=model, api_key=None)
            try:
                return http, await http.probe()
            finally:
                await http.aclose()

    return asyncio.run(main())


def answering(body: Any, status: int = 200) -> Callable[[web.Request], Coroutine[Any, Any, web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        if isinstance(body, bytes):
            return web.Response(body=body, status=status, content_type="text/html")
        return web.json_response(body, status=status)

    return handler


def test_a_probe_of_vllm() -> None:
    async def both(http: Http) -> tuple[Capabilities, str | None]:
        return await http.probe(), http.model

    found, model = talk(FakeServer(context_tokens=1024), both, model=None)
    assert (found.models, found.context_tokens, model) == (("fake",), 1024, "fake")
    assert (found.software, found.completions, found.seed, found.measured_tokens) == ("vllm", True, True, True)
    latin, hanzi = found.tokens_per_char
    assert latin == pytest.approx(0.25, abs=0.01)  # the fake's tokenizer: four letters, one Chinese character
    assert hanzi == pytest.approx(1.1, abs=0.1)


def test_one_bad_moment_of_a_probe_is_no_other_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are fitted by the tokenizer's rate: an estimate in its place would have a whole run asked again."""
    tokenize, bad = FakeServer._tokenize, iter([503])

    async def sometimes(self: FakeServer, request: web.Request) -> web.Response:
        status = next(bad, 200)
        return await tokenize(self, request) if status == 200 else web.Response(status=status)

    monkeypatch.setattr(FakeServer, "_tokenize", sometimes)
    assert talk(FakeServer(), probe) == talk(FakeServer(), probe)
    assert next(bad, None) is None


def test_a_probe_of_another_server() -> None:
    found = talk(FakeServer(owned_by="someone", context_tokens=None), probe)
    assert found == Capabilities(models=("fake",), completions=True)


def test_an_adapter_has_its_parents_context() -> None:
    entries = [
        {"id": "base", "owned_by": "vllm", "max_model_len": 2048},
        {"id": "lora", "owned_by": "vllm", "max_model_len": None, "parent": "base"},
    ]
    _, found = probing("/v1", web.get("/v1/models", answering({"data": entries})), model="lora")
    assert (found.context_tokens, found.models) == (2048, ("base", "lora"))
    assert found.measured_tokens is False  # it has no /tokenize


@pytest.mark.parametrize(
    ("model", "served", "kind", "says"),
    [
        (
            "qwen",
            ["Qwen/Qwen2.5-7B", "qwen2"],
            NotAllowed,
            r"does not serve qwen; did you mean qwen2\? \(it serves Qwen/",
        ),
        (None, ["a", "b"], UsageError, r"serves several models: choose one with --model \(a, b\)"),
        (None, [], UsageError, "give the model's name with --model"),
        ("zzz", [f"m{i}" for i in range(40)], NotAllowed, "m9 and 30 more"),
    ],
)
def test_which_model(model: str | None, served: list[str], kind: type[Exception], says: str) -> None:
    entries = {"data": [{"id": name} for name in served]}
    with pytest.raises(kind, match=says):
        probing("/v1", web.get("/v1/models", answering(entries)), model=model)


def test_ollama_lists_a_tag_that_nobody_types() -> None:
    http, _ = probing("/v1", web.get("/v1/models", answering({"data": [{"id": "llama3:latest"}]})), model="llama3")
    assert http.model == "llama3"


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        http = Http(url, model="m", api_key=None)
        with pytest.raises(NotAllowed) as caught:
            asyncio.run(closing(http, http.probe()))
    assert str(caught.value) == (f"no server answers at {url} (connection refused); start one or correct --base-url")


async def closing(http: Http, wanted: Awaitable[T]) -> T:
    try:
        return await wanted
    finally:
        await http.aclose()


def test_an_unknown_host() -> None:
    http = Http("http://no-such-host.invalid/v1", model="m", api_key=None)
    with pytest.raises(NotAllowed, match=r"no server answers at http://no-such-host\.invalid/v1 \("):
        asyncio.run(closing(http, http.probe()))


def test_no_tls_there() -> None:
    async def main() -> None:
        async with FakeServer() as server:
            http = Http(server.base_url.replace("http:", "https:"), model="m", api_key=None)
            await closing(http, http.probe())

    with pytest.raises(NotAllowed, match="does not speak TLS"):
        asyncio.run(main())


def test_v1_is_missing() -> None:
    async def main() -> None:
        async with FakeServer(prefix="/v1") as server:
            http = Http(server.url, model=None, api_key=None)
            await closing(http, http.probe())

    with pytest.raises(NotAllowed, match=r"there is one below it: --base-url http://127\.0\.0\.1:\d+/v1$"):
        asyncio.run(main())


@pytest.mark.parametrize("path", ["/v1", ""])
def test_a_web_page_is_no_api(path: str) -> None:
    with pytest.raises(NotAllowed, match=r"answers, but not as an OpenAI-compatible API \(is /v1 missing\?\)"):
        probing(path, web.get("/{any:.*}", answering(HTML)))
    with pytest.raises(NotAllowed, match="not as an OpenAI-compatible API"):
        probing(path, web.get("/{any:.*}", answering(HTML, 404)))
    with pytest.raises(NotAllowed, match="not as an OpenAI-compatible API"):
        probing(path, web.get("/{any:.*}", answering({"hello": 1})))


def test_an_api_that_lists_no_models() -> None:
    http, found = probing("/v1", web.post("/v1/chat/completions", answering({})), model="gpt-x")
    assert (found, http.model) == (replace(Capabilities(), completions=False), "gpt-x")
    with pytest.raises(UsageError, match="--model"):
        probing("/v1", web.post("/v1/chat/completions", answering({})), model=None)


def test_a_server_that_is_not_ready() -> None:
    found = talk(FakeServer(start_delay=0.4), probe)
    assert found.models == ("fake",)
    with pytest.raises(NotAllowed, match=r"answers, but with HTTP 502: Bad Gateway; try again"):
        probing("/v1", web.get("/v1/models", answering(b"<title>Bad Gateway</title>", 502)))


def test_the_key() -> None:
    key = "sk-very-secret"
    assert talk(FakeServer(api_key=key), probe, key=f" {key}\n").models == ("fake",)
    for wrong in (None, "sk-other-secret"):
        with pytest.raises(NotAllowed, match=r"OPENAI_API_KEY.*--api-key-env") as caught:
            talk(FakeServer(api_key=key), probe, key=wrong)
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="no header can carry") as refused:
        Http("http://h/v1", model=None, api_key="sk-sécret")
    assert "cret" not in str(refused.value)


def test_a_redirect_is_not_followed() -> None:
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("https://elsewhere.invalid/v1/models")

    with pytest.raises(NotAllowed, match=r"redirects to https://elsewhere\.invalid/v1/models \(301\)"):
        probing("/v1", web.get("/v1/models", moved))


def test_what_is_sent() -> None:
    async def use(http: Http) -> tuple[Completion, Completion]:
        return await http.complete(ASK), await http.complete(replace(ASK, body=wire.encode(ASK)))

    server = FakeServer(script="echo")
    first, second = talk(server, use, key="k")
    assert first == second
    assert first.text
    assert first.prompt_tokens
    assert first.completion_tokens
    assert server.bodies[0] == {**json.loads(wire.encode(ASK)), "seed": 5}
    assert list(server.by_hash.values()) == [2]
    headers = server.headers
    assert (headers["Content-Type"], headers["Accept-Encoding"]) == ("application/json", "identity")
    assert headers["Authorization"] == "Bearer k"


def test_a_raw_completion() -> None:
    async def use(http: Http) -> Completion:
        return await http.complete(Request("fake", "Once upon", SamplingParams(max_tokens=30)))

    server = FakeServer(script="echo")
    assert talk(server, use).text
    assert "seed" not in server.bodies[0]


def test_another_seed_is_another_answer() -> None:
    async def use(http: Http) -> list[str]:
        requests = [replace(ASK, sampling=replace(ASK.sampling, seed=seed)) for seed in (1, 2, 1)]
        return [(await http.complete(request)).text for request in requests]

    one, two, again = talk(FakeServer(), use)
    assert one == again != two


def test_a_server_without_seeds_is_told_none() -> None:
    async def use(http: Http) -> None:
        await asyncio.gather(*(http.complete(ASK) for _ in range(3)))
        await http.complete(ASK)

    server = FakeServer(fault="seed")
    talk(server, use)
    assert 5 <= server.count <= 7
    assert "seed" not in server.bodies[-1]


def test_the_newer_name_of_max_tokens() -> None:
    tricky = Message("user", 'Explain {"max_tokens": 3} to me.')
    request = replace(ASK, prompt=(tricky,))

    async def use(http: Http) -> None:
        await http.complete(request)
        await http.complete(request)

    server = FakeServer(fault="max-tokens")
    talk(server, use)
    assert server.count == 3
    assert server.bodies[-1]["max_completion_tokens"] == 40
    assert "max_tokens" not in server.bodies[-1]
    assert server.bodies[-1]["messages"][0]["content"] == tricky.content


def test_too_many_tokens_are_asked_for_once_more_with_what_is_left() -> None:
    async def use(http: Http) -> Completion:
        return await http.complete(replace(ASK, sampling=SamplingParams(max_tokens=5000, seed=1)))

    server = FakeServer(context_tokens=100)
    answer = talk(server, use)
    assert answer.text
    assert [body["max_tokens"] for body in server.bodies] == [5000, 96]


def test_a_prompt_that_is_too_long_is_refused_for_good() -> None:
    async def use(http: Http) -> Completion:
        return await http.complete(replace(ASK, prompt=(Message("user", "word " * 500),)))

    server = FakeServer(context_tokens=100)
    with pytest.raises(RequestRefused, match="maximum context length is 100 tokens"):
        talk(server, use)
    assert server.count == 1


def test_an_unknown_model() -> None:
    async def use(http: Http) -> Completion:
        return await http.complete(replace(ASK, model="other"))

    with pytest.raises(NotAllowed, match=r"`other` does not exist.*--model"):
        talk(FakeServer(), use)


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("html", BackendError, r"cannot be read \(HTTP 200: Welcome to nginx!\)"),
        ("half", BackendError, "cannot be read"),
        ("no-choices", BackendError, "without a choice"),
        ("disconnect", BackendError, "broke: Server disconnected"),
        ("cut", BackendError, "broke"),
        ("500", BackendError, "HTTP 500: fault on purpose"),
        ("429", BackendError, "HTTP 429"),
        ("422", RequestRefused, "HTTP 422"),
        ("401", NotAllowed, "OPENAI_API_KEY"),
        ("quota", NotAllowed, "nothing left to spend"),
    ],
)
def test_faults(fault: str, kind: type[BackendError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        talk(FakeServer(fault=fault, retry_after="2"), ask)
    assert type(caught.value) is kind
    from_exception = fault in ("disconnect", "cut")
    assert (caught.value.__cause__ is not None) == from_exception


@pytest.mark.parametrize(("fault", "text"), [("empty", ""), ("blank", " \n\n "), ("null", ""), ("no-usage", None)])
def test_odd_answers_are_answers(fault: str, text: str | None) -> None:
    answer = talk(FakeServer(fault=fault), ask)
    assert answer.text == text or text is None
    assert (answer.prompt_tokens is None) == (fault == "no-usage")


def test_a_large_answer_and_a_large_request() -> None:
    async def use(http: Http) -> tuple[Completion, Completion]:
        large = Message("user", "x" * (3 << 19))
        return await http.complete(ASK), await http.complete(replace(ASK, prompt=(large,)))

    first, second = talk(FakeServer(fault="large", context_tokens=None), use)
    assert len(first.text) == len(second.text) == 1 << 20


@pytest.mark.parametrize("told", [True, False], ids=["Content-Length", "chunked"])
def test_an_answer_without_end_is_refused_before_it_fills_the_memory(told: bool) -> None:
    """And the connection is given up: what the server goes on to send is not read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 << 20:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    async def main() -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=endless(), headers={"Content-Length": str(100 << 20)} if told else {})

        async with app(web.post("/v1/chat/completions", answer)) as root:
            http = Http(f"{root}/v1", model="m", api_key=None)
            await closing(http, http.complete(ASK))

    with pytest.raises(RequestRefused, match="answers with more than 16 MiB"):
        asyncio.run(main())
    assert sent < (4 << 20 if told else 32 << 20)  # what fits into the buffers of a socket


def test_an_error_inside_a_200() -> None:
    async def main() -> None:
        inside = {"error": {"message": "upstream is busy", "code": 503}}
        async with app(web.post("/v1/chat/completions", answering(inside))) as root:
            http = Http(f"{root}/v1", model="m", api_key=None)
            await closing(http, http.complete(ASK))

    with pytest.raises(BackendError, match="HTTP 503: upstream is busy") as caught:
        asyncio.run(main())
    assert caught.value.fate == "retry"


def test_a_server_that_hangs() -> None:
    async def main() -> None:  # the deadline of a request is the pool's
        async with FakeServer(fault="hang") as server:
            pool = Pool(
                [Http(server.base_url, model="fake", api_key=None)], concurrency=1, retries=0, timeout_seconds=0.2
            )
            try:
                await pool.complete(ASK)
            finally:
                await pool.aclose()

    with pytest.raises(BackendError, match="no answer within"):
        asyncio.run(main())


def test_a_connection_that_idled_too_long_is_nobodys_failure() -> None:
    """The server closes the kept connection just as the second request is on its way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"choices":[{"text":"x"}]}'
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        http = Http(f"http://127.0.0.1:{port}/v1", model="m", api_key=None)
        try:
            assert (await http.complete(ASK)).text == "x"
            with pytest.raises(BackendError) as caught:
                await http.complete(ASK)
            assert caught.value.retry_after_seconds == 0
            assert caught.value.fate == "retry"
        finally:
            await http.aclose()
            server.close()

    asyncio.run(main())


def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        asked: list[str] = []

        async def proxy(request: web.Request) -> web.Response:
            asked.append(str(request.raw_path))
            return web.json_response({"choices": [{"text": "through"}]})

        async with app(web.post("/{any:.*}", proxy)) as root:
            monkeypatch.setenv("http_proxy", root)
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            far = Http("http://models.invalid/v1", model="m", api_key=None)
            await closing(far, far.complete(ASK))
            here = Http(f"{root}/here", model="m", api_key=None)
            await closing(here, here.complete(ASK))
        return asked

    asked = asyncio.run(main())
    assert asked == ["http://models.invalid/v1/chat/completions", "/here/chat/completions"]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://h:8000/v1/", "http://h:8000/v1"),
        (" https://h/v1// ", "https://h/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/completions/", "http://h/v1"),
        ("http://h:8000", "http://h:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_base_urls(given: str, url: str) -> None:
    assert Http(given, model=None, api_key=None).base_url == url


@pytest.mark.parametrize(
    "given",
    [
        *("localhost:8000/v1", "h/v1", "", "ftp://h/v1", "http://", "http://h:port/v1", "http://[::1/v1"),
        *("http://h/v1?key=abc", "http://me:sk-secret@h/v1", "http://h:99999/v1"),
    ],
)
def test_what_is_no_base_url(given: str) -> None:
    with pytest.raises(UsageError, match="--base-url") as caught:
        Http(given, model=None, api_key=None)
    assert "sk-secret" not in str(caught.value)


def test_open_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    two = open_backends(ModelSpec("m", ("http://a/v1", "http://b/v1/", "http://a/v1/")))
    assert [backend.name for backend in two] == ["http://a/v1", "http://b/v1"]
    (openai,) = open_backends(ModelSpec("openai:gpt-x"))
    assert isinstance(openai, OpenAI)
    assert (openai.name, openai.model) == (OPENAI_URL, "gpt-x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")
    assert open_backends(ModelSpec(None))[0].name == "http://env/v1"
    assert open_backends(ModelSpec("embedded"))[0].name == "embedded"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ModelSpec("openai:gpt-x", api_key_env="MY_KEY"), "MY_KEY is not set"),
        (ModelSpec("vllm:/models/x"), "no model in that folder"),
        (ModelSpec("m"), "where is it served.*--base-url"),
        (ModelSpec(None), "no model.*--base-url"),
        (ModelSpec("embedded", ("http://h/v1",)), "--base-url http://h/v1 does not go with it"),
        (ModelSpec("m", ("h/v1",)), "a URL such as"),
    ],
)
def test_specifications_that_say_too_little(spec: ModelSpec, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=says):
        open_backends(spec)


def test_one_pool_serves_one_model() -> None:
    a, b = Recording(lambda _: "x", model="a"), Recording(lambda _: "x", model="b")
    known = Capabilities(models=("a",))
    check_same_model([a, a], [known, replace(known, context_tokens=5)])
    with pytest.raises(UsageError, match=r"a serves a, b serves b"):
        check_same_model([a, b], [known, known])


def test_importing_backends_is_light() -> None:
    code = "import sys, synthgen.backends; print({'aiohttp', 'orjson', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_the_fake_server_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.fake_server", "--port", "0", "--script", "self-instruct", "--fault", "503"]
    process = subprocess.Popen(
        [*command, "--times", "1"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        async def main() -> tuple[Completion, Any]:
            http = Http(url, model="fake", api_key=None)
            try:
                with pytest.raises(BackendError, match="HTTP 503"):
                    await http.complete(ASK)
                answer = await http.complete(ASK)
                log = await http._ask("GET", url.removesuffix("/v1") + "/_log")
            finally:
                await http.aclose()
            return answer, json.loads(log.body)

        answer, log = asyncio.run(main())
    finally:
        process.terminate()
        process.communicate()
    assert answer.text.startswith("1. ")
    assert log["count"] == 2
    assert list(log["by_hash"].values()) == [2]
    assert log["by_status"] == {"503": 1, "200": 1}

"""OpenAI-compatible servers over HTTP: bytes out, bytes in, and one door through which every failure comes."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import ssl
from collections.abc import Mapping
from errno import ECONNREFUSED
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from yarl import URL

from synthgen.backends import wire
from synthgen.backends.served import CHINESE, ENGLISH, choose, tokens_per_char
from synthgen.backends.side import ENGINE_DEAD, SideDoors
from synthgen.errors import BackendError, NotAllowed, RequestRefused, SynthgenError, UsageError
from synthgen.types import Capabilities, Completion, Request

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 30.0
KEEPALIVE_SECONDS = 4.0  # vLLM closes idle connections after 5 s
LONGEST_MESSAGE_CHARS = 300  # servers repeat kilobytes of the request
LARGEST_BYTES_BODY = 1 << 20  # aiohttp warns about more than that in one write
LARGEST_ANSWER_BYTES = 1 << 24  # millions of tokens: no model writes that, a server that is broken does
_LIMIT = b'"max_tokens":'
_NO_SUCH_PATH = (404, 405, 501)
_KEY_HINT = "set OPENAI_API_KEY, or name its variable with --api-key-env"
_VENDOR = (aiohttp.ClientError, OSError, EOFError, TimeoutError)
_DROPPED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
# What OpenSSL says when the other side does not speak TLS at all.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Http(SideDoors):
    """A `Backend` over one base URL; `model` is set once `probe` has asked the server.

    The session is made in the running loop at the first question; HTTP(S)_PROXY and NO_PROXY are honoured.
    """

    def __init__(self, base_url: str, *, model: str | None, api_key: str | None, timeout_seconds: float = 600) -> None:
        """Raises UsageError for what is no URL, and for a key that no header can carry."""
        self.name = self.base_url = _normal(base_url)
        self.model = model
        self._key = (api_key or "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise UsageError("the API key has characters that no header can carry; set it again, in plain ASCII")
        self._timeout_seconds = timeout_seconds
        self._takes_seed = True
        self._limit_name = _LIMIT
        self._urls = {path: URL(f"{self.base_url}/{path}") for path in ("chat/completions", "completions")}
        self._session: aiohttp.ClientSession | None = None

    async def probe(self) -> Capabilities:
        """Ask the server once what it is. Raises NotAllowed or UsageError where no request could succeed."""
        entries = await self._served()
        names = [entry["id"] for entry in entries]
        self.model = choose(self.base_url, self.model, names)
        vllm = any(entry.get("owned_by") == "vllm" for entry in entries)
        tokens = await self._tokens_per_char() if vllm else None
        known = Capabilities()
        return Capabilities(
            models=tuple(names),
            context_tokens=wire.context_tokens(self.model, entries),
            completions=True if vllm else await self._has_completions(),
            seed=True if vllm else None,
            software="vllm" if vllm else known.software,
            tokens_per_char=tokens or known.tokens_per_char,
            measured_tokens=tokens is not None,
        )

    async def complete(self, request: Request) -> Completion:
        """One completion. A field that the server does not take is left out once and for all, then never sent again."""
        body = request.body or wire.encode(request)
        limit, shortened = request.sampling.max_tokens, False
        url = self._urls[wire.endpoint(request)]
        while True:
            sent, name = body, self._limit_name
            if limit is not None:  # keys are sorted and quotes in texts escaped: the first match is the field
                sent = body.replace(_LIMIT, name, 1)
            seeded = request.sampling.seed is not None and self._takes_seed
            if seeded and request.sampling.seed is not None:
                sent = wire.with_seed(sent, request.sampling.seed)
            answer = await self._ask("POST", url, sent)
            if answer.status == 200:
                return read(*answer, request, hide=self._key)
            said = wire.fault(answer.body) if answer.status in (400, 422) else wire.Fault("")
            left = None if shortened or limit is None else wire.room_left(said, limit)
            named = said.param.split(".")[-1] == "seed" if said.param else re.search(r"\bseed\b", said.message)
            if seeded and named:  # a message may repeat the prompt: it counts where no field is named
                self._takes_seed = False
            elif limit is not None and name == _LIMIT and "max_completion_tokens" in said.message and left is None:
                self._limit_name = b'"max_completion_tokens":'  # OpenAI's newer models know this name alone
            elif left is not None:
                body = body.replace(_LIMIT + b"%d" % (limit or 0), _LIMIT + b"%d" % left, 1)
                shortened = True
            else:
                raise refusal(*answer, hide=self._key)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, method: str, url: URL | str, body: bytes = b"", seconds: float = 0) -> _Answer:
        """`seconds` bound it as a whole; without them the session's own limits hold, which cost no timer a request."""
        if self._session is None:
            self._session = self._open()
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS) if seconds else self._session.timeout
        data = _Body(body) if len(body) < LARGEST_BYTES_BODY else io.BytesIO(body)
        try:
            async with self._session.request(
                method, url, data=data if body else None, timeout=timeout, allow_redirects=False
            ) as response:
                return _Answer(response.status, response.headers, await _whole(response, self.base_url))
        except _VENDOR as error:
            found = translate(error, self.base_url)
            reused = isinstance(data, _Body) and data.reused
            if reused and isinstance(error, _DROPPED) and isinstance(found, BackendError):
                found.retry_after_seconds = 0.0  # an idle connection that the server had closed: nobody's failure
            raise found from error

    def _open(self) -> aiohttp.ClientSession:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "synthgen",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, socket_factory=_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=headers,
            proxy=_proxy(self.base_url),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )

    async def _served(self) -> list[dict[str, Any]]:
        """The entries of /models; none when the server is an API that does not list them."""
        answer = await self._look(f"{self.base_url}/models")
        entries = wire.models(answer.body) if answer.status == 200 else None
        if entries is not None:
            return entries
        if answer.status in (401, 403) or 300 <= answer.status < 400:
            raise refusal(*answer, hide=self._key)
        if answer.status >= 500 and answer.status not in _NO_SUCH_PATH:
            said = refusal(*answer, hide=self._key)
            raise NotAllowed(f"{self.base_url} answers, but with {said}; try again when it is ready")
        if not re.search(r"/v\d+$", self.base_url):
            below = await self._look(f"{self.base_url}/v1/models")
            if below.status in (401, 403) or wire.models(below.body) is not None:
                raise NotAllowed(f"no API at {self.base_url}, but there is one below it: --base-url {self.base_url}/v1")
        if answer.status in _NO_SUCH_PATH:
            chat = await self._look(f"{self.base_url}/chat/completions")
            if chat.status >= 400 and (chat.status != 404 or wire.is_json(chat.body)):
                return []
        raise NotAllowed(f"{self.base_url} answers, but not as an OpenAI-compatible API (is /v1 missing?)")

    async def _look(self, url: str, body: bytes = b"") -> _Answer:
        """GET, or POST of a body; a server that is not ready is asked three times, nobody there is NotAllowed."""
        for pause_seconds in (0.5, 1.0, None):
            try:
                method = "POST" if body else "GET"
                answer = await self._ask(method, url, body, min(PROBE_SECONDS, self._timeout_seconds))
            except NotAllowed:
                raise
            except RequestRefused as error:
                raise NotAllowed(f"{error}; correct --base-url") from error
            except BackendError as error:
                why = _why(error.__cause__ or error)
                raise NotAllowed(
                    f"no server answers at {self.base_url} ({why}); start one or correct --base-url"
                ) from error
            if pause_seconds is None or (answer.status not in (429, 500, 502, 503, 504)):
                break
            await asyncio.sleep(min(wire.retry_after_seconds(answer.headers) or pause_seconds, 5.0))
        return answer

    async def _has_completions(self) -> bool | None:
        answer = await self._look(f"{self.base_url}/completions")
        return {405: True, 404: False}.get(answer.status)

    async def _tokens_per_char(self) -> tuple[float, float] | None:
        counts = {text: await self._count_tokens(text) for text in (ENGLISH, CHINESE)}
        return tokens_per_char(lambda text: counts[text] or 0) if all(counts.values()) else None

    async def _count_tokens(self, text: str) -> int | None:
        url = re.sub(r"/v\d+$", "", self.base_url) + "/tokenize"
        body = orjson.dumps({"model": self.model, "prompt": text, "add_special_tokens": False})
        # Not an estimate because of one bad moment: prompts are fitted by it, and other prompts are asked again.
        answer = await self._look(url, body)
        try:
            count = orjson.loads(answer.body)["count"] if answer.status == 200 else None
        except (orjson.JSONDecodeError, LookupError, TypeError):
            return None  # an estimate takes its place
        return count if isinstance(count, int) else None


class _Body(aiohttp.BytesPayload):
    """The bytes of a request; `reused` once it went out on a connection that was used before."""

    reused = False


class _Connector(aiohttp.TCPConnector):
    """Tells a request whether its connection was used before; aiohttp's tracing would cost it 36 us."""

    async def connect(self, req: Any, *given: Any, **named: Any) -> Any:
        connection = await super().connect(req, *given, **named)
        if isinstance(req.body, _Body):
            req.body.reused = hasattr(connection.protocol, "used_before")
        connection.protocol.used_before = True  # type: ignore[union-attr]
        return connection


async def _whole(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body, whatever its length is said to be. Raises RequestRefused for one that no memory should hold."""
    length, parts, size = response.content_length, list[bytes](), 0
    if length is not None and length <= LARGEST_ANSWER_BYTES:
        return await response.read()
    while length is None and size <= LARGEST_ANSWER_BYTES:
        part = await response.content.readany()
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    parts.clear()  # the error holds this frame as long as it lives
    response.close()  # the rest is not waited for
    raise RequestRefused(f"{url} answers with more than {LARGEST_ANSWER_BYTES >> 20} MiB; that is no answer of a model")


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within a minute that the other side is gone without a word."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _normal(base_url: str) -> str:
    """The base URL without trailing slashes or the path of an endpoint. Raises UsageError where it is none."""
    url = base_url.strip()
    example = "a URL such as http://localhost:8000/v1 is expected"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--base-url {url}: {example} ({error})") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"--base-url: no name or password in a URL; {_KEY_HINT}")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"--base-url {url or repr(url)}: {example}")
    if parts.query or parts.fragment:
        raise UsageError(f"--base-url {url}: it ends with its path, without ? and #")
    return re.sub(r"(?:/+(?:(?:chat/)?completions|embeddings))?/*$", "", url)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL, as other programs read it; never for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    found = getproxies().get(parts.scheme)
    return found if found and found.startswith("http") else None


def translate(error: BaseException, url: str = "the server") -> SynthgenError:
    """What an exception of the HTTP library, of a socket or of TLS means for us; one that is a bug is raised again."""
    if isinstance(error, SynthgenError):
        return error
    why = _why(error)
    if isinstance(error, ssl.SSLCertVerificationError | aiohttp.ServerFingerprintMismatch):
        return NotAllowed(f"{url}: its certificate is not trusted ({why})")
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError) and any(sign in why.upper() for sign in _NO_TLS):
        return NotAllowed(f"{url} does not speak TLS ({why}); http:// instead of https://?")
    if isinstance(error, aiohttp.RedirectClientError | aiohttp.TooManyRedirects):
        return NotAllowed(f"{url} redirects to where no answer is; correct --base-url")
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return UsageError(f"{url}: no address that can be asked; correct --base-url, or the proxy's in the environment")
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status in (401, 403, 407):
        return NotAllowed(f"the proxy does not let us through to {url} (HTTP {error.status})")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return BackendError(f"no connection to {url} within {CONNECT_SECONDS:g} s")
    if isinstance(error, TimeoutError):  # before OSError, of which it is one
        return BackendError(f"no answer from {url} in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return BackendError(f"no connection to {url}: {why}")
    if isinstance(error, aiohttp.ClientResponseError):
        return BackendError(f"{url} does not answer in HTTP: {why}")
    if isinstance(error, aiohttp.ClientError | aiohttp.WSMessageTypeError | OSError | EOFError):
        return BackendError(f"the connection to {url} broke: {why}")
    raise error


def _why(error: BaseException) -> str:
    """The reason in a few words. Never a repr: that of a response error holds the headers, and so the key."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "host name not found"
    if isinstance(error, aiohttp.ClientResponseError):
        return _short(error.message) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and (error.errno == ECONNREFUSED or f"[Errno {ECONNREFUSED}]" in str(error)):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _short(str(error)) or type(error).__name__


def read(status: int, headers: Mapping[str, str], body: bytes, request: Request, *, hide: str = "") -> Completion:
    """The completion of an answer that came with status 200. Raises what its body says instead."""
    return wire.decode(payload_of(status, headers, body, "choices", hide=hide), request)


def payload_of(status: int, headers: Mapping[str, str], body: bytes, wanted: str, *, hide: str = "") -> dict[str, Any]:
    """The object of an answer that came with status 200. Raises what its body says instead."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        raise refusal(status, headers, body, hide=hide)
    error = payload.get("error")
    if error and not payload.get(wanted):  # some gateways say 200 and put the status inside
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        raise refusal(status, headers, body, hide=hide)
    return payload


def refusal(status: int, headers: Mapping[str, str], body: bytes, *, hide: str = "") -> SynthgenError:
    """What a status means for us, with what the body says; `hide` is the key, which some servers repeat."""
    fault = wire.fault(body)
    said = _short(fault.message.replace(hide, "***") if hide else fault.message)
    text = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status < 300:
        return BackendError(f"the server's answer cannot be read ({text})")
    if status < 400:
        target = _short(next((v for k, v in headers.items() if k.lower() == "location"), ""))
        where = f" to {target}" if target and not (hide and hide in target) else ""
        return NotAllowed(f"the server redirects{where} ({status}); correct --base-url")
    if status in (401, 403):
        return NotAllowed(f"the server does not accept the API key ({text}); {_KEY_HINT}")
    if status == 402 or (status == 429 and fault.code == "insufficient_quota"):
        return NotAllowed(f"the account has nothing left to spend ({text})")
    if status in (404, 405):
        what = "--model" if fault.code in ("model_not_found", "NotFoundError") or "model" in said else "--base-url"
        return NotAllowed(f"nothing is served there ({text}); correct {what}")
    if status in (408, 409, 423, 425, 429) or status >= 500:
        later, busy = wire.retry_after_seconds(headers), status in (429, 503)
        return BackendError(text, retry_after_seconds=later, busy=busy, died=ENGINE_DEAD in fault.message)
    if fault.param == "max_tokens" and "at least 1, got 0" in said:
        return RequestRefused(f"the prompt fills the context and leaves no room for an answer ({text})")
    return RequestRefused(text)


def _short(text: str) -> str:
    text = wire.one_line(text)
    return text if len(text) <= LONGEST_MESSAGE_CHARS else text[: LONGEST_MESSAGE_CHARS - 1] + "…"

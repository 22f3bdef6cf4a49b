"""The one door: every exception and every status becomes an error of ours, with a fate and a plain sentence."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from yarl import URL

from synthgen.backends.http import refusal, translate
from synthgen.errors import BackendError, NotAllowed, RequestRefused, SynthgenError, UsageError

VLLM = Path(__file__).parent / "data" / "vllm_errors.json"
KEY = aiohttp.client_reqrep.ConnectionKey("host", 80, False, True, None, None, None)
FINAL = {  # not retried
    "ClientConnectorCertificateError": NotAllowed,
    "ServerFingerprintMismatch": NotAllowed,
    "TooManyRedirects": NotAllowed,
    "RedirectClientError": NotAllowed,
    "InvalidUrlRedirectClientError": NotAllowed,
    "NonHttpUrlRedirectClientError": NotAllowed,
    "InvalidURL": UsageError,
    "InvalidUrlClientError": UsageError,
    "NonHttpUrlClientError": UsageError,
}


def instance(kind: type[BaseException]) -> BaseException:
    """One of each class, with arguments of the right kinds."""
    refused = OSError(111, "Connect call failed")
    if kind is client_exceptions.UnixClientConnectorError:
        return kind("/no/socket", KEY, refused)
    if issubclass(kind, client_exceptions.ClientConnectorCertificateError):
        return kind(KEY, ssl.SSLCertVerificationError(1, "self-signed certificate"))
    if issubclass(kind, client_exceptions.ClientConnectorError):
        return kind(KEY, refused)
    if issubclass(kind, client_exceptions.ServerFingerprintMismatch):
        return kind(b"a", b"b", "host", 443)
    if issubclass(kind, client_exceptions.ClientResponseError):
        return kind(None, (), status=400, message="Bad status line")
    if issubclass(kind, client_exceptions.InvalidURL):
        return kind("http://[", "no host")
    return kind()


CLASSES = [
    value
    for value in vars(client_exceptions).values()
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == client_exceptions.__name__
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_aiohttp_is_translated(kind: type[BaseException]) -> None:
    error = translate(instance(kind), "http://host/v1")
    assert type(error) is FINAL.get(kind.__name__, BackendError)
    assert "\n" not in str(error)
    assert "http://host/v1" in str(error)


def test_the_classes_that_were_walked_are_those_of_the_library() -> None:
    assert len(CLASSES) >= 25
    assert set(FINAL) <= {kind.__name__ for kind in CLASSES}


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (TimeoutError(), BackendError, "no answer from the server in time"),
        (ConnectionResetError(104, "Connection reset by peer"), BackendError, "reset by peer"),
        (ConnectionRefusedError(111, "refused"), BackendError, "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), BackendError, "not known"),
        (asyncio.IncompleteReadError(b"", 3), BackendError, "broke"),
        (OSError(24, "Too many open files"), BackendError, "Too many open files"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), NotAllowed, "does not speak TLS"),
        (ssl.SSLError(1, "[SSL: RECORD_LAYER_FAILURE] record layer failure"), NotAllowed, "http:// instead"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR]"), BackendError, "ALERT"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), NotAllowed, "not trusted"),
        (aiohttp.ClientHttpProxyError(None, (), status=407, message="x"), NotAllowed, "proxy"),  # type: ignore[arg-type]
        (RequestRefused("as it is"), RequestRefused, "as it is"),
    ],
)
def test_other_exceptions(error: BaseException, kind: type[SynthgenError], says: str) -> None:
    found = translate(error)
    assert type(found) is kind
    assert says in str(found)


def test_a_bug_is_no_error_of_the_server() -> None:
    with pytest.raises(KeyError):
        translate(KeyError("x"))
    with pytest.raises(asyncio.CancelledError):
        translate(asyncio.CancelledError())


def test_headers_with_the_key_are_not_in_the_message() -> None:
    headers = {"Authorization": "Bearer sk-secret"}
    info = aiohttp.RequestInfo(URL("http://h"), "POST", headers, URL("http://h"))  # type: ignore[arg-type]
    error = aiohttp.ClientResponseError(info, (), status=400, message="Bad status line")
    assert "sk-secret" in repr(error)
    assert "sk-secret" not in str(translate(error))


def expected(status: int) -> type[SynthgenError]:
    if status < 400 or status in (401, 402, 403, 404, 405):
        return NotAllowed
    if status in (408, 409, 423, 425, 429) or status >= 500:
        return BackendError
    return RequestRefused


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status(status: int) -> None:
    for body in (b"", b"<html>" + b"x" * 5000, b'{"error":"Unauthorized"}', b'{"detail":"no\\nway"}'):
        error = refusal(status, {"Retry-After": "2"}, body)
        assert type(error) is expected(status)
        assert str(status) in str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 450
        if isinstance(error, BackendError) and error.fate == "retry":
            assert error.retry_after_seconds == 2


def test_what_the_messages_say() -> None:
    assert "OPENAI_API_KEY" in str(refusal(401, {}, b""))
    assert "--api-key-env" in str(refusal(403, {}, b""))
    assert "to http://new/v1 (308)" in str(refusal(308, {"location": "http://new/v1"}, b""))
    quota = refusal(429, {}, b'{"error":{"message":"quota","code":"insufficient_quota"}}')
    assert type(quota) is NotAllowed
    assert type(refusal(429, {}, b'{"error":{"message":"slow down","code":"rate_limit"}}')) is BackendError
    assert "--model" in str(refusal(404, {}, b'{"error":{"message":"The model `x` does not exist."}}'))
    assert "--base-url" in str(refusal(404, {}, b'{"detail":"Not Found"}'))
    assert "cannot be read" in str(refusal(200, {}, b"<title>Hello</title>"))


def test_the_key_is_never_repeated() -> None:
    key = "sk-0123456789"
    body = json.dumps({"error": {"message": f"{'x' * 290} wrong key {key}"}}).encode()
    for status in (302, 400, 401, 429, 500):
        said = str(refusal(status, {"Location": f"http://h/?k={key}"}, body, hide=key))
        assert key not in said
        assert key[:6] not in said


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", None),
        ("0.0", None),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("9999", 300),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    error = refusal(503, {"RETRY-AFTER": value}, b"")
    assert isinstance(error, BackendError)
    assert error.retry_after_seconds == seconds


def test_retry_after_as_a_date() -> None:
    for ahead, low, high in ((20, 15, 20), (9999, 300, 300)):
        when = datetime.now(UTC) + timedelta(seconds=ahead)
        error = refusal(429, {"Retry-After": format_datetime(when, usegmt=True)}, b"")
        assert isinstance(error, BackendError)
        assert error.retry_after_seconds is not None
        assert low <= error.retry_after_seconds <= high
    past = refusal(429, {"Retry-After": format_datetime(datetime.now(UTC) - timedelta(seconds=20), usegmt=True)}, b"")
    assert isinstance(past, BackendError)
    assert past.retry_after_seconds is None


def test_retry_after_as_a_date_goes_by_the_servers_own_clock() -> None:
    """Ours may be hours away from it."""
    then = datetime(2001, 2, 3, 4, 5, tzinfo=UTC)
    later, now = (format_datetime(then + timedelta(seconds=s), usegmt=True) for s in (20, 0))
    for date, seconds in ((now, 20), ("yesterday", None)):
        error = refusal(429, {"Retry-After": later, "date": date}, b"")
        assert isinstance(error, BackendError)
        assert error.retry_after_seconds == seconds


def cases() -> list[Any]:
    if not VLLM.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{VLLM.name} is not recorded yet"))]
    return [pytest.param(case, id=case["case"]) for case in json.loads(VLLM.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("case", cases())
def test_every_recorded_refusal_of_vllm(case: dict[str, Any]) -> None:
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    error = refusal(case["status"], case["headers"], body.encode())
    assert type(error) is expected(case["status"])
    said = str(error)
    assert said.startswith("HTTP ") or f"HTTP {case['status']}" in said
    assert "\n" not in said
    assert len(said) < 450
    assert len(said) > len(f"HTTP {case['status']}: "), "a message, not a number alone"

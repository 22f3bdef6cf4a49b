"""Servers that are not as they should be, and answers of no use: the exit code, one line, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from faulty import DATA, Faulty, data, generate, rows, said, synthgen

KEY = "sk-never-to-be-seen-0123456789"


def page(status: int, text: str, kind: str = "application/json") -> web.Response:
    return web.Response(status=status, text=text, content_type=kind)


HTML = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head></html>"


def test_nobody_at_the_address(tmp_path: Path) -> None:
    done = synthgen("generate", "alpaca", "--base-url", "http://127.0.0.1:9/v1", cwd=tmp_path)
    done.refused(4, "no server answers at http://127.0.0.1:9/v1 (connection refused); start one or correct --base-url")


def test_a_key_that_is_not_accepted_is_never_shown(tmp_path: Path, server: Faulty) -> None:
    server.listing = page(401, f'{{"error": {{"message": "Incorrect API key provided: {KEY}."}}}}')
    done = synthgen(*generate(server, "--verbose"), cwd=tmp_path, OPENAI_API_KEY=KEY)
    assert KEY not in done.out + done.err
    done = synthgen(*generate(server), cwd=tmp_path, OPENAI_API_KEY=KEY)
    done.refused(4, "does not accept the API key (HTTP 401: Incorrect API key provided: ***.); set OPENAI_API_KEY")


def test_a_key_that_is_withdrawn_on_the_way(tmp_path: Path, server: Faulty) -> None:
    body = f'{{"error": {{"message": "Incorrect API key provided: {KEY}."}}}}'
    server.twist = lambda number: page(401, body) if number > 3 else None
    done = synthgen(*generate(server, "--out", "run"), cwd=tmp_path, OPENAI_API_KEY=KEY)
    assert "does not accept the API key" in done.error(4)
    assert KEY not in done.out + done.err
    assert [path.name for path in (tmp_path / "run").iterdir() if KEY.encode() in path.read_bytes()] == []
    server.reset()
    assert synthgen(*generate(server, "--out", "run"), cwd=tmp_path, OPENAI_API_KEY=KEY).code == 0
    assert synthgen(*generate(server, "--out", "undisturbed"), cwd=tmp_path).code == 0
    assert data(tmp_path / "run") == data(tmp_path / "undisturbed")


def test_a_page_instead_of_an_api(tmp_path: Path, server: Faulty) -> None:
    server.listing = page(200, HTML, "text/html")
    done = synthgen(*generate(server), cwd=tmp_path)
    done.refused(4, f"{server.base_url} answers, but not as an OpenAI-compatible API")


def test_a_model_that_is_not_served(tmp_path: Path, server: Faulty) -> None:
    server.models = ["qwen-7b", "qwen-32b"]
    done = synthgen(*generate(server, "--model", "qwen-8b"), cwd=tmp_path)
    done.refused(4, "does not serve qwen-8b; did you mean qwen-7b? (it serves qwen-7b, qwen-32b)")


def test_several_models_and_none_named(tmp_path: Path, server: Faulty) -> None:
    server.models = ["qwen-7b", "qwen-32b"]
    done = synthgen(*generate(server), cwd=tmp_path)
    done.refused(2, "serves several models: choose one with --model (qwen-7b, qwen-32b)")


TEXTS: dict[str, str | None] = {
    "empty": "",
    "white space": " \n\t\n ",
    "half JSON": '{"instruction": "Name a riv',
    "1 MB": "x" * (1 << 20),
    "null": None,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_answers_of_no_use_are_rejected_and_the_run_goes_on(tmp_path: Path, server: Faulty, text: str | None) -> None:
    server.twist = lambda number: said(text) if number <= 3 else None
    done = synthgen(*generate(server, "--count", "20", "--out", "run"), cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    rejected = rows(tmp_path / "run" / "rejected.jsonl")
    assert sum(row["sample"] is None and row["reason"] == "parse" for row in rejected) >= 3
    assert (tmp_path / "run" / "rejected.jsonl").stat().st_size < 100_000
    assert (tmp_path / "run" / "failures.jsonl").read_bytes() == b""
    assert len(rows(tmp_path / "run" / "alpaca.jsonl")) == 20


@pytest.mark.parametrize("recipe", ["alpaca", "self-instruct"])
def test_a_model_that_never_says_anything_ends_the_run(tmp_path: Path, server: Faulty, recipe: str) -> None:
    server.twist = lambda number: said("")
    done = synthgen("generate", recipe, "--base-url", server.base_url, "--out", "run", cwd=tmp_path)
    assert (
        "no sample accepted in the last 200 tasks (200 parse); the model does not write what the prompt asks for"
        in done.error(7)
    )
    assert len(rows(tmp_path / "run" / "rejected.jsonl")) == 200
    assert [(tmp_path / "run" / name).read_bytes() for name in DATA if name != "rejected.jsonl"] == [b""] * 3
    shown = synthgen("show", "run", cwd=tmp_path)
    assert (shown.code, shown.err) == (0, "")
    status = synthgen("status", "run", "--json", cwd=tmp_path)
    assert (status.code, orjson.loads(status.out)["accepted"]) == (0, 0)
    export = synthgen("export", "run", "--to", "messages", "-o", "x.jsonl", cwd=tmp_path)
    assert (export.code, (tmp_path / "x.jsonl").read_bytes()) == (0, b"")


FAULTS = {
    "400": (
        lambda: page(400, '{"error": {"message": "Bad things are not answered."}}'),
        "HTTP 400: Bad things are not",
    ),
    "half a body": (lambda: page(200, '{"choices": [{"mess'), "the server's answer cannot be read"),
    "a page": (
        lambda: page(200, HTML, "text/html"),
        "the server's answer cannot be read (HTTP 200: Welcome to nginx!)",
    ),
    "no choice": (lambda: page(200, '{"choices": []}'), "the server answered without a choice"),
}


@pytest.mark.parametrize(("answer", "reason"), FAULTS.values(), ids=FAULTS)
def test_requests_that_all_fail_end_the_run(
    tmp_path: Path, server: Faulty, answer: Callable[[], web.Response], reason: str
) -> None:
    server.twist = lambda number: answer()
    done = synthgen(*generate(server, "--retries", "0", "--out", "run"), cwd=tmp_path)
    line = done.error(5)
    assert "20 of the last 20 tasks failed for one reason: " in line
    assert reason in line
    failures = rows(tmp_path / "run" / "failures.jsonl")
    assert len(failures) == 20
    assert all(reason in str(row["error"]) for row in failures)


def test_one_request_of_five_that_is_refused_is_a_failure_and_asked_again(tmp_path: Path, server: Faulty) -> None:
    server.twist = lambda number: page(400, '{"error": {"message": "no"}}') if number % 5 == 0 else None
    done = synthgen(*generate(server, "--count", "100", "--concurrency", "1", "--out", "run"), cwd=tmp_path)
    assert "the same command asks them again" in done.error(5)
    assert rows(tmp_path / "run" / "failures.jsonl")
    server.reset()
    assert synthgen(*generate(server, "--count", "100", "--out", "run"), cwd=tmp_path).code == 0
    assert synthgen(*generate(server, "--count", "100", "--out", "undisturbed"), cwd=tmp_path).code == 0
    assert data(tmp_path / "run") == data(tmp_path / "undisturbed")

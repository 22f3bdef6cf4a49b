"""The real vLLM server is what we take it for: the facts that our HTTP backend relies on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

HELLO = [{"role": "user", "content": "Write a short sentence about the sea."}]


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """POST `body`, or GET without one: the status, and what the JSON says."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def chat(url: str, **fields: Any) -> tuple[int, Any]:
    return ask(f"{url}/v1/chat/completions", {"model": "tiny", "messages": HELLO, "max_tokens": 16} | fields)


def completion(url: str, **fields: Any) -> tuple[int, Any]:
    return ask(f"{url}/v1/completions", {"model": "tiny", "prompt": "The sea", "max_tokens": 16} | fields)


def test_models_names_the_context(vllm_url: str) -> None:
    status, body = ask(f"{vllm_url}/v1/models")
    assert status == 200
    assert [(model["id"], model["max_model_len"]) for model in body["data"]] == [("tiny", 1024)]


def test_chat_answers(vllm_url: str) -> None:
    status, body = chat(vllm_url, seed=1, min_tokens=4)
    assert status == 200
    (choice,) = body["choices"]
    assert choice["message"]["content"]
    assert choice["finish_reason"] in {"stop", "length"}
    assert 4 <= body["usage"]["completion_tokens"] <= 16


def test_completion_answers(vllm_url: str) -> None:
    status, body = completion(vllm_url, seed=1, min_tokens=4)
    assert status == 200
    (choice,) = body["choices"]
    assert choice["text"]
    assert body["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("send", [chat, completion])
def test_unknown_model_is_404(vllm_url: str, send: Any) -> None:
    status, body = send(vllm_url, model="nobody")
    assert status == 404
    assert "nobody" in body["error"]["message"]


@pytest.mark.parametrize(
    ("send", "prompt"),
    [(chat, {"messages": [{"role": "user", "content": "sea " * 2000}]}), (completion, {"prompt": "sea " * 2000})],
)
def test_prompt_too_long_is_400(vllm_url: str, send: Any, prompt: dict[str, Any]) -> None:
    status, body = send(vllm_url, **prompt)
    assert status == 400
    assert "1024" in body["error"]["message"]


@pytest.mark.parametrize("send", [chat, completion])
def test_a_seed_gives_the_same_text_twice(vllm_url: str, send: Any) -> None:
    fields = {"seed": 7, "temperature": 1.0, "min_tokens": 8}
    (first, again) = ([choice | {"id": None} for choice in send(vllm_url, **fields)[1]["choices"]] for _ in range(2))
    assert first == again


def test_another_seed_gives_another_text(vllm_url: str) -> None:
    texts = {
        completion(vllm_url, seed=seed, temperature=1.0, min_tokens=8)[1]["choices"][0]["text"] for seed in (1, 2, 3)
    }
    assert len(texts) > 1


def test_metrics_has_the_gauge(vllm_url: str) -> None:
    with urllib.request.urlopen(f"{vllm_url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert "vllm:num_requests_running{" in text
    assert "vllm:num_requests_waiting{" in text

"""The same door on the real server: a probe, answers, and refusals that are repaired or final."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from synthgen.backends.http import Http
from synthgen.errors import NotAllowed, RequestRefused
from synthgen.load import Pool
from synthgen.types import Capabilities, Completion, Message, Request, SamplingParams

T = TypeVar("T")
ASK = Request("tiny", (Message("user", "Give three tips for staying healthy."),), SamplingParams(max_tokens=24, seed=1))


def talk(url: str, use: Callable[[Http], Awaitable[T]], model: str | None = "tiny") -> T:
    async def main() -> T:
        http = Http(f"{url}/v1", model=model, api_key=None)
        try:
            return await use(http)
        finally:
            await http.aclose()

    return asyncio.run(main())


def ask(url: str, *requests: Request) -> list[Completion]:
    async def use(http: Http) -> list[Completion]:
        return [await http.complete(request) for request in requests]

    return talk(url, use)


def test_probe(vllm_url: str) -> None:
    async def use(http: Http) -> tuple[Capabilities, str | None]:
        return await http.probe(), http.model

    found, model = talk(vllm_url, use, model=None)
    assert (found.models, model, found.context_tokens) == (("tiny",), "tiny", 1024)
    assert (found.software, found.completions, found.seed, found.measured_tokens) == ("vllm", True, True, True)
    latin, hanzi = found.tokens_per_char
    assert 0.1 < latin < 0.6
    assert 0.3 < hanzi < 3


def test_a_model_that_is_not_served(vllm_url: str) -> None:
    async def use(http: Http) -> Capabilities:
        return await http.probe()

    with pytest.raises(NotAllowed, match=r"does not serve tinny; did you mean tiny\? \(it serves tiny\)"):
        talk(vllm_url, use, model="tinny")

    async def without_v1() -> None:
        http = Http(vllm_url, model=None, api_key=None)
        try:
            await http.probe()
        finally:
            await http.aclose()

    with pytest.raises(NotAllowed, match=r"/v1$"):
        asyncio.run(without_v1())


def test_the_seed_decides(vllm_url: str) -> None:
    other = replace(ASK, sampling=replace(ASK.sampling, seed=2))
    one, again, two = ask(vllm_url, ASK, ASK, other)
    assert one == again
    assert one.text != two.text
    assert one.prompt_tokens
    assert one.completion_tokens


def test_a_raw_completion_and_stops(vllm_url: str) -> None:
    stops = ("", "@1", "@2", "@3", "@4", " ", "@6")
    (answer,) = ask(vllm_url, Request("tiny", "One two three", SamplingParams(max_tokens=20, seed=1, stop=stops)))
    assert " " not in answer.text
    assert answer.finish_reason in ("stop", "length")


def test_a_schema(vllm_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string", "maxLength": 20}, "answer": {"enum": ["yes", "no"]}},
        "required": ["reason", "answer"],
        "additionalProperties": False,
    }
    asked = [replace(ASK, schema=schema, sampling=SamplingParams(max_tokens=120, seed=n)) for n in range(12)]
    # White space between the parts is free, and a weak model may write nothing else until it is cut.
    whole = [answer for answer in ask(vllm_url, *asked) if answer.finish_reason == "stop"]
    assert whole
    for answer in whole:
        assert list(json.loads(answer.text)) == ["reason", "answer"]


def test_too_many_tokens_are_repaired_and_a_long_prompt_is_not(vllm_url: str) -> None:
    many = SamplingParams(max_tokens=2000, seed=1, stop=("\n", ".", ","))
    (answer,) = ask(vllm_url, replace(ASK, sampling=many))
    assert answer.completion_tokens
    for prompt in ("word " * 3000, (Message("user", "word " * 3000),)):
        with pytest.raises(RequestRefused, match="maximum context length is 1024 tokens"):
            ask(vllm_url, replace(ASK, prompt=prompt))


def test_many_at_once(vllm_url: str) -> None:
    async def use(http: Http) -> list[Completion]:
        pool = Pool([http], concurrency=16)
        requests = [replace(ASK, sampling=replace(ASK.sampling, seed=seed)) for seed in range(40)]
        return await asyncio.gather(*(pool.complete(request) for request in requests))

    answers = talk(vllm_url, use)
    assert len({answer.text for answer in answers}) > 20

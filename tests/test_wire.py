"""The wire form: requests to bytes, answers to completions, error bodies to words."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from synthgen.backends import wire
from synthgen.errors import BackendError, RequestRefused
from synthgen.types import Completion, Message, Request, SamplingParams, ToolCall

CHAT = Request("m", (Message("user", "hi"),))
RAW = Request("m", "once upon")


def sent(request: Request) -> dict[str, Any]:
    return json.loads(wire.encode(request))


def chat(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


def test_a_chat_and_a_completion() -> None:
    assert sent(CHAT) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert sent(RAW) == {"model": "m", "prompt": "once upon"}
    assert (wire.endpoint(CHAT), wire.endpoint(RAW)) == ("chat/completions", "completions")


def test_the_bytes_are_canonical_and_know_no_seed() -> None:
    sampling = SamplingParams(temperature=0.5, top_p=1.0, max_tokens=7, seed=3)
    body = wire.encode(replace(CHAT, sampling=sampling))
    assert body == wire.encode(replace(CHAT, sampling=replace(sampling, seed=4)))
    keys = list(json.loads(body))
    assert keys == sorted(keys)
    assert json.loads(body) == {**sent(CHAT), "temperature": 0.5, "top_p": 1.0, "max_tokens": 7}
    assert json.loads(wire.with_seed(body, 12)) == {**json.loads(body), "seed": 12}


def test_every_sampling_field_is_sent_under_its_own_name() -> None:
    given = SamplingParams(0.1, 0.2, 3, 4, ("x",), None, 0.5, 0.6, 0.7)
    body = sent(replace(CHAT, sampling=given))
    names = (
        *("temperature", "top_p", "top_k", "max_tokens", "presence_penalty", "frequency_penalty"),
        "repetition_penalty",
    )  # fmt: skip
    assert [body[name] for name in names] == [0.1, 0.2, 3, 4, 0.5, 0.6, 0.7]


def test_tools_and_turns() -> None:
    call = ToolCall("look", {"b": 1, "a": "é"}, "c1")
    turns = (
        Message("system", "s"),
        Message("assistant", "", tool_calls=(call,), reasoning="kept here"),
        Message("tool", "42", tool_call_id="c1", name="look", weight=0),
    )
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    body = sent(Request("m", turns, tools=(MappingProxyType(tool),)))
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"b":1,"a":"é"}'}}],
    }
    assert body["messages"][2] == {"role": "tool", "content": "42", "tool_call_id": "c1", "name": "look"}
    assert body["tools"] == [tool]
    with pytest.raises(RequestRefused, match="a message of user holds NoneType instead of text"):
        wire.encode(replace(CHAT, prompt=(Message("user", None),)))  # type: ignore[arg-type]
    with pytest.raises(RequestRefused, match="tools need a chat"):
        wire.encode(replace(RAW, tools=(tool,)))


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    schema = {"type": "object", "properties": {"reason": {}, "answer": {}, "confidence": {}}}
    body = sent(replace(CHAT, schema=schema))
    form = body["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["schema"] == schema
    assert list(form["json_schema"]["schema"]["properties"]) == ["reason", "answer", "confidence"]


def test_four_stops_are_sent_and_the_others_are_cut_here() -> None:
    stops = ("a1", "", "b2", "b2", "c3", "d4", "e5", "f6")
    request = replace(CHAT, sampling=SamplingParams(stop=stops))
    assert sent(request)["stop"] == ["a1", "b2", "c3", "d4"]
    assert wire.unsent_stops(request) == ["e5", "f6"]
    answer = wire.decode(chat({"content": "one f6 two e5 three"}, "length"), request)
    assert (answer.text, answer.finish_reason) == ("one ", "stop")
    assert "stop" not in sent(replace(CHAT, sampling=SamplingParams(stop=("",))))


@pytest.mark.parametrize(
    "request_",
    [
        Request("m", "bad \ud800 text"),
        Request("m", (Message("user", "\udc80"),)),
        Request("m", "x", sampling=SamplingParams(stop=("\ud800",))),
        Request("m", "x", sampling=SamplingParams(stop=("a", "b", "c", "d", "\ud800"))),
        Request("m", (Message("user", "x"),), schema={"const": object()}),
        Request("m", "x", kind="embed"),
    ],
)
def test_what_cannot_be_written_is_refused(request_: Request) -> None:
    with pytest.raises(RequestRefused) as caught:
        wire.encode(request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (chat({"content": "yes"}), Completion("yes")),
        (chat({"content": None}), Completion("")),
        (chat({"content": ""}, "length"), Completion("", "length")),
        (chat({"content": "x", "reasoning": "so"}), Completion("x", reasoning="so")),
        (chat({"content": "x", "reasoning_content": "older"}), Completion("x", reasoning="older")),
        (chat({"content": "x"}, "eos_token"), Completion("x")),
        (chat({"content": "x"}, None), Completion("x")),
        (chat({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}), Completion("ab")),
        (chat({"content": None, "refusal": "I will not."}), Completion("I will not.")),
        (chat({"content": "x"}, usage=None), Completion("x")),
        (
            chat({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": 4}),
            Completion("x", prompt_tokens=3, completion_tokens=4),
        ),
        ({"choices": [{"text": " there was", "finish_reason": "length"}]}, Completion(" there was", "length")),
        ({"choices": [{"text": None}]}, Completion("")),
    ],
)
def test_answers(payload: dict[str, Any], expected: Completion) -> None:
    assert wire.decode(payload, CHAT) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": 1', {"_raw": '{"a": 1'}),
        ("[1]", {"_raw": "[1]"}),
        ("", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_tool_calls_are_read_whatever_the_model_wrote(arguments: Any, expected: dict[str, Any]) -> None:
    message = {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}, None]}
    answer = wire.decode(chat(message, "tool_calls"), CHAT)
    assert answer == Completion("", "tool_calls", (ToolCall("f", expected, "c"),))


@pytest.mark.parametrize("payload", [{}, {"choices": []}, {"choices": None}, {"choices": ["x"]}, {"choices": {}}])
def test_no_choice_is_asked_again(payload: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="without a choice") as caught:
        wire.decode(payload, CHAT)
    assert caught.value.fate == "retry"


def test_answers_that_are_none() -> None:
    with pytest.raises(RequestRefused, match="content filter"):
        wire.decode(chat({"content": "par"}, "content_filter"), CHAT)
    with pytest.raises(BackendError, match="broke the answer off") as caught:
        wire.decode(chat({"content": "par"}, "abort"), CHAT)
    assert caught.value.fate == "retry"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"error":{"message":"a\\n  b","type":"T","param":"p","code":400}}',
            wire.Fault("a b", "p", "T"),
        ),
        (
            b'{"error":{"message":"m","type":"t","code":"insufficient_quota"}}',
            wire.Fault("m", "", "insufficient_quota"),
        ),
        (b'{"error":"Unauthorized"}', wire.Fault("Unauthorized")),
        (b'{"detail":"Not Found"}', wire.Fault("Not Found")),
        (b'{"detail":[{"loc":["body","seed"],"msg":"Extra"}]}', wire.Fault("body.seed: Extra", "body.seed")),
        (b'{"object":"error","message":"old vLLM","code":400}', wire.Fault("old vLLM")),
        (b'[{"error":{"message":"in a list"}}]', wire.Fault("in a list")),
        (b"<html><title>502 Bad\nGateway</title><body>x</body></html>", wire.Fault("502 Bad Gateway")),
        (b"<p>plain <b>page</b></p>", wire.Fault("plain page")),
        (b"\xff\xfe", wire.Fault("\ufffd\ufffd")),
        (b"", wire.Fault("")),
        (b"null", wire.Fault("")),
        (b'{"error":null}', wire.Fault("")),
    ],
)
def test_error_bodies(body: bytes, expected: wire.Fault) -> None:
    assert wire.fault(body) == expected


@pytest.mark.parametrize(
    ("message", "param", "left"),
    [
        ("max_tokens=2000 cannot be greater than max_model_len=1024.", "max_tokens", 1024),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 1024 "
            "tokens and your request has 30 input tokens (2000 > 1024 - 30).",
            "",
            994,
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (3400 in the "
            "messages, 1600 in the completion).",
            "messages",
            696,
        ),
        (
            "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total of "
            "3000 tokens: 1000 tokens from the input messages and 2000 tokens for the completion.",
            "",
            1048,
        ),
        ("max_tokens is too large: 9000. This model supports at most 1500 completion tokens", "max_tokens", 1500),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 1600]", "", 1600),
        ("max_tokens must be at least 1, got 0.", "max_tokens", None),
        (
            "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input "
            "tokens, which exceeds this limit even without any output tokens.",
            "input_tokens",
            None,
        ),
        ("temperature must be in [0, 2]", "temperature", None),
    ],
)
def test_what_is_left_of_the_context(message: str, param: str, left: int | None) -> None:
    assert wire.room_left(wire.Fault(message, param), 2000) == left

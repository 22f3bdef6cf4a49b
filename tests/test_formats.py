"""Each format's rows, there and back; the contract finds the formats by itself."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import ParseError, UsageError
from synthgen.formats import Format, formats, open_format, read_samples, sniff_format
from synthgen.types import Message, Sample, ToolCall

# Real files, for whoever has them: beside the checkout, or where the variable says.
SHARED = Path(os.environ.get("SYNTHGEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
WEATHER = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}


def said(*texts: str, system: str = "") -> tuple[Message, ...]:
    turns = [Message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts)]
    return (*([Message("system", system)] if system else []), *turns)


def call(name: str = "weather", id_: str = "", **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, id_)


PLAIN = Sample(said("q", "a"))
SPLIT = Sample(said("do\nthis", "a"), input_split=("do", "this"))
LONG = Sample(said("q1", "a1", "q2", "a2", system="be good"))
TOOLS = Sample(
    (
        Message("user", "天气?"),
        Message("assistant", "", tool_calls=(call(city="北京", days=2),), reasoning="look it up"),
        Message("tool", '{"t":  1}'),
        Message("assistant", "1 度"),
    ),
    tools=(WEATHER,),
)
PARALLEL = Sample(
    (
        Message("user", "q"),
        Message("assistant", "", tool_calls=(call(city="a"), call(city="b"))),
        Message("tool", '{"t": 1}'),
        Message("tool", "no"),
        Message("assistant", "a"),
    ),
    tools=(WEATHER,),
)
PAGE = Sample(text="# 河\n\nA page.\n")
ASKED = Sample(said("2 + 2?"), reference="4", meta={"verifier": "math", "data_source": "gsm8k"})
PAIR = Sample(said("q", "good"), rejected=(Message("assistant", "bad"),))
JUDGED = (PAIR, Sample(said("q", "good"), label=True), Sample(said("q", "bad"), label=False))
ALL = (PLAIN, SPLIT, LONG, TOOLS, PARALLEL, PAGE, ASKED, *JUDGED)


def through(member: Format, *samples: Sample) -> list[dict[str, Any]]:
    """The rows as a reader of the file would see them."""
    columns = member.columns(samples)
    rows = [json.loads(json.dumps(member.row(sample, columns))) for sample in samples]
    assert all(tuple(row) == columns for row in rows)
    return rows


@pytest.mark.parametrize("name", list(formats()))
def test_every_format_keeps_the_contract(name: str) -> None:
    member = open_format(name)
    assert member.name == name
    assert member.description
    assert Path(member.file_name).stem == name
    carried = [sample for sample in ALL if member.carries(sample) is None]
    assert carried
    for row in through(member, *carried):
        assert [other.name for other in formats().values() if other.sniff(row)] == [name]
        again = member.read(row)
        assert member.carries(again) is None
        assert through(member, again)[0].items() <= row.items()
        assert sniff_format(row) is member
    with pytest.raises(ParseError):
        member.read({})


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "messages"])
def test_what_trains_nothing_is_refused(name: str) -> None:
    member = open_format(name)
    refused = {
        "no turns": Sample(),
        "text without turns": Sample(text="a page"),
        "an answer marked as bad (label false)": Sample(PLAIN.messages, label=False),
        "no answer (the last turn is not the assistant's)": Sample(said("q"), reference="a"),
        "an empty user turn": Sample(said(" ", "a")),
        "an empty answer": Sample(said("q", "\n")),
    }
    for reason, sample in refused.items():
        assert member.carries(sample) == reason
    assert member.carries(Sample(PLAIN.messages, label=True)) is None
    assert "the label" in member.loses(Sample(PLAIN.messages, label=True))


@pytest.mark.parametrize("name", ["alpaca", "sharegpt"])
def test_turns_must_alternate_where_the_loader_counts_them(name: str) -> None:
    member = open_format(name)
    for messages in (
        (Message("user", "q"), Message("user", "q"), Message("assistant", "a")),
        (Message("assistant", "hello"), *said("q", "a")),
        (*said("q", "a"), Message("assistant", "b")),
    ):
        assert member.carries(Sample(messages)) == "user and assistant do not take turns"
    inside = (*said("q", "a"), Message("system", "s"), *said("q", "a"))
    assert member.carries(Sample(inside)) == "a system turn inside the conversation"
    blank = (Message("system", " "), *said("q", "a"))
    assert member.carries(Sample(blank)) is None
    assert "system" not in member.columns([Sample(blank)])


def test_unknown_formats_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean sharegpt\?"):
        open_format("sharegtp")
    with pytest.raises(UsageError, match=r"formats: alpaca, .*samples, seed-tasks, sharegpt"):
        open_format("xyz")


def test_alpaca_rows() -> None:
    alpaca = open_format("alpaca")
    assert through(alpaca, PLAIN, SPLIT) == [
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "do", "input": "this", "output": "a"},
    ]
    assert through(alpaca, PLAIN, LONG) == [
        {"instruction": "q", "input": "", "output": "a", "system": "", "history": []},
        {"instruction": "q2", "input": "", "output": "a2", "system": "be good", "history": [["q1", "a1"]]},
    ]
    assert alpaca.columns([Sample(said("q", "a", system="s"))]) == ("instruction", "input", "output", "system")


def test_alpaca_trusts_the_border_only_for_its_own_turn() -> None:
    alpaca = open_format("alpaca")
    joined_otherwise = Sample(said("do:\n\nthis", "a"), input_split=("do", "this"))
    assert through(alpaca, joined_otherwise)[0]["input"] == "this"
    of_the_first_turn = Sample(said("do\nthis", "a", "more", "b"), input_split=("do", "this"))
    assert through(alpaca, of_the_first_turn)[0]["instruction"] == "more"
    of_the_last_turn = Sample(said("q", "a", "do\nthis", "b"), input_split=("do", "this"))
    row = through(alpaca, of_the_last_turn)[0]
    assert (row["instruction"], row["input"]) == ("do", "this")
    assert alpaca.read(row) == of_the_last_turn


def test_alpaca_cannot_carry_tools() -> None:
    alpaca = open_format("alpaca")
    assert alpaca.carries(TOOLS) == "tools"
    assert alpaca.carries(Sample(PLAIN.messages, tools=(WEATHER,))) == "tools"


def test_alpaca_reads_what_is_around() -> None:
    alpaca = open_format("alpaca")
    assert alpaca.read({"instruction": "q", "response": "a"}).messages == PLAIN.messages
    row = {"instruction": "q", "input": None, "output": "a", "system": None, "history": None, "id": 3}
    assert alpaca.read(row) == Sample(PLAIN.messages, input_split=("q", ""), meta={"columns": {"id": 3}})
    assert alpaca.loses(alpaca.read(row)) == ("column id",)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"input": "", "output": "a"}, "instruction must be text, found missing"),
        ({"instruction": None, "output": "a"}, "instruction must be text, found null"),
        ({"instruction": "q", "output": None}, "output must be text, found null"),
        ({"instruction": "q", "output": 3}, "output must be text, found int"),
        ({"instruction": "q", "input": [], "output": "a"}, "input must be text, found list"),
        ({"instruction": "q", "output": "a", "history": {"q": "a"}}, "history must be a list of pairs"),
        ({"instruction": "q", "output": "a", "history": [["q"]]}, "history must be a list of pairs"),
        ({"instruction": "q", "output": "a", "history": [["q", 1]]}, "history must be a list of pairs"),
        ({"instruction": "q", "output": "a", "system": 1}, "system must be text"),
    ],
)
def test_alpaca_says_what_is_wrong(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        open_format("alpaca").read(row)


def test_sharegpt_rows() -> None:
    sharegpt = open_format("sharegpt")
    assert through(sharegpt, PLAIN) == [
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    ]
    plain, long, tools = through(sharegpt, PLAIN, LONG, TOOLS)
    assert (plain["system"], plain["tools"]) == ("", None)
    assert (long["system"], long["tools"]) == ("be good", None)
    assert json.loads(tools["tools"]) == [WEATHER]
    assert tools["conversations"] == [
        {"from": "human", "value": "天气?"},
        {
            "from": "function_call",
            "value": '<think>\nlook it up\n</think>\n\n{"name": "weather", "arguments": {"city": "北京", "days": 2}}',
        },
        {"from": "observation", "value": '{"t":  1}'},
        {"from": "gpt", "value": "1 度"},
    ]


def test_sharegpt_comes_back() -> None:
    sharegpt = open_format("sharegpt")
    samples = (PLAIN, LONG, TOOLS, PARALLEL)
    assert [sharegpt.read(row) for row in through(sharegpt, *samples)] == list(samples)


def test_sharegpt_puts_parallel_results_in_the_order_of_the_calls() -> None:
    sharegpt = open_format("sharegpt")
    calls = (call(id_="x", city="a"), call(id_="y", city="b"))
    turns = Message("user", "q"), Message("assistant", "", tool_calls=calls)
    results = Message("tool", "{}", tool_call_id="y"), Message("tool", "[broken", tool_call_id="x")
    sample = Sample((*turns, *results, Message("assistant", "a")))
    (row,) = through(sharegpt, sample)
    assert json.loads(row["conversations"][1]["value"])[0] == {"name": "weather", "arguments": {"city": "a"}}
    assert row["conversations"][2] == {"from": "observation", "value": '["[broken", {}]'}
    assert [message.content for message in sharegpt.read(row).messages[2:4]] == ["[broken", "{}"]


@pytest.mark.parametrize("observation", ["[1, 2]", '["{}", "x"]', "[{}]", "[null, null]", "plain", '{"a": [1, 2]}'])
def test_an_observation_that_is_no_list_of_results_stays_text(observation: str) -> None:
    sharegpt = open_format("sharegpt")
    (row,) = through(sharegpt, PARALLEL)
    row["conversations"][2]["value"] = observation
    sample = sharegpt.read(row)
    assert [message.content for message in sample.messages if message.role == "tool"] == [observation]
    assert through(sharegpt, sample) == [row]
    assert open_format("messages").carries(sample) == "a tool call that nothing answers"


def test_sharegpt_counts_results() -> None:
    three = (*PARALLEL.messages[:4], Message("tool", "more"), PARALLEL.messages[4])
    for name in ("sharegpt", "messages"):
        assert open_format(name).carries(Sample(three)) == "tool results that do not match their calls"


def test_sharegpt_gives_every_tool_parameters() -> None:
    bare = {"name": "now"}
    wrapped = {"type": "function", "function": {"name": "now", "parameters": None}}
    (row,) = through(open_format("sharegpt"), Sample(PLAIN.messages, tools=(bare, wrapped)))
    empty = {"type": "object", "properties": {}}
    assert json.loads(row["tools"]) == [
        {"name": "now", "parameters": empty},
        {"type": "function", "function": {"name": "now", "parameters": empty}},
    ]


def test_sharegpt_says_what_it_loses() -> None:
    sharegpt = open_format("sharegpt")
    assert sharegpt.loses(TOOLS) == ()
    assert sharegpt.loses(SPLIT) == ("the border of instruction and input",)
    beside = Sample((Message("user", "q"), Message("assistant", "one moment", tool_calls=(call(),))))
    assert sharegpt.loses(beside) == ("text beside a tool call",)
    thought = Sample((Message("user", "q", name="bob"), Message("assistant", "a", reasoning="hm", weight=1)))
    assert sharegpt.loses(thought) == ("reasoning", "weights of turns", "names of speakers")
    pair = Sample(PLAIN.messages, rejected=said("q", "b")[1:], meta={"columns": {"id": 1, "score": 2}})
    assert sharegpt.loses(pair) == ("the rejected answer", "column score")


@pytest.mark.parametrize("none", [None, "", " ", "[]", []])
def test_no_tools_has_many_spellings(none: Any) -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "tools": none}
    sample = open_format("sharegpt").read(row)
    assert sample.tools == ()
    assert sample.messages == PLAIN.messages
    assert through(open_format("messages"), sample) == [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    ]


def test_a_tools_column_of_alpaca_is_not_written_as_it_stands() -> None:
    """LLaMA-Factory stops at tools that are no JSON."""
    sample = open_format("alpaca").read({"instruction": "q", "output": "a", "tools": "hammer"})
    sharegpt = open_format("sharegpt")
    assert sharegpt.loses(sample) == ("column tools",)
    assert sharegpt.columns([sample]) == ("conversations",)


def test_no_tools_is_null_however_it_was_spelled() -> None:
    """LLaMA-Factory makes an empty system block of "[]", TRL stops at ""."""
    sharegpt = open_format("sharegpt")
    turns = sharegpt.row(PLAIN, ("conversations",))  # no column at all where no row has any
    for none in ("[]", "", " ", None):
        sample = sharegpt.read({**turns, "tools": none})
        assert sample == PLAIN
        assert through(sharegpt, sample) == [turns]
        assert [row["tools"] is None for row in through(sharegpt, sample, TOOLS)] == [True, False]


def test_messages_take_turns_where_llama_factory_reads_them() -> None:
    """It drops others; conversations with tools it does not read, and the API takes them."""
    for fault, sample in (
        ("user and assistant do not take turns", Sample((*said("q", "a"), Message("assistant", "b")))),
        ("user and assistant do not take turns", Sample((Message("user", "p"), *said("q", "a")))),
        ("a system turn inside the conversation", Sample((*said("q", "a"), Message("system", "s"), *said("q", "a")))),
    ):
        assert open_format("messages").carries(sample) == fault
        assert open_format("messages").carries(replace(sample, tools=(WEATHER,))) is None


@pytest.mark.parametrize("name", ["", "a b", "wetter-für-alle", "x" * 65, "f\n"])
def test_messages_have_tools_of_any_name_and_openais_pairs_those_that_the_api_takes(name: str) -> None:
    messages, fault = open_format("messages"), None if name else "a tool without a name"
    pairs, refused = open_format("preference-openai"), "a tool whose name is not of 1 to 64 letters, digits, _ and -"
    asked = replace(TOOLS.messages[1], tool_calls=(ToolCall(name, {}, "c"),))
    result = replace(TOOLS.messages[2], tool_call_id="c")
    called = Sample((TOOLS.messages[0], asked, result, *said("q", "a")))
    assert messages.carries(called) == fault
    assert messages.carries(replace(PLAIN, tools=({"name": name, "parameters": {}},))) == fault
    assert messages.carries(replace(PLAIN, tools=({"parameters": {}},))) == "a tool without a name"
    assert messages.carries(replace(PLAIN, tools=({"name": "a_B-9" * 12},))) is None
    pair = replace(PLAIN, rejected=(Message("assistant", "another"),))
    assert pairs.carries(replace(pair, tools=({"name": name},))) == (refused if name else fault)
    assert pairs.carries(replace(pair, tools=({"name": "a_B-9" * 12},))) is None


def test_sharegpt_reads_what_is_around() -> None:
    sharegpt = open_format("sharegpt")
    turns = [{"from": "system", "value": "be good"}, {"from": "User", "value": "q"}, {"from": "chatgpt", "value": "a"}]
    assert sharegpt.read({"conversations": turns}).messages == said("q", "a", system="be good")
    assert sharegpt.read({"conversations": turns, "system": "be good"}).messages == said("q", "a", system="be good")
    openai = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert sharegpt.read({"conversations": openai}) == PLAIN


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"conversations": []}, "conversations must be a list of turns"),
        ({"conversations": "x"}, "conversations must be a list of turns"),
        ({"conversations": ["x"]}, "turn 1: must be an object"),
        ({"conversations": [{"from": "human", "value": None}]}, "turn 1: value must be text, found null"),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "judge", "value": "a"}]},
            "turn 2: unknown .*judge",
        ),
        ({"conversations": [{"value": "q"}]}, "turn 1: unknown speaker None"),
        ({"conversations": [{"from": "observation", "value": {"a": 1}}]}, "value must be text, found dict"),
        ({"conversations": [{"from": "function_call", "value": "weather()"}]}, "function_call must be JSON"),
        ({"conversations": [{"from": "function_call", "value": '{"x": NaN}'}]}, "function_call must be JSON"),
        ({"conversations": [{"from": "function_call", "value": "[]"}]}, "without a call"),
        ({"conversations": [{"from": "function_call", "value": '{"name": "x"}'}]}, "arguments of x must be a JSON obj"),
        ({"conversations": [{"from": "function_call", "value": '{"arguments": {}}'}]}, "name and arguments"),
        ({"conversations": [{"from": "system", "value": "a"}], "system": "b"}, "another system turn"),
        ({"conversations": [{"from": "human", "value": "q"}], "tools": "weather"}, "tools is not JSON"),
        ({"conversations": [{"from": "human", "value": "q"}], "tools": '["weather"]'}, "tools must be a list of obj"),
    ],
)
def test_sharegpt_says_what_is_wrong(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ParseError, match=words):
        open_format("sharegpt").read(row)


def test_messages_rows() -> None:
    messages = open_format("messages")
    plain, tools = through(messages, PLAIN, TOOLS)
    assert plain == {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "tools": None,
    }
    assert tools["tools"] == [{"type": "function", "function": WEATHER}]
    assert tools["messages"][1:3] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "北京", "days": 2}'},
                }
            ],
        },
        {"role": "tool", "content": '{"t":  1}', "tool_call_id": "call_1"},
    ]
    assert messages.loses(TOOLS) == ("reasoning",)


def test_messages_give_each_call_an_id_and_each_result_its_call() -> None:
    messages = open_format("messages")
    twice = Sample((*PARALLEL.messages, *PARALLEL.messages))
    (row,) = through(messages, twice)
    asked = [item["id"] for turn in row["messages"] for item in turn.get("tool_calls", ())]
    answered = [turn["tool_call_id"] for turn in row["messages"] if turn["role"] == "tool"]
    assert asked == answered == ["call_1", "call_2", "call_3", "call_4"]
    assert messages.carries(messages.read(row)) is None


def test_messages_keep_the_ids_that_are_there() -> None:
    messages = open_format("messages")
    calls = (call(id_="x"), call(id_="y"))
    results = Message("tool", "1", tool_call_id="y"), Message("tool", "2", tool_call_id="x")
    sample = Sample(
        (Message("user", "q"), Message("assistant", "", tool_calls=calls), *results, Message("assistant", "a"))
    )
    assert messages.carries(sample) is None
    (row,) = through(messages, sample)
    assert messages.read(row) == sample


def test_messages_refuse_results_and_calls_without_each_other() -> None:
    messages = open_format("messages")
    question, asked, result, answer = TOOLS.messages
    assert messages.carries(Sample((question, answer, result, answer))) == "tool results that do not match their calls"
    assert messages.carries(Sample((question, asked, answer))) == "a tool call that nothing answers"
    assert messages.carries(Sample((question, asked, question, answer))) == "a tool call that nothing answers"
    wrong = Message("tool", "x", tool_call_id="other")
    asked = Message("assistant", "", tool_calls=(call(id_="x"),))
    assert messages.carries(Sample((question, asked, wrong, answer))) == "tool results that do not match their calls"
    assert messages.carries(Sample((question, asked))) is None  # a sample may end with the call: it is the answer


def test_messages_read_what_is_around() -> None:
    messages = open_format("messages")
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "good"}]},
            {"role": "user", "content": "q", "name": "bob"},
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "1"},
            {"role": "assistant", "content": "a", "weight": 0, "reasoning_content": "hm", "tool_calls": None},
        ],
        "tools": json.dumps([WEATHER]),
        "label": True,
        "id": 5,
    }
    sample = messages.read(row)
    assert sample.messages == (
        Message("system", "be good"),
        Message("user", "q", name="bob"),
        Message("assistant", "", tool_calls=(call(),)),
        Message("tool", "1", name="weather"),
        Message("assistant", "a", weight=0, reasoning="hm"),
    )
    unread = ["the borders of text parts", "the role developer"]
    assert (sample.tools, sample.label, sample.meta) == ((WEATHER,), True, {"columns": {"id": 5}, "not_read": unread})
    assert messages.loses(sample) == ("reasoning", "the label", "column id", *unread)
    (written,) = through(messages, sample)
    assert [turn.get("weight") for turn in written["messages"]] == [None, None, None, None, 0]
    assert "reasoning" not in written["messages"][-1]  # the API refuses keys that it does not know


def test_what_a_call_has_no_place_for_is_counted() -> None:
    messages = open_format("messages")
    function = {"name": "f", "arguments": "{}", "strict": True}
    calls = [{"id": "c1", "index": 0, "type": "function", "function": function}]
    asked = {"role": "user", "content": "q", "tool_call_id": "c0"}
    answered = [{"role": "tool", "tool_call_id": "c1", "content": "1"}, {"role": "assistant", "content": "a"}]
    calling = {"role": "assistant", "content": None, "tool_calls": calls, "function_call": {"name": "g"}}
    sample = messages.read({"messages": [asked, calling, *answered]})
    keys = ("call key index", "call key strict", "turn key function_call", "turn key tool_call_id")
    assert messages.loses(sample) == keys
    (written,) = through(messages, sample)
    assert written["messages"][0] == {"role": "user", "content": "q"}
    with pytest.raises(ParseError, match=r"turn 1: a tool call of 'user'; the assistant alone calls tools"):
        messages.read({"messages": [{**asked, "tool_calls": calls}, *answered]})


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ("x", "turn 1: must be an object"),
        ({"content": "x"}, "unknown role None"),
        ({"role": "judge", "content": "x"}, "unknown role 'judge'"),
        ({"role": "user"}, "content must be text, found missing"),
        ({"role": "assistant", "content": None}, "content must be text, found null"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "no text"),
        ({"role": "assistant", "content": "x", "weight": 2}, "weight must be 0 or 1"),
        ({"role": "assistant", "content": "x", "weight": True}, "weight must be 0 or 1"),
        ({"role": "assistant", "tool_calls": "x"}, "tool_calls must be a list"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "of f are not JSON"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]},
            "must be a JSON object",
        ),
        ({"role": "assistant", "tool_calls": ["f"]}, "must be an object with name"),
    ],
)
def test_messages_say_what_is_wrong(turn: Any, words: str) -> None:
    with pytest.raises(ParseError, match=words):
        open_format("messages").read({"messages": [turn]})


def test_samples_lose_nothing() -> None:
    whole = Sample(
        (
            Message("system", ""),
            Message("user", "q", name="bob"),
            Message("assistant", "", tool_calls=(call(id_="x", n=10**30), call()), reasoning="hm", weight=0),
            Message("tool", "", tool_call_id="x"),
        ),
        text="page",
        rejected=said("q", "b")[1:],
        reference="4",
        label=False,
        tools=(WEATHER,),
        input_split=("q", ""),
        meta={"recipe": "x", "parents": ["a"], "scores": {"judge": 1.5}, "columns": {"id": 1}},
    )
    member = open_format("samples")
    everything = (*ALL, whole, Sample(text="page"), Sample(), Sample(label=True, reference=""))
    assert [member.read(row) for row in through(member, *everything)] == list(everything)
    assert [member.loses(sample) for sample in everything] == [()] * len(everything)
    assert member.columns([PLAIN]) == ("messages", "meta")


@pytest.mark.parametrize(
    "more",
    [{"meta": []}, {"meta": {}, "label": 1}, {"meta": {}, "input_split": ["a"]}, {"meta": {}, "text": 1}],
)
def test_samples_say_what_is_wrong(more: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        open_format("samples").read({"messages": []} | more)


def test_read_samples_sniffs_and_tells_the_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    good, bad = {"instruction": "q", "input": "", "output": "a"}, {"instruction": "q", "output": 3}
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, good, bad)), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        list(read_samples(path))
    assert str(caught.value) == (f"{path}:3: no alpaca row: output must be text, found int; fix or delete the row")
    with pytest.raises(UsageError, match=r":1: no sharegpt row: conversations must be a list"):
        list(read_samples(path, "sharegpt"))
    path.write_text('{"title": "x", "body": "y"}\n', encoding="utf-8")
    with pytest.raises(
        UsageError, match=r":1: a row of no known format \(columns: title, body\); understood are messages"
    ):
        list(read_samples(path))


def test_a_broken_tail_is_told_after_the_good_rows(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"instruction": "q", "output": "a"}\n{"instruc', encoding="utf-8")
    samples = read_samples(path)
    assert next(samples).messages == PLAIN.messages
    with pytest.raises(UsageError, match=":2: not JSON"):
        next(samples)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("lf_alpaca_en_demo.json", "alpaca"),
        ("lf_alpaca_zh_demo.json", "alpaca"),
        ("huatuo_llama_data.json", "alpaca"),
        ("gpteacher_toolformer_06_alpaca.json", "alpaca"),
        ("fastchat_dummy_conversation.json", "fastchat"),
        ("lf_glaive_toolcall_en_demo.json", "sharegpt"),
        ("lf_glaive_toolcall_zh_demo.json", "sharegpt"),
        ("lf_kto_en_demo.json", "kto-swift"),
    ],
)
def test_real_files_come_back_exactly(name: str, member: str) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"no {name} beside the checkout")
    text = path.read_text("utf-8")
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    samples = list(read_samples(path))
    reader = open_format(member)
    assert sniff_format(rows[0]) is reader
    assert open_format("samples").columns(samples)  # and all of it survives our own format
    ours = open_format("samples")
    assert [ours.read(row) for row in through(ours, *samples)] == samples
    refused = [n for n, sample in enumerate(samples) if reader.carries(sample)]
    assert {reader.carries(samples[n]) for n in refused} <= {"tool results that do not match their calls"}
    assert len(refused) == (2 if "glaive_toolcall_zh" in name else 0)  # observations that nobody asked for
    rows, samples = ([one for n, one in enumerate(all_) if n not in refused] for all_ in (rows, samples))
    lost = {part for sample in samples for part in reader.loses(sample)} - {"the border of instruction and input"}
    assert lost <= {"column example_input"}  # one row of GPTeacher's has it
    rows = [{key: value for key, value in row.items() if f"column {key}" not in lost} for row in rows]
    rows = [{**row, "tools": None} if row.get("tools") == "[]" else row for row in rows]  # which does harm
    assert through(reader, *samples) == rows


@pytest.mark.parametrize(("lang", "orphans"), [("en", 0), ("zh", 2)])
def test_real_tool_data_in_the_other_formats(lang: str, orphans: int) -> None:
    path = SHARED / f"lf_glaive_toolcall_{lang}_demo.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the checkout")
    samples = list(read_samples(path))
    messages = open_format("messages")
    refused = [reason for sample in samples if (reason := messages.carries(sample))]
    assert refused == ["tool results that do not match their calls"] * orphans  # observations that nobody asked for
    carried = [sample for sample in samples if messages.carries(sample) is None]
    back = [messages.read(row) for row in through(messages, *carried)]
    sharegpt = open_format("sharegpt")
    turns = [row["conversations"] for row in through(sharegpt, *carried)]
    assert [row["conversations"] for row in through(sharegpt, *back)] == turns
    assert {open_format("alpaca").carries(sample) for sample in samples if sample.tools} == {"tools"}

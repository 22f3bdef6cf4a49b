"""Columns and speakers that are called otherwise: capitals, spaces, Chinese, names that are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import result, synthgen, write_rows

from synthgen.errors import ParseError
from synthgen.formats import open_format, read_row
from synthgen.rows.shapes import canonical
from synthgen.types import Message

QUESTION, ANSWER = Message("user", "q"), Message("assistant", "a")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"Instruction ": "q", " Input": "", "OUTPUT": "a"}, "alpaca"),
        ({"指令": "q", "输入": "", "输出": "a"}, "alpaca"),
        ({"问题": "q", "答案": "a"}, "question-answer"),
        ({"提问": "q", "回答": "a", "历史": []}, "question-answer"),
        ({"对话": [{"from": "用户", "value": "q"}, {"from": "助手", "value": "a"}]}, "sharegpt"),
        ({"Messages": [{"role": "用户", "content": "q"}, {"role": "助手", "content": "a"}]}, "messages"),
    ],
)
def test_columns_and_speakers_of_other_spellings_are_read(row: dict[str, Any], name: str) -> None:
    member, (sample,) = read_row(row)
    assert (member.name, sample.messages) == (name, (QUESTION, ANSWER))


def test_a_column_that_has_the_exact_name_counts() -> None:
    row = {"instruction": "q", "output": "a", "Output": "b", "系统": "s", "Title": "t"}
    assert canonical(row) == {"instruction": "q", "output": "a", "Output": "b", "system": "s", "Title": "t"}
    assert canonical({"问题": "q", "提问": "r"}) == {"question": "q", "提问": "r"}


def test_the_system_text_of_a_chinese_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"系统": "s", "对话": [{"role": "系统", "content": "s"}, {"role": "用户", "content": "q"},
        {"role": "助手", "content": "a"}]}])  # fmt: skip
    out = result(synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "o.jsonl", "--json", cwd=tmp_path))
    assert (out["rows"], out["lost"]) == (1, {})


def test_columns_are_named_by_map(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("标题,正文,answer\nq,a,old\n", "utf-8")
    words = ("export", "a.csv", "--to", "alpaca", "-o", "o.jsonl")
    out = result(synthgen(*words, "--map", "question=标题", "--map", "answer=正文", "--json", cwd=tmp_path))
    assert (out["rows"], out["lost"]) == (1, {"column 正文": 1})  # who had the name has the other's
    assert '"instruction": "q", "input": "", "output": "a"' in (tmp_path / "o.jsonl").read_text("utf-8")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["question"], "--map question: must be NAME=COLUMN, with NAME one of answer, chosen, "),
        (["heading=标题"], "--map heading=标题: must be NAME=COLUMN"),
        (["question=标题", "question=b"], "question is given twice"),
        (["question=标题", "answer=没有"], "a.csv: no row has the column 没有; check --map"),
    ],
)
def test_a_map_that_is_none_is_one_line(tmp_path: Path, given: list[str], words: str) -> None:
    (tmp_path / "a.csv").write_text("标题,答案\nq,a\n", "utf-8")
    maps = [word for one in given for word in ("--map", one)]
    done = synthgen("export", "a.csv", "--to", "alpaca", "-o", "o.jsonl", *maps, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


def test_unknown_columns_are_refused_with_those_that_are_understood() -> None:
    with pytest.raises(ParseError, match=r"\(columns: title\); understood are messages, .* export --map question=COL"):
        read_row({"title": "t"})


def test_the_last_line_of_a_worked_answer_is_the_truth() -> None:
    into = open_format("rl")
    for answer, truth in (("1+1\n#### 2", "2"), ("#### A heading\ntext", None), ("text", None)):
        _, (sample,) = read_row({"question": "q", "answer": answer})
        columns = into.columns([sample])
        assert into.row(sample, columns).get("ground_truth") == truth
    _, (sample,) = read_row({"question": "q", "solution": "x\n#### 2", "answer": "3"})
    assert into.row(sample, into.columns([sample]))["ground_truth"] == "3"


def test_function_names_of_any_script_are_messages_and_not_openais() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "查询天气", "arguments": "{}"}}
    turns: list[dict[str, Any]] = [{"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"}, {"role": "assistant", "content": "a"}]  # fmt: skip
    tools = [{"type": "function", "function": {"name": "查询天气", "parameters": {"type": "object", "properties": {}}}}]
    _, (sample,) = read_row({"messages": [{"role": "user", "content": "q"}, *turns], "tools": tools})
    assert open_format("messages").carries(sample) is None
    pair = {"prompt": [{"role": "user", "content": "q"}, *turns[:2]], "chosen": turns[2:], "tools": tools}
    _, (sample,) = read_row({**pair, "rejected": [{"role": "assistant", "content": "b"}]})
    assert open_format("preference").carries(sample) is None
    assert str(open_format("preference-openai").carries(sample)).startswith("a tool whose name is not of 1 to 64")


def test_llama_factorys_old_rankings_are_read() -> None:
    member, (sample,) = read_row({"instruction": "q", "input": "", "output": ["a", "b"]})
    assert (member.name, sample.messages) == ("preference-alpaca", (QUESTION, ANSWER))
    assert sample.rejected == (Message("assistant", "b"),)


def test_show_prints_calls_and_their_results(tmp_path: Path) -> None:
    turns = [("human", "q"), ("function_call", '{"name": "find", "arguments": {"of": "x"}}'), ("observation", "found"), ("gpt", "a")]  # fmt: skip
    write_rows(tmp_path / "a.jsonl", [{"conversations": [{"from": f, "value": v} for f, v in turns]}])
    lines = [line.split(maxsplit=1) for line in synthgen("show", "a.jsonl", cwd=tmp_path).stdout.splitlines() if line]
    assert lines == [["user", "q"], ["call", 'find({"of": "x"})'], ["tool", "found"], ["assistant", "a"]]

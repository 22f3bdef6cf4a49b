"""A repaired copy: what is repaired and told, what is left out and told; nothing is lost between the two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import lines, result, synthgen, write_rows
from test_validate import CALL, RESULT, TOOL, A, Q, alpaca, called, said, talk

from synthgen.errors import UsageError
from synthgen.formats.turns import to_json
from synthgen.validating.checking import Check, Finding
from synthgen.validating.repairing import Repair, Repairing

U, S = ("user", "q"), ("assistant", "a")
SOUND = said(Q, A, tools=None)
PAIR = {
    name: talk(turn)["messages"] for name, turn in {"prompt": U, "chosen": S, "rejected": ("assistant", "b")}.items()
}


def fixed(path: Path, data: bytes, out: str = "out.jsonl") -> tuple[list[Any], list[Repair]]:
    """The rows of the copy, and what was told; the copy has no fault, and the file is as it was."""
    path.write_bytes(data)
    repairs: list[Repair] = []
    target = path.parent / out
    checked = Check(path, lambda _: None).run()
    counts = Repairing(checked, target, repairs.append).run()
    text = target.read_text("utf-8")
    rows = json.loads(text) if out.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert counts.rows == len(rows)
    assert counts.left_out == sum(one.left_out for one in repairs)
    assert path.read_bytes() == data
    again: list[Finding] = []
    if rows:
        Check(target, again.append).run()
    assert [one for one in again if one.rule.level == "fault"] == []
    return rows, repairs


def of(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def thought(text: str) -> str:
    return f"<think>{text}</think>{CALL[1]}"


REPAIRS: dict[str, tuple[list[Any], Any, str]] = {
    # name: rows, the last row of the copy, what is told of it
    "speakers": ([SOUND, said(("User", "q"), ("ASSISTANT", "a"), tools=None)], SOUND, "turn 1: 'User' is now 'human'"),
    "a speaker of the first ShareGPT": ([SOUND, said(Q, ("bing", "a"), tools=None)], SOUND, "turn 2: 'bing' is now 'gpt'"),
    "pairs": ([SOUND, {"conversations": [{"human": "q", "assistant": "a"}], "tools": None}], SOUND, "conversations are now turns of human and gpt"),
    "a text before turns": ([PAIR, {**PAIR, "prompt": "q"}], PAIR, "prompt is now a turn of the user"),
    "a prompt that the answers begin with": ([PAIR, {"prompt": "q", **{side: [*PAIR["prompt"], *PAIR[side]] for side in ("chosen", "rejected")}}], PAIR, "prompt is now turns, which both answers began with"),
    "role and content": ([SOUND, {"conversations": talk(U, S)["messages"], "tools": None}], SOUND, "turn 2: role and content are now from and value"),
    "roles": ([talk(U, S), talk(("human", "q"), ("bot", "a"))], talk(U, S), "turn 2: 'bot' is now 'assistant'"),
    "from and value": ([talk(U, S), {"messages": said(Q, A)["conversations"]}], talk(U, S), "turn 1: from and value are now role and content"),
    "labels": ([said(Q, A, kto_tag=True), said(Q, A, kto_tag="False")], said(Q, A, kto_tag=False), "kto_tag: 'False' is now false"),
    "numbers for labels": ([talk(U, S, label=True), talk(U, S, label=1)], talk(U, S, label=True), "label: 1 is now true"),
    "arguments to an object": ([SOUND, said(Q, (CALL[0], '{"name": "f", "arguments": "{\\"x\\": 1}"}'), RESULT, A, tools=None)], said(Q, (CALL[0], '{"name": "f", "arguments": {"x": 1}}'), RESULT, A, tools=None), "turn 2: arguments are now an object"),
    "arguments to text": ([talk(U, S), talk(U, called({"x": 1}))], talk(U, called('{"x": 1}')), "turn 2: arguments are now JSON text"),
    "a call to text": ([SOUND, said(Q, (CALL[0], json.loads(CALL[1])), RESULT, A, tools=None)], said(Q, CALL, RESULT, A, tools=None), "turn 2: the function_call is now JSON text"),
    "a result to text": ([SOUND, said(Q, CALL, ("observation", {"t": 1}), A, tools=None)], said(Q, CALL, ("observation", '{"t": 1}'), A, tools=None), "turn 3: the observation is now JSON text"),
    "a thought": ([SOUND, said(Q, (CALL[0], thought(" t ")), RESULT, A, tools=None)], said(Q, (CALL[0], thought("\nt\n").replace("</think>", "</think>\n\n")), RESULT, A, tools=None), "turn 2: the thought has its spacing"),
    "tools to text": ([SOUND, said(Q, A, tools=[TOOL])], said(Q, A, tools=to_json([TOOL])), "tools is now JSON text"),
    "no tools": ([SOUND, said(Q, A, tools="[]")], SOUND, 'tools: "[]" is now null'),
    "tools without parameters": ([SOUND, said(Q, A, tools=[{"name": "f"}])], said(Q, A, tools=to_json([{"name": "f", "parameters": TOOL["parameters"]}])), "tools have parameters now"),
    "null text": ([alpaca(system="s"), alpaca(system=None)], alpaca(system=""), 'system is now "", was null'),
    "a missing column": ([alpaca(id=1), alpaca()], alpaca(id=None), "id is now null, was missing"),
    "no input at all": ([{"instruction": "i", "output": "o"}], {"instruction": "i", "input": "", "output": "o"}, 'input is now "", was missing'),
    "another name": ([{"instruction": "i", "input": "", "response": "o"}], {"instruction": "i", "input": "", "output": "o"}, "response is now called output"),
    "order": ([alpaca(), dict(reversed(alpaca().items()))], alpaca(), "the keys have the order of the first row"),
}  # fmt: skip


@pytest.mark.parametrize("name", REPAIRS)
def test_what_is_repaired_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    given, wanted, what = REPAIRS[name]
    rows, repairs = fixed(tmp_path / "a.jsonl", of(*given))
    assert rows[-1] == wanted
    assert list(rows[-1]) == list(wanted)
    assert (f"{tmp_path}/a.jsonl:{len(given)}", what) in [(one.where, one.what) for one in repairs]
    assert rows[:-1] == given[:-1]
    assert not any(one.left_out for one in repairs)


KTO = {"prompt": "p", "completion": "c"}


def test_labels_of_many_spellings_are_repaired_and_those_of_none_told(tmp_path: Path) -> None:
    labels = [1, 0, True, "0", "TRUE", -1, "1.0", None, 2, "good"]
    rows = [{**KTO, "label": label} for label in labels]
    made, repairs = fixed(tmp_path / "a.jsonl", of(*rows, KTO))
    assert [row["label"] for row in made] == [True, False, True, False, True, False, True]
    left = [(one.where.rpartition(":")[2], one.what) for one in repairs if one.left_out]
    assert left == [
        ("8", "label-type: label is null"), ("9", "label-value: label is 2"), ("10", "label-type: label is 'good'"),
        ("11", "label-type: label is missing"),
    ]  # fmt: skip


def test_labels_as_a_table_of_excel_has_them_are_repaired(tmp_path: Path) -> None:
    made, repairs = fixed(tmp_path / "a.csv", b"prompt,completion,label\np,c,1\np,d,0\np,e,TRUE\n")
    assert [row["label"] for row in made] == [True, False, True]
    assert not any(one.left_out for one in repairs)


def test_a_row_of_another_label_column_takes_no_other_row_with_it(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{**KTO, "label": 1}, {**KTO, "label": True}, alpaca(kto_tag="good")])
    synthgen("validate", source, "--format", "kto", "--fix", "-o", "b.jsonl", cwd=tmp_path)
    assert [json.loads(row)["label"] for row in lines(tmp_path / "b.jsonl")] == [True, True]


@pytest.mark.parametrize(
    ("line", "kept", "what"),
    [
        (b'{"text": "b"},', [{"text": "b"}], "what stood after the row is cut: ','"),
        (b'{"text": "b"} # note', [{"text": "b"}], "what stood after the row is cut: '# note'"),
        (b'{"text": "b"}{"text": "c"}', [{"text": "b"}, {"text": "c"}], "2 rows were on the line"),
        (b'{"text": "b", "x": NaN}', [{"text": "b"}], "x is cut, as no other row has it: null"),
        (b'{"text": "b", "x": -1e999}', [{"text": "b"}], "-1e999 is now null"),
        (b'{"text": "b", "x": 1' + b"0" * 400 + b"}", [{"text": "b"}], "10000000000000000000 is now null"),
        (b'{"text": "b"', [], "not-json: not JSON (unexpected end of data at column 13)"),
        (b'{"text": "b"}{"text": ', [], "not-json: not JSON (unexpected content after document at column 14)"),
        (b'{"text": "\xff"}', [], "not-utf8: not UTF-8 (byte 0xFF at byte 11 of the line)"),
        (b'{"text": "\\ud800"}', [], "half-pair: half a surrogate pair (such as"),
        (b'["b"]', [], "not-an-object: an array where a row must be an object"),
        (b'{"text": " "}', [], "empty-text: text is text"),
        (b'{"text": "b", "text": "c"}', [], "duplicate-key: the key 'text' comes twice"),
        (b'{"messages": []}', [], "mixed-shapes: a row of messages in a file of text"),
    ],
)
def test_a_line_is_repaired_or_left_out_and_told(tmp_path: Path, line: bytes, kept: list[Any], what: str) -> None:
    rows, repairs = fixed(tmp_path / "a.jsonl", of({"text": "a"}) + line + b"\n" + of({"text": "z"}))
    if rows[1:-1] != kept:
        pytest.fail(f"{rows}")
    assert (rows[0], rows[-1]) == ({"text": "a"}, {"text": "z"})
    assert [one.where for one in repairs] == [f"{tmp_path}/a.jsonl:2"] * len(repairs)
    told = [one for one in repairs if one.what.startswith(what[:40])]
    assert len(told) == 1, repairs
    assert told[0].left_out is (not kept)


def test_marks_and_line_ends_go_and_rows_that_are_sound_stay_as_they_stand(tmp_path: Path) -> None:
    row = b'{"text":"caf\\u00e9",  "n" : 1.50}'
    rows, repairs = fixed(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + row + b"\r\n" + row + b"\r\n\r\n")
    assert (tmp_path / "out.jsonl").read_bytes() == (row + b"\n") * 2
    assert [one.what for one in repairs] == [
        "the byte order mark is gone", "lines end in a newline alone, here and after",
    ]  # fmt: skip
    assert len(rows) == 2


def test_arrays_come_and_go(tmp_path: Path) -> None:
    rows = [alpaca(), alpaca(output=None), alpaca(system=None)]
    made, repairs = fixed(tmp_path / "a.json", json.dumps(rows, indent=2).encode(), "out.json")
    assert made == [alpaca(system=""), alpaca(system="")]
    assert [one.what for one in repairs if one.left_out] == ["no-output: output is null"]
    made, _ = fixed(tmp_path / "a.json", json.dumps(rows).encode())
    assert len(made) == 2
    cut, repairs = fixed(tmp_path / "b.json", json.dumps([{"text": "a"}, {"text": "b"}]).encode()[:-5])
    assert cut == [{"text": "a"}]
    assert "nothing after it can be read" in repairs[-1].what
    none, _ = fixed(tmp_path / "c.json", b'[{"text": ""}]', "out.json")
    assert none == []


def test_a_file_of_which_no_line_is_json_may_hold_rows_all_the_same(tmp_path: Path) -> None:
    rows = [{"instruction": "i", "output": "o"}, {"instruction": "i", "input": "x", "output": "p"}]
    data = b"".join(json.dumps(row).encode() + b",\n" for row in rows)
    made, repairs = fixed(tmp_path / "a.jsonl", data)
    assert made == [{"instruction": "i", "output": "o", "input": ""}, {**rows[1]}]
    assert [one.where for one in repairs] == [f"{tmp_path}/a.jsonl:{line}" for line in (1, 1, 1, 2, 2)]


def test_input_is_written_where_only_a_row_that_is_left_out_had_it(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "output": "a", "kto": True}, {"instruction": "q", "input": "", "kto_tag": True}]
    made, _ = fixed(tmp_path / "a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert made == [{"instruction": "q", "input": "", "output": "a", "kto": True}]


def test_an_unknown_kind_is_not_touched(tmp_path: Path) -> None:
    rows = [{"label": 1, "tools": "", "role": "human"}, {"label": 0, "tools": "", "role": "gpt"}]
    (tmp_path / "a.jsonl").write_bytes(of(*rows))
    repairs: list[Repair] = []
    Repairing(Check(tmp_path / "a.jsonl", lambda _: None).run(), tmp_path / "b.jsonl", repairs.append).run()
    assert ([json.loads(row) for row in lines(tmp_path / "b.jsonl")], repairs) == (rows, [])


def test_the_file_must_stay_as_it_was_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(of(*[{"text": "a"}] * 3))

    def meddle(_: Repair) -> None:
        path.write_bytes(of(*[{"text": "other"}] * 4))

    path.write_bytes(of({"text": "a"}, {"text": ""}))
    work = Repairing(Check(path, lambda _: None).run(), tmp_path / "b.jsonl", meddle)
    with pytest.raises(UsageError, match="changed while it was read"):
        work.run()
    assert not (tmp_path / "b.jsonl").exists()


def test_the_command_repairs_and_tells(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [SOUND, said(("user", "q"), A, tools=[]), said(Q, tools=None)])
    done = synthgen("validate", source, "--fix", "-o", "b.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    said_ = done.stdout.splitlines()
    assert f"{source}:2: repaired: turn 1: 'user' is now 'human'" in said_
    assert f"{source}:3: left out: turn-order: the last turn is human's" in said_
    assert said_[-2:] == ["b.jsonl: 2 rows, 1 of them repaired; 1 left out", "next: synthgen validate b.jsonl"]
    assert lines(tmp_path / "b.jsonl") == [json.dumps(SOUND)] * 2
    found = result(synthgen("validate", source, "--fix", "-o", "c.jsonl", "--json", cwd=tmp_path), 1)
    assert found["fixed"] == {"rows": 2, "changed": 1, "left_out": 1}
    assert synthgen("validate", "b.jsonl", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("args", "said_"),
    [
        (["a.jsonl", "--fix"], "--fix writes a copy: name it with -o"),
        (["a.jsonl", "-o", "b.jsonl"], "-o: is for --fix; add it"),
        (["a.jsonl", "--fix", "-o", "a.jsonl"], "a.jsonl: is the file that is read; give another -o"),
        (["a.jsonl", "--fix", "-o", "b.csv"], "b.csv: must end in .jsonl (JSON lines) or .json (an array)"),
        (["a.jsonl", "a.jsonl", "--fix", "-o", "b.jsonl"], "--fix repairs one file of rows; give it alone"),
        ([".", "--fix", "-o", "b.jsonl"], "--fix repairs one file of rows; give it alone"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path: Path, args: list[str], said_: str) -> None:
    write_rows(tmp_path / "a.jsonl", [SOUND])
    done = synthgen("validate", *args, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said_ in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]

"""Every rule has a file that breaks it; what is sound breaks none; what is said of `datasets` is what it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from synthgen.formats.shapes import FIRST_BYTES
from synthgen.validating.checking import Check, Checked, Finding
from synthgen.validating.kinds import KINDS, open_kind
from synthgen.validating.rules import LOADERS, RULES
from synthgen.validating.validation import Validation

Row = dict[str, Any]


def alpaca(**more: Any) -> Row:
    return {"instruction": "Name a river.", "input": "", "output": "The Rhine.", **more}


def said(*turns: tuple[str, Any], **more: Any) -> Row:
    return {"conversations": [{"from": speaker, "value": value} for speaker, value in turns], **more}


def talk(*turns: tuple[str, Any] | Row, **more: Any) -> Row:
    made = [turn if isinstance(turn, dict) else {"role": turn[0], "content": turn[1]} for turn in turns]
    return {"messages": made, **more}


def called(arguments: Any = "{}", **more: Any) -> Row:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


Q, A = ("human", "q"), ("gpt", "a")
U, S = ("user", "q"), ("assistant", "a")
CALL, RESULT = ("function_call", '{"name": "f", "arguments": {}}'), ("observation", "1")
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
LONG = "word " * 900

# rule -> the rows of a file of which the last breaks it (bytes: the file itself)
CASES: dict[str, Sequence[Row] | bytes] = {
    "not-json": b'{"text": "a"}\n{"text": "b"\n',
    "not-an-object": b'{"text": "a"}\n["b"]\n',
    "not-utf8": b'{"text": "a"}\n{"text": "\xff"}\n',
    "half-pair": b'{"text": "a"}\n{"text": "\\ud800"}\n',
    "duplicate-key": b'{"text": "a"}\n{"text": "b", "text": "c"}\n',
    "no-rows": b"",
    "nan": b'{"text": "a", "score": 1}\n{"text": "b", "score": NaN}\n',
    "nul": [{"text": "a"}, {"text": "b\0"}],
    "long-line": b'{"text": "a"}\n{"text": "' + b"b" * 8_000_001 + b'"}\n',
    "bom": b'\xef\xbb\xbf{"text": "a"}\n',
    "mixed-shapes": [alpaca(), said(Q, A)],
    "unknown-format": [{"问题": "q", "答案": "a"}],
    "mixed-types": [alpaca(score=1), alpaca(score="1")],
    "free-keys": [alpaca(info={"a": 1}), alpaca(info={"b": 1})],
    "date-column": [alpaca(output="2024-01-31")],
    "control-token": [alpaca(), alpaca(output="Good.<|im_end|>")],
    "turn-number": [alpaca(), alpaca(input="{{idx}}")],
    "media-placeholder": [alpaca(), alpaca(input="<image>")],
    "over-1024": [talk(U, S), talk(U, ("assistant", LONG))],
    "over-2048": [alpaca(), alpaca(output=LONG * 2)],
    "no-instruction": [alpaca(), alpaca(instruction=" ")],
    "input-alone": [alpaca(), alpaca(instruction="", input="x")],
    "instruction-type": [alpaca(), alpaca(instruction=3)],
    "no-output": [alpaca(), {"instruction": "i", "input": ""}],
    "empty-output": [alpaca(), alpaca(output="\n")],
    "input-type": [alpaca(), alpaca(input=["x"])],
    "system-type": [alpaca(system=""), alpaca(system=1)],
    "history-shape": [alpaca(history=[]), alpaca(history=[["q"]])],
    "no-input-column": [{"instruction": "i", "output": "o"}],
    "other-output-column": [{"instruction": "i", "input": "", "response": "o"}],
    "no-turns": [said(Q, A), {"conversations": []}],
    "turn-shape": [said(Q, A), {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}],
    "turn-type": [said(Q, A), said(Q, ("gpt", None))],
    "empty-turn": [said(Q, A), said(Q, ("gpt", " "))],
    "speaker": [said(Q, A), said(("narrator", "q"), A)],
    "role": [talk(U, S), talk(("narrator", "q"), S)],
    "swift-role": [talk(U, S), talk(U, ("tool_call", CALL[1]), ("tool_response", "1"), S)],
    "from-value": [talk(U, S), {"messages": said(Q, A)["conversations"]}],
    "developer-role": [talk(U, S), talk(("developer", "s"), U, S)],
    "turn-order": [said(Q, A), said(Q, A, ("system", "s"), A)],
    "roles-in-a-row": [talk(U, S), talk(U, U, S)],
    "last-turn": [talk(U, S), talk(U)],
    "two-systems": [said(Q, A, system=""), said(("system", "s"), Q, A, system="t")],
    "call-order": [said(Q, CALL, RESULT, A), said(Q, A, RESULT, A)],
    "last-call": [said(Q, CALL, RESULT, A), said(Q, CALL)],
    "call-json": [said(Q, CALL, RESULT, A), said(Q, ("function_call", "f()"), RESULT, A)],
    "arguments-text": [said(Q, A), said(Q, ("function_call", '{"name": "f", "arguments": "{}"}'), RESULT, A)],
    "arguments-object": [talk(U, S), talk(U, called({"x": 1}), {"role": "tool", "content": "1", "tool_call_id": "c1"}, S)],
    "thought-spacing": [said(Q, A), said(Q, ("function_call", f"<think>t</think>{CALL[1]}"), RESULT, A)],
    "call-shape": [talk(U, S), talk(U, {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "name": "f", "arguments": "{}"}]})],
    "result-id": [talk(U, S), talk(U, called(), {"role": "tool", "content": "1", "tool_call_id": "c2"}, S)],
    "weight": [talk(U, S), talk(U, {"role": "assistant", "content": "a", "weight": 2})],
    "extra-column": [talk(U, S, id=1)],
    "tools-json": [said(Q, A, tools=None), said(Q, A, tools="[")],
    "tools-list": [said(Q, A, tools=[TOOL])],
    "blank-tools": [said(Q, A, tools=None), said(Q, A, tools="")],
    "empty-tools": [said(Q, A, tools=None), said(Q, A, tools="[]")],
    "tool-parameters": [said(Q, A, tools=None), said(Q, A, tools='[{"name": "f"}]')],
    "tool-shape": [talk(U, S, tools=None), talk(U, S, tools=[TOOL])],
    "tool-name": [talk(U, S, tools=None), talk(U, S, tools=[{"type": "function", "function": {**TOOL, "name": "a.b"}}])],
    "no-answer": [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": None}],
    "answer-shape": [said(Q, chosen={"from": "gpt", "value": "a"}, rejected="b")],
    "same-answer": [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": "a"}],
    "no-prompt": [{"chosen": "good answer", "rejected": "great answer"}],
    "label-type": [said(Q, A, kto_tag="true")],
    "label-value": [said(Q, A, kto_tag=True), said(Q, A, kto_tag=-1)],
    "empty-prompt": [{"prompt": "p", "completion": "a"}, {"prompt": "", "completion": "a"}],
    "no-completion": [{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": None}],
    "prompt-type": [{"prompt": "p", "completion": talk(S)["messages"]}],
    "empty-text": [{"text": "a"}, {"text": "  "}],
}  # fmt: skip


def late(before: Row, after: Row) -> list[Row]:
    """Two sorts of rows, the second past the part that `datasets` infers columns and types from."""
    filler = {"text": "x" * 20_000}
    return [{**filler, **before}] * (FIRST_BYTES // 20_000 + 1) + [{**filler, **after}] * 2


LATE: dict[str, tuple[str, list[Row]]] = {
    "a key": ("late-key", late({}, {"k": "v"})),
    "null": ("late-type", late({"k": None}, {"k": "v"})),
    "an empty list": ("late-type", late({"k": []}, {"k": ["v"]})),
    "a fraction": ("late-type", late({"k": 1}, {"k": 1.5})),
    "text for a number": ("mixed-types", late({"k": 1}, {"k": "a"})),
    "a key of an object": ("late-key", late({"k": {"a": 1}}, {"k": {"a": 1, "b": 2}})),
    "a key of turns": ("late-key", late({"conversations": said(Q, A)["conversations"]}, {"conversations": [{**turn, "name": "x"} for turn in said(Q, A)["conversations"]]})),
}  # fmt: skip


def check(path: Path, rows: Sequence[Row] | bytes, format_name: str | None = None) -> tuple[Checked, list[Finding]]:
    text = "".join(json.dumps(row) + "\n" for row in rows) if not isinstance(rows, bytes) else rows
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found: list[Finding] = []
    return Check(path, found.append, kind=open_kind(format_name) if format_name else None).run(), found


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_named_with_its_line_where_a_row_breaks_it(tmp_path: Path, rule: str) -> None:
    _, found = check(tmp_path / "a.jsonl", CASES[rule])
    broken = [(one.line, one.rule.name) for one in found]
    rows = CASES[rule]
    last = max(1, rows.count(b"\n") if isinstance(rows, bytes) else len(rows))
    assert broken == [(last, rule)]


@pytest.mark.parametrize("name", LATE)
def test_what_comes_late_is_told_and_breaks_datasets(tmp_path: Path, name: str, hub_offline: Any) -> None:
    rule, rows = LATE[name]
    path = tmp_path / "a.jsonl"
    _, found = check(path, rows)
    assert [(one.line, one.rule.name) for one in found if one.rule.name != "over-2048"] == [(len(rows) - 1, rule)]
    with pytest.raises(hub_offline.exceptions.DatasetGenerationError):
        hub_offline.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))


def test_what_comes_late_in_an_array_does_no_harm(tmp_path: Path, hub_offline: Any) -> None:
    path = tmp_path / "a.json"
    _, rows = LATE["a key"]
    _, found = check(path, json.dumps(rows).encode())
    assert {one.rule.name for one in found} <= {"over-2048"}
    loaded = hub_offline.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert loaded[-1]["k"] == "v"


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-31", "2024-01-31 10:00", "2024-01-31T10:00:00", "2024-01-31T10:00:00Z", "2024-01-31 10"),
        *("2024-01-31T10:00:00+01:00", "2024-01-31T10:00:00.5", "2024-01", "2024", "20240131", "2024-1-1", "10:00:00"),
        *("2024-13-01", "2024-02-30", " 2024-01-31", "2024-01-31T25:00:00", "2024-01-31T1000", "a date"),
    ],
)
def test_a_date_is_what_datasets_takes_for_one(tmp_path: Path, text: str, hub_offline: Any) -> None:
    path = tmp_path / "a.jsonl"
    _, found = check(path, [alpaca(output=text)] * 2)
    loaded = hub_offline.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    timestamps = not isinstance(loaded[0]["output"], str)
    assert [one.rule.name for one in found] == (["date-column"] if timestamps else [])


def test_one_text_that_is_no_date_makes_a_column_of_text(tmp_path: Path) -> None:
    assert check(tmp_path / "a.jsonl", [alpaca(output="2024-01-31")] * 5 + [alpaca()])[1] == []


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.zst"])
def test_a_packed_file_is_told(tmp_path: Path, name: str) -> None:
    found: list[Finding] = []
    (tmp_path / name).write_bytes(b"")
    Check(tmp_path / name, found.append).run()
    first = found[0]
    assert (first.rule.name, dict(first.effects)) == ("compressed", {"LLaMA-Factory": "abort", "ms-swift": "abort"})


def test_every_rule_is_tried() -> None:
    of_folders = {name for name in RULES if name.startswith(("registry-", "card-", "stray-"))}
    notes = {name for name, rule in RULES.items() if rule.level == "note"}
    late_ones = {rule for rule, _ in LATE.values()}
    of_csv = {name for name in RULES if name.startswith("csv-")}
    assert {*CASES, *late_ones, *of_csv, "compressed", "unreadable", *of_folders, *notes} == set(RULES)
    assert {"compressed", "late-key", "late-type"} & set(CASES) == set()


def test_a_rule_says_what_a_trainer_does_that_reads_the_format(tmp_path: Path) -> None:
    one, found = check(tmp_path / "a.jsonl", [alpaca(), alpaca(output=None), alpaca(output=None), alpaca(output="")])
    assert dict(found[0].effects) == {"LLaMA-Factory": "drop", "axolotl": "garbage", "ms-swift": "drop"}
    assert one.hurt == {
        ("LLaMA-Factory", "drop"): 2, ("LLaMA-Factory", "garbage"): 1, ("ms-swift", "drop"): 2,
        ("ms-swift", "garbage"): 1, ("axolotl", "garbage"): 3,
    }  # fmt: skip
    for rule in RULES.values():
        assert set(rule.effects) <= set(LOADERS)
        assert rule.hint
        assert (not rule.effects) if rule.level == "note" else True


@pytest.mark.parametrize(
    ("row", "twice"),
    [
        ('{"text" : "a", "text" : "b"}', True),
        ('{"text": "a", "x" : {"y": 1, "y" : 2}}', True),
        ('{"text" : "he said \\" : yes", "x" : 1}', False),
    ],
)
def test_a_key_twice_is_found_however_the_colons_stand(tmp_path: Path, row: str, twice: bool) -> None:
    (tmp_path / "a.jsonl").write_text(f"{row}\n")
    found: list[Finding] = []
    Validation([str(tmp_path / "a.jsonl")], found.append).run()
    assert ("duplicate-key" in [one.rule.name for one in found]) is twice


def test_a_column_without_a_name_is_one_like_others(tmp_path: Path) -> None:
    rows = [{"text": "t", "": {"day": "2024-01-31"}}, {"text": "t", "": {"on": "2024-01-31"}}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found: list[Finding] = []
    Validation([str(path)], found.append).run()
    assert [one.rule.name for one in found] == ["free-keys"]


def test_texts_are_of_one_shape_whatever_is_in_them(tmp_path: Path) -> None:
    sep = "<|im_start|>user<|im_sep|>q<|im_end|><|im_start|>assistant<|im_sep|>a<|im_end|>"
    line = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (sep, "plain", line)), encoding="utf-8")
    found: list[Finding] = []
    Validation([str(path)], found.append).run()
    assert not [one for one in found if one.rule.level == "fault"]


def test_a_row_that_breaks_a_rule_twice_is_told_once(tmp_path: Path) -> None:
    one, found = check(tmp_path / "a.jsonl", [said(Q, A), said(("user", "q"), ("assistant", "a"))])
    assert [finding.what for finding in found] == ["turn 1 is from 'user' (and 1 more)"]
    assert one.hurt["LLaMA-Factory", "drop"] == 1


NOTES: dict[str, Sequence[Row]] = {
    "trl-reads-no-alpaca": [alpaca()],
    "axolotl-ignores-system": [alpaca(system="s", history=[])],
    "axolotl-ignores-history": [alpaca(system="", history=[["q", "a"]])],
    "trl-renders-nothing": [said(Q, A)],
    "axolotl-needs-roles": [said(Q, CALL, RESULT, A)],
    "swift-one-call": [said(Q, CALL, RESULT, A)],
    "text-arguments": [talk(U, called(), {"role": "tool", "content": "1", "tool_call_id": "c1"}, S)],
    "axolotl-pairs-call": [
        {"prompt": talk(U)["messages"], "chosen": [called()], "rejected": talk(S)["messages"], "tools": None}
    ],
    "axolotl-kto-texts": [{"prompt": talk(U)["messages"], "completion": talk(S)["messages"], "label": True}],
    "openai-formatting": [talk(U, S, tools=None)] * 10,
    "few-rows": [talk(U, S)] * 9,
    "swift-ignores-pairs": [{"prompt": "p", "chosen": "a", "rejected": "b"}],
    "implicit-prompt": [{"chosen": talk(U, S)["messages"], "rejected": talk(U, ("assistant", "b"))["messages"]}],
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_true_of_a_format_is_a_note_and_no_finding(tmp_path: Path, name: str) -> None:
    one, found = check(tmp_path / "a.jsonl", NOTES[name])
    assert found == []
    assert name in [rule.name for rule in one.notes]
    others = check(tmp_path / "b.jsonl", [{"text": "a"}])[0].notes
    assert others == ()


# Rows that look like faults and are none.
SOUND: dict[str, Sequence[Row]] = {
    "sharegpt": [said(("system", "s"), Q, ("function_call", f"<think>\nt\n</think>\n\n[{CALL[1]}, {CALL[1]}]"), RESULT, A)],
    "messages": [talk(("system", ""), U, called(), {"role": "tool", "content": "", "tool_call_id": "c1"}, S)] * 3,
    "messages with parts": [talk(*({"role": role, "content": [{"type": "text", "text": "q"}]} for role in ("user", "assistant")))],
    "messages that end with a call": [talk(U, called())],
    "fewer keys later": [alpaca(id="x", score=1), alpaca(id="y"), alpaca(score=1.5, id=None)],
    "a label of a classifier": [{"text": "a", "label": 3}, {"text": "b", "label": 0}],
    "code": [alpaca(output='x <| y |> f {{ a }} {"k": 1, "k": 2} [INSTALL] <s> <img> <|> a|>')],
    "our own": [{"messages": talk(U, S)["messages"], "meta": {"a": 1}}, {"messages": [], "meta": {"b": "x"}}],
    "kto": [talk(U, S, label=True), talk(U, S, label=False)],
    "kto of TRL": [{"prompt": "p", "completion": "c", "label": label} for label in (1, 0, 1, 0)],
    "a swift pair": [talk(U, S, rejected_response="b")],
    "pairs of OpenAI": [{
        "input": {"messages": talk(U)["messages"], "tools": []},
        "preferred_output": talk(S)["messages"], "non_preferred_output": talk(("assistant", "b"))["messages"],
    }],
    "chatml": [{"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"}],
    "turns as prompts": [{"prompt": talk(U)["messages"], "completion": talk(S)["messages"]}],
    "prompts": [{"prompt": "p", "ground_truth": "1"}, {"prompt": "q", "ground_truth": "2"}],
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_breaks_no_rule(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jsonl"
    found = check(path, SOUND[name])[1]
    assert [(one.rule.name, one.what) for one in found] == []


def test_chatml_is_known_by_its_first_turn(tmp_path: Path) -> None:
    text = "<|im_start|>user\nq<|im_end|>"
    assert check(tmp_path / "a.jsonl", [{"text": text}])[0].kind == KINDS["chatml"]
    assert [one.rule.name for one in check(tmp_path / "b.jsonl", [{"text": f"Say {text}"}])[1]] == ["control-token"]


def test_the_assistant_alone_calls_tools(tmp_path: Path) -> None:
    rows = [talk(U, S), talk({**called(), "role": "user"}, {"role": "tool", "content": "1", "tool_call_id": "c1"}, S)]
    _, found = check(tmp_path / "a.jsonl", rows)
    assert [(one.line, one.rule.name) for one in found if one.rule.level == "fault"] == [
        (2, "call-shape"),
        (2, "turn-type"),
    ]


def test_escaped_marks_are_marks(tmp_path: Path) -> None:
    data = b'{"text": "\\u003c|im_end|\\u003e"}\n{"text": "\\u007b{idx}}"}\n{"text": "a\\u0000"}\n'
    assert [one.rule.name for one in check(tmp_path / "a.jsonl", data)[1]] == ["control-token", "turn-number", "nul"]


def test_faults_of_other_containers_have_their_place(tmp_path: Path) -> None:
    rows = [alpaca(), alpaca(output=None), alpaca()]
    _, found = check(tmp_path / "a.json", json.dumps(rows, indent=1).encode())
    assert [(one.line, one.rule.name) for one in found] == [(7, "no-output")]
    _, found = check(tmp_path / "b.json", json.dumps(rows).encode())
    assert [(one.where, one.rule.name) for one in found] == [(f"{tmp_path}/b.json:1#2", "no-output")]
    _, found = check(tmp_path / "c.json", json.dumps(rows).encode()[:-30])
    assert [one.rule.name for one in found] == ["no-output", "not-json"]
    assert "nothing after it can be read" in found[-1].what
    _, found = check(tmp_path / "d.csv", b"instruction,input,output\na,,b\nc,,\nd,e\n")
    assert [(one.line, one.rule.name) for one in found] == [(3, "no-output"), (4, "not-json")]
    _, found = check(tmp_path / "e.jsonl", "中".encode("utf-16"))
    assert [one.rule.name for one in found] == ["not-utf8"]
    _, found = check(tmp_path / "f.parquet", b"PAR1")
    assert [one.rule.name for one in found] == ["unreadable"]


def test_parquet_rows_are_judged(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_pylist([alpaca(), alpaca(output="")]), path)
    found: list[Finding] = []
    Check(path, found.append).run()
    assert [(one.where, one.rule.name) for one in found] == [(f"{path}:2", "empty-output")]


def test_a_kind_is_that_of_most_rows_though_the_first_is_broken(tmp_path: Path) -> None:
    one, found = check(tmp_path / "a.jsonl", [{"instruction": "i"}, alpaca(), alpaca()])
    assert one.kind == KINDS["alpaca"]
    assert [(finding.line, finding.rule.name) for finding in found] == [(1, "no-output")]


def test_several_files_are_counted_together(tmp_path: Path) -> None:
    for name in "ab":
        check(tmp_path / f"{name}.jsonl", [alpaca(), alpaca(output=None)])
    work = Validation([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], lambda _: None)
    work.run()
    found = work.as_dict()
    assert (found["faults"], found["loaders"]["LLaMA-Factory"]) == (2, {"drop": 2})
    assert work.line() == f"validate · {tmp_path}/b.jsonl · 2 rows · 2 faults"

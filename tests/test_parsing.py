"""What models write is read whole, or counted as unread; nothing raises."""

from __future__ import annotations

from random import Random

import pytest

from synthgen.parsing import (
    Triple,
    instances,
    is_no_input,
    json_value,
    labelled_instances,
    numbered,
    split_reasoning,
    triples,
    yes,
)


def test_a_markdown_heading_in_an_output_is_kept_and_nothing_after_it_is_lost() -> None:
    text = (
        "4. Instruction: Plan a picnic.\n4. Input:\n<noinput>\n4. Output:\nHere is a plan.\n### Goals\n- eat\n###\n"
        "5. Instruction: Name a colour.\n5. Input:\n<noinput>\n5. Output:\nRed"
    )
    assert triples(text) == [
        Triple("Plan a picnic.", "", "Here is a plan.\n### Goals\n- eat"),
        Triple("Name a colour.", "", "Red"),
    ]


def test_a_list_that_starts_again_at_one_is_read() -> None:
    text = "1. Instruction: Name a tree.\n1. Input: <noinput>\n1. Output: Oak\n2. Instruction: Sum\n2. Input: 1 2\n2. Output: 3"
    assert [t.output for t in triples(text)] == ["Oak", "3"]


@pytest.mark.parametrize("colon", [":", "：", " : "])
def test_full_width_colons(colon: str) -> None:
    text = f"4. 指令{colon}写一句话\n4. 输入{colon}春天\n4. 输出{colon}春天来了。"
    assert triples(text) == [Triple("写一句话", "春天", "春天来了。")]
    english = f"4. Instruction{colon}Write\n4. Input{colon}spring\n4. Output{colon}It is spring."
    assert triples(english) == [Triple("Write", "spring", "It is spring.")]


@pytest.mark.parametrize(
    "text",
    ["<noinput>", "<No input>", "No Input", "(none)", "无", "無", "<無輸入>", "<无输入>", "无输入", "N/A", "n/a", "（无）",
     "No input needed.", "不需要输入", "", "  \n"],
)  # fmt: skip
def test_every_way_to_say_no_input(text: str) -> None:
    assert is_no_input(text)
    assert triples(f"1. Instruction: Say hi\n1. Input: {text}\n1. Output: hi")[0].input == ""


@pytest.mark.parametrize("text", ["none of these fit", "Na is sodium", "无锡是哪里", "no, thanks", "emptying a tank"])
def test_an_input_that_only_begins_like_none(text: str) -> None:
    assert not is_no_input(text)


def test_a_task_swallowed_by_an_output_is_split_off() -> None:
    text = "17. Instruction: A\n17. Input: b\n17. Output: c d 18. Instruction: Name a fish.\n18. Input: N/A\n18. Output: Cod"
    assert triples(text) == [Triple("A", "b", "c d"), Triple("Name a fish.", "", "Cod")]


def test_a_label_inside_an_output_is_content() -> None:
    text = "4. Instruction: Show a test case.\n4. Input: <noinput>\n4. Output: Input: 5\nOutput: 25\n5. Instruction: X\n5. Output: y"
    assert triples(text)[0].output == "Input: 5\nOutput: 25"
    assert len(triples(text)) == 2


def test_case_is_kept() -> None:
    assert numbered("9. Convert 85 F to Celsius in NASA units") == ["Convert 85 F to Celsius in NASA units"]


def test_an_answer_that_goes_straight_on_after_the_last_label() -> None:
    assert triples(" Name a bird.\n4. Input: <noinput>\n4. Output: Owl") == [Triple("Name a bird.", "", "Owl")]


def test_a_task_without_output_has_none() -> None:
    assert triples("1. Instruction: A\n1. Input: b")[0].output is None


def test_json_rows_are_tasks_too() -> None:
    line = '{"instruction": "A", "input": "", "output": "b"}'
    assert triples(f"```json\n[{line}]\n```") == [Triple("A", "", "b")]
    assert len(triples(f"{line}\n{line}")) == 2


def test_numbered_forms() -> None:
    text = "Sure!\n9. One task\n10) Two\nlines\nTask 11: Three\n12、四个\n指令13：五\n14. Instruction: Six\n\nAnything else?"
    assert numbered(text) == ["One task", "Two lines", "Three", "四个", "五", "Six"]
    assert numbered("It was 9:30 then.\nNo list.") == []


def test_json_in_all_its_disguises() -> None:
    assert json_value('Sure:\n```json\n{"a": [1, 2,],}\n```\nDone.') == {"a": [1, 2]}
    assert json_value("{'a': 'it'}") == {"a": "it"}
    assert json_value("<think>{oops}</think>[1, 2]") == [1, 2]
    for broken in ("", "{half", "[}", "no json", '{"a": }', "}{", "[" * 5000):
        assert json_value(broken) is None


def test_reasoning_is_cut_off_and_kept() -> None:
    assert split_reasoning("<think>why</think>\nYes") == ("Yes", "why")
    assert split_reasoning("<think>never ends") == ("", "never ends")
    assert split_reasoning("plain") == ("plain", None)


def test_instances() -> None:
    assert instances("Input: a\nOutput: b\n\nInput: c\nOutput: d") == [("a", "b"), ("c", "d")]
    assert instances("Output: only") == [("", "only")]
    assert instances("输入：甲\n输出：乙") == [("甲", "乙")]
    assert instances("A bare answer.") == [("", "A bare answer.")]
    assert instances("") == []


def test_labelled_instances() -> None:
    assert labelled_instances("Class label: good\nInput: fine\nClass label: bad\nInput: poor") == [
        ("fine", "good"),
        ("poor", "bad"),
    ]
    assert labelled_instances("类别：褒义\n输入：美好") == [("美好", "褒义")]
    assert labelled_instances("none of that") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Yes", True), (" yes.", True), ("No", False), ("是", True), ("否。", False), ("perhaps", None)],
)
def test_yes(text: str, expected: bool | None) -> None:
    assert yes(text) is expected


def test_odd_text_never_raises() -> None:
    rng = Random(1)
    pieces = [
        "1. ",
        "Instruction:",
        "Input：",
        "输出:",
        "###",
        "\n",
        "<think>",
        "</think>",
        "{",
        "}",
        "[",
        "'",
        '"',
        "\\",
        "是",
        "\x00",
        "a",
    ]
    for _ in range(3000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 40)))
        for read in (triples, numbered, instances, labelled_instances, json_value, yes, split_reasoning):
            read(text)

"""The table of real files: what each is, how many samples it has, and what becomes of them in three formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import synthgen

from synthgen.formats import SampleReader, open_format, read_row
from synthgen.formats.write import write_all
from synthgen.rows import read_rows
from synthgen.types import Sample

_UNANSWERED = "no answer (the last turn is not the assistant's)"
_ORPHANS = {"tool results that do not match their calls": 2}  # two observations that nobody asked for
_BAD = {"an answer marked as bad (label false)": 150}
_NONE: dict[str, int] = {}
# file: format, samples, what alpaca, sharegpt and messages leave out.
TABLE: dict[str, tuple[str, int, dict[str, int], dict[str, int], dict[str, int]]] = {
    "belle_zh_seed_tasks.json": ("seed-tasks", 175, _NONE, _NONE, _NONE),
    "bfcl_v4_live_multiple.json": ("rl", 1053, {"tools": 1053}, {_UNANSWERED: 1053}, {_UNANSWERED: 1053}),
    "fastchat_dummy_conversation.json": ("fastchat", 500, _NONE, _NONE, _NONE),
    "gpteacher_codegen.json": ("alpaca", 4535, _NONE, _NONE, _NONE),
    "gpteacher_toolformer_06_alpaca.json": ("alpaca", 2396, _NONE, _NONE, _NONE),
    "gsm8k_test.jsonl": ("question-answer", 1319, _NONE, _NONE, _NONE),
    "gsm8k_train.jsonl": ("question-answer", 7473, _NONE, _NONE, _NONE),
    "huatuo_llama_data.json": ("alpaca", 8658, _NONE, _NONE, _NONE),
    "lf_alpaca_en_demo.json": ("alpaca", 999, _NONE, _NONE, _NONE),
    "lf_alpaca_zh_demo.json": ("alpaca", 1000, _NONE, _NONE, _NONE),
    "lf_dpo_en_demo.json": ("preference-sharegpt", 300, _NONE, _NONE, _NONE),
    "lf_dpo_zh_demo.json": ("preference-sharegpt", 300, _NONE, _NONE, _NONE),
    "lf_glaive_toolcall_en_demo.json": ("sharegpt", 300, {"tools": 191}, _NONE, _NONE),
    "lf_glaive_toolcall_zh_demo.json": ("sharegpt", 300, {"tools": 200}, _ORPHANS, _ORPHANS),
    "lf_kto_en_demo.json": ("kto-swift", 300, _BAD, _BAD, _BAD),
    "mtbench_question.jsonl": ("mt-bench", 80, {_UNANSWERED: 80}, {_UNANSWERED: 80}, {_UNANSWERED: 80}),
    "selfinstruct_seed_tasks.jsonl": ("seed-tasks", 175, _NONE, _NONE, _NONE),
    "selfinstruct_user_oriented_instructions.jsonl": ("seed-tasks", 252, _NONE, _NONE, _NONE),
    "vicuna_question.jsonl": ("mt-bench", 80, {_UNANSWERED: 80}, {_UNANSWERED: 80}, {_UNANSWERED: 80}),
}
TARGETS = ("alpaca", "sharegpt", "messages")


def test_the_table_has_every_file(shared_data: Path) -> None:
    there = {path.name for path in shared_data.iterdir()} - {"README.md", "lf_dataset_info.json"}
    assert there == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_real_file_is_read_whole_and_every_sample_is_accounted_for(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    expected, count, *left_out = TABLE[name]
    path = shared_data / name
    reading = SampleReader(path)
    samples = list(reading)
    assert (len(samples), reading.unread, reading.first, dict(reading.others)) == (count, 0, [], {})
    assert {read_row(row.fields)[0].name for row in read_rows(path)} <= {expected, "sharegpt", "fastchat"}
    assert read_row(next(read_rows(path)).fields)[0].name == expected
    into = [open_format(target) for target in TARGETS]
    for written, gone in zip(
        write_all(samples, [(one, tmp_path / one.file_name) for one in into]), left_out, strict=True
    ):
        assert written.left_out == gone
        assert written.rows + sum(gone.values()) == count
        assert len(written.path.read_bytes().splitlines()) == written.rows
        if written.rows:
            again = SampleReader(written.path)
            assert len(list(again)) == written.rows
            assert again.unread == 0


@pytest.mark.parametrize(
    "name",
    [
        "belle_zh_seed_tasks.json",
        "selfinstruct_seed_tasks.jsonl",
        "gsm8k_test.jsonl",
        "vicuna_question.jsonl",
        "mtbench_question.jsonl",
    ],
)
def test_the_formats_of_questions_give_real_rows_back(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / name
    into = open_format(TABLE[name][0])
    (written,) = write_all(list(SampleReader(path)), [(into, tmp_path / into.file_name)])
    assert (written.left_out, written.lost) == ({}, {})
    rows = [row.fields for row in read_rows(path)]
    back = [row.fields for row in read_rows(written.path)]
    more = {"reference": []} if name.startswith("mtbench") else {}  # every row gets the column that some have
    assert back == [{**more, **row} for row in rows]


def test_tools_of_the_leaderboard_have_the_types_of_json_schema(shared_data: Path) -> None:
    def types(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["type"]} if isinstance(value.get("type"), str) else set()
            return own.union(*map(types, value.values()))
        return set().union(*map(types, value)) if isinstance(value, list) else set()

    samples: list[Sample] = list(SampleReader(shared_data / "bfcl_v4_live_multiple.json"))
    found = set().union(*(types([*sample.tools]) for sample in samples))
    assert found == {"object", "string", "integer", "boolean", "number", "array"}


@pytest.mark.parametrize(
    "args",
    [
        ("export", "{}", "--to", "alpaca", "-o", "x.jsonl"),
        ("show", "{}"),
        ("dedup", "{}", "-o", "x.json"),
        ("decontaminate", "b.jsonl", "--against", "{}"),
        ("decontaminate", "{}", "--against", "b.jsonl"),
        ("seeds", "show", "{}"),
        ("generate", "respond", "--input", "{}"),
    ],
    ids=lambda args: args[0],
)
def test_the_real_registry_is_no_data(shared_data: Path, tmp_path: Path, args: tuple[str, ...]) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"question": "q", "answer": "a"}) + "\n")
    registry = str(shared_data / "lf_dataset_info.json")
    done = synthgen(*(registry if arg == "{}" else arg for arg in args), cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {registry}: LLaMA-Factory's registry of data sets, no rows; give one of the files")

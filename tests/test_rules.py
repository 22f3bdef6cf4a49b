"""The eighteen ways in which training data is lost in silence: our files go none of them, validate names each.

A line of RULES for each way: what happens, what `validate` says of it, and the function here that holds what we write
against it. What the trainers themselves see of our files stands in test_formats_trl.py and in benchmarks/loaders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import test_formats_late
import test_validate
import test_validate_folder
from test_formats import ALL, LONG, PAIR, TOOLS, call, said

from synthgen.errors import UsageError
from synthgen.formats import formats, open_format
from synthgen.formats.card import card, dataset_info
from synthgen.formats.containers import check_name
from synthgen.formats.write import write_all, write_bytes, write_samples
from synthgen.formats.written import Written
from synthgen.types import Message, Sample
from synthgen.validating import rules
from synthgen.validating.checking import Finding
from synthgen.validating.validation import Validation

Row = dict[str, Any]
WEIGHED = Sample((*said("q", "a", "r")[:1], Message("assistant", "a", weight=0), *said("r", "b")))
NAMED = Sample((Message("user", "q", name="eve"), Message("assistant", "a")))
CALLED = replace(PAIR, messages=TOOLS.messages, tools=TOOLS.tools)
SAMPLES = [*ALL, LONG, WEIGHED, NAMED, CALLED] * 4


class Made(NamedTuple):
    """A folder as a run leaves it, with a file of each format."""

    folder: Path
    files: Mapping[str, Written]

    def rows(self, name: str) -> list[Row]:
        text = self.files[name].path.read_text("utf-8")
        return list(json.loads(text)) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]

    def all_rows(self) -> Iterator[tuple[str, Row]]:
        return ((name, row) for name in self.files for row in self.rows(name))

    def registry(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "dataset_info.json").read_bytes()))

    def found(self) -> list[Finding]:
        found: list[Finding] = []
        Validation([str(self.folder)], found.append).run()
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("run")
    written = write_all(SAMPLES, [(member, folder / member.file_name) for member in formats().values()])
    files = dict(zip(formats(), written, strict=True))
    write_bytes(folder / "dataset_info.json", dataset_info({n: (w.path.name, w.columns) for n, w in files.items()}))
    rows = {name: (one.path.name, one.rows) for name, one in files.items()}
    text = card(title="t", folder=folder, files=rows, recipe="x", languages=["en"])
    write_bytes(folder / "README.md", text.encode())
    write_bytes(folder / "rejected.jsonl", b'{"reason": "too short"}\n')
    return Made(folder, files)


def turns_of(value: Any) -> Iterator[Row]:
    """Every turn in a row, whatever column it stands in."""
    if isinstance(value, dict):
        if value.keys() & {"role", "from"}:
            yield value
        for inner in value.values():
            yield from turns_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from turns_of(inner)


def registry_lists_all_that_is_there(made: Made) -> None:
    for name, entry in made.registry().items():
        beside = {"id", "spans", "tools", "label"} if name == "fastchat" else {"id"}
        assert set(made.files[name].columns) - set(entry["columns"].values()) <= beside, name
        if "tags" in entry:
            needed = {"role", "content", "user", "assistant", "system", "observation", "function"}
            assert {f"{tag}_tag" for tag in needed} == entry["tags"].keys()
    assert not [one for one in made.found() if one.rule.name.startswith("registry-")]


def no_row_is_dropped_or_stops_a_trainer(made: Made) -> None:
    hurt = [(f.where, f.rule.name) for f in made.found() if {"drop", "abort"} & set(f.effects.values())]
    assert [one for one in hurt if one[1] != "free-keys"] == []
    assert not [one for one in made.found() if one.rule.level == "fault"]
    assert all(written.rows for written in made.files.values())


def arguments_are_what_the_reader_takes(made: Made) -> None:
    calls = 0
    for name, row in made.all_rows():
        for turn in turns_of(row):
            if turn.get("from") == "function_call":
                said_ = json.loads(turn["value"].rpartition("</think>")[2])
                calls += all(
                    isinstance(one["arguments"], dict) for one in (said_ if isinstance(said_, list) else [said_])
                )
            for one in turn.get("tool_calls", []):
                assert isinstance(json.loads(one["function"]["arguments"]), dict), name
                calls += 1
    assert calls > 20


def no_entry_is_of_openai_formatting(made: Made) -> None:
    registry = made.registry()
    assert {entry.get("formatting", "alpaca") for entry in registry.values()} == {"alpaca", "sharegpt"}
    assert "tools" in made.files["messages"].columns
    assert "messages" not in registry  # with tools there is no entry that would not garble it


def roles_are_those_of_templates(made: Made) -> None:
    for name, row in made.all_rows():
        for turn in turns_of(row):
            if "role" in turn:
                assert turn["role"] in ("system", "user", "assistant", "tool"), name
            else:
                assert "conversations" in row, name  # a column that TRL does not take for its own


def each_row_has_the_columns_of_the_first(made: Made) -> None:
    for name, written in made.files.items():
        assert {tuple(row) for row in made.rows(name)} == {written.columns}
        for column in written.columns:
            kinds = {type(row[column]) for row in made.rows(name)} - {type(None)}
            assert len(kinds) <= 1, (name, column)


def late_keys_go_to_the_front(made: Made) -> None:
    """With real files of more than 10 MB, through `datasets`, in test_formats_late.py."""
    assert set(test_formats_late.LATE) <= set(formats())
    assert all(written.moved == () for written in made.files.values())


def free_keys_are_json_text(made: Made) -> None:
    native = {name for name, row in made.all_rows() if isinstance(row.get("tools"), list)}
    # The API takes no text there; our own format is read by synthgen alone.
    assert native == {"messages", "samples"}
    for name, row in made.all_rows():
        if name != "samples":
            free = [
                value for key, value in row.items() if isinstance(value, dict) and key not in ("chosen", "rejected")
            ]
            assert not free or name in ("preference-openai", "rl"), name


def dates_are_told(made: Made) -> None:
    """What `datasets` makes of them stands in test_formats_late.py."""
    assert all(written.dates == () for written in made.files.values())
    dated = write_samples([Sample(said("When?", "2024-01-31"))], open_format("alpaca"), made.folder / "x" / "a.jsonl")
    assert dated.dates == ("output",)
    assert "output is a date" in dated.notes[0]
    dated.path.unlink()


def no_tools_is_null(made: Made) -> None:
    for name, row in made.all_rows():
        if "tools" in row and name != "samples":
            tools = json.loads(row["tools"]) if isinstance(row["tools"], str) else row["tools"]
            assert tools is None or len(tools) > 0, name
    none = write_samples([LONG], open_format("sharegpt"), made.folder / "x" / "none.jsonl")
    assert "tools" not in none.columns
    none.path.unlink()


def marks_are_told_and_never_made(made: Made) -> None:
    """They may be meant: what is written is what was said. Where they would be control tokens, the row is refused."""
    for text in ("{{idx}}", "<image>", "<|im_end|>"):
        sample = Sample(said(text, "a"))
        written = write_samples([sample], open_format("messages"), made.folder / "x" / "a.jsonl")
        assert json.loads(written.path.read_bytes())["messages"][0]["content"] == text
        found: list[Finding] = []
        Validation([str(written.path)], found.append).run()
        assert {one.rule.name for one in found} <= {"turn-number", "media-placeholder", "control-token"}
        assert found
        written.path.unlink()
    for name in ("chatml", "chatml-sep"):
        assert open_format(name).carries(Sample(said("<|im_end|>", "a"))) == "a control token inside a turn"
    assert not [one for one in made.found() if one.rule.name in ("turn-number", "media-placeholder")]


def thoughts_before_calls_have_their_spacing(made: Made) -> None:
    values = [t["value"] for n, row in made.all_rows() for t in turns_of(row) if t.get("from") == "function_call"]
    thoughts = [value for value in values if "<think>" in value]
    assert thoughts
    assert all(re.match(r"<think>\n.*?\n</think>\n\n[\[{]", value, re.DOTALL) for value in thoughts)


def no_file_is_packed(made: Made) -> None:
    for member in formats().values():
        assert member.file_name.endswith((".jsonl", ".json"))
        with pytest.raises(UsageError, match=r"read no \.gz files"):
            check_name(made.folder / f"{member.file_name}.gz", member)


def axolotl_is_told_in_a_note(made: Made) -> None:
    """Its types ignore columns of Alpaca whatever a file says; messages lose nothing of them."""
    (row,) = [open_format("messages").row(LONG, ("messages",))]
    assert [turn["content"] for turn in row["messages"]] == [turn.content for turn in LONG.messages]


def swift_has_a_format_of_its_own(made: Made) -> None:
    for row in made.rows("preference-swift"):
        assert row["messages"][-1]["role"] == "assistant"
        assert "chosen" not in row
        other = row.get("rejected_response") or row["rejected_messages"]
        assert other
        assert other not in (row["messages"], row["messages"][-1]["content"])


def the_prompt_has_a_column(made: Made) -> None:
    for name in ("preference", "kto", "prompt-completion", "prompt-completion-text"):
        assert all(row["prompt"] for row in made.rows(name)), name


def the_card_names_the_files(made: Made) -> None:
    """`load_dataset` of the folder, with stray files beside, in test_formats_write.py."""
    text = (made.folder / "README.md").read_text("utf-8")
    assert all(f"path: {written.path.name}" in text.replace('"', "") for written in made.files.values())
    assert not [one for one in made.found() if one.rule.name in ("stray-file", "card-files", "card-yaml")]


def length_is_told(made: Made) -> None:
    """A writer does not shorten what was said."""
    long = Sample(said("q", "word " * 3000))
    written = write_samples([long], open_format("messages"), made.folder / "x" / "a.jsonl")
    assert json.loads(written.path.read_bytes())["messages"][1]["content"] == long.messages[1].content
    found: list[Finding] = []
    Validation([str(written.path)], found.append).run()
    assert [one.rule.name for one in found] == ["over-2048"]
    written.path.unlink()


TOLD = ("turn-number", "media-placeholder", "control-token")
# number: (what happens, how validate names it, what holds our files against it)
RULES: dict[int, tuple[str, tuple[str, ...], Callable[[Made], None]]] = {
    1: ("columns and tags that the registry leaves out are not read", ("registry-unread", "registry-tags", "registry-columns"), registry_lists_all_that_is_there),
    2: ("LLaMA-Factory drops rows with a line in a log, or stops", ("no-output", "turn-order", "role", "instruction-type", "tools-list", "call-json", "label-type"), no_row_is_dropped_or_stops_a_trainer),
    3: ("arguments are an object for LLaMA-Factory, text for OpenAI", ("arguments-text", "arguments-object"), arguments_are_what_the_reader_takes),
    4: ("formatting openai alters system texts and calls", ("registry-openai", "openai-formatting"), no_entry_is_of_openai_formatting),
    5: ("TRL renders from and value to nothing", ("from-value", "trl-renders-nothing"), roles_are_those_of_templates),
    6: ("TRL decides by the first row", ("mixed-shapes",), each_row_has_the_columns_of_the_first),
    7: ("datasets infers columns and types from the first 10 MB", ("late-key", "late-type"), late_keys_go_to_the_front),
    8: ("datasets before 4.7 pads objects with the keys of all", ("free-keys", "mixed-types"), free_keys_are_json_text),
    9: ("a column of dates becomes timestamps", ("date-column",), dates_are_told),
    10: ("no tools is null, and neither '' nor '[]'", ("blank-tools", "empty-tools"), no_tools_is_null),
    11: ("marks in a text are replaced, counted or tokenised as control", TOLD, marks_are_told_and_never_made),
    12: ("a thought before a call has one spacing", ("thought-spacing",), thoughts_before_calls_have_their_spacing),
    13: ("two trainers read no packed files", ("compressed",), no_file_is_packed),
    14: ("axolotl ignores system, history and roles that it is not told of", ("axolotl-ignores-system", "axolotl-ignores-history", "axolotl-needs-roles"), axolotl_is_told_in_a_note),
    15: ("ms-swift ignores chosen and rejected", ("swift-ignores-pairs",), swift_has_a_format_of_its_own),
    16: ("without a prompt TRL takes the common characters", ("no-prompt", "implicit-prompt"), the_prompt_has_a_column),
    17: ("without configs any stray file is rows", ("stray-file",), the_card_names_the_files),
    18: ("default lengths cut", ("over-1024", "over-2048"), length_is_told),
}  # fmt: skip


def test_there_are_eighteen() -> None:
    assert list(RULES) == list(range(1, 19))


@pytest.mark.parametrize("number", RULES)
def test_what_we_write_does_not_do_it(made: Made, number: int) -> None:
    RULES[number][2](made)


@pytest.mark.parametrize(("number", "name"), [(n, name) for n, (_, names, _) in RULES.items() for name in names])
def test_validate_names_it(tmp_path: Path, number: int, name: str) -> None:
    """By the files of the tests of validate, of which each breaks one rule."""
    if name in test_validate.CASES:
        _, found = test_validate.check(tmp_path / "a.jsonl", test_validate.CASES[name])
        assert [one.rule.name for one in found] == [name]
    elif name in test_validate.NOTES:
        one, _ = test_validate.check(tmp_path / "a.jsonl", test_validate.NOTES[name])
        assert name in [rule.name for rule in one.notes]
    elif name in dict(test_validate.LATE.values()):
        rows = next(rows for rule, rows in test_validate.LATE.values() if rule == name)
        assert name in [one.rule.name for one in test_validate.check(tmp_path / "a.jsonl", rows)[1]]
    elif name == "compressed":
        (tmp_path / "a.jsonl.gz").write_bytes(b"")
        found = []
        Validation([str(tmp_path / "a.jsonl.gz")], found.append).run()
        assert found[0].rule.name == name
    else:
        assert name in rules.RULES
        assert name in Path(test_validate_folder.__file__).read_text("utf-8")  # which makes a folder for each


def test_a_call_is_in_what_is_held_against_them() -> None:
    assert any(message.tool_calls == (call(city="北京", days=2),) for sample in SAMPLES for message in sample.messages)

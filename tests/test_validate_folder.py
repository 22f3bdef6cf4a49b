"""A folder: its registry against its files (all or nothing), its card, files that are no rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import write_rows
from test_validate import CALL, RESULT, A, Q, alpaca, called, said, talk

from synthgen.errors import UsageError
from synthgen.formats import formats, open_format
from synthgen.formats.card import dataset_info
from synthgen.validating.checking import Finding
from synthgen.validating.validation import Validation

GIVEN = {"prompt": "instruction", "query": "input", "response": "output"}
SHAREGPT = {"formatting": "sharegpt", "columns": {"messages": "conversations"}}
TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
    "system_tag": "system",
}  # fmt: skip
MESSAGES = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS}
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n---\n# A card\n"


def found_in(folder: Path) -> list[tuple[str, str, str]]:
    """(file and line, rule, what) of each finding."""
    found: list[Finding] = []
    Validation([str(folder)], found.append).run()
    return [(one.where.removeprefix(f"{folder}/"), one.rule.name, one.what) for one in found]


def registered(folder: Path, rows: list[dict[str, Any]], entry: Any) -> list[tuple[str, str]]:
    write_rows(folder / "d.jsonl", rows)
    entry = {"file_name": "d.jsonl", **entry} if isinstance(entry, dict) else entry
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}, indent=2))
    found = found_in(folder)
    assert all(where == "dataset_info.json:2" for where, _, _ in found)
    return [(rule, what) for _, rule, what in found]


@pytest.mark.parametrize(
    ("rows", "entry", "rule", "what"),
    [
        ([alpaca(input="x")], {"columns": {"prompt": "instruction", "response": "output"}}, "registry-unread", "the column input is not among `columns`"),
        ([alpaca(system="s")], {}, "registry-unread", "the column system is read only where `columns` name it"),
        ([alpaca(history=[["q", "a"]])], {"columns": GIVEN}, "registry-unread", "the column history is not among"),
        ([alpaca()], {"columns": {**GIVEN, "qeury": "input"}}, "registry-unread", "qeury is no name that LLaMA-Factory knows; did you mean query?"),
        ([said(Q, A, tools=None)], SHAREGPT, "registry-unread", "the column tools is not among"),
        ([alpaca()], {"columns": {**GIVEN, "system": "system"}}, "registry-columns", "no row has the column system"),
        ([{"instruction": "i", "output": "o"}], {}, "registry-columns", "no row has the column input, which is read by default"),
        ([talk(("system", "s"), ("user", "q"), ("assistant", "a"))], {**MESSAGES, "tags": {**TAGS, "system_tag": None}}, "registry-tags", "turns of system have no tag"),
        ([said(Q, CALL, RESULT, A)], {**SHAREGPT, "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation"}}, "registry-tags", "turns of function_call have no tag"),
        ([talk(("user", "q"), ("assistant", "a"))], {**MESSAGES, "tags": {}}, "registry-tags", "turns have role and content"),
        ([talk(("user", "q"), ("assistant", "a"))], {**MESSAGES, "formatting": "openai"}, "registry-openai", "formatting is openai"),
        ([talk(("user", "q"), called())], MESSAGES, "registry-formatting", "calls stand beside the text"),
        ([said(Q, A)], {}, "registry-formatting", 'the file has conversations, which is "formatting": "sharegpt"'),
        ([alpaca()], {"formatting": "sharegpt"}, "registry-formatting", "the file has no conversations"),
        ([alpaca()], {"formatting": "chatml"}, "registry-formatting", "no formatting is called 'chatml'"),
        ([said(Q, chosen={"from": "gpt", "value": "a"}, rejected={"from": "gpt", "value": "b"})], {"formatting": "sharegpt", "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}}, "registry-formatting", 'two answers a row: "ranking": true'),
        ([said(Q, A, kto_tag=True)], SHAREGPT, "registry-unread", "the column kto_tag is not among"),
        ([alpaca()], {"file_name": "e.jsonl"}, "registry-file", "no file e.jsonl"),
        ([alpaca()], [1], "registry-json", "mine is no object"),
    ],
)  # fmt: skip
def test_an_entry_that_makes_the_file_misread_is_told(
    tmp_path: Path, rows: list[dict[str, Any]], entry: Any, rule: str, what: str
) -> None:
    found = [(name, said_) for name, said_ in registered(tmp_path, rows, entry) if name == rule]
    assert len(found) == 1, registered(tmp_path, rows, entry)
    assert what in found[0][1]


@pytest.mark.parametrize(
    ("rows", "entry"),
    [
        ([alpaca(input="x")], {}),
        ([alpaca(system="", history=[])], {"columns": GIVEN}),
        ([{"instruction": "i", "response": "o"}], {"columns": {"prompt": "instruction", "response": "response"}}),
        ([said(("system", "s"), Q, CALL, RESULT, A)], SHAREGPT),
        ([said(Q, A)], {"formatting": "sharegpt"}),
        ([talk(("system", "s"), ("user", "q"), ("assistant", "a"))], MESSAGES),
        ([alpaca()], {"hf_hub_url": "a/b", "formatting": "sharegpt"}),
    ],
)
def test_an_entry_that_fits_is_not(tmp_path: Path, rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    assert registered(tmp_path, rows, entry) == []


def test_a_registry_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "d.jsonl", [alpaca()])
    registry = tmp_path / "dataset_info.json"
    registry.write_text('{"a": {}\n,}')
    assert [one[:2] for one in found_in(tmp_path)] == [("dataset_info.json:2", "registry-json")]
    registry.write_text("[]")
    assert [one[:2] for one in found_in(tmp_path)] == [("dataset_info.json:1", "registry-json")]
    registry.write_text('{\n"数据": {"file_name": "d.jsonl"}}', encoding="utf-8")
    assert [one[:2] for one in found_in(tmp_path)] == [("dataset_info.json:2", "registry-ascii")]


def test_the_registry_alone_brings_the_files_that_it_names(tmp_path: Path) -> None:
    registered(tmp_path, [alpaca()], {})
    write_rows(tmp_path / "other.jsonl", [alpaca(output=None)])
    write_rows(tmp_path / "d.jsonl", [alpaca(output=None)])
    assert [where for where, _, _ in found_in(tmp_path / "dataset_info.json")] == [f"{tmp_path}/d.jsonl:1"]


def test_a_stray_file_is_told_unless_the_card_names_the_data(tmp_path: Path, hub_offline: Any) -> None:
    for name in ("part-0.jsonl", "part-1.jsonl"):
        write_rows(tmp_path / name, [alpaca()])
    (tmp_path / "report.json").write_text('{"rows": 2}')
    assert found_in(tmp_path) == [("report.json:1", "stray-file", "no alpaca row as in the files beside it")]
    with pytest.raises(hub_offline.exceptions.DatasetGenerationError):
        hub_offline.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    (tmp_path / "README.md").write_text(CARD.format("part-*.jsonl"))
    assert found_in(tmp_path) == []
    loaded = hub_offline.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 2


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [
        ("b.parquet", b"PAR1", "unreadable"),
        ("b.jsonl", b'{"instruction": \n', "not-json"),
        ("b.jsonl.gz", b"{", "unreadable"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_a_fault(tmp_path: Path, name: str, data: bytes, rule: str) -> None:
    write_rows(tmp_path / "a.jsonl", [alpaca()])
    (tmp_path / name).write_bytes(data)
    assert [(where, found) for where, found, _ in found_in(tmp_path) if found != "compressed"] == [(f"{name}:1", rule)]


def test_where_a_file_is_named_after_a_split_no_other_is_loaded(tmp_path: Path, hub_offline: Any) -> None:
    write_rows(tmp_path / "train.jsonl", [alpaca()])
    (tmp_path / "report.json").write_text('{"rows": 2}')
    assert [one for one in found_in(tmp_path) if one[1] == "stray-file"] == []
    loaded = hub_offline.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["instruction", "input", "output"]


def test_a_card_that_names_what_is_not_there_is_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [alpaca()])
    (tmp_path / "README.md").write_text(CARD.format("b.jsonl"))
    assert found_in(tmp_path) == [("README.md:6", "card-files", "no file b.jsonl")]
    (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
    assert [one[:2] for one in found_in(tmp_path)] == [("README.md:1", "card-yaml")]


@pytest.mark.parametrize("name", list(formats()))
def test_the_entries_that_we_write_fit_the_files_that_we_write(tmp_path: Path, name: str) -> None:
    from test_formats import ALL

    from synthgen.formats.write import write_samples

    written = write_samples(ALL, open_format(name), tmp_path / open_format(name).file_name)
    data = dataset_info({name: (written.path.name, written.columns)})
    (tmp_path / "dataset_info.json").write_bytes(data)
    assert [one for one in found_in(tmp_path) if one[1].startswith("registry")] == []


def test_an_entry_may_name_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        write_rows(tmp_path / "parts" / name, [alpaca(output=3, system="s")])
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "parts"}}))
    found = [(where, rule) for where, rule, _ in found_in(tmp_path)]
    assert [where for where, rule in found if rule == "no-output"] == ["parts/a.jsonl:1", "parts/b.jsonl:1"]
    assert found.count(("dataset_info.json:1", "registry-unread")) == 2


def test_a_registry_of_other_places_leaves_the_files_of_the_folder_to_be_checked(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(json.dumps({"theirs": {"hf_hub_url": "a/b"}}))
    write_rows(tmp_path / "a.jsonl", [alpaca(output=3)])
    assert [(where, rule) for where, rule, _ in found_in(tmp_path)] == [("a.jsonl:1", "no-output")]
    with pytest.raises(UsageError, match=r"names no file that is here; give the files themselves"):
        found_in(tmp_path / "dataset_info.json")

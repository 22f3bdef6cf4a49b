"""The registry and the card: what LLaMA-Factory and the hub make of a folder of ours."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_formats import ALL, SHARED

from synthgen.formats import formats, open_format
from synthgen.formats.card import card, dataset_info, size_category


def front(text: str) -> dict[str, Any]:
    import yaml

    assert text.startswith("---\n")
    parsed = yaml.safe_load(text.split("\n---\n", 1)[0][4:])
    assert isinstance(parsed, dict)
    return parsed


def test_the_registry_names_every_column_that_is_there() -> None:
    columns = {
        "alpaca": ("instruction", "input", "output", "system", "history"),
        "sharegpt": ("id", "conversations", "system", "tools"),
        "messages": ("messages",),
        "samples": ("messages", "meta"),
    }
    data = dataset_info({name: (f"{name}.jsonl", there) for name, there in columns.items()})
    assert json.loads(data) == {
        "alpaca": {
            "file_name": "alpaca.jsonl",
            "columns": {
                "prompt": "instruction",
                "query": "input",
                "response": "output",
                "system": "system",
                "history": "history",
            },
        },
        "sharegpt": {
            "file_name": "sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        },
        "messages": {
            "file_name": "messages.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
                "observation_tag": "tool",
                "function_tag": "function_call",
            },
        },
    }
    assert data.startswith(b'{\n  "alpaca": {\n    "file_name"')
    assert data.endswith(b"\n}\n")


def test_the_registry_is_ascii_and_leaves_out_what_would_be_misread() -> None:
    assert b"\\u6570" in dataset_info({"alpaca": ("数据.jsonl", ("instruction", "input", "output"))})
    with_tools = dataset_info({"messages": ("m.jsonl", ("messages", "tools")), "samples": ("s.jsonl", ("messages",))})
    assert json.loads(with_tools) == {}


def test_the_registry_is_of_the_same_words_as_the_real_one() -> None:
    path = SHARED / "lf_dataset_info.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the checkout")
    real = json.loads(path.read_text("utf-8"))
    columns = {name for entry in real.values() for name in entry.get("columns", {})} | {"history", "query", "system"}
    tags = {name for entry in real.values() for name in entry.get("tags", {})}
    made = json.loads(dataset_info({name: (f"{name}.jsonl", open_format(name).columns(ALL)) for name in formats()}))
    plain = json.loads(dataset_info({"messages": ("m.jsonl", ("messages",))}))["messages"]
    assert set().union(*(entry["columns"] for entry in made.values()), plain["columns"]) <= columns
    assert set(plain["tags"]) <= tags | {"observation_tag", "function_tag", "system_tag"}
    assert made["sharegpt"].keys() <= real["glaive_toolcall_en_demo"].keys()


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (9_999, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (10**6, "1M<n<10M"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_the_size_is_the_hubs_word(rows: int, word: str) -> None:
    assert size_category(rows) == word


def card_of(folder: Path, files: Mapping[str, tuple[str, int]], **more: Any) -> str:
    """The card over files that are there."""
    for name, _ in files.values():
        (folder / name).write_text(name, encoding="utf-8")
    return card(folder=folder, files=files, **more)


def test_the_card_says_it_all(tmp_path: Path) -> None:
    text = card_of(
        tmp_path,
        title='A "small" 数据集: one\nline',
        files={"alpaca": ("alpaca.jsonl", 1200), "sharegpt": ("sharegpt.jsonl", 1100), "messages": ("m.jsonl", 0)},
        recipe="self-instruct",
        languages=["no", "zh"],
        license_id="apache-2.0",
        models=[("default", "Qwen/Qwen2.5-7B-Instruct")],
        waterfall=[("answered", 2000), ("too short | odd", 1500)],
        seeds=[("seeds/en/tasks.jsonl", "Apache-2.0")],
        command="synthgen generate self-instruct",
    )
    assert front(text) == {
        "license": "apache-2.0",
        "language": ["no", "zh"],
        "pretty_name": 'A "small" 数据集: one line',
        "size_categories": ["1K<n<10K"],
        "task_categories": ["text-generation"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "tags": ["synthetic", "synthgen"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": file}], "version": version}
            for name, file, version in (
                ("default", "alpaca.jsonl", f"0.0.{zlib.crc32(b'alpaca.jsonl')}"),
                ("sharegpt", "sharegpt.jsonl", f"0.0.{zlib.crc32(b'sharegpt.jsonl')}"),
            )
        ],
    }
    for words in (
        "1,200 synthetic samples",
        "`self-instruct`",
        "| default | Qwen/Qwen2.5-7B-Instruct |",
        "| answered | 2,000 |",
        "| too short \\| odd | 1,500 |",
        "| seeds/en/tasks.jsonl | Apache-2.0 |",
        "| sharegpt | sharegpt.jsonl | 1,100 |",
        "    synthgen generate self-instruct",
    ):
        assert words in text


def test_the_card_of_an_empty_run_names_its_files_too(tmp_path: Path) -> None:
    """Without them the loader would take run.json for data."""
    text = card_of(tmp_path, {"alpaca": ("alpaca.jsonl", 0)}, title="t", recipe="x", languages=[])
    assert front(text)["size_categories"] == ["n<1K"]
    assert [c["data_files"][0]["path"] for c in front(text)["configs"]] == ["alpaca.jsonl"]
    assert "language" not in front(text)
    assert front(text)["license"] == "other"


def test_the_hub_would_take_the_front_matter(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    text = card_of(tmp_path, {"alpaca": ("a.jsonl", 5)}, title="t", recipe="x", languages=["en"], license_id="mit")
    data = hub.DatasetCard(text).data
    assert (data.license, data.language, data.size_categories) == ("mit", ["en"], ["n<1K"])


def test_no_card_tells_the_folders_of_a_machine(tmp_path: Path) -> None:
    command = "synthgen generate alpaca --model /home/me/models/qwen --out=/home/me/runs/a/ --input '/home/me/my data/x.jsonl'"
    text = card_of(
        tmp_path,
        {"alpaca": ("alpaca.jsonl", 1)},
        title="t",
        recipe="alpaca",
        languages=["en"],
        models=[("default", "/home/me/models/qwen"), ("judge", "owner/name")],
        command=command,
    )
    assert "/home/me" not in text
    assert "    synthgen generate alpaca --model qwen --out=a/ --input x.jsonl" in text
    assert "| default | qwen |" in text
    assert "| judge | owner/name |" in text

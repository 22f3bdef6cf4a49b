"""A finished run folder is what other tools expect: datasets, LLaMA-Factory's registry, our own commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command import synthgen

from synthgen.errors import UsageError
from synthgen.inputs import instructions


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the embedded model with every format."""
    home = tmp_path_factory.mktemp("folder")
    formats = "alpaca,sharegpt,messages,samples,text"
    done = synthgen("generate", "self-instruct", "--count", "12", "--format", formats, "--out", "run", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "run"


@pytest.mark.parametrize("name", ["alpaca", "sharegpt", "messages"])
def test_datasets_loads_each_file(run_folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("json", data_files=str(run_folder / f"{name}.jsonl"), cache_dir=str(tmp_path))
    assert loaded["train"].num_rows == 12


def test_datasets_loads_the_folder(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(run_folder), cache_dir=str(tmp_path))
    assert loaded["train"].num_rows == 12
    assert loaded["train"].column_names == ["instruction", "input", "output"]
    chats = datasets.load_dataset(str(run_folder), "sharegpt", cache_dir=str(tmp_path))
    assert chats["train"].column_names == ["conversations"]


def test_the_registry_names_every_file_with_its_columns(run_folder: Path) -> None:
    text = (run_folder / "dataset_info.json").read_text(encoding="ascii")
    info = json.loads(text)
    assert (run_folder / "text.jsonl").read_bytes() == b""
    assert list(info) == ["alpaca", "sharegpt", "messages"]  # LLaMA-Factory stops at an entry whose file has no column
    assert info["alpaca"]["file_name"] == "alpaca.jsonl"
    assert info["alpaca"]["columns"] == {"prompt": "instruction", "query": "input", "response": "output"}
    assert info["sharegpt"]["formatting"] == "sharegpt"
    assert info["sharegpt"]["columns"] == {"messages": "conversations"}


def test_run_json_says_what_was_asked_and_holds_no_key(tmp_path: Path) -> None:
    done = synthgen(
        "generate", "self-instruct", "--count", "2", "--out", "run", cwd=tmp_path, OPENAI_API_KEY="sk-very-secret"
    )
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / "run").iterdir():
        assert b"sk-very-secret" not in file.read_bytes()
    about = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert about["recipe"] == "self-instruct"
    assert about["knobs"]["human"] == 6
    assert about["models"]["default"].startswith("embedded:")
    assert set(about["prompts"]) == {"instructions", "classification", "input_first", "output_first"}


def test_samples_carry_their_provenance(run_folder: Path) -> None:
    rows = [json.loads(line) for line in (run_folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [r["meta"]["id"] for r in rows]
    assert len(set(names)) == 12
    for row in rows:
        assert {"recipe", "lang", "model", "parents"} <= set(row["meta"])


def test_status_show_and_export_read_the_run(run_folder: Path, tmp_path: Path) -> None:
    status = synthgen("status", run_folder, "--json", cwd=tmp_path)
    assert json.loads(status.stdout)["accepted"] == 12
    shown = synthgen("show", run_folder, "-n", "2", "--json", cwd=tmp_path)
    assert len(json.loads(shown.stdout)["samples"]) == 2
    rejected = synthgen("show", run_folder, "--rejected", "-n", "1", "--json", cwd=tmp_path)
    assert json.loads(rejected.stdout)["samples"][0]["reason"]
    done = synthgen("export", run_folder, "--to", "messages", "-o", "out/m.jsonl", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rows"] == 12
    assert (tmp_path / "out" / "m.jsonl").read_bytes() == (run_folder / "messages.jsonl").read_bytes()
    strict = synthgen("export", run_folder, "--to", "sharegpt", "-o", "s.jsonl", "--strict", cwd=tmp_path)
    with_input = any(json.loads(r)["input"] for r in (run_folder / "alpaca.jsonl").read_text().splitlines())
    assert strict.returncode == (1 if with_input else 0)
    assert (tmp_path / "s.jsonl").exists() is not with_input


def test_novel_against_an_earlier_run(run_folder: Path, tmp_path: Path) -> None:
    """The same seed would make the same samples: none of them may come again."""
    done = synthgen(
        "generate", "self-instruct", "--count", "3", "--novel-against", run_folder, "--out", "again", cwd=tmp_path
    )
    assert done.returncode in (0, 7), done.stderr
    before = {json.loads(r)["instruction"] for r in (run_folder / "alpaca.jsonl").read_text("utf-8").splitlines()}
    after = {
        json.loads(r)["instruction"] for r in (tmp_path / "again" / "alpaca.jsonl").read_text("utf-8").splitlines()
    }
    assert not before & after


def test_novel_against_a_file_of_prompts_or_samples(tmp_path: Path) -> None:
    """Every form that is read as prompts will do, an Alpaca row by its instruction without its input."""
    rows = [
        {"question": "Name three rivers that cross a border.", "answer": "Rhine, Danube, Nile"},
        {"instruction": "Turn the sentence into a question.", "input": "Bees make honey.", "output": "Do they?"},
        {"conversations": [{"from": "human", "value": "How much is 12 x 11?"}, {"from": "gpt", "value": "132"}]},
    ]
    path = tmp_path / "there.jsonl"
    for row in rows:
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        ((where, instruction),) = instructions(path)
        assert where == f"{path}:1"
        assert instruction in (row.get("question"), row.get("instruction"), "How much is 12 x 11?")
    path.write_text('{"question": ""}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"there.jsonl:1: no prompt"):
        list(instructions(path))


def test_dry_run_asks_nothing_and_writes_nothing(tmp_path: Path) -> None:
    done = synthgen("generate", "alpaca", "--count", "10", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "<noinput>" in done.stdout
    assert re.search(r"^requests +3 to 20$", done.stdout, re.MULTILINE), done.stdout
    assert "assumed, as no earlier run was found" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_seeds_of_others_load_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    for file in ("selfinstruct_seed_tasks.jsonl", "belle_zh_seed_tasks.json", "lf_alpaca_en_demo.json"):
        done = synthgen("generate", "alpaca", "--seeds", shared_data / file, "--dry-run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (
        "指令"
        in synthgen(
            "generate", "alpaca", "--seeds", shared_data / "lf_alpaca_zh_demo.json", "--dry-run", cwd=tmp_path
        ).stdout
    )  # the language is read off the seeds

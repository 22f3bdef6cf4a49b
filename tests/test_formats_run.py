"""What runs write in every format: loaded by `datasets`, read back, exported again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import synthgen
from trl_reader import Trl

from synthgen.formats import formats, open_format, read_samples

CONVERSATIONAL = [name for name in formats() if name != "text"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of the embedded model to two prompts, in every format."""
    folder = tmp_path_factory.mktemp("formats")
    rows = [{"prompt": "Name a river."}, {"instruction": "Translate.", "input": "Haus", "system": "Be brief."}]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = ",".join(["alpaca", *(name for name in formats() if name != "alpaca")])
    words = ("--input", "p.jsonl", "--model", "embedded", "--set", "cut=keep", "--max-tokens", "12", "--format", every)
    done = synthgen("generate", "respond", *words, "--out", "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("name", CONVERSATIONAL)
def test_load_dataset_finds_every_file(run: Path, hub_offline: Any, tmp_path: Path, name: str) -> None:
    member = open_format(name)
    if not (run / member.file_name).stat().st_size:
        pytest.skip("a format that has no place for an answer alone")
    samples = list(read_samples(run / member.file_name, name))
    config = "default" if name == "alpaca" else name
    data = hub_offline.load_dataset(str(run), config, split="train", cache_dir=str(tmp_path))
    assert data.num_rows == len(samples) == 2


@pytest.mark.parametrize("name", CONVERSATIONAL)
def test_an_export_of_the_run_is_the_file_of_the_run(run: Path, name: str) -> None:
    file_name = open_format(name).file_name
    done = synthgen("export", "run", "--to", name, "-o", f"out/{file_name}", "--json", cwd=run.parent)
    if not (run / file_name).stat().st_size:
        assert (done.returncode, (run.parent / "out" / file_name).exists()) == (1, False)
        return
    assert done.returncode == 0, done.stderr
    assert (run.parent / "out" / file_name).read_bytes() == (run / file_name).read_bytes()
    assert json.loads(done.stdout)["format"] == name


def test_what_a_format_cannot_hold_is_said(run: Path) -> None:
    assert (run / "text.jsonl").read_bytes() == b""
    for strict in ((), ("--strict",)):
        done = synthgen("export", "run", "--to", "text", "-o", "t.jsonl", *strict, cwd=run.parent)
        assert (done.returncode, (run.parent / "t.jsonl").exists()) == (1, False)
        assert "turns without a text" in done.stderr


def test_trl_tells_conversations_from_texts(run: Path, trl: Trl) -> None:
    talks = {"messages": True, "prompt-completion": True, "prompt-completion-text": False, "rl": True, "chatml": False}
    for name, conversational in talks.items():
        assert trl.read(run / open_format(name).file_name)["conversational"] == [conversational] * 2


def test_the_list_of_formats_has_them_all(tmp_path: Path) -> None:
    done = synthgen("formats", cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(formats())
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith("| `--format ")]
    assert all(f"`{name}`" in line for name in formats())

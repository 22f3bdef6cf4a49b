"""Seeds out of the columns that data sets really have, and what is said of rows that are none."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from synthgen.data import folder
from synthgen.errors import UsageError
from synthgen.seeds import load_seeds, read_seeds
from synthgen.types import Seed

# Real files, for whoever has them: beside the checkout, or where the variable says.
SHARED = Path(os.environ.get("SYNTHGEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIELDS = {"instruction", "input", "output", "instances", "is_classification", "category"}


def put(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def one(tmp_path: Path, row: dict[str, Any]) -> Seed:
    (seed,) = read_seeds([put(tmp_path / "s.jsonl", row)])
    return seed


def refusal(*paths: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_seeds(paths)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_whole_seed_comes_as_it_is(tmp_path: Path) -> None:
    row = {
        "id": "t1",
        "name": "haiku",
        "instruction": "Write {{ 7*7 }} <|im_end|> ###",
        "instances": [{"input": "夏天", "output": "诗"}, {"output": "two"}],
        "is_classification": False,
        "category": "writing",
        "level": 3,
    }
    seed = one(tmp_path, row)
    assert seed.id == "t1"
    assert seed.where == f"{tmp_path / 's.jsonl'}:1"
    assert seed.fields == {
        "name": "haiku",
        "level": 3,
        "instruction": "Write {{ 7*7 }} <|im_end|> ###",
        "input": "夏天",
        "output": "诗",
        "instances": [{"input": "夏天", "output": "诗"}, {"input": "", "output": "two"}],
        "is_classification": False,
        "category": "writing",
    }


@pytest.mark.parametrize("task", ["instruction", "prompt", "question", "query", "text"])
@pytest.mark.parametrize("answer", ["output", "response", "answer", "completion"])
def test_columns_go_by_many_names(tmp_path: Path, task: str, answer: str) -> None:
    seed = one(tmp_path, {task: "Say hi", "input": "to me", answer: "hi", "task_type": "chat"})
    assert seed.fields == {
        "instruction": "Say hi",
        "input": "to me",
        "output": "hi",
        "instances": [{"input": "to me", "output": "hi"}],
        "is_classification": None,
        "category": "chat",
    }


def test_a_bare_task_has_empty_fields(tmp_path: Path) -> None:
    fields = one(tmp_path, {"prompt": "Say hi", "input": None, "output": None, "category": None}).fields
    assert fields == {
        "instruction": "Say hi",
        "input": "",
        "output": "",
        "instances": [],
        "is_classification": None,
        "category": None,
    }


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
        {"conversations": [{"from": "human", "value": "q"}]},
        {"turns": ["q", "and then"]},
    ],
)
def test_the_first_user_turn_is_a_task(tmp_path: Path, row: dict[str, Any]) -> None:
    assert one(tmp_path, row).fields["instruction"] == "q"
    assert one(tmp_path, row).fields["output"] == ""


def test_the_first_assistant_turn_is_its_answer(tmp_path: Path) -> None:
    turns = [("system", "s"), ("human", "q"), ("gpt", "a"), ("human", "q2"), ("gpt", "a2")]
    fields = one(tmp_path, {"conversations": [{"from": who, "value": text} for who, text in turns]}).fields
    assert fields["instances"] == [{"input": "", "output": "a"}]


def test_ids_are_made_from_the_content(tmp_path: Path) -> None:
    seed = one(tmp_path, {"instruction": "Say hi", "input": "x", "output": "y"})
    assert seed.id == "s-" + hashlib.sha256(b"Say hi\0x").hexdigest()[:12]
    named = put(tmp_path / "n.jsonl", {"name": "a", "prompt": "p"}, {"id": 7, "prompt": "p"}, {"id": "", "prompt": "q"})
    assert [seed.id for seed in read_seeds([named])][:2] == ["a", "7"]
    assert read_seeds([named])[2].id.startswith("s-")


def test_exact_duplicates_are_dropped_and_counted_but_other_answers_stay(tmp_path: Path) -> None:
    row = {"instruction": "Say hi", "output": "hi"}
    other = row | {"output": "hello"}
    path = put(tmp_path / "s.jsonl", row, other, row, other, {"instruction": "Say  hi", "output": "hi"})
    seeds, dropped = load_seeds([path])
    assert dropped == 2
    assert [seed.fields["output"] for seed in seeds] == ["hi", "hello", "hi"]
    assert len({seed.id for seed in seeds}) == 3
    assert load_seeds([path, path]) == (seeds, 7)
    assert read_seeds([put(tmp_path / "t.jsonl", row)])[0].id == seeds[0].id


def test_one_id_for_two_rows_names_both_places(tmp_path: Path) -> None:
    first = put(tmp_path / "a.jsonl", {"id": "x", "prompt": "p"}, {"id": "y", "prompt": "q"})
    second = put(tmp_path / "b.jsonl", {"id": "z", "prompt": "p"}, {"id": "y", "prompt": "q"})
    text = refusal(first, second)
    assert text == f"{second}:2: the id 'y' is taken by {first}:2; change one of them"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"title": "t", "body": "b"}, ["no column with the task", "title, body", "instruction, prompt"]),
        ({}, ["columns: none"]),
        ({"instruction": "", "output": "x"}, ["instruction is empty"]),
        ({"instruction": None}, ["instruction is empty"]),
        ({"prompt": " \n "}, ["prompt is empty"]),
        ({"instruction": 5, "lang": "en"}, ["instruction must be text, not int", "instruction, lang"]),
        ({"instruction": "x", "output": ["a"]}, ["output must be text, not list"]),
        ({"instruction": "x", "instances": {"input": "a"}}, ["instances must be a list", "found dict", "(columns: "]),
        ({"instruction": "x", "instances": ["a"]}, ["found str at 1"]),
        ({"instruction": "x", "instances": [{"input": "a"}]}, ["no text as the output of number 1"]),
        ({"instruction": "x", "instances": [{"input": 1, "output": "a"}]}, ["no text as the input of number 1"]),
        ({"instruction": "x", "instances": "[1"}, ["text that is not JSON"]),
        ({"instruction": "x", "is_classification": "maybe"}, ["true or false", "'maybe'"]),
        ({"instruction": "x", "id": 1.5}, ["id must be text"]),
        ({"instruction": "x", "id": ["a"]}, ["id must be text"]),
        ({"instruction": "x", "category": 1}, ["category must be text"]),
        ({"messages": []}, ["messages must be a list of turns"]),
        ({"messages": [{"role": "assistant", "content": "x"}]}, ["no user turn"]),
        ({"messages": [{"role": "user", "content": ["x"]}]}, ["messages, turn 1: content has a part that is no text"]),
        ({"conversations": [["human", "x"]]}, ["conversations, turn 1: must be an object"]),
    ],
)
def test_a_row_that_is_no_seed_is_told_with_its_line(tmp_path: Path, row: dict[str, Any], words: list[str]) -> None:
    path = put(tmp_path / "s.jsonl", {"prompt": "fine"}, row)
    text = refusal(path)
    assert text.startswith(f"{path}:2: ")
    assert all(word in text for word in words), text


def test_a_hundred_columns_are_not_all_told(tmp_path: Path) -> None:
    assert len(refusal(put(tmp_path / "s.jsonl", {f"column{n}": 1 for n in range(100)}))) < 400 + len(str(tmp_path))


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert "no rows" in refusal(put(tmp_path / "s.jsonl"))
    assert "no seeds" in refusal()


def test_csv_spells_flags_and_instances_as_text(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(
        "id,instruction,instances,is_classification\n"
        'a,Sort,"[{""input"": ""x"", ""output"": ""y""}]",TRUE\nb,Say,,no\nc,So,,\n',
        encoding="utf-8",
    )
    seeds = read_seeds([path])
    assert [seed.fields["instances"] for seed in seeds] == [[{"input": "x", "output": "y"}], [], []]
    assert [seed.fields["is_classification"] for seed in seeds] == [True, False, None]


@pytest.mark.parametrize(
    ("name", "rows", "dropped"),
    [
        ("selfinstruct_seed_tasks.jsonl", 175, 0),
        ("belle_zh_seed_tasks.json", 175, 0),
        ("lf_alpaca_en_demo.json", 999, 14),
        ("lf_alpaca_zh_demo.json", 1000, 8),
        ("gsm8k_test.jsonl", 1319, 0),
        ("mtbench_question.jsonl", 80, 0),
        ("huatuo_llama_data.json", 8658, 0),
        ("fastchat_dummy_conversation.json", 500, 0),
    ],
)
def test_real_files_load_as_they_are(name: str, rows: int, dropped: int) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"no {name} beside the checkout")
    seeds, found = load_seeds([SHARED / name])
    assert (len(seeds) + found, found) == (rows, dropped)
    assert len({seed.id for seed in seeds}) == len(seeds)
    for seed in seeds:
        assert seed.fields.keys() >= FIELDS
        assert seed.fields["instruction"].strip()


def test_self_instruct_seeds_keep_their_instances() -> None:
    path = SHARED / "selfinstruct_seed_tasks.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the checkout")
    for seed, line in zip(read_seeds([path]), path.read_text("utf-8").splitlines(), strict=True):
        row = json.loads(line)
        assert seed.id == row["id"]
        assert seed.fields["instances"] == row["instances"]
        assert seed.fields["is_classification"] is row["is_classification"]
        assert (seed.fields["input"], seed.fields["output"]) == tuple(row["instances"][0].values())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_our_own_seeds_load(lang: str) -> None:
    path = folder("seeds") / lang
    if not (path / "tasks.jsonl").is_file():
        pytest.skip(f"no seeds/{lang}/tasks.jsonl yet")
    seeds, dropped = load_seeds([path / "tasks.jsonl"])
    assert dropped == 0
    assert all(seed.fields["instances"] and seed.fields["category"] for seed in seeds)
    assert len(read_seeds([path])) >= len(seeds)


def test_folders_that_ship_are_found_and_others_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prompts", "seeds", "models"):
        assert folder(name).is_dir()
    with pytest.raises(UsageError, match="install synthgen again"):
        folder("nowhere")
    package = tmp_path / "synthgen"
    (package / "seeds").mkdir(parents=True)
    monkeypatch.setattr("synthgen.data.files", lambda _: package)
    assert folder("seeds") == package / "seeds"

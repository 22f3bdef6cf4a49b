"""A data set in a folder of its own: split by prompts, loaded by `datasets`, pushed to a hub."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import result, synthgen, write_rows
from drawn import DRAWN, dialogues
from fake_hub import Hub, serving
from hypothesis import given
from hypothesis import strategies as st
from test_formats import ALL, LONG, PLAIN, said
from test_formats_card import front

from synthgen.datafolder import check_folder, write_folder
from synthgen.dedup.exact import normal
from synthgen.errors import UsageError
from synthgen.formats import formats, open_format, read_samples
from synthgen.formats.splits import Splitter, prompt_of, read_shares
from synthgen.formats.written import CannotCarryError
from synthgen.rows import read_rows, row_files
from synthgen.types import Message, Sample

SHARES = {"test": 0.2, "validation": 0.1}


def alpaca(number: int, answer: str = "a") -> dict[str, str]:
    return {"instruction": f"question {number}", "input": "", "output": f"{answer} {number}"}


@given(st.lists(dialogues(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@DRAWN
def test_a_prompt_is_in_one_split_whatever_else_there_is(samples: list[Sample], draw: random.Random) -> None:
    split_of = Splitter(SHARES).split_of
    before = {id(sample): split_of(sample) for sample in samples}
    others = [Sample((*sample.messages[:-1], Message("assistant", "another")), meta={"n": 1}) for sample in samples]
    spelled = [
        Sample(
            tuple(
                Message(m.role, f" {m.content}\n".swapcase() if m.content.isascii() else m.content) for m in s.messages
            )
        )
        for s in samples
    ]
    all_of_them = [*samples, *others, *spelled]
    draw.shuffle(all_of_them)
    sides: dict[str, set[str]] = {}
    for sample in all_of_them:
        sides.setdefault(normal(prompt_of(sample)), set()).add(
            Splitter(dict(reversed(SHARES.items()))).split_of(sample)
        )
    assert all(len(splits) == 1 for splits in sides.values())
    assert before == {id(sample): split_of(sample) for sample in samples}


def test_shares_hold_within_binomial_noise() -> None:
    split_of, count = Splitter(SHARES).split_of, 20_000
    found = [split_of(Sample(said(f"question {number}", "a"))) for number in range(count)]
    for split, share in (*SHARES.items(), ("train", 0.7)):
        assert abs(found.count(split) - count * share) < 4 * math.sqrt(count * share * (1 - share))
    # A larger share takes from the others, and gives nothing back.
    larger = Splitter({"test": 0.3}).split_of
    assert all(larger(Sample(said(f"question {n}", "a"))) == "test" for n, split in enumerate(found) if split == "test")


def test_the_prompt_is_what_is_asked_before_the_first_answer() -> None:
    turns = (
        Message("system", "s"),
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "c"),
        Message("user", "d"),
    )
    assert prompt_of(Sample(turns)) == "a\nb"
    assert prompt_of(Sample(text="t")) == "t"
    assert prompt_of(Sample((Message("assistant", "only"),))) == "only"
    assert prompt_of(Sample()) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["test"], "--split test: must be NAME=SHARE with a share between 0 and 1, such as test=0.05"),
        (["test=5"], "must be NAME=SHARE"), (["test=0"], "must be NAME=SHARE"), (["test=nan"], "must be NAME=SHARE"),
        (["=0.1"], "a split's name has letters, digits and _"), (["a-b=0.1"], "a split's name has letters"),
        (["../a=0.1"], "a split's name has letters"), (["all=0.1"], "and is not all"),
        (["train=0.9"], "train is what the others leave; name those"),
        (["a=0.1", "a=0.2"], "a is given twice"), (["a=0.5", "b=0.5"], "the shares add up to 1, which leaves nothing"),
    ],
)  # fmt: skip
def test_shares_that_are_none_are_one_line(given: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_shares(given)
    assert words in str(caught.value)
    assert read_shares(["test=0.05", "dev.x_1=1e-2"]) == {"test": 0.05, "dev.x_1": 0.01}


@pytest.mark.parametrize("name", list(formats()))
def test_datasets_loads_every_split_and_nothing_else(tmp_path: Path, hub_offline: Any, name: str) -> None:
    folder, into = tmp_path / "my data", open_format(name)
    samples = [
        *ALL,
        LONG,
        PLAIN,
        *(
            Sample((*said(f"q{n}", "a"),), label=True, reference="r", rejected=(Message("assistant", "b"),))
            for n in range(60)
        ),
    ]
    samples += [Sample(said(f"p{n}", "a")) for n in range(60)] + [Sample(text=f"text {n}") for n in range(60)]
    samples += [Sample((Message("user", f"u{n}"),), reference="r") for n in range(60)]
    made = write_folder(folder, into, lambda: samples, SHARES, source=tmp_path)
    (folder / "report.json").write_text('{"stray": 1}', "utf-8")
    assert made.empty == ()
    assert {path.name for path in folder.iterdir()} == {*made.files, "report.json"}
    loaded = hub_offline.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: data.num_rows for split, data in loaded.items()} == {s: one.rows for s, one in made.splits.items()}
    assert {tuple(data.column_names) for data in loaded.values()} == {made.splits["train"].columns}
    assert len(list(read_samples(folder))) == sum(one.rows for one in made.splits.values()) > 60
    assert len(row_files(folder)) == 3
    info = json.loads((folder / "dataset_info.json").read_text("ascii")) if "dataset_info.json" in made.files else {}
    assert list(info) in ([], ["my_data", "my_data_test", "my_data_validation"])
    for split, one in made.splits.items():
        entry = info.get("my_data" if split == "train" else f"my_data_{split}")
        assert entry == into.dataset_info(one.path.name, one.columns)


def test_every_split_has_the_columns_of_all(tmp_path: Path) -> None:
    samples = [Sample(said(f"q{n}", "a", system="late" if n == 5 else "")) for n in range(40)]
    made = write_folder(tmp_path / "d", open_format("alpaca"), lambda: samples, SHARES, source=tmp_path)
    assert {one.columns for one in made.splits.values()} == {("instruction", "input", "output", "system")}
    assert {tuple(row.fields) for row in read_rows(tmp_path / "d")} == {("instruction", "input", "output", "system")}
    assert sum(one.rows for one in made.splits.values()) == 40


def test_datasets_reads_again_what_was_exported_again(tmp_path: Path, hub_offline: Any) -> None:
    """With a card that names the files it keeps what it read of a folder, whatever is in the files by now."""
    for count in (5, 9, 9):
        source = tmp_path / "in.jsonl"
        rows = [{"instruction": f"q{n}", "input": "", "output": "a"} for n in range(count)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        assert synthgen("export", str(source), "--to", "alpaca", "-o", "out/", cwd=tmp_path).returncode == 0
        loaded = hub_offline.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
        assert loaded["train"].num_rows == count


def test_what_train_does_not_show_goes_there_with_all_of_its_prompt(tmp_path: Path, hub_offline: Any) -> None:
    plain = [Sample(said(f"q{n}", "a"), meta={"id": n}) for n in range(200)]
    split_of = Splitter(SHARES).split_of
    odd = next(n for n in range(1000, 2000) if split_of(Sample(said(f"q{n}", "a"))) == "test")
    late = [Sample(said(f"q{odd}", answer), meta={"id": n, "more": ["x"]}) for n, answer in enumerate("bc")]
    made = write_folder(tmp_path / "d", open_format("samples"), lambda: [*plain, *late], SHARES, source=tmp_path)
    assert made.moved == 1
    folder = tmp_path / "d"
    found = {split: [s.messages[0].content for s in read_samples(folder / f"{split}.jsonl")] for split in made.splits}
    assert found["train"].count(f"q{odd}") == 2
    for split, prompts in found.items():
        others = [prompt for prompt in prompts if prompt != f"q{odd}"]
        assert others == [f"q{n}" for n in range(200) if split_of(plain[n]) == split]
    loaded = hub_offline.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert sum(data.num_rows for data in loaded.values()) == 202


def test_a_split_without_rows_has_no_file_and_what_it_lost_is_counted(tmp_path: Path) -> None:
    samples = [Sample(said("the one", "a")), Sample(said("the one", "b")), Sample(text="no turns")]
    made = write_folder(tmp_path / "d", open_format("alpaca"), lambda: samples, {"test": 1e-9}, source=tmp_path)
    assert (made.empty, made.files) == (("test",), ("train.jsonl", "dataset_info.json", "README.md"))
    assert made.splits["train"].left_out == {"text without turns": 1}
    nothing = write_folder(tmp_path / "e", open_format("alpaca"), lambda: [], {"test": 0.5}, source=tmp_path)
    assert (nothing.empty, nothing.splits["train"].rows) == (("test",), 0)
    assert nothing.files == ("train.jsonl", "README.md")
    assert front((tmp_path / "e" / "README.md").read_text("utf-8"))["configs"][0]["data_files"] == [
        {"split": "train", "path": "train.jsonl"}
    ]


def test_strict_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotCarryError):
        write_folder(
            tmp_path / "d",
            open_format("alpaca"),
            lambda: [PLAIN, Sample(text="t")],
            SHARES,
            source=tmp_path,
            strict=True,
        )
    assert not (tmp_path / "d").exists()


def test_the_card_tells_what_is_known(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_rows(source / "a.jsonl", [alpaca(n) for n in range(1200)])
    card = '---\nlicense: cc-by-4.0\nlanguage: [fr, "no"]\ntags: [human]\nconfigs: [{data_files: a.jsonl}]\n---\n'
    (source / "README.md").write_text(card, "utf-8")
    done = synthgen("export", "source", "--to", "alpaca", "-o", "d/", "--split", "test=0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "d" / "README.md").read_text("utf-8")
    found = front(text)
    assert (found["license"], found["language"], found["tags"]) == ("cc-by-4.0", ["fr", "no"], ["human", "synthgen"])
    assert (found["size_categories"], found["task_categories"]) == (["1K<n<10K"], ["text-generation"])
    assert "annotations_creators" not in found
    assert [one["split"] for one in found["configs"][0]["data_files"]] == ["train", "test"]
    assert "    synthgen export source --to alpaca -o d/ --split test=0.1" in text
    write_rows(
        tmp_path / "zh.jsonl", [{"instruction": f"第{n}个问题是什么?", "input": "", "output": "答"} for n in range(9)]
    )
    assert synthgen("export", "zh.jsonl", "--to", "messages", "-o", "z/", cwd=tmp_path).returncode == 0
    found = front((tmp_path / "z" / "README.md").read_text("utf-8"))
    assert (found["language"], found["tags"], "license" in found) == (["zh"], ["synthgen"], False)


def test_a_row_that_cannot_be_read_is_told_for_a_folder_too(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [alpaca(n) for n in range(300)])
    with path.open("a") as file:
        file.write("{broken\n")
    done = synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "d/", "--split", "test=0.1", cwd=tmp_path)
    assert (done.returncode, "a.jsonl:301: not JSON" in done.stderr) == (1, True), done.stderr
    assert len(list(read_rows(tmp_path / "d"))) == 300


def test_what_others_made_stays(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset_info.json").write_text(
        '{"own": {"file_name": "own.jsonl"}, "data_old": {"file_name": "old.jsonl"}}', "utf-8"
    )
    write_rows(tmp_path / "a.jsonl", [alpaca(n) for n in range(50)])
    for shares in (["--split", "test=0.2"], []):
        out = result(synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "data", *shares, "--json", cwd=tmp_path))
        assert out["rows"] == 50
        assert set(out["splits"]) == ({"train", "test"} if shares else {"train"})
        info = json.loads((folder / "dataset_info.json").read_text("ascii"))
        assert list(info) == ["own", "data", *(["data_test"] if shares else [])]
    (folder / "README.md").write_text("# Somebody's own\n", "utf-8")
    done = synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "data", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "data/README.md: is not of synthgen's making; move it away" in done.stderr
    assert (folder / "README.md").read_text("utf-8") == "# Somebody's own\n"
    for ours in ("README.md", "train.jsonl"):
        (folder / ours).unlink()
    for bad in ("[1]", "{", "\xff"):
        (folder / "dataset_info.json").write_text(bad, "latin-1")
        with pytest.raises(UsageError, match="is no registry of LLaMA-Factory; move it away"):
            check_folder(folder, open_format("alpaca"), SHARES)
    with pytest.raises(UsageError, match="is a file; give -o the name of a folder"):
        check_folder(tmp_path / "a.jsonl", open_format("alpaca"), SHARES)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-o d.jsonl --split test=0.1", "--split: is for a data set in a folder; give -o d/"),
        ("-o d.jsonl --push me/data", "--push: is for a data set in a folder; give -o d/"),
        ("-o d/ --public", "--public: is for --push"),
        ("-o d/ --push data", "--push data: must be owner/name, in letters, digits, -, _ and ."),
        ("-o d/ --push me/da--ta", "must be owner/name"),
        ("-o d/ --split test=2", "--split test=2: must be NAME=SHARE"),
        ("-o . ", ".: is the folder that is read; give another -o"),
        ("-o a.jsonl/ ", "a.jsonl: is the file that is read; give another -o"),
        ("-o b.jsonl/ ", "b.jsonl: is a file; give -o the name of a folder"),
    ],
)
def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, line: str, words: str) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_rows(tmp_path / name, [alpaca(1)])
    done = synthgen("export", "a.jsonl", "--to", "alpaca", *line.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "b.jsonl"}


@pytest.fixture
def fake_hub() -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    with serving() as hub:
        yield hub


def push(tmp_path: Path, hub: Hub, *more: str, **env: str) -> Any:
    write_rows(tmp_path / "a.jsonl", [alpaca(n) for n in range(50)])
    given = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_secret",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        **env,
    }
    words = ("a.jsonl", "--to", "alpaca", "-o", "d/", "--split", "test=0.2", "--push", "me/my-data", *more)
    return synthgen("export", *words, cwd=tmp_path, **given)


def test_a_push_uploads_what_was_written_and_nothing_else(tmp_path: Path, fake_hub: Hub) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "secret.txt").write_text("mine", "utf-8")
    out = result(push(tmp_path, fake_hub, "--json"))
    assert out["pushed"] == f"{fake_hub.url}/datasets/me/my-data"
    names = {"train.jsonl", "test.jsonl", "dataset_info.json", "README.md"}
    assert fake_hub.files == {name: (tmp_path / "d" / name).read_bytes() for name in names}
    assert fake_hub.repos["me/my-data"]["type"] == "dataset"
    assert "private" in (fake_hub.repos["me/my-data"].get("visibility"), *fake_hub.repos["me/my-data"])
    assert fake_hub.tokens == {"Bearer hf_secret"}
    assert len(fake_hub.commits) == 1
    again = push(tmp_path, fake_hub)
    assert again.returncode == 0, again.stderr
    assert f"pushed: {fake_hub.url}/datasets/me/my-data" in again.stdout
    assert "hf_secret" not in again.stdout + again.stderr


def test_public_is_asked_for(tmp_path: Path, fake_hub: Hub) -> None:
    assert push(tmp_path, fake_hub, "--public").returncode == 0
    asked = fake_hub.repos["me/my-data"]
    assert asked.get("visibility", "public") == "public"
    assert not asked.get("private")


@pytest.mark.parametrize(
    ("status", "env", "code", "words"),
    [
        (403, {}, 4, "does not allow it (403); is the token one that may write there?"),
        (401, {}, 4, "does not allow it (401)"),
        (500, {}, 4, "does not take it ("),
        (0, {"HF_HUB_OFFLINE": "1"}, 4, "HF_HUB_OFFLINE is set, so that nothing is sent"),
        (0, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 4, "http://127.0.0.1:9 does not answer ("),
    ],
)
def test_a_push_that_fails_is_one_line_and_the_folder_stays(
    tmp_path: Path, fake_hub: Hub, status: int, env: dict[str, str], code: int, words: str
) -> None:
    fake_hub.status = status
    done = push(tmp_path, fake_hub, **env)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert "--push me/my-data: " in done.stderr
    assert words in done.stderr
    assert "; the folder d stays as it is" in done.stderr
    assert len(list(read_rows(tmp_path / "d"))) == 50
    assert fake_hub.files == {}


def test_a_push_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from synthgen.hub import check_push

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r'pip install "synthgen\[hub\]"'):
        check_push("me/data")


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "d").mkdir(mode=0o500)
    write_rows(tmp_path / "a.jsonl", [alpaca(1)])
    done = synthgen("export", "a.jsonl", "--to", "alpaca", "-o", "d/", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_a_push_without_a_token_does_nothing_first(tmp_path: Path, fake_hub: Hub) -> None:
    done = push(tmp_path, fake_hub, HF_TOKEN="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no token: set HF_TOKEN, or log in with hf auth login; nothing was written" in done.stderr
    assert not (tmp_path / "d").exists()


def split_source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    for split, numbers in (("train", range(30)), ("test", range(30, 40))):
        write_rows(source / f"{split}.jsonl", [alpaca(n) for n in numbers])
    files = "".join(f"  - {{split: {split}, path: {split}.jsonl}}\n" for split in ("train", "test"))
    (source / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n", "utf-8")
    return source


def test_the_splits_of_a_folder_stay_as_they_are(tmp_path: Path) -> None:
    source = split_source(tmp_path)
    out = result(synthgen("export", "source", "--to", "messages", "-o", "d/", "--json", cwd=tmp_path))
    assert out["splits"] == {"train": 30, "test": 10}
    kept = [sample.messages[0].content for sample in read_samples(tmp_path / "d" / "test.jsonl")]
    assert kept == [f"question {n}" for n in range(30, 40)]
    assert "split by a hash" not in (tmp_path / "d" / "README.md").read_text("utf-8")
    drawn = result(synthgen("export", "source", "--to", "messages", "-o", "e/", "--split", "dev=0.3", "--json", cwd=tmp_path))  # fmt: skip
    assert set(drawn["splits"]) == {"train", "dev"}
    done = synthgen("export", str(source), "--to", "messages", "-o", "m.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"its splits train, test are read as one; hf:{source}:test reads one of them" in done.stderr


def test_files_of_an_earlier_export_go(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [alpaca(n) for n in range(50)])
    words = ("export", "a.jsonl", "--to", "alpaca", "-o", "d/")
    assert synthgen(*words, "--split", "test=0.2", cwd=tmp_path).returncode == 0
    (tmp_path / "d" / "mine.jsonl").write_text("{}\n", "utf-8")
    done = synthgen(*words, "--json", cwd=tmp_path)
    assert result(done)["removed"] == ["test.jsonl"]
    assert "d/test.jsonl: removed; an earlier export wrote it" in done.stderr
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert names == {"train.jsonl", "mine.jsonl", "dataset_info.json", "README.md"}


def test_a_name_of_any_script_is_one_for_the_registry_and_no_path_is_in_the_card(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [alpaca(n) for n in range(50)])
    (tmp_path / "b").mkdir()
    given = str(tmp_path / "b" / "数据") + "/"
    done = synthgen("export", str(tmp_path / "a.jsonl"), "--to", "alpaca", "-o", given, "--split", "test=0.2", cwd=tmp_path)  # fmt: skip
    assert f"for LLaMA-Factory: dataset_dir: {given[:-1]}, dataset: 数据,数据_test" in done.stdout
    folder = tmp_path / "b" / "数据"
    assert list(json.loads((folder / "dataset_info.json").read_text("ascii"))) == ["数据", "数据_test"]
    card = (folder / "README.md").read_text("utf-8")
    assert "    synthgen export a.jsonl --to alpaca -o '数据/' --split test=0.2" in card
    assert str(tmp_path) not in card
    assert "synthetic" not in card
    assert "terms of the models" not in card


def test_a_card_that_says_machines_wrote_it_is_believed(tmp_path: Path) -> None:
    source = split_source(tmp_path)
    card = (
        (source / "README.md")
        .read_text("utf-8")
        .replace("configs:", "annotations_creators: machine-generated\nconfigs:")
    )
    (source / "README.md").write_text(card, "utf-8")
    assert synthgen("export", "source", "--to", "alpaca", "-o", "d/", cwd=tmp_path).returncode == 0
    assert front((tmp_path / "d" / "README.md").read_text("utf-8"))["tags"] == ["synthetic", "synthgen"]


def test_a_registry_beside_its_files_is_stepped_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "a.jsonl", [alpaca(1)])
    (tmp_path / "data" / "registry.json").write_text('{"x": {"file_name": "a.jsonl"}}', "utf-8")
    assert len(list(read_rows(tmp_path / "data"))) == 1
    with pytest.raises(UsageError, match="registry of data sets, no rows"):
        list(read_rows(tmp_path / "data" / "registry.json"))


def test_files_that_are_called_after_splits_stay_splits(tmp_path: Path) -> None:
    source = split_source(tmp_path)
    (source / "README.md").unlink()
    out = result(synthgen("export", "source", "--to", "messages", "-o", "d/", "--json", cwd=tmp_path))
    assert out["splits"] == {"train": 30, "test": 10}
    write_rows(source / "more.jsonl", [alpaca(50)])
    out = result(synthgen("export", "source", "--to", "messages", "-o", "e/", "--json", cwd=tmp_path))
    assert out["splits"] == {"train": 41}


def test_files_of_others_are_not_written_over_and_files_of_ours_do_not_stay_behind(tmp_path: Path) -> None:
    folder, into = tmp_path / "d", open_format("alpaca")
    folder.mkdir()
    write_rows(folder / "test.jsonl", [alpaca(1)])
    with pytest.raises(UsageError, match=r"test.jsonl: is not of synthgen's making; move it away"):
        check_folder(folder, into, SHARES)
    check_folder(folder, into, {"dev": 0.1})
    (folder / "test.jsonl").unlink()
    many, one = [Sample(said(f"q {n}", "a")) for n in range(50)], [Sample(said("q", "a"))]
    assert (write_folder(folder, into, lambda: many, SHARES, source=tmp_path).splits["test"].path).exists()
    check_folder(folder, into, SHARES)
    made = write_folder(folder, into, lambda: one, SHARES, source=tmp_path)
    assert sorted(file.name for file in folder.glob("*.jsonl")) == [
        f"{split}.jsonl" for split in made.splits if split not in made.empty
    ]

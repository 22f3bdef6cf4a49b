"""Folders as they come from the hub and from `datasets`: their rows, all of them, and nothing that lies about."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import UsageError
from synthgen.formats import read_samples
from synthgen.rows import Row, read_rows, row_files, scan_rows


def put(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(f"---\n{text}\n---\n# A data set\n", "utf-8")


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in row_files(folder)]


def refusal(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        list(read_rows(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("front", "wanted"),
    [
        ("configs: [{config_name: default, data_files: b.jsonl}]", ["b.jsonl"]),
        ("configs: [{data_files: [b.jsonl, a.jsonl]}]", ["b.jsonl", "a.jsonl"]),
        ("configs: [{config_name: x, data_files: [{split: train, path: b.jsonl}]}]", ["b.jsonl"]),
        ("configs: [{config_name: x, data_files: {test: [a.jsonl], train: b.jsonl}}]", ["a.jsonl", "b.jsonl"]),
        ("configs: [{config_name: x, data_files: '*.jsonl'}]", ["a.jsonl", "b.jsonl"]),
        ("configs: [{config_name: x, data_files: 'deep/**/*.jsonl'}]", ["deep/er/c.jsonl"]),
        ("configs: [{config_name: x, data_dir: deep, data_files: 'er/*.jsonl'}]", ["deep/er/c.jsonl"]),
        ("configs: [{config_name: x, data_files: a.jsonl}, {data_files: b.jsonl}]", ["b.jsonl"]),
        ("configs: [{config_name: x, data_files: a.jsonl}, {config_name: y, default: true, data_files: b.jsonl}]", ["b.jsonl"]),
        ("configs: [{config_name: x, data_files: a.jsonl}, {config_name: y}]", ["a.jsonl"]),
        ("license: mit", ["a.jsonl", "b.jsonl", "report.json"]),
        ("configs: nonsense", ["a.jsonl", "b.jsonl", "report.json"]),
        ("- a list", ["a.jsonl", "b.jsonl", "report.json"]),
    ],
)  # fmt: skip
def test_a_card_says_which_files_are_the_data(tmp_path: Path, front: str, wanted: list[str]) -> None:
    for name in ("a.jsonl", "b.jsonl", "deep/er/c.jsonl"):
        put(tmp_path / name, {"name": name})
    put(tmp_path / "report.json", {"stray": 1})
    put(tmp_path / "dataset_info.json", {"about": 1})
    card(tmp_path, front)
    assert names(tmp_path) == wanted
    if "report.json" not in wanted:
        assert [row.fields for row in read_rows(tmp_path)] == [{"name": name} for name in wanted]


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("configs: [{data_files: c.jsonl}]", "c.jsonl: no such file, though README.md names it; fetch it"),
        ("configs: [{data_files: 'data/*.jsonl'}]", "data/*.jsonl: no such file, though README.md names it"),
        ("configs: [{data_files: 'hf://datasets/a/b/c.jsonl'}]", "its README.md names hf://datasets/a/b/c.jsonl, which lies"),
        ("configs: [{data_files: /etc/passwd}]", "its README.md names /etc/passwd, which lies elsewhere"),
        ("configs: [{config_name: x, data_files: a.jsonl}, {config_name: y, data_files: a.jsonl}]", "has the configs x, y, none"),
        ("configs: [{data_files: picture.png}]", "picture.png: cannot read rows from this kind of file; it takes .jsonl"),
        ("configs: [{", "README.md: its front matter is not YAML (while parsing"),
        ("date: 2024-99-99", "README.md: its front matter is not YAML"),
    ],
)  # fmt: skip
def test_a_card_that_names_what_cannot_be_read_is_one_line(tmp_path: Path, front: str, words: str) -> None:
    put(tmp_path / "a.jsonl", {"a": 1})
    (tmp_path / "picture.png").write_bytes(b"png")
    card(tmp_path, front)
    assert words in refusal(tmp_path)


def test_shards_in_data_are_the_data_set(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    (tmp_path / "data").mkdir()
    for number in (1, 0):
        name = f"train-0000{number}-of-00002.parquet"
        parquet.write_table(pa.Table.from_pylist([{"n": number}]), tmp_path / "data" / name)
    put(tmp_path / "report.json", {"stray": 1})
    put(tmp_path / "data" / "notes.json", {"stray": 1})
    assert [row.fields["n"] for row in read_rows(tmp_path)] == [0, 1]


def test_folders_in_a_folder_without_files_are_read_and_hidden_ones_are_not(tmp_path: Path) -> None:
    put(tmp_path / "en" / "b.jsonl", {"n": 2})
    put(tmp_path / "en" / "a" / "a.jsonl", {"n": 1})
    put(tmp_path / ".cache" / "c.jsonl", {"n": 3})
    put(tmp_path / "en" / ".hidden.jsonl", {"n": 3})
    put(tmp_path / "en" / "state.json", {"n": 3})
    assert names(tmp_path) == ["en/a/a.jsonl", "en/b.jsonl"]
    put(tmp_path / "top.jsonl", {"n": 0})
    assert names(tmp_path) == ["top.jsonl"]
    (tmp_path / "empty").mkdir()
    assert "no file with rows in this folder; it takes .jsonl, " in refusal(tmp_path / "empty")


ROWS = [
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "meta": {"n": 1}},
    {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "b"}], "meta": {"m": "x"}},
]


@pytest.mark.parametrize("shards", [1, 2])
def test_what_save_to_disk_wrote(tmp_path: Path, hub_offline: Any, shards: int) -> None:
    source = put(tmp_path / "rows.jsonl", *ROWS)
    made = hub_offline.load_dataset("json", data_files=str(source), split="train", cache_dir=str(tmp_path / "cache"))
    one, both = tmp_path / "one", tmp_path / "both"
    made.save_to_disk(one, num_shards=shards)
    assert [row.fields["messages"] for row in read_rows(one)] == [row["messages"] for row in ROWS]
    assert [sample.meta["n"] for sample in list(read_samples(one))[:1]] == [1]
    hub_offline.DatasetDict(train=made, test=made.select([1])).save_to_disk(both)
    assert [row.fields["messages"][0]["content"] for row in read_rows(both)] == ["q", "你好", "你好"]
    (arrow,) = (both / "test").glob("*.arrow")
    assert next(scan_rows(arrow)).where == f"{arrow}:1"
    arrow.unlink()
    assert "no such file, though state.json names it" in refusal(both)


def test_arrow_of_either_kind_and_none(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist([{"n": n, "t": [{"a": "x"}]} for n in range(2500)])
    path = tmp_path / "a.arrow"
    for begin in (pa.ipc.new_stream, pa.ipc.new_file):
        with begin(str(path), table.schema) as writer:
            writer.write_table(table)
        assert list(read_rows(path)) == [Row({"n": n, "t": [{"a": "x"}]}, f"{path}:{n + 1}") for n in range(2500)]
    whole = path.read_bytes()
    for bad in (b"", b"nothing", whole[:500], b"ARROW1\0\0", b"\xff" * 64):
        path.write_bytes(bad)
        assert refusal(path).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["stream", "file", "parquet"])
def test_mutated_tables_are_read_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """pyarrow reads wherever the offsets of a file point: what is not checked before crashes."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.Table.from_pylist([{"n": n, "m": [{"role": "user", "content": "x" * n}]} for n in range(150)])
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=50)
    else:
        with (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=50)
    whole, draw = path.read_bytes(), random.Random(3)
    for number in range(300):
        data = bytearray(whole if number % 4 else whole[: draw.randrange(1, len(whole))])
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            assert all(row.where.startswith(f"{path}:") for row in scan_rows(path))
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_an_arrow_file_that_breaks_off_gives_what_is_before(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "a.arrow"
    table = pa.Table.from_pylist([{"n": n} for n in range(3000)])
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    path.write_bytes(path.read_bytes()[:-5000])
    rows, seen = scan_rows(path), 0
    with pytest.raises(UsageError, match="a part of it cannot be read"):
        for seen, _ in enumerate(rows, start=1):  # noqa: B007
            pass
    assert seen == 2000

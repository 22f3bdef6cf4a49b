"""Files are whole or not there, say what they could not hold, and load elsewhere."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import ALL, LONG, PARALLEL, PLAIN, SHARED, SPLIT, TOOLS, said

from synthgen.errors import StoreError, UsageError
from synthgen.formats import formats, open_format, read_samples
from synthgen.formats.card import card, dataset_info
from synthgen.formats.turns import to_json, to_line
from synthgen.formats.write import replacing, write_bytes, write_samples
from synthgen.formats.written import CannotCarryError
from synthgen.rows import read_rows
from synthgen.types import Message, Sample, ToolCall

ALPACA, SHAREGPT, MESSAGES, SAMPLES = map(open_format, ("alpaca", "sharegpt", "messages", "samples"))


def test_the_bytes_of_a_file(tmp_path: Path) -> None:
    sample = Sample(said('你好 "x"\u2028\n{{ 7*7 }} <|im_end|>', "\U0001f600é"))
    result = write_samples([sample, SPLIT], ALPACA, tmp_path / "a.jsonl")
    data = result.path.read_bytes()
    assert (
        data
        == (
            '{"instruction": "你好 \\"x\\"\u2028\\n{{ 7*7 }} <|im_end|>", "input": "", "output": "\U0001f600é"}\n'
            '{"instruction": "do", "input": "this", "output": "a"}\n'
        ).encode()
    )
    assert (result.rows, result.columns) == (2, ("instruction", "input", "output"))
    assert result.left_out == result.lost == {}
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("name", list(formats()))
def test_what_is_written_is_read_and_written_again_the_same(tmp_path: Path, name: str) -> None:
    member = open_format(name)
    first = write_samples(ALL, member, tmp_path / "1.jsonl")
    second = write_samples(list(read_samples(first.path)), member, tmp_path / "2.jsonl")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert second.left_out == {}
    keys = {tuple(row.fields) for row in read_rows(first.path)}
    assert keys == {first.columns}


def test_a_function_that_starts_over_keeps_memory_flat(tmp_path: Path) -> None:
    passes: list[int] = []

    def samples() -> Iterator[Sample]:
        passes.append(0)
        for number in range(5):
            passes[-1] += 1
            yield Sample(said(f"q{number}", "a", system="late" if number == 4 else ""))

    result = write_samples(samples, ALPACA, tmp_path / "a.jsonl")
    assert passes == [5, 5]
    assert result.rows == 5
    assert "system" in json.loads(result.path.read_text("utf-8").splitlines()[0])


def test_what_cannot_be_carried_is_counted(tmp_path: Path) -> None:
    bad = Sample(PLAIN.messages, label=False)
    result = write_samples(
        [PLAIN, TOOLS, bad, PARALLEL, Sample(PLAIN.messages, label=True)], ALPACA, tmp_path / "a.jsonl"
    )
    assert result.rows == 2
    assert result.left_out == {"tools": 2, "an answer marked as bad (label false)": 1}
    assert result.lost == {"the label": 1}
    nothing = write_samples([TOOLS], ALPACA, tmp_path / "b.jsonl")
    assert (nothing.rows, nothing.path.read_bytes()) == (0, b"")


@pytest.mark.parametrize("bad", [TOOLS, Sample(PLAIN.messages, label=True), Sample(said("q", "a\ud800"))])
def test_strict_refuses_and_writes_nothing(tmp_path: Path, bad: Sample) -> None:
    path = tmp_path / "new" / "a.jsonl"
    with pytest.raises(CannotCarryError) as caught:
        write_samples([PLAIN, bad], ALPACA, path, strict=True)
    assert f"{path}: alpaca cannot hold 1 of 2 samples whole: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1
    assert list(tmp_path.rglob("*.*")) == []
    assert write_samples([PLAIN], ALPACA, path, strict=True).rows == 1


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample(said("q", "a\ud800")), "half a surrogate pair"),
        (Sample(said("q\0", "a")), "a NUL character"),
        (Sample(PLAIN.messages, meta={"score": float("nan")}), "NaN or an infinity"),
        (Sample(PLAIN.messages, meta={"score": [float("-inf")]}), "NaN or an infinity"),
    ],
)
def test_what_no_reader_takes_is_left_out(tmp_path: Path, sample: Sample, reason: str) -> None:
    result = write_samples([PLAIN, sample], SAMPLES, tmp_path / "s.jsonl")
    assert (result.rows, result.left_out) == (1, {reason: 1})
    assert list(read_samples(result.path)) == [PLAIN]


def test_nan_in_a_call_is_left_out(tmp_path: Path) -> None:
    asked = Message("assistant", "", tool_calls=(ToolCall("f", {"x": float("inf")}),))
    sample = Sample((Message("user", "q"), asked))
    for member in (SHAREGPT, MESSAGES, SAMPLES):
        assert write_samples([PLAIN, sample], member, tmp_path / "s.jsonl").left_out == {"NaN or an infinity": 1}


def test_nul_spelled_out_is_written(tmp_path: Path) -> None:
    sample = Sample(said("what is \\u0000?", "a"))
    result = write_samples([sample], MESSAGES, tmp_path / "s.jsonl")
    assert [read.messages for read in read_samples(result.path)] == [sample.messages]


def test_an_error_on_the_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_bytes(path, b"old")

    def samples() -> Iterator[Sample]:
        yield PLAIN
        raise KeyboardInterrupt

    for source in (samples, lambda: [PLAIN, Sample(PLAIN.messages, meta={"x": object()})]):
        with pytest.raises((KeyboardInterrupt, TypeError)):
            write_samples(source, SAMPLES, path)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZeroDivisionError), replacing(path) as write:
        write(b"new" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "output"),
    ],
)
def test_what_the_disk_says_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, words: str
) -> None:
    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "a.jsonl"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        with pytest.raises(StoreError) as caught:
            write_samples([PLAIN], ALPACA, path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: cannot be written: ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: real(Path("/dev/full"), mode))
    for size in (10, 10_000_000):  # in the buffer until the end, and through it at once
        with pytest.raises(StoreError, match="disk full"):
            write_bytes(tmp_path / "a.jsonl", b"x" * size)


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    for one, other in (("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")):
        (tmp_path / one).symlink_to(other)
    with pytest.raises(StoreError, match=r"a.jsonl: cannot be written: .*links; choose another place"):
        write_samples([PLAIN], ALPACA, tmp_path / "a.jsonl")


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_bytes(tmp_path / "a.jsonl", b"x")
    write_bytes(tmp_path / "file", b"x")
    with pytest.raises(StoreError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "a.jsonl", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="permission denied"):
        write_bytes(tmp_path / "a.jsonl", b"x")


def test_a_device_or_a_pipe_stays_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null.jsonl").symlink_to("/dev/null")
    for path in (tmp_path / "pipe", tmp_path / "null.jsonl"):
        with pytest.raises(UsageError, match="a device or a pipe"):
            write_bytes(path, b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert Path("/dev/null").is_char_device()


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    left = [tmp_path / f".{name}.{number}.tmp" for name in ("a.jsonl", "b.jsonl") for number in (4_194_305, 7)]
    for one in left:
        one.write_bytes(b"half")
    with left[1].open("rb") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        write_bytes(path, b"x")
    assert sorted(tmp_path.iterdir()) == sorted([path, *left[1:]])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "big" / "b.jsonl")
    write_bytes(tmp_path / "a.jsonl", b"x")
    assert (tmp_path / "a.jsonl").is_symlink()
    assert (tmp_path / "big" / "b.jsonl").read_bytes() == b"x"


@pytest.mark.parametrize("name", list(formats()))
def test_datasets_loads_every_file(tmp_path: Path, hub_offline: Any, name: str) -> None:
    result = write_samples([*ALL, LONG] * 20, open_format(name), tmp_path / f"{name}.jsonl")
    loaded = hub_offline.load_dataset(
        "json", data_files=str(result.path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == result.rows
    assert tuple(loaded.column_names) == result.columns
    if name in ("alpaca", "sharegpt"):
        assert loaded.to_list() == [json.loads(line) for line in result.path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["lf_glaive_toolcall_en_demo.json", "lf_alpaca_zh_demo.json"])
def test_datasets_loads_real_rows_again(tmp_path: Path, hub_offline: Any, name: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"no {name} beside the checkout")
    for member in (SHAREGPT, MESSAGES, SAMPLES):
        result = write_samples(list(read_samples(SHARED / name)), member, tmp_path / f"{member.name}.jsonl")
        data = hub_offline.load_dataset(
            "json", data_files=str(result.path), split="train", cache_dir=str(tmp_path / "cache")
        )
        assert data.num_rows == result.rows > 0


def test_load_dataset_of_a_folder_finds_each_file_and_nothing_else(tmp_path: Path, hub_offline: Any) -> None:
    folder = tmp_path / "run"
    files, columns = {}, {}
    for name in formats():
        member = open_format(name)
        result = write_samples([*ALL, LONG, PLAIN] * 5, member, folder / member.file_name)
        files[name], columns[name] = (member.file_name, result.rows), result.columns
    write_bytes(folder / "dataset_info.json", dataset_info({name: (files[name][0], columns[name]) for name in files}))
    write_bytes(
        folder / "README.md", card(title="t", folder=folder, files=files, recipe="x", languages=["en"]).encode()
    )
    write_bytes(folder / "rejected.jsonl", b'{"reason": "too short"}\n')
    write_bytes(folder / "report.json", b'{"accepted": 3}')
    cache = str(tmp_path / "cache")
    configs = ["default", *list(files)[1:]]
    assert hub_offline.get_dataset_config_names(str(folder)) == configs
    for name, config in zip(files, configs, strict=True):
        loaded = hub_offline.load_dataset(str(folder), config, cache_dir=cache)
        assert list(loaded) == ["train"]
        assert loaded["train"].num_rows == files[name][1]
        assert tuple(loaded["train"].column_names) == columns[name]
    assert hub_offline.load_dataset(str(folder), cache_dir=cache)["train"].column_names == list(columns["alpaca"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.sampled_from(["", "\0\x1f\x7f\x85\u2028\"\\/\b\f\n\r\t", "\ud800", "😀"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def spelled(make: Callable[[Any], bytes], value: Any) -> bytes | type:
    try:
        return make(value)
    except ValueError as error:
        return type(error)


@settings(derandomize=True, deadline=None, max_examples=1000)
@given(JSON)
def test_a_line_is_the_json_of_python_byte_for_byte(value: Any) -> None:
    assert spelled(to_line, value) == spelled(lambda one: to_json(one).encode(), value)


def test_a_line_that_is_nested_deep_is_the_same() -> None:
    value: Any = "x"
    for _ in range(220):  # more than our own spelling takes, less than that of Python
        value = {"a": [value]}
    assert to_line(value) == to_json(value).encode()


def test_what_is_nested_too_deep_is_left_out(tmp_path: Path) -> None:
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    result = write_samples([PLAIN, Sample(PLAIN.messages, meta={"a": value})], SAMPLES, tmp_path / "s.jsonl")
    assert (result.rows, result.left_out) == (1, {"nested too deep": 1})

"""Each container of each format gives back what was put in."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, result, synthgen, write_rows
from drawn import DRAWN, dialogues
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import ALL, LONG, PLAIN, SPLIT, said

from synthgen.errors import UsageError
from synthgen.formats import formats, open_format, read_samples
from synthgen.formats.containers import check_name
from synthgen.formats.write import write_samples
from synthgen.rows import read_rows, scan_rows
from synthgen.types import Message, Sample

SAMPLES = [*ALL, LONG, PLAIN, SPLIT]
NOT_CSV = ("samples", "fastchat", "mt-bench", "seed-tasks")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row.fields for row in read_rows(path)]


@pytest.mark.parametrize("name", list(formats()))
def test_parquet_gives_back_the_rows_and_the_samples(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    member = open_format(name)
    lines = write_samples(SAMPLES, member, tmp_path / "a.json")
    table = write_samples(SAMPLES, member, tmp_path / "a.parquet")
    assert (table.rows, table.columns, table.lost) == (lines.rows, lines.columns, lines.lost)
    assert rows_of(table.path) == rows_of(lines.path)
    assert list(read_samples(table.path, name)) == list(read_samples(lines.path, name))


@pytest.mark.parametrize("name", [name for name in formats() if name not in NOT_CSV])
def test_csv_gives_back_the_samples(tmp_path: Path, name: str) -> None:
    member = open_format(name)
    lines = write_samples(SAMPLES, member, tmp_path / "a.jsonl")
    table = write_samples(SAMPLES, member, tmp_path / "a.csv")
    assert (table.rows, table.columns, table.lost) == (lines.rows, lines.columns, lines.lost)
    assert list(read_samples(table.path)) == list(read_samples(lines.path))


@given(
    st.lists(dialogues(tools=True, reasoning=True), min_size=1, max_size=4),
    st.sampled_from(["sharegpt", "messages", "samples"]),
)
@settings(DRAWN, max_examples=60)
def test_whatever_is_said_comes_back_from_each_container(samples: list[Sample], name: str) -> None:
    pytest.importorskip("pyarrow")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"a{suffix}" for suffix in (".jsonl", ".json", ".parquet", ".csv")]
        written = [write_samples(samples, open_format(name), file) for file in files[: 3 if name == "samples" else 4]]
        if written[0].rows:
            first, *others = [list(read_samples(one.path, name)) for one in written]
            assert all(other == first for other in others)


@given(st.lists(dialogues(turns=1), min_size=1, max_size=4))
@DRAWN
def test_any_text_in_a_table_is_that_text_for_other_readers_too(samples: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        lines = write_samples(samples, open_format("alpaca"), path.with_suffix(".jsonl"))
        write_samples(samples, open_format("alpaca"), path)
        with path.open(encoding="utf-8", newline="") as file:
            assert list(csv.DictReader(file, strict=True)) == rows_of(lines.path)


def test_a_text_that_spells_turns_stays_text_where_it_is_one(tmp_path: Path) -> None:
    spells = '[{"role": "user", "content": "x"}]'
    samples = [
        Sample(said(spells, '{"messages": []}')), Sample(said("[]", "[1, 2]")), Sample(said("true", "null")),
        Sample(said('{"from": 1}', spells), input_split=('{"from": 1}', "")),
    ]  # fmt: skip
    for name in ("alpaca", "prompt-completion-text", "question-answer"):
        path = write_samples(samples, open_format(name), tmp_path / "a.csv").path
        assert list(read_samples(path, name)) == list(
            read_samples(write_samples(samples, open_format(name), tmp_path / "a.jsonl").path, name)
        )


def test_what_is_no_text_stays_as_it_stands_for_other_loaders(tmp_path: Path) -> None:
    """validate sees what a trainer would see: JSON text is text."""
    path = write_samples([PLAIN], open_format("chatml"), tmp_path / "a.csv").path
    (row,) = scan_rows(path, as_text=True)
    assert isinstance(row.fields["spans"], str)  # type: ignore[union-attr]
    assert isinstance(rows_of(path)[0]["spans"], list)
    pytest.importorskip("pyarrow")
    path = write_samples([Sample(PLAIN.messages, meta={"n": 1})], open_format("samples"), tmp_path / "a.parquet").path
    (row,) = scan_rows(path, as_text=True)
    assert (row.fields["meta"], rows_of(path)[0]["meta"]) == ('{"n": 1}', {"n": 1})  # type: ignore[union-attr]


def test_parquet_has_columns_of_its_own_and_free_keys_as_text(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    samples = [Sample(PLAIN.messages, tools=(tool,), meta={"n": 1}), Sample(PLAIN.messages, meta={"m": [2]})]
    path = write_samples(samples, open_format("samples"), tmp_path / "a.parquet").path
    schema = pq.read_schema(path)
    assert str(schema.field("messages").type) == "list<element: struct<role: string, content: string>>"
    assert {str(schema.field(name).type) for name in ("meta", "tools")} == {"string"}
    assert pq.read_table(path).column("meta").to_pylist() == ['{"n": 1}', '{"m": [2]}']
    assert list(read_samples(path)) == samples


@pytest.mark.parametrize(
    "values",
    [
        [None, None], [1, 2.5], [1, 2**70], ["a", 1], [[], ["x"]], [{}, {}], [{"a": 1}, {"b": None}], [True, None],
        [[{"a": [1]}], [{"a": []}, {}]], [{"a": {"b": {}}}], ["", None], [[1], {"a": 1}], [1e300, -0.0], [[None, "x"]],
    ],
)  # fmt: skip
def test_values_of_any_kind_come_back(tmp_path: Path, values: list[Any]) -> None:
    pytest.importorskip("pyarrow")
    from synthgen.formats.parquet import Parquet

    path = tmp_path / "a.parquet"
    rows = [{"x": value} for value in values]
    with path.open("wb") as file:
        table = Parquet(file.write, tmp_path)
        for row in rows:
            table.add(row, json.dumps(row).encode())
        table.end(["x"])
        table.close()
    without_null = [
        {"x": {k: v for k, v in one["x"].items() if v is not None}} if isinstance(one["x"], dict) else one
        for one in rows
    ]
    assert rows_of(path) in (rows, without_null)


def test_datasets_and_pandas_read_the_tables(tmp_path: Path, hub_offline: Any) -> None:
    pandas = pytest.importorskip("pandas")
    samples = [Sample(said(f"q{n}\r\n", 'a "quoted", text\n; \t')) for n in range(50)]
    files = [write_samples(samples, open_format("alpaca"), tmp_path / f"a.{kind}").path for kind in ("parquet", "csv")]
    for kind, file in zip(("parquet", "csv"), files, strict=True):
        options = {"keep_default_na": False} if kind == "csv" else {}
        data = hub_offline.load_dataset(
            kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "c"), **options
        )
        assert data.to_list() == rows_of(files[0])
    assert pandas.read_csv(files[1], keep_default_na=False).to_dict("records") == rows_of(files[0])


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for kind in ("csv", "parquet"):
        assert write_samples([], open_format("alpaca"), tmp_path / f"a.{kind}").rows == 0
        with pytest.raises(UsageError, match="no rows in it"):
            rows_of(tmp_path / f"a.{kind}")
    assert (tmp_path / "a.csv").read_bytes() == b"instruction,input,output\n"
    assert pq.read_schema(tmp_path / "a.parquet").names == ["instruction", "input", "output"]


def test_columns_that_come_late_are_in_every_row_of_a_table(tmp_path: Path) -> None:
    samples = [Sample(said(f"q{n}", "a", system="late" if n == 4 else "")) for n in range(5)]
    for kind in ("csv", "parquet"):
        path = write_samples(samples, open_format("alpaca"), tmp_path / f"a.{kind}").path
        assert [row["system"] for row in rows_of(path)] == ["", "", "", "", "late"]


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("a.txt", "alpaca", "a.txt: must end in .jsonl or .ndjson (JSON lines), .json (an array), .csv or .parquet"),
        ("a", "alpaca", "a: must end in .jsonl"),
        ("a.jsonl.gz", "alpaca", "a.jsonl.gz: LLaMA-Factory and ms-swift read no .gz files; call it a.jsonl"),
        ("a.csv.zst", "alpaca", "LLaMA-Factory and ms-swift read no .zst files; call it a.csv"),
        ("a.jsonl", "fastchat", "a.jsonl: readers of fastchat take one JSON array; call it a.json"),
        ("a.csv", "samples", "a.csv: csv cannot tell empty from missing"),
    ],
)
def test_a_name_that_nothing_can_be_written_to_is_one_line(tmp_path: Path, name: str, to: str, words: str) -> None:
    write_rows(tmp_path / "in.jsonl", [{"instruction": "q", "input": "", "output": "a"}])
    done = synthgen("export", "in.jsonl", "--to", to, "-o", name, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_parquet_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r'a.parquet: parquet needs more packages: pip install "synthgen\[hub\]"'):
        check_name(Path("a.parquet"), open_format("alpaca"))


def test_export_writes_what_the_name_says(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [{"instruction": f"q{n}", "input": "", "output": "a"} for n in range(3)]
    write_rows(tmp_path / "in.jsonl", rows)
    for name in ("a.json", "a.JSONL", "a.csv", "a.parquet", "a.ndjson"):
        out = result(synthgen("export", "in.jsonl", "--to", "alpaca", "-o", name, "--json", cwd=tmp_path))
        assert (out["rows"], rows_of(tmp_path / name)) == (3, rows)
    assert json.loads((tmp_path / "a.json").read_bytes()) == rows
    done = synthgen("export", "a.parquet", "--to", "sharegpt", "-o", "s.csv", cwd=tmp_path)
    assert "conversations: JSON text in csv, read back by synthgen and by no trainer" in done.stderr
    back = synthgen("export", "s.csv", "--to", "alpaca", "-o", "b.jsonl", cwd=tmp_path)
    assert (back.returncode, rows_of(tmp_path / "b.jsonl")) == (0, rows)
    assert synthgen("export", "in.jsonl", "--to", "alpaca", "-o", "/dev/null", cwd=tmp_path).returncode == 2
    link = tmp_path / "null.csv"
    link.symlink_to("/dev/null")
    done = synthgen("export", "in.jsonl", "--to", "alpaca", "-o", "null.csv", cwd=tmp_path)
    assert (done.returncode, "is a device or a pipe" in done.stderr) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_is_full_is_told_by_tables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    import tempfile as module

    from synthgen.errors import StoreError

    for buffer in (0, 16):  # what is in the buffer is tried again when it is closed
        opened = partial(Path("/dev/full").open, "wb", buffering=buffer)
        monkeypatch.setattr(module, "TemporaryFile", lambda opened=opened, **_: opened())
        with pytest.raises(StoreError, match=r"a.parquet: cannot be written: disk full"):
            write_samples([PLAIN], open_format("alpaca"), tmp_path / "a.parquet")
        assert list(tmp_path.iterdir()) == []


def test_memory_stays_flat(tmp_path: Path) -> None:
    """What ten times the rows add is a fraction of what they weigh."""
    pytest.importorskip("pyarrow")
    code = (
        "import sys, resource; from pathlib import Path; from synthgen.formats import open_format\n"
        "from synthgen.formats.write import write_samples; from synthgen.types import Message, Sample\n"
        "def samples():\n"
        "    for n in range(int(sys.argv[2])):\n"
        "        yield Sample((Message('user', f'question {n}'), Message('assistant', f'{n} ' * 500)))\n"
        "print(write_samples(samples, open_format('messages'), Path(sys.argv[1])).rows)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    unit = 1 if sys.platform == "darwin" else 1024
    for kind in ("parquet", "csv"):
        peaks = []
        for count in (4_000, 24_000):  # 10 MB, 70 MB
            words = [sys.executable, "-c", code, str(tmp_path / f"a.{kind}"), str(count)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
            rows, peak = map(int, done.stdout.split())
            assert rows == count
            peaks.append(peak * unit)
        assert peaks[1] - peaks[0] < 45_000_000


def test_parquet_that_is_none_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    whole = write_samples(SAMPLES * 20, open_format("samples"), tmp_path / "w.parquet").path.read_bytes()
    path = tmp_path / "a.parquet"
    for bad in (b"", b"PAR1", b"no parquet", whole[:-100], whole[:200] + b"\0" * 200 + whole[400:]):
        path.write_bytes(bad)
        with pytest.raises(UsageError) as caught:
            rows_of(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_the_message_keys_of_other_rows_are_not_taken_for_nulls(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    turns = (
        Message("user", "q", name="Ann"),
        Message("assistant", "a", weight=0),
        Message("user", "q"),
        Message("assistant", "b"),
    )
    samples = [Sample(turns), PLAIN]
    path = write_samples(samples, open_format("messages"), tmp_path / "a.parquet").path
    assert rows_of(path)[1]["messages"] == [{"role": m.role, "content": m.content} for m in PLAIN.messages]


def test_maps_and_categories_of_types_that_json_lacks_are_kept_as_text(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from synthgen import bodies

    day = date(2024, 1, 2)
    odd = {
        "map": pa.array([[("k", day)]], pa.map_(pa.string(), pa.date32())),
        "pair": pa.array([[day, day]], pa.list_(pa.date32(), 2)),
        "category": pa.array([day]).dictionary_encode(),
    }
    table = pa.table({"instruction": ["q"], "output": ["a"], **odd})
    parquet.write_table(table, tmp_path / "a.parquet")
    (sample,) = read_samples(tmp_path / "a.parquet")
    (kept,) = read_samples(write_samples([sample], open_format("samples"), tmp_path / "s.jsonl").path)
    wanted = {"map": [["k", "2024-01-02"]], "pair": ["2024-01-02"] * 2, "category": "2024-01-02"}
    assert kept.meta["columns"] == bodies.load(bodies.dump(sample)).meta["columns"] == wanted

"""Archives: read as what is in them, to the byte where one breaks off."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from command import synthgen

from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, read_rows, row_files, scan_rows

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
MANY = [{"instruction": f"Frage {n}: 你好 {random.Random(n).random()}", "output": str(n)} for n in range(3000)]


def text_of(kind: str, rows: list[dict[str, str]] = MANY) -> bytes:
    if kind == "json":
        return json.dumps(rows, ensure_ascii=False, indent=1).encode()
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        return "".join(
            f'"{a}"{mark}"{b}"\n' for a, b in [("instruction", "output"), *(r.values() for r in rows)]
        ).encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("packed", list(PACK))
@pytest.mark.parametrize("kind", ["jsonl", "ndjson", "json", "csv", "tsv"])
def test_an_archive_reads_as_what_is_in_it(tmp_path: Path, kind: str, packed: str) -> None:
    data = text_of(kind)
    plain = put(tmp_path / f"a.{kind}", data)
    path = put(tmp_path / f"a.{kind}{packed}", PACK[packed](data))
    assert [row.fields for row in read_rows(path)] == MANY
    lines = [row.where.removeprefix(str(path)) for row in read_rows(path)]
    assert lines == [row.where.removeprefix(str(plain)) for row in read_rows(plain)]
    marked = put(tmp_path / f"b.{kind}{packed}", PACK[packed](b"\xef\xbb\xbf" + data))
    assert [row.fields for row in read_rows(marked)] == MANY
    plain.unlink()
    marked.unlink()
    assert row_files(tmp_path) == [path]


@pytest.mark.parametrize("packed", list(PACK))
def test_members_one_after_another_are_read_whole(tmp_path: Path, packed: str) -> None:
    data = text_of("jsonl")
    cuts = [0, 0, 7, 100_000, len(data), len(data)]
    members = b"".join(PACK[packed](data[a:b]) for a, b in pairwise(cuts))
    for padding in (b"", b"\0" * 512):
        path = put(tmp_path / f"a.jsonl{packed}", members + padding)
        assert [row.fields for row in read_rows(path)] == MANY


@pytest.mark.parametrize("packed", list(PACK))
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_what_stands_before_the_cut_is_handed_on(tmp_path: Path, kind: str, packed: str, share: float) -> None:
    whole = PACK[packed](text_of(kind))
    path = put(tmp_path / f"a.{kind}{packed}", whole[: int(len(whole) * share)])
    *rows, fault = scan_rows(path)
    assert [row.fields for row in rows if isinstance(row, Row)] == MANY[: len(rows)]
    if packed == ".gz":  # of zstd a block of 128 KB is read whole or not at all
        assert len(rows) > len(MANY) * share * 0.8 - 10
    assert isinstance(fault, Fault)
    assert fault.ends
    line = int(fault.where.rpartition(":")[2])
    per_row = 4 if kind == "json" else 1
    assert 0 <= line - len(rows) * per_row <= 5
    assert fault.message == "the archive is damaged from here on (it ends too early); fetch or pack it again"
    with pytest.raises(UsageError, match="the archive is damaged from here on"):
        list(read_rows(path))


@pytest.mark.parametrize(("packed", "place"), [(".gz", -6), (".zst", -2)])
def test_a_wrong_checksum_comes_after_the_rows(tmp_path: Path, packed: str, place: int) -> None:
    data = bytearray(PACK[packed](text_of("jsonl", MANY[:50])))
    data[place] ^= 1
    *rows, fault = scan_rows(put(tmp_path / f"a.jsonl{packed}", bytes(data)))
    assert len(rows) == (50 if packed == ".gz" else 0)
    assert isinstance(fault, Fault)
    assert "the archive is damaged" in fault.message


def test_every_cut_and_every_flipped_byte_is_told_or_harmless(tmp_path: Path) -> None:
    rows = MANY[:20]
    for packed, pack in PACK.items():
        whole = pack(text_of("jsonl", rows))
        draw = random.Random(7)
        for number in range(300):
            data = bytearray(whole)
            if number % 2:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            else:
                data = data[: draw.randrange(len(data))]
            path = put(tmp_path / f"a.jsonl{packed}", bytes(data))
            try:
                found = list(scan_rows(path))
            except UsageError as error:
                assert "\n" not in str(error)  # noqa: PT017
                assert str(error).startswith(str(path))  # noqa: PT017
            else:
                whole_rows = [row.fields for row in found if isinstance(row, Row)] == rows
                assert whole_rows or any(isinstance(row, Fault) for row in found)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl.gz", b'{"a": 1}\n', "is no gzip archive; call it a.jsonl if it is not packed, or fetch it again"),
        ("a.csv.zst", b"a,b\n1,2\n", "is no zstd archive; call it a.csv"),
        ("a.jsonl.gz", PACK[".zst"](b"{}\n"), "is a zstd archive; call it a.jsonl.zst"),
        ("a.jsonl", PACK[".gz"](b"{}\n"), "is a gzip archive; call it a.jsonl.gz"),
        ("a.csv", PACK[".zst"](b"a\n"), "is a zstd archive; call it a.csv.zst"),
        ("a.jsonl.gz", b"", "no rows in it"),
        ("a.jsonl.gz", PACK[".gz"](b""), "no rows in it"),
        ("a.json.zst", PACK[".zst"](b" \n"), "no rows in it"),
        ("a.parquet.gz", PACK[".gz"](b"PAR1"), "cannot read rows from this kind of file; it takes .jsonl, "),
        ("a.gz", PACK[".gz"](b"{}"), "of text also .gz and .zst"),
        ("a.jsonl.gz", PACK[".gz"](text_of("jsonl", MANY[:9]).decode().encode("utf-16")), "this is UTF-16;"),
        ("a.jsonl.gz", b"\x1f\x8b", ":1: the archive is damaged from here on"),
    ],
)
def test_what_is_no_archive_or_another_is_one_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = put(tmp_path / name, data)
    with pytest.raises(UsageError) as caught:
        list(read_rows(path))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_wrong_number_of_cells_has_its_line(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv.gz", gzip.compress(b'a,b\n"1\n1",2\n3\n4,5\n'))
    first, fault, last = scan_rows(path)
    assert (first, last) == (Row({"a": "1\n1", "b": "2"}, f"{path}:2"), Row({"a": "4", "b": "5"}, f"{path}:5"))
    assert str(fault) == f'{path}:4: 1 cells under 2 columns; put "..." around cells that hold a comma or a newline'


def test_zstd_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = put(tmp_path / "a.jsonl.zst", PACK[".zst"](b"{}\n"))
    with pytest.raises(UsageError, match=r'a.jsonl.zst: zstd needs another package: pip install "synthgen\[hub\]"'):
        list(read_rows(path))


@pytest.mark.parametrize("packed", list(PACK))
def test_memory_does_not_grow_with_what_is_packed(tmp_path: Path, packed: str) -> None:
    """200 MB of one row, which is 200 KB and less when it is packed."""
    path = put(
        tmp_path / f"a.jsonl{packed}", PACK[packed](b'{"instruction": "do it again", "output": "done"}\n' * 4_000_000)
    )
    code = (
        "import sys, resource; from pathlib import Path; from synthgen.rows.packed import unpacked\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with unpacked(Path(sys.argv[1])) as file: print(sum(len(line) for line in file))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    size, grown = map(int, done.stdout.split())
    assert size == 49 * 4_000_000
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 60_000_000


def test_commands_read_archives_and_copy_them_plain(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n % 3}", "output": "an answer"} for n in range(6)]
    put(tmp_path / "a.jsonl.gz", gzip.compress(text_of("jsonl", rows)))
    done = synthgen("dedup", "a.jsonl.gz", "-o", "b.jsonl", "--method", "exact", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b.jsonl").read_bytes() == text_of("jsonl", rows[:3])
    put(tmp_path / "a.csv.zst", PACK[".zst"](text_of("csv", rows)))
    assert synthgen("dedup", "a.csv.zst", "-o", "b.csv", "--method", "exact", cwd=tmp_path).returncode == 0
    assert (tmp_path / "b.csv").read_bytes() == text_of("csv", rows[:3])
    put(tmp_path / "c.json.gz", gzip.compress(b"\xef\xbb\xbf" + text_of("json", rows)))
    assert synthgen("dedup", "c.json.gz", "-o", "c.json", "--method", "exact", cwd=tmp_path).returncode == 0
    assert len(list(read_rows(tmp_path / "c.json"))) == 3


def test_validate_reads_archives_says_who_refuses_them_and_mends_what_it_can(tmp_path: Path) -> None:
    rows = [{"instruction": "q", "input": "", "output": "a"}, {"instruction": "q", "input": "", "output": ""}]
    whole = gzip.compress(text_of("jsonl", rows * 20))
    put(tmp_path / "a.jsonl.gz", whole)
    done = synthgen("validate", "a.jsonl.gz", "--fix", "-o", "b.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    for words in (
        "a.jsonl.gz:1: warning compressed",
        "stops: LLaMA-Factory, ms-swift",
        "a.jsonl.gz:2: fault empty-output",
    ):
        assert words in done.stdout
    assert [row.fields for row in read_rows(tmp_path / "b.jsonl")] == rows[:1] * 20
    put(tmp_path / "cut.jsonl.gz", whole[:-9])
    done = synthgen("validate", "cut.jsonl.gz", "--fix", "-o", "c.jsonl", cwd=tmp_path)
    assert done.returncode == 1
    assert "fault unreadable: the archive is damaged from here on (it ends too early)" in done.stdout
    assert [row.fields for row in read_rows(tmp_path / "c.jsonl")] == rows[:1] * 20
    assert "cut.jsonl.gz:41: left out: unreadable: the archive is damaged" in done.stdout
    put(tmp_path / "not.jsonl.gz", b"{}\n")
    done = synthgen("validate", "not.jsonl.gz", cwd=tmp_path)
    assert (done.returncode, "fault unreadable: is no gzip archive" in done.stdout) == (1, True)

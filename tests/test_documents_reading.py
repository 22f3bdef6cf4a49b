"""Documents out of everything that people have: files, folders, encodings, and what is none."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ROOT, environment, write_rows

from synthgen.documents import Document, Documents, Refused, read_documents, reading
from synthgen.documents.encoding import NotTextError, detected
from synthgen.errors import UsageError
from synthgen.types import UNREAD

EXAMPLES = ROOT / "examples" / "documents"
TRADITIONAL = (
    "燈塔是一種建在岸邊或礁石上的高塔，塔頂裝有強光燈，夜間為船隻指引方向。最早的燈塔不過是山頂上的火堆，"
    "後來才換成帶反射鏡的油燈，旁邊住著守塔人。"
)


def texts(*sources: str | Path) -> list[str]:
    return [one.text for source in sources for one in read_documents(source) if isinstance(one, Document)]


def refused(source: str | Path) -> list[tuple[str, str, str]]:
    """(where's name, reason, detail) of what is not used."""
    found = [one for one in read_documents(source) if isinstance(one, Refused)]
    return [(Path(one.where).name, one.reason, one.detail) for one in found]


def test_the_examples_are_read_with_titles_and_licences() -> None:
    found = [one for one in read_documents(EXAMPLES) if isinstance(one, Document)]
    assert len(found) == 16
    assert refused(EXAMPLES) == []
    by_name = {Path(one.where).name: one for one in found}
    assert by_name["tofu.md"].title == "在家做豆腐"
    assert by_name["tofu.md"].licence == "CC0-1.0"
    assert by_name["tofu.md"].text.startswith("# 在家做豆腐")  # the front matter is about the text
    assert by_name["tides.md"].title == "Questions about the tides"
    assert by_name["rows.jsonl:1"].id == "rainbows"
    assert by_name["rows.jsonl:2"].columns == {"kind": "story"}


@pytest.mark.parametrize("name", ["en/harbour-market.html", "zh/community-garden.html"])
def test_of_a_page_the_main_text_is_taken(name: str) -> None:
    (one,) = read_documents(EXAMPLES / name)
    assert isinstance(one, Document)
    assert one.licence == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert one.text.startswith(one.title)
    for other in ("Home", "首页", "登录", "Privacy", "隐私", "font", "script", "<"):
        assert other not in one.text, other
    assert one.text.count("\n") == 5  # a line a paragraph, none lost


def test_rows_of_any_kind_have_text_id_title_and_licence(tmp_path: Path) -> None:
    row = {"id": 7, "text": "A text.", "title": "T", "license": "MIT", "url": "https://example.org", "long": "x" * 999}
    expected = Document("7", "A text.", "", "T", "MIT", columns={"url": "https://example.org"})
    write_rows(tmp_path / "a.jsonl", [row])
    (tmp_path / "b.json").write_text(json.dumps([row]), encoding="utf-8")
    (tmp_path / "c.csv").write_text(
        "id,text,title,licence,url\n7,A text.,T,MIT,https://example.org\n", encoding="utf-8"
    )
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        (one,) = read_documents(path)
        assert isinstance(one, Document)
        assert one.where.startswith(str(path))
        assert Document(one.id, one.text, "", one.title, one.licence, columns=one.columns) == expected


def test_a_hub_data_set_is_read(hub_offline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, config: str | None, **_: Any) -> dict[str, list[dict[str, Any]]]:
        assert (name, config) == ("owner/name", None)
        return {"train": [], "test": [{"text": "One."}, {"text": None}]}

    monkeypatch.setattr(hub_offline, "load_dataset", load)
    monkeypatch.setattr(hub_offline, "get_dataset_config_names", lambda name: ["default"])
    first, second = read_documents("hf:owner/name:test")
    assert isinstance(first, Document)
    assert (first.text, first.where) == ("One.", "hf:owner/name:test:1")
    assert isinstance(second, Refused)
    assert (second.where, second.reason) == ("hf:owner/name:test:2", "empty")


def test_a_folder_is_read_to_its_depth_by_name(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/b/c.txt", ".hidden.txt", ".git/x.txt", "README.md", "LICENSE.txt", "code.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Text of {name}.", encoding="utf-8")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    assert texts(tmp_path) == ["Text of a/b/c.txt.", "Text of a/z.md.", "Text of b.txt."]
    assert texts(tmp_path / "README.md") == ["Text of README.md."]  # who names it means it


def test_ids_come_from_the_content_and_not_from_the_place(tmp_path: Path) -> None:
    for folder in ("x", "y/z"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{folder[0]}.txt").write_text("The same text.\r\n", encoding="utf-8")
    first, second = read_documents(tmp_path)
    assert first.id == second.id == "d-c1c7327b7cfb591c"
    assert first.where != second.where


# -- encodings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "text", "said"),
    [
        ("utf-8", TRADITIONAL, "utf-8"),
        ("utf-8-sig", TRADITIONAL, "utf-8-sig"),
        ("utf-16", TRADITIONAL, "utf-16"),
        (
            "gbk",
            "灯塔是一种建在岸边的高塔，塔顶装有强光灯，夜间为船只指引方向。最早的灯塔不过是山上的火堆。",
            "gb18030",
        ),
        ("gb18030", "灯塔是建在岸边的高塔，塔顶装有强光灯，夜里为船只指引方向。早先不过是山上的火堆😀。", "gb18030"),
        ("big5", TRADITIONAL, "big5hkscs"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_an_encoding_is_recognised_and_said(codec: str, text: str, said: str, name: str, tmp_path: Path) -> None:
    page = f"<html><body><p>{text}</p></body></html>" if name.endswith("html") else text
    (tmp_path / name).write_bytes(page.encode(codec))
    (one,) = read_documents(tmp_path / name)
    assert isinstance(one, Document)
    assert (one.text, one.encoding) == (text, said)


def test_a_page_may_say_its_encoding(tmp_path: Path) -> None:
    page = '<html><head><meta charset="shift_jis"></head><body><p>灯台は海の近くにあります。</p></body></html>'
    (tmp_path / "a.html").write_bytes(page.encode("shift_jis"))
    assert texts(tmp_path / "a.html") == ["灯台は海の近くにあります。"]


@pytest.mark.parametrize(
    ("codec", "text", "named"),
    [
        ("euc_kr", "등대는 바다 근처에 있습니다. 밤에 빛을 냅니다. 배가 길을 찾도록 도와줍니다.", "CP949"),
        ("shift_jis", "これは日本語の文章です。灯台は海の近くにあります。夜に光ります。", "CP932"),
        ("cp1251", "Маяк стоит на берегу моря и светит ночью, чтобы корабли нашли путь домой.", "CP1251"),
        ("latin-1", "Le café était fermé à Noël, c'était très étrange. Où êtes-vous allé ?", "CP1250"),
    ],
)
def test_another_encoding_is_named_and_never_read_as_something_else(
    codec: str, text: str, named: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes((text * 3).encode(codec))
    ((_, reason, detail),) = refused(tmp_path / "a.txt")
    assert reason == "encoding"
    assert f"iconv -f {named} -t UTF-8" in detail


def test_real_answers_in_gb18030_are_read_right_or_refused(shared_data: Path) -> None:
    answers = [r["output"] for r in json.loads((shared_data / "lf_alpaca_zh_demo.json").read_text(encoding="utf-8"))]
    prose = right = 0
    for text in answers:
        data = text.encode("gb18030")
        try:
            data.decode()
            continue
        except UnicodeDecodeError:
            pass
        prose += 1
        try:
            right += data.decode(detected(data, 0)) == text
        except NotTextError:
            continue
        assert data.decode(detected(data, 0)) == text
    assert prose > 900
    assert right > 0.9 * prose


def test_one_bad_byte_in_utf_8_is_no_other_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("Ordinary words, ÄÖÜ, and more. " * 90).encode() + b"\xff" + b" The end." * 99)
    ((_, reason, detail),) = refused(tmp_path / "a.txt")
    assert reason == "encoding"
    assert detail == "is UTF-8 but for byte 3,060; mend it, or: iconv -c -t UTF-8 old > new"


# -- what is no document ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "reason", "said"),
    [
        ("a.txt", b"", "empty", "no text in it"),
        ("a.txt", b" \n\n\t\n", "empty", "no text in it"),
        ("a.md", b"---\ntitle: T\n---\n", "empty", "no text in it"),
        ("a.txt", b"\x7fELF\x02\x01\x01\0\0\0\0\xff\xfe", "binary", "is no text but a binary file"),
        ("a.txt", os.urandom(8) + b"\0", "binary", "is no text but a binary file"),
        ("a.html", b"", "empty", "is empty"),
        ("a.html", b"<html><body><script>write()</script></body></html>", "empty", "a page without text"),
        ("a.html", b"\x89PNG\r\n\x1a\n\0\0\xff", "binary", "is no page but a binary file"),
        ("a.html", b"<p>" + b"x" * 8_000_000, "too large", "a page of 8.0 MB, at most 8 MB are read"),
        ("a.jsonl", b'{"text": "One."}\n{"text": 3}\n', "empty", "text must be a string, not int"),
        ("a.jsonl", b'{"text": "One."}\n{"texts": "x"}\n', "empty", "no text; fix or delete the row"),
        ("a.jsonl", b'{"text": "One."}\n{"text":\n', "unreadable", "not JSON"),
    ],
)
def test_a_bad_document_is_one_line_and_no_end(name: str, data: bytes, reason: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.txt").write_text("Another text.", encoding="utf-8")
    ((where, found, detail),) = refused(tmp_path)
    assert where.partition(":")[0] == name
    assert found == reason
    assert said in detail
    assert "Another text." in texts(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("no.txt", None, "no such file; did you mean"),
        ("a.pdf", b"%PDF", "cannot read documents from this kind of file; it takes txt, md, html"),
        ("a.jsonl", b'{"prompt": "x"}\n', "no column text (columns: prompt)"),
        ("empty", None, "no documents in this folder; it takes txt, md, html"),
    ],
)
def test_what_is_no_source_ends_the_reading(name: str, data: bytes | None, said: str, tmp_path: Path) -> None:
    (tmp_path / "not.txt").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as caught:
        list(read_documents(tmp_path / name))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        list(read_documents(tmp_path / "a.txt"))
    (tmp_path / "b.txt").write_text("Text.", encoding="utf-8")
    assert texts(tmp_path) == ["Text."]


def test_a_file_that_goes_while_it_is_read_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(f"Text {name}.", encoding="utf-8")
    listed = reading.files_of

    def going(folder: Path) -> Iterator[Path]:
        for path in listed(folder):
            if path.name == "b.txt":
                path.unlink()
            yield path

    monkeypatch.setattr(reading, "files_of", going)
    assert refused(tmp_path) == [("b.txt", "unreadable", "cannot be read (No such file or directory)")]


PROSE = "<p>A tower with a strong lamp helps ships to find their way along the coast at night.</p>" * 5


@pytest.mark.parametrize(
    "page",
    [
        f'<?xml version="1.0" encoding="UTF-8"?><html><body>{PROSE}</body></html>',
        f"<html><body>{'<div>' * 3000}{PROSE}{'</div>' * 3000}</body></html>",
        f"{'<b>' * 20_000}{PROSE}",
        f"<html><body>{PROSE}\0\x07&#0;&#xD800;&#x110000;</body></html>",
        f"<html><frameset><frame></frameset>{PROSE}",
        f"<p {'a=b ' * 20_000}>{PROSE}",
        f"<!DOCTYPE html [<!ENTITY a 'x'>]><html><body>&a;{PROSE}</body></html>",
        "<", "<html", "&", "<!--", "<html></html>", "<body><p></p></body>", "<<<>>>", "plain words without any tag",
    ],
    ids=lambda page: page[:24],
)  # fmt: skip
def test_odd_pages_give_a_text_or_a_reason(page: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    (one,) = read_documents(tmp_path / "a.html")
    if isinstance(one, Document):
        assert "<p>" not in one.text
        assert "tower" in one.text or "plain words" in one.text
    else:
        assert one.reason in ("empty", "binary", "unreadable")


def test_no_document_left_ends_the_run_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\0\1\2")
    with pytest.raises(UsageError) as caught:
        Documents([tmp_path / "a.txt"])
    assert str(caught.value).startswith(f"no document is left: {tmp_path / 'a.txt'}: binary: is no text")


def test_without_the_library_a_page_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>Text.</p>", encoding="utf-8")
    code = (
        "import sys; sys.modules['trafilatura'] = None\n"
        "from synthgen.documents import read_documents\n"
        "list(read_documents(sys.argv[1]))"
    )
    for source in (tmp_path / "a.html", tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code, str(source)], env=environment(), capture_output=True, text=True, check=False
        )
        assert 'a.html: HTML needs more packages: pip install "synthgen[documents]"' in done.stderr.splitlines()[-1]


def test_without_the_library_an_encoding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)
    (tmp_path / "a.txt").write_bytes("Où êtes-vous allé ?".encode("latin-1"))
    ((_, reason, detail),) = refused(tmp_path / "a.txt")
    assert reason == "encoding"
    assert 'is not UTF-8 (byte 1); to have it recognised: pip install "synthgen[documents]"' in detail


# -- large ones ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_long_text_comes_in_parts_that_are_the_whole(codec: str, tmp_path: Path) -> None:
    paragraphs = [
        f"第{n}段。灯塔是建在岸边的高塔，夜里为船只指引方向，最早的不过是山上的火堆。" * 9 for n in range(2_000)
    ]
    whole = "\n\n".join(paragraphs)
    (tmp_path / "a.txt").write_bytes(whole.encode(codec))
    parts = [one for one in read_documents(tmp_path / "a.txt") if isinstance(one, Document)]
    assert len(parts) == 4
    assert all(len(one.text) <= reading.PART_CHARS for one in parts)
    assert "\n\n".join(one.text for one in parts) == whole
    assert [whole[one.start : one.start + len(one.text)] == one.text for one in parts] == [True] * 4
    assert len({one.id for one in parts}) == 4


def test_a_text_without_any_border_is_cut_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 500_001, encoding="utf-8")
    assert [len(text) for text in texts(tmp_path / "a.txt")] == [200_000, 200_000, 100_001]


_READ_ALL = """
import resource, sys
from synthgen.documents import Documents
found = Documents(sys.argv[1:]).scan()
print(found.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _memory(source: Path) -> tuple[int, float]:
    """(documents, MB at most) of a process that reads it all."""
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(source)], env=environment(), capture_output=True, text=True, check=True
    )
    rows, size = map(int, done.stdout.split())
    return rows, size / (1e6 if sys.platform == "darwin" else 1e3)


def test_a_document_of_50_mb_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("A line of a book, one of many.\n" * 20_000, encoding="utf-8")
    with (tmp_path / "large.txt").open("w", encoding="utf-8") as file:
        for n in range(50_000):
            file.write(f"{n}: {'A line of a book, one of many. ' * 32}\n")
    assert (tmp_path / "large.txt").stat().st_size > 48_000_000
    (_, small), (rows, large) = _memory(tmp_path / "small.txt"), _memory(tmp_path / "large.txt")
    assert rows > 240
    assert large < small + 20


def test_ten_thousand_tiny_files_are_read_flat(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, count in ((few, 500), (many, 10_000)):
        folder.mkdir()
        for n in range(count):
            (folder / f"{n:05}.txt").write_text(f"This is note number {n}. " * 20, encoding="utf-8")
    (_, small), (rows, large) = _memory(few), _memory(many)
    assert rows == 10_000
    assert large < small + 12  # two sets of 64 bits a document, and the names of one folder


def test_files_are_closed(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"{n}.txt").write_text(f"Note {n}.", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        assert len(texts(tmp_path)) == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- as seeds -----------------------------------------------------------------------------------------------------------


def test_the_same_text_twice_is_used_once_and_ids_are_unique(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "a.jsonl",
        [
            {"text": "One."},
            {"text": "Two."},
            {"text": "One."},
            {"id": "x", "text": "Three."},
            {"id": "x", "text": "Four."},
        ],
    )
    found = Documents([tmp_path])
    seeds = list(found)
    assert [s.fields.get("text") for s in seeds] == ["One.", "Two.", None, "Three.", "Four."]
    assert seeds[2].fields[UNREAD] == ("duplicate", "the same text came before")
    assert [s.id for s in seeds][2:] == [f"{seeds[0].id}~2", "x", "x~2"]
    assert seeds == list(found)
    assert found.scan().refused == {"duplicate": 1}


def test_the_digest_is_of_the_content_in_its_order(tmp_path: Path) -> None:
    def digest(folder: Path, **files: str) -> str:
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        return Documents([folder]).scan().digest

    first = digest(tmp_path / "1", a="One.", b="Two.")
    assert digest(tmp_path / "2", x="One.", y="Two.\n") == first  # places and line ends at the end are not content
    assert digest(tmp_path / "3", a="One.", b="Two!") != first
    assert digest(tmp_path / "4", a="Two.", b="One.") != first
    os.utime(tmp_path / "1" / "a.txt", (0, 0))
    assert Documents([tmp_path / "1"]).scan().digest == first
    grown = tmp_path / "5"
    digest(grown, a="One.", b="Two.", c="Three.")
    assert Documents([grown]).scan(first=2).digest_of_first == first
    assert Documents([grown]).scan(first=9).digest_of_first == ""


def test_passes_do_not_disturb_each_other(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": f"Text {n}. " + "x" * 40_000} for n in range(20)])
    found = Documents([tmp_path])
    pairs = list(zip(found, found, strict=True))
    assert len(pairs) == 20
    assert all(one == other for one, other in pairs)


def test_a_long_reading_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthgen.documents import spool

    write_rows(tmp_path / "a.jsonl", [{"text": f"Text {n}."} for n in range(9)])
    clock = iter(range(0, 1000, 4))  # every look at it is four seconds later
    monkeypatch.setattr(spool.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    Documents([tmp_path], note=said.append)
    assert said == [f"reading documents: {n} so far, {n} of them used" for n in (3, 6, 9)]


def test_a_full_disk_says_where_there_must_be_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthgen.documents import spool
    from synthgen.errors import StoreError

    write_rows(tmp_path / "a.jsonl", [{"text": "x" * 100_000}])
    full = Path("/dev/full").open("w+b", buffering=0)  # noqa: SIM115 - closed by what is given it
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", lambda: full)
    with pytest.raises(StoreError, match="the disk is full; set TMPDIR"):
        Documents([tmp_path])

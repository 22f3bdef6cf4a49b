"""Folders and disks that are not as they should be: the exit code, one line, and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from command import environment
from faulty import Faulty, data, generate, synthgen


@pytest.fixture(scope="module")
def made(shared_server: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of alpaca in English that has ended well; take a copy."""
    folder = tmp_path_factory.mktemp("made")
    done = synthgen(*generate(shared_server, "--count", "5", "--out", "run"), cwd=folder)
    assert (done.code, done.err) == (0, "")
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


# --- run folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("generate", "self-instruct"), "run: holds a run of alpaca (en), not of self-instruct (en); give another"),
        (("generate", "alpaca", "--lang", "zh"), "run: holds a run of alpaca (en), not of alpaca (zh); give another"),
    ],
    ids=["recipe", "language"],
)
def test_a_folder_of_another_run(run: Path, server: Faulty, words: tuple[str, ...], part: str) -> None:
    synthgen(*words, "--out", "run", "--base-url", server.base_url, cwd=run.parent).refused(2, part)
    assert server.asked == 0


def test_a_file_in_the_way(tmp_path: Path, server: Faulty) -> None:
    (tmp_path / "plain").write_text("mine")
    synthgen(*generate(server, "--out", "plain"), cwd=tmp_path).refused(2, "plain: a file is in the way; give another")


def test_a_folder_below_a_file(tmp_path: Path, server: Faulty) -> None:
    (tmp_path / "plain").write_text("mine")
    done = synthgen(*generate(server, "--out", "plain/run"), cwd=tmp_path)
    done.refused(3, "plain/run: ", "another --out")
    assert server.bodies == []


def test_a_folder_that_another_process_works_on(tmp_path: Path, server: Faulty) -> None:
    server.hangs = True
    line = [sys.executable, "-m", "synthgen", *map(str, generate(server, "--out", "run"))]
    first = subprocess.Popen(line, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not server.bodies and time.monotonic() < deadline:
            time.sleep(0.02)
        second = synthgen(*generate(server, "--out", "run"), cwd=tmp_path)
        assert f"run: in use by process {first.pid}; wait for it, or give another --out" in second.error(3)
        assert second.after == second.before
        first.send_signal(signal.SIGTERM)
        assert first.communicate(timeout=30)[1].decode() == "error: terminated; the same command continues\n"
        assert first.returncode == 143
    finally:
        first.kill()
        first.wait()
    server.reset()
    assert synthgen(*generate(server, "--out", "run", "--count", "3"), cwd=tmp_path).code == 0


def no_database(path: Path) -> None:
    path.write_bytes(b"This was a database once.\n" * 400)


def half_a_database(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("create table photos(name text)")
    db.close()


def another_version(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("update meta set value = 99 where name = 'schema'")
    db.close()


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no database": (no_database, "run/run.sqlite: not a run of synthgen (file is not a database); use another --out"),
    "half a database": (half_a_database, "run/run.sqlite: not a run of synthgen (database disk image is malformed)"),
    "another database": (another_database, "run/run.sqlite: not a run of synthgen"),
    "another version": (another_version, "written by another version (schema 99, this is 1); use another --out"),
}


@pytest.mark.parametrize(("spoil", "part"), BROKEN.values(), ids=BROKEN)
def test_a_run_that_cannot_be_continued(run: Path, server: Faulty, spoil: Callable[[Path], None], part: str) -> None:
    spoil(run / "run.sqlite")
    synthgen(*generate(server, "--out", "run"), cwd=run.parent).refused(3, part)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no database", "status run"),
        ("half a database", "show run"),
        ("half a database", "show run --rejected"),
        ("another database", "export run --to messages -o out.jsonl"),
        ("another version", "show run"),
    ],
)
def test_a_run_that_cannot_be_read(run: Path, name: str, line: str) -> None:
    spoil, part = BROKEN[name]
    spoil(run / "run.sqlite")
    synthgen(*line.split(), cwd=run.parent).refused(3, part)


@pytest.mark.parametrize("left", ['{"recipe": "alp', None], ids=["broken", "missing"])
def test_a_run_without_its_description(run: Path, server: Faulty, left: str | None) -> None:
    (run / "run.json").unlink()
    if left is not None:
        (run / "run.json").write_text(left)
    for line in ("status run", "show run", "export run --to messages -o x.jsonl"):
        synthgen(*line.split(), cwd=run.parent).refused(2, "run.json")
    other = synthgen("generate", "self-instruct", "--out", "run", "--base-url", server.base_url, cwd=run.parent)
    other.refused(2, "run: holds a run of alpaca (en), not of self-instruct (en); give another --out")
    before = data(run)
    assert synthgen(*generate(server, "--count", "5", "--out", "run"), cwd=run.parent).code == 0
    assert data(run) == before
    assert server.bodies == []
    assert orjson.loads((run / "run.json").read_bytes())["recipe"] == "alpaca"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("status runn", ("runn: no such run; did you mean run?",)),
        ("show runn", ("runn: no such run or file; did you mean run?",)),
        ("export runn --to messages -o x.jsonl", ("runn: no such run or file; did you mean run?",)),
        ("status empty", ("empty: not a run folder",)),
        ("show empty", ("empty: no file with rows in this folder; it takes .jsonl",)),
        ("export notes.txt --to messages -o x.jsonl", ("notes.txt: ", "it takes .jsonl")),
        ("show odd.jsonl", ("odd.jsonl:1: a row of no known format (columns: colour); understood are messages",)),
    ],
)
def test_what_is_no_run(run: Path, line: str, parts: tuple[str, ...]) -> None:
    (run.parent / "empty").mkdir()
    (run.parent / "notes.txt").write_text("notes")
    (run.parent / "odd.jsonl").write_text('{"colour": "red"}\n')
    synthgen(*line.split(), cwd=run.parent).refused(2, *parts)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("export run --to nonsense -o x.jsonl", "no format is called 'nonsense'; formats: alpaca, "),
        ("export run --to sharegtp -o x.jsonl", "did you mean sharegpt?"),
        ("export run --to messages", "Missing option '-o'"),
        ("export run/alpaca.jsonl --to messages -o run/alpaca.jsonl", "is the file that is read; give another -o"),
        ("export files --to messages -o files/a.jsonl", "is the file that is read; give another -o"),
        ("export run --to messages -o run", "run: is a run folder, which has its own files; give another -o"),
        ("export run --to messages -o run/run.sqlite", "run/run.sqlite: belongs to the run itself; give another -o"),
        ("export files --to messages -o run/run.json", "run/run.json: belongs to the run itself; give another -o"),
        ("show run/alpaca.jsonl --rejected", "run/alpaca.jsonl: --rejected needs a run folder"),
        ("show run -n 0", "0 is not in the range"),
    ],
)
def test_an_export_or_a_look_that_cannot_be(run: Path, line: str, part: str) -> None:
    (run.parent / "files").mkdir()
    shutil.copy(run / "alpaca.jsonl", run.parent / "files" / "a.jsonl")
    synthgen(*line.split(), cwd=run.parent).refused(2, part)


def test_a_folder_for_an_export_that_cannot_be_made(run: Path) -> None:
    done = synthgen("export", "run", "--to", "messages", "-o", "run/alpaca.jsonl/x.jsonl", cwd=run.parent)
    done.refused(3, "run/alpaca.jsonl/x.jsonl: cannot be written: ", "choose another place")


def test_novelty_against_what_is_not_there(tmp_path: Path, server: Faulty) -> None:
    done = synthgen(*generate(server, "--novel-against", "runs/old"), cwd=tmp_path)
    done.refused(2, "--novel-against runs/old: no such run or file")


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`disk(options)` mounts a file system in memory, or changes the one it has mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = ",remount" if os.path.ismount(folder) else ""
        line = ["mount", "-t", "tmpfs", "-o", options + again, "tmpfs", str(folder)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        return folder

    if sys.platform != "linux":
        pytest.skip("needs the right to mount a tmpfs")
    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_and_after(tmp_path: Path, server: Faulty, disk: Callable[[str], Path]) -> None:
    # One request at a time: answers that come together are stored together, and all of them may be too much.
    words = generate(server, "--count", "200", "--concurrency", "1", "--out")
    disk("size=300k")
    full = synthgen(*words, "disk/run", cwd=tmp_path)
    assert "disk/run: the disk is full; free some space and run the same command again" in full.error(3)
    assert [name for name in full.after if name.endswith(".tmp")] == []
    paid = len(server.bodies)
    disk("size=20m")
    assert synthgen(*words, "disk/run", cwd=tmp_path).code == 0
    again = len(server.bodies) - paid
    assert synthgen(*words, "undisturbed", cwd=tmp_path).code == 0
    assert data(tmp_path / "disk" / "run") == data(tmp_path / "undisturbed")
    undisturbed = len(server.bodies) - paid - again
    assert 0 < again < undisturbed  # part of the answers was on the disk before it was full
    assert paid + again <= undisturbed + 1  # all were, but the one that found it so


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, server: Faulty, disk: Callable[[str], Path]) -> None:
    disk("size=40k")
    done = synthgen(*generate(server, "--out", "disk/run"), cwd=tmp_path)
    assert "disk/run" in done.error(3)
    assert "full" in done.error(3)


def test_an_export_to_a_full_disk(run: Path, disk: Callable[[str], Path]) -> None:
    (disk("size=4k") / "out.jsonl").write_text("mine")
    done = synthgen("export", "run", "--to", "samples", "-o", "disk/out.jsonl", cwd=run.parent)
    done.refused(3, "disk/out.jsonl: cannot be written: disk full; free some space")


def test_a_disk_that_is_read_only(run: Path, server: Faulty, disk: Callable[[str], Path]) -> None:
    shutil.copytree(run, disk("size=20m") / "run")
    disk("ro")
    synthgen(*generate(server, "--out", "disk/new"), cwd=run.parent).refused(3, "disk/new: ", "another --out")
    synthgen(*generate(server, "--out", "disk/run"), cwd=run.parent).refused(3, "disk/run: ", "another --out")
    export = synthgen("export", "run", "--to", "messages", "-o", "disk/out.jsonl", cwd=run.parent)
    export.refused(3, "disk/out.jsonl: cannot be written: the file system is read-only; choose another")


def test_a_run_on_a_disk_that_is_read_only_can_be_read(run: Path, disk: Callable[[str], Path]) -> None:
    shutil.copytree(run, disk("size=20m") / "run")
    disk("ro")
    for words in (
        ("status", "disk/run"),
        ("show", "disk/run"),
        ("export", "disk/run", "--to", "messages", "-o", "x.jsonl"),
    ):
        done = synthgen(*words, cwd=run.parent)
        assert (done.code, "error" in done.err) == (0, False)

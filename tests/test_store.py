"""A completion is on disk before anyone uses it; one writer a run; what is decided is shown as the count wants it."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen import bodies, lock, output, store
from synthgen.errors import StoreError, UsageError
from synthgen.queries import Paid, paid
from synthgen.recipe import sample
from synthgen.store import Decision, Store
from synthgen.types import Completion, ToolCall

ROOT = Path(__file__).resolve().parent.parent
KEY = b"k" * 16


def _saved(folder: Path, *rows: tuple[bytes, Completion]) -> None:
    async def main() -> None:
        opened = Store(folder)
        try:
            await asyncio.gather(*(opened.save(key, "t", "m", completion) for key, completion in rows))
        finally:
            opened.close()

    asyncio.run(main())


def _found(folder: Path, key: bytes) -> Completion | None:
    opened = Store(folder)
    try:
        return opened.find(key)
    finally:
        opened.close()


@pytest.mark.parametrize(
    "completion",
    [
        Completion("An answer.", prompt_tokens=12, completion_tokens=3),
        Completion("", "length"),
        Completion("中文，emoji 🙂, NUL \x00 and\r\nlines\n", reasoning="why"),
        Completion("x", "tool_calls", (ToolCall("add", {"a": 1, "b": [2.5, None]}, "call-1"),)),
    ],
)
def test_a_completion_comes_back_as_it_was(tmp_path: Path, completion: Completion) -> None:
    _saved(tmp_path, (KEY, completion))
    assert _found(tmp_path, KEY) == completion
    assert _found(tmp_path, b"another key 1234") is None


def test_many_at_once_are_all_there(tmp_path: Path) -> None:
    rows = [(b"%016d" % n, Completion(f"answer {n}", prompt_tokens=n, completion_tokens=1)) for n in range(500)]
    _saved(tmp_path, *rows[:300])
    _saved(tmp_path, *rows[300:])  # a second life goes on behind the first
    assert [_found(tmp_path, rows[n][0]) for n in (0, 299, 300, 499)] == [rows[n][1] for n in (0, 299, 300, 499)]
    with output.reading(tmp_path) as db:
        assert paid(db) == [Paid("m", 500, sum(range(500)), 500, 0, 0)]


_DIES = """
import asyncio, os, sys
from pathlib import Path
from synthgen.store import Decision, Store
from synthgen.types import Completion

async def main():
    opened = Store(Path(sys.argv[1]))
    await opened.save(b"k" * 16, "t", "m", Completion("It is on disk."))
    opened.decide("t", [Decision(None, b"{}"), Decision("novelty", b"{}")], [("t#2", "no answer", 3)], 1)
    if sys.argv[2] == "flush":
        opened.flush()
    os._exit(9)

asyncio.run(main())
"""


@pytest.mark.parametrize("then", ["save", "flush"])
def test_what_was_handed_back_survives_the_end_of_the_process(tmp_path: Path, then: str) -> None:
    """No close, no flush at exit: only what the store promised when `save`, or `flush`, came back."""
    command = [sys.executable, "-c", _DIES, str(tmp_path), then]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (9, b"")
    opened = Store(tmp_path)
    try:
        assert opened.find(KEY) == Completion("It is on disk.")
        assert not opened.was_empty
        if then == "flush":
            assert [(t, r) for _, t, r, _ in opened.samples()] == [("t", None), ("t", "novelty")]
            assert opened.failures() == [("t#2", "no answer", 3)]
        # Decisions and their number are one transaction: both are there, or neither.
        assert (opened.meta("decided") or 0) == len({t for _, t, _, _ in opened.samples()})
    finally:
        opened.close()


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    opened = Store(tmp_path)
    try:
        assert lock.holder(tmp_path) == os.getpid()
        with pytest.raises(StoreError, match=rf"in use by process {os.getpid()}\b.*another --out") as caught:
            Store(tmp_path)
        assert caught.value.exit_code == 3
    finally:
        opened.close()
    assert lock.holder(tmp_path) is None
    Store(tmp_path).close()


def _hold(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    kept = Store(folder)
    ready.set()
    kept._thread.join(60)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready), daemon=True)
    process.start()
    assert ready.wait(30)
    with pytest.raises(StoreError, match=f"in use by process {process.pid}"):
        Store(tmp_path)
    process.kill()
    process.join()
    assert lock.holder(tmp_path) is None
    Store(tmp_path).close()


def test_a_lock_file_opened_before_its_holder_ended_still_keeps_others_out(tmp_path: Path) -> None:
    """Two processes that hold two files of one name would both write."""
    first = Store(tmp_path)
    with (tmp_path / lock.LOCK).open("r+") as second:  # the next process, between open and flock
        first.close()
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(StoreError, match="in use"):
            Store(tmp_path).close()


def _refused(folder: Path) -> tuple[str, bool]:
    """Why a folder is refused, and whether it is free for others while the error is still being told."""
    try:
        Store(folder).close()
    except StoreError as error:
        return str(error), lock.holder(folder) is None
    raise AssertionError("it was opened")


def test_a_folder_that_was_refused_is_free(tmp_path: Path) -> None:
    (tmp_path / "run.sqlite").write_bytes(b"no database" * 100)
    said, free = _refused(tmp_path)
    assert "not a run of synthgen" in said
    assert free


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_run_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "run.sqlite")
    with db:
        db.execute("update meta set value = 99 where name = 'schema'")
    db.close()
    assert re.search(r"schema 99, this is 1.*another --out", _refused(tmp_path)[0])
    with pytest.raises(StoreError, match="schema 99"):
        store.connect(tmp_path / "run.sqlite", read_only=True)
    db = sqlite3.connect(tmp_path / "run.sqlite")
    assert db.execute("select value from meta where name = 'schema'").fetchone() == (99,)
    db.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 20)
    before = path.read_bytes()
    assert "not a run of synthgen" in _refused(tmp_path)[0]
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file" / "run")
    assert "\n" not in str(caught.value)


def test_no_run_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        output.reading(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_is_committed_while_a_run_is_live(tmp_path: Path) -> None:
    async def main() -> None:
        opened = Store(tmp_path)
        try:
            await opened.save(KEY, "t", "m", Completion("a", prompt_tokens=5, completion_tokens=7))
            with output.reading(tmp_path) as db:
                assert paid(db) == [Paid("m", 1, 5, 7, 0, 0)]
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    db.execute("delete from completion")
                await opened.save(b"l" * 16, "t", "m", Completion("b"))
                assert paid(db) == [Paid("m", 2, 5, 7, 0, 0)]
            assert opened.find(KEY) is not None
        finally:
            opened.close()

    asyncio.run(main())


def test_looking_leaves_nothing_beside_the_run(tmp_path: Path) -> None:
    _saved(tmp_path, (KEY, Completion("x")))
    before = sorted(tmp_path.iterdir())
    db = store.connect(tmp_path / "run.sqlite", read_only=True)
    assert db.execute("select count(*) from completion").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("delete from completion")
    db.close()
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_stops_the_run_and_keeps_what_was_stored(tmp_path: Path) -> None:
    async def main() -> None:
        opened = Store(tmp_path)
        try:
            await opened.save(KEY, "t", "m", Completion("kept"))
            opened._commit = _full  # type: ignore[method-assign]
            for _ in range(2):  # from the writer, then at the door
                with pytest.raises(StoreError, match="disk is full"):
                    await opened.save(b"l" * 16, "t", "m", Completion("lost"))
            with pytest.raises(StoreError, match="disk is full"):
                opened.decide("t", [], [], 1)
        finally:
            opened.close()

    asyncio.run(main())
    assert _found(tmp_path, KEY) == Completion("kept")


def _full(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    "completion", [Completion("half a pair: \ud800"), Completion("a", prompt_tokens=1 << 63)], ids=["text", "number"]
)
def test_what_cannot_be_stored_raises_instead_of_waiting_for_ever(tmp_path: Path, completion: Completion) -> None:
    async def main() -> None:
        opened = Store(tmp_path)
        try:
            with pytest.raises(Exception, match=r"surrogate|too large"):
                await asyncio.wait_for(opened.save(KEY, "t", "m", completion), 2)
        finally:
            opened.close()

    asyncio.run(main())


# Decisions, and the same decisions as a dataset of fewer rows sees them.


def _decided(folder: Path, *tasks: str) -> None:
    """Tasks written as one letter a sample: a is accepted, n is rejected for novelty."""
    opened = Store(folder)
    for n, letters in enumerate(tasks):
        rows = []
        for at, letter in enumerate(letters):
            one = sample(f"Task {n}, sample {at}.", "", "Yes.", id=f"{n}.{at}")
            rows.append(
                Decision(None, bodies.dump(one)) if letter == "a" else Decision("novelty", bodies.dump(one, ""))
            )
        opened.decide(f"{n:06d}", rows, [], n + 1)
    opened.flush()
    opened.close()


def _view(folder: Path, count: int | None) -> list[tuple[str, str | None]]:
    with output.reading(folder) as db:
        return [(task[-1], reason) for task, reason, _ in output.decisions(db, count)]


def test_decisions_of_every_count_are_a_prefix(tmp_path: Path) -> None:
    _decided(tmp_path, "ana", "", "aan", "nn", "a")
    assert _view(tmp_path, None) == _view(tmp_path, 9)
    assert _view(tmp_path, 3) == [
        ("0", None), ("0", "novelty"), ("0", None), ("2", None), ("2", "surplus"), ("2", "novelty"),
    ]  # fmt: skip
    assert _view(tmp_path, 4) == [*_view(tmp_path, 3)[:4], ("2", None), ("2", "novelty")]
    assert _view(tmp_path, 5) == [*_view(tmp_path, 4), ("3", "novelty"), ("3", "novelty"), ("4", None)]
    assert _view(tmp_path, 1) == [("0", None), ("0", "novelty"), ("0", "surplus")]


def test_the_files_agree_with_the_view(tmp_path: Path) -> None:
    _decided(tmp_path, "aan", "a")
    with output.reading(tmp_path) as db:
        falls = output.waterfall(db, 1)
        assert (falls.accepted, dict(falls.rejected), falls.candidates) == (1, {"surplus": 1, "novelty": 1}, 3)
        assert sum(output.write_dataset(db, 1, tmp_path, ())[0].rejected.values()) == 2
        assert [s.meta["id"] for s in output.accepted(db, 1)] == ["0.0"]
        assert [s.meta["id"] for s in output.accepted(db, 3)] == ["0.0", "0.1", "1.0"]
    lines = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert ['"reason":"surplus"' in line for line in lines] == [True, False]
    assert all('"task":"000000"' in line for line in lines)


def test_decisions_are_forgotten_from_a_task_on(tmp_path: Path) -> None:
    _decided(tmp_path, "an", "a", "a")
    opened = Store(tmp_path)
    try:
        opened.forget_decisions(1)
        assert [(t, r) for _, t, r, _ in opened.samples()] == [("000000", None), ("000000", "novelty")]
        assert opened.meta("decided") == 1
        opened.decide("000001", [Decision(None, b"{}")], [("000001#1", "late", 1)], 2)
        opened.flush()
        assert [t for _, t, _, _ in opened.samples()] == ["000000", "000000", "000001"]
        assert opened.failures() == [("000001#1", "late", 1)]
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (sqlite3.OperationalError("database or disk is full"), "disk is full"),
        (OSError(28, "No space left on device"), "disk is full"),
        (sqlite3.DatabaseError("database disk image is malformed"), "not a run of synthgen"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "not writable"),
        (PermissionError(13, "Permission denied"), "not writable"),
        (sqlite3.OperationalError("something else"), "something else"),
    ],
)
def test_what_the_disk_says_is_one_line_for_the_user(tmp_path: Path, error: Exception, said: str) -> None:
    found = store.explain(error, tmp_path)
    assert said in str(found)
    assert str(tmp_path) in str(found)
    assert "\n" not in str(found)

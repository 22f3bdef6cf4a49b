"""The real command line against a real server: killed, interrupted, crowded, and always the same bytes at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
ENV |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "160"}
COUNT = 120
IN_FLIGHT = 16
DELAY_SECONDS = 0.1
# One new task a request, so that the samples take 150 requests and not ten.
DOCUMENTS = ROOT / "examples" / "documents"
RECIPES = {
    "alpaca": ("--set", "listed=4"),
    "self-instruct": (),
    "reformulate": (
        *("--documents", str(DOCUMENTS / "en"), "--documents", str(DOCUMENTS / "zh"), "--lang", "en"),
        *("--set", "chunk_tokens=64", "--set", "as=instruction"),
    ),
}
# Requests after which some tasks have ended and not all.
AFTER = {"alpaca": 40, "self-instruct": 100, "reformulate": 300}


@dataclass(frozen=True, slots=True)
class Fake:
    """The fake server in a process of its own."""

    base_url: str

    def log(self) -> dict[str, Any]:
        with urlopen(self.base_url.removesuffix("/v1") + "/_log", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def asked(self) -> Counter[str]:
        """How often each body came, by its hash."""
        return Counter(self.log()["by_hash"])

    def most_in_flight(self) -> int:
        return int(self.log()["most_in_flight"])

    def settled(self) -> Counter[str]:
        """The same when nothing is under way any more: what a killed process had sent has arrived by then."""
        before, after = None, self.asked()
        while before != after:
            time.sleep(0.03)
            before, after = after, self.asked()
        return after


@contextmanager
def serving(*args: str) -> Iterator[Fake]:
    command = [sys.executable, "-m", "tests.fake_server", "--port", "0", *args]
    with subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Fake(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def quick() -> Iterator[Fake]:
    """A server that answers at once: for references, and for what only compares files."""
    with serving() as server:
        yield server


def command(recipe: str, server: Fake, out: Path, *more: str, count: int = COUNT) -> list[str]:
    base = [sys.executable, "-m", "synthgen", "generate", recipe, "--count", str(count), "--out", str(out)]
    options = [*base, "--base-url", server.base_url, "--model", "fake", *RECIPES[recipe], "--quiet", *more]
    return options if "--concurrency" in more else [*options, "--concurrency", str(IN_FLIGHT)]


def finish(args: list[str], code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(args, env=ENV, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def rows(folder: Path, sql: str) -> int:
    """A number from a run that nobody is working on; 0 where there is none yet."""
    if not (folder / "run.sqlite").exists():
        return 0
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        found: int = db.execute(sql).fetchone()[0]
        return found


@pytest.fixture(scope="module")
def references(quick: Fake, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of one uninterrupted run of each recipe."""
    found = {}
    for recipe in RECIPES:
        out = tmp_path_factory.mktemp(recipe)
        finish(command(recipe, quick, out))
        found[recipe] = files(out)
        assert found[recipe]["alpaca.jsonl"].count(b"\n") == found[recipe]["sharegpt.jsonl"].count(b"\n") == COUNT
        assert found[recipe]["rejected.jsonl"].count(b"\n") > 5
        assert found[recipe]["failures.jsonl"] == b""
    return found


@dataclass(slots=True)
class Ledger:
    """Requests and stored answers over the lives of one run."""

    asked: int = 0
    stored: int = 0
    lost: int = 0
    kills: int = 0
    most_lost: int = 0

    def life(self, server: Fake, folder: Path) -> None:
        """Book what a life has asked and stored; what was asked and not stored was in flight when it ended."""
        asked, stored = server.settled().total(), rows(folder, "select count(*) from completion")
        lost = (asked - self.asked) - (stored - self.stored)
        assert 0 <= lost <= IN_FLIGHT, f"life {self.kills}: {lost} requests lost"
        self.asked, self.stored, self.lost = asked, stored, self.lost + lost
        self.most_lost = max(self.most_lost, lost)


def _life(args: list[str], server: Fake, after: int, pause_seconds: float) -> int | None:
    """Kill a process some time after it has asked for so many; its exit code if it came to its end before."""
    before = server.asked().total()
    with subprocess.Popen(args, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while process.poll() is None and server.asked().total() < before + after and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(pause_seconds)
        ended = process.poll()
        process.kill()
        if ended is not None:
            assert process.stderr is not None
            assert ended == 0, process.stderr.read()
        return ended


def _killed_again_and_again(recipe: str, reference: dict[str, bytes], folder: Path) -> None:
    rng = Random(20)
    ledger = Ledger()
    # Requests go out at a rate, so that answers come back one by one and not in waves.
    with serving("--delay", str(DELAY_SECONDS)) as server:
        args = command(recipe, server, folder, "--rate", "150")
        while ledger.kills < 20:
            after = rng.choice((0, 1, 6, 12)) if ledger.kills else 1
            pause_seconds = rng.uniform(0, 0.5 if not after else 1.6 * DELAY_SECONDS)
            if _life(args, server, after, pause_seconds) is not None:
                break
            ledger.life(server, folder)
            ledger.kills += 1
        assert ledger.kills == 20, "the run came to its end too soon: nothing would be left to kill"
        before_the_last = ledger.stored
        finish(args)
        ledger.life(server, folder)
        distinct = len(server.asked())
        again = ledger.asked - distinct
        print(
            f"{recipe}: {distinct} requests, {again} asked again, at most {ledger.most_lost} lost in one kill, "
            f"{before_the_last} stored after 20 kills"
        )
        assert files(folder) == reference
        # An identity that was stored and asked again would stand twice among the completions.
        assert ledger.stored == rows(folder, "select count(*) from identity")
        assert again <= ledger.lost
        assert again <= 20 * IN_FLIGHT
        assert ledger.lost > 0, "no kill met a request in flight: this test has shown nothing"
        # And when all is done, the same command asks nothing at all.
        finish(args)
        assert server.settled().total() == ledger.asked
        assert files(folder) == reference


def test_twenty_kills_cost_only_what_was_in_flight(references: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    with ThreadPoolExecutor() as side_by_side:  # a life is mostly waiting
        lives = [
            side_by_side.submit(_killed_again_and_again, recipe, reference, tmp_path / recipe)
            for recipe, reference in references.items()
        ]
        for life in lives:
            life.result()


# Exits where a kill would end it: right before the n-th file gets its name.
_DIES_AT = """
import os, pathlib, sys
from synthgen import cli
left = int(sys.argv.pop(1))
replace = pathlib.Path.replace
def dying(self, target):
    global left
    left -= 1
    if not left:
        os._exit(9)
    return replace(self, target)
pathlib.Path.replace = dying
cli.main()
"""


@pytest.mark.parametrize(
    "nth",
    [
        *(1, 2, 4, 5, 7),
    ],
)
def test_killed_right_before_a_file_gets_its_name(
    nth: int, quick: Fake, references: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    args = command("alpaca", quick, tmp_path)
    finish([sys.executable, "-c", _DIES_AT, str(nth), *args[3:]], 9)
    assert [p.name for p in tmp_path.glob(".*.tmp")] != []
    finish(args)
    assert files(tmp_path) == references["alpaca"]
    assert list(tmp_path.glob(".*.tmp")) == []


def _signalled(args: list[str], server: Fake, number: signal.Signals, after: int) -> tuple[int, str, float]:
    """(exit code, stderr, seconds until the end) of a process that is signalled once it has asked for so many."""
    with subprocess.Popen(args, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while process.poll() is None and server.asked().total() < after and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
        return process.returncode, said, time.monotonic() - began


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_whole(
    recipe: str,
    number: signal.Signals,
    code: int,
    quick: Fake,
    references: dict[str, dict[str, bytes]],
    tmp_path: Path,
) -> None:
    with serving("--delay", "0.2") as server:
        ended, said, seconds = _signalled(command(recipe, server, tmp_path), server, number, AFTER[recipe])
        assert ended == code, said
        assert "the same command continues" in said
        assert "Traceback" not in said
        assert seconds < 2
    whole = files(tmp_path)
    for name, data in whole.items():
        assert all(isinstance(json.loads(line), dict) for line in data.splitlines()), name
        assert data == b"" or data.endswith(b"\n")
    # What there is at the time is the beginning of what there will be.
    assert references[recipe]["alpaca.jsonl"].startswith(whole["alpaca.jsonl"])
    assert 0 < whole["alpaca.jsonl"].count(b"\n") < COUNT
    finish(command(recipe, quick, tmp_path))
    assert files(tmp_path) == references[recipe]


def test_an_interrupt_does_not_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    with serving("--fault", "hang") as server:
        ended, said, seconds = _signalled(command("alpaca", server, tmp_path), server, signal.SIGINT, IN_FLIGHT)
    assert ended == 130, said
    assert "the same command continues" in said
    assert seconds < 2
    assert set(files(tmp_path).values()) == {b""}


def test_an_interrupt_before_the_first_request_says_the_same(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nowhere = Fake(f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        args = command("alpaca", nowhere, tmp_path)
        with subprocess.Popen(args, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()  # it asks what is served, and waits
            with connection:
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("recipe", RECIPES)
def test_one_at_a_time_and_sixty_four_make_the_same_files(
    recipe: str, quick: Fake, references: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    for concurrency in ("1", "64"):
        out = tmp_path / concurrency
        finish(command(recipe, quick, out, "--concurrency", concurrency))
        assert files(out) == references[recipe], concurrency


def test_a_larger_count_goes_on_and_a_smaller_one_goes_back(
    quick: Fake, references: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    finish(command("alpaca", quick, tmp_path, count=25))
    first = files(tmp_path)
    assert references["alpaca"]["alpaca.jsonl"].startswith(first["alpaca.jsonl"])
    stored = rows(tmp_path, "select count(*) from completion")
    finish(command("alpaca", quick, tmp_path))
    assert files(tmp_path) == references["alpaca"]
    assert rows(tmp_path, "select count(*) from completion") > stored
    assert rows(tmp_path, "select count(*) - (select count(*) from identity) from completion") == 0
    finish(command("alpaca", quick, tmp_path, count=25))
    assert files(tmp_path) == first


def test_two_servers_of_one_model_are_both_kept_busy(references: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    """Concurrency is a server's; which of them answered does not show."""
    with serving("--delay", "0.2") as one, serving("--delay", "0.3") as other:
        finish([*command("alpaca", one, tmp_path), "--base-url", other.base_url])
        most = [server.most_in_flight() for server in (one, other)]
    assert files(tmp_path) == references["alpaca"]
    assert most == [IN_FLIGHT, IN_FLIGHT]

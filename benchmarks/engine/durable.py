"""Rows of durability: killed at random, continued on a grown input, resumed with 200,000 answers in the store."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.engine.cost import LARGE, large
from benchmarks.engine.kit import (
    Bench,
    Fake,
    Log,
    count_lines,
    last_line,
    prompts,
    respond,
    respond_command,
    same_data,
    started,
    trouble,
)
from benchmarks.table import Row

PROMPTS, IN_FLIGHT = 2_000, 64
LATENCY = ("--latency", "0.2", "--sigma", "0.3")
_KILL = ("--concurrency", str(IN_FLIGHT))


@dataclass(slots=True)
class Deaths:
    """What the kills cost: `requests` of an answer at the kill that first found it on disk; lost answers a kill.

    While the kernel takes a killed process down (some ms, more where it waits for a disk) the server goes on sending to
    it: `late` are those, which no client could have kept.
    """

    requests: dict[str, int] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    late: int = 0
    before: dict[str, int] = field(default_factory=dict)  # deliveries at the last kill

    def note(self, log: Log, stored: set[str], killed: float) -> None:
        for identity in stored:
            self.requests.setdefault(identity, log.requests[identity])
        came = {i for i, n in log.deliveries.items() if n > self.before.get(i, 0)}
        late = sum(1 for time in log.times if time > killed)
        self.lost.append(len(came - stored) - late)
        self.late += late
        self.before = log.deliveries

    def asked_again(self, log: Log) -> int:
        """Requests for answers that a kill had found on disk."""
        return sum(log.requests[i] - n for i, n in self.requests.items())


def stored(run: Path, aside: Path) -> set[str]:
    """Identities of the answers on disk, read from a copy: opening the run itself would change what is being tried."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in run.glob("run.sqlite*"):
        shutil.copy(path, aside)
    with closing(sqlite3.connect(aside / "run.sqlite")) as db:
        if not db.execute("select 1 from sqlite_master where name = 'completion'").fetchone():
            return set()
        return {text[:16] for (text,) in db.execute("select text from completion")}


def kill_once(server: Fake, command: list[str], home: Path, at: int, rng: Random) -> float:
    """Start the run, end it with SIGKILL a random moment after the server has delivered `at` answers in all; when."""
    with started(command, home) as run:
        while run.poll() is None and server.stats()["delivered"] < at:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        killed = time.monotonic()
        run.kill()
    while server.stats()["running"]:  # the server has yet to read that its client is gone
        time.sleep(0.005)
    return killed


def kills(bench: Bench) -> list[Row]:
    """`kill -9` at random moments of one run of 2,000, counted by the server."""
    number = 100 if bench.full else 20
    name, goal = f"kills ({number})", "0 acknowledged asked again; twice <= 3 a kill, mean <= 1; same bytes"
    home, rng = bench.folder(), Random(4)
    source = prompts(home / "prompts.jsonl", PROMPTS)
    with Fake(*LATENCY) as server:
        whole = respond([server.url], source, home / "whole", *_KILL)
    wrong = trouble(whole, home / "whole", PROMPTS)
    if wrong:
        return [Row(name, goal, f"undisturbed: {wrong}", passed=False)]
    deaths = Deaths()
    with Fake(*LATENCY) as server:
        command = respond_command([server.url], source, home / "run", *_KILL)
        for at in sorted(rng.sample(range(1, PROMPTS), number)):
            killed = kill_once(server, command, home, at, rng)
            deaths.note(server.log(), stored(home / "run", home / "copy"), killed)
        last = respond([server.url], source, home / "run", *_KILL)
        log = server.log()
    wrong = trouble(last, home / "run", PROMPTS)
    if wrong:
        return [Row(name, goal, f"after the kills: {wrong}", passed=False)]
    again, mean, most = deaths.asked_again(log), sum(deaths.lost) / number, max(deaths.lost)
    twice = sum(log.deliveries.values()) - len(log.deliveries)
    assert twice == sum(deaths.lost) + deaths.late, "what is lost is delivered once more"
    same = same_data(home / "whole", home / "run")
    late = f"{deaths.late / number:.2f} more sent to the dying process"
    figure = (
        f"{again} asked again; twice {mean:.2f} a kill, {most} at most ({late}); {'same' if same else 'OTHER'} bytes"
    )
    passed = again == 0 and same and mean <= 1 and most <= 3 and len(log.deliveries) == PROMPTS
    return [Row(name, goal, figure, passed)]


def grown(bench: Bench) -> list[Row]:
    """A tenth more prompts in the same folder: at the end of the file, and spread over it."""
    goal = "only the new 10 % asked; the dataset of a fresh run"
    home, more = bench.folder(), PROMPTS // 10
    base = prompts(home / "base.jsonl", PROMPTS).read_text().splitlines(keepends=True)
    new = prompts(home / "new.jsonl", more, first=PROMPTS).read_text().splitlines(keepends=True)
    spread = [line for n, old in enumerate(base) for line in ((old, new[n // 10]) if n % 10 == 5 else (old,))]
    rows = []
    for name, text in (("grown, at its end", base + new), ("grown, all over it", spread)):
        source, run = home / "prompts.jsonl", home / name.split()[-1] / "run"
        run.parent.mkdir()
        with Fake("--latency", "0.05") as server:
            source.write_text("".join(base))
            first = respond([server.url], source, run)
            known = set(server.log().requests)
            source.write_text("".join(text))
            second = respond([server.url], source, run)
            log = server.log()
            fresh = respond([server.url], source, run.parent / "fresh")
        wrong = (
            ("" if (first.code, len(known)) == (0, PROMPTS) else f"the first run: exit {first.code}")
            or trouble(second, run, PROMPTS + more)
            or trouble(fresh, run.parent / "fresh", PROMPTS + more)
        )
        asked = log.asked - PROMPTS
        same = not wrong and same_data(run, run.parent / "fresh")
        figure = wrong or f"{asked} requests for {more} new prompts, {'same' if same else 'OTHER'} bytes"
        rows.append(Row(name, goal, figure, asked == more and same))
    return rows


def resume(bench: Bench) -> list[Row]:
    """200,000 answers in the store: to the first new request as it is, and with all of them served anew."""
    home = bench.folder()
    _, run, wrong = large(bench)
    if wrong:
        return [Row("resume", "a run of 200,000", wrong, passed=False)]
    source = run.parent / "prompts.jsonl"
    seconds, more, wrong = _until_new(source, run, home)
    figure = wrong or f"{seconds:.1f} s"
    rows = [Row("resume", f"first new request <= 5 s after {LARGE:,}", figure, not wrong and seconds <= 5)]
    rate = LARGE / seconds if seconds else 0.0
    _forget_decisions(run)
    anew_seconds, _, also = _until_new(source, run, home)
    anew = also or f"{(LARGE + more) / anew_seconds:,.0f}/s where all decisions are made anew"
    figure = wrong or f"{rate:,.0f} served/s, start of the process included; {anew}"
    return [*rows, Row("resume", ">= 20,000 served/s", figure, not (wrong or also) and rate >= 20_000)]


def _until_new(source: Path, run: Path, home: Path) -> tuple[float, int, str]:
    """Add prompts at the end; seconds from the start of the process to the first request, how many, what is wrong."""
    more, had = 100, count_lines(source)
    added = prompts(home / "more.jsonl", more, first=had)
    with source.open("ab") as file:
        file.write(added.read_bytes())
    with Fake("--latency", "0.01") as server:
        ran = respond([server.url], source, run)
        log = server.log()
    wrong = trouble(ran, run, had + more)
    if not wrong and log.asked != more:
        wrong = f"{log.asked} requests for {more} new prompts"
    if wrong or log.first is None:
        return 0.0, more, wrong or f"nothing was asked: {last_line(ran.said)}"
    return log.first - ran.began, more, ""


def _forget_decisions(run: Path) -> None:
    """As after a changed recipe: what was decided is made anew from the stored answers."""
    from synthgen.store import Store

    store = Store(run)
    try:
        store.forget_decisions(0)
    finally:
        store.close()

"""Rows of cost: CPU, wall and memory, from the start of a process to its exit."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.engine.kit import (
    HERE,
    Bench,
    Fake,
    Ran,
    count_lines,
    last_line,
    measured,
    prompts,
    respond,
    trouble,
)
from benchmarks.table import Row

PROMPTS, CONCURRENCY, LATENCY = 2_000, 256, "0.2"
LARGE = 200_000
_MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Arms:
    """Every repetition of every arm, interleaved; `fault` is what makes the comparison void."""

    runs: dict[str, list[Ran]]
    server_share: float  # of one core, at the busiest
    fault: str = ""

    def middle(self, arm: str, what: str) -> float:
        return median(getattr(run, what) for run in self.runs[arm])


def once(arm: str, source: Path, rows: int, folder: Path) -> tuple[Ran, float, str]:
    """One run of one arm against a server of its own: what it cost, the server's share of a core, what was wrong."""
    with Fake("--latency", LATENCY) as server:
        if arm == "synthgen":
            ran = respond([server.url], source, folder / "run", "--concurrency", str(CONCURRENCY))
            wrong = trouble(ran, folder / "run", rows)
        else:
            out = folder / "out.jsonl"
            command = [sys.executable, str(HERE / "arms.py"), arm, server.url, str(source), str(CONCURRENCY), str(out)]
            ran = measured(command, folder)
            found = count_lines(out)
            wrong = "" if (ran.code, found) == (0, rows) else f"exit {ran.code}, {found} rows: {last_line(ran.said)}"
        log = server.log()
    if not wrong and (log.asked, len(log.times)) != (rows, rows):
        wrong = f"{log.asked} requests and {len(log.times)} answers for {rows} prompts"
    return ran, log.cpu_seconds / ran.wall_seconds, f"{arm}: {wrong}" if wrong else ""


def arms(bench: Bench) -> Arms:
    """The three arms in turn, several times; measured once for the rows that read it."""
    if "arms" in bench.kept:
        found: Arms = bench.kept["arms"]
        return found
    names = ["floor", "synthgen"]
    if importlib.util.find_spec("openai") is not None:
        names.insert(1, "openai")
    home = bench.folder()
    few, source = prompts(home / "few.jsonl", 20), prompts(home / "prompts.jsonl", PROMPTS)
    for arm in names:  # compiled modules and warm files for everyone
        once(arm, few, 20, bench.folder())
    runs: dict[str, list[Ran]] = {name: [] for name in names}
    share, fault = 0.0, ""
    for _ in range(7 if bench.full else 3):
        for arm in names:
            ran, load, wrong = once(arm, source, PROMPTS, bench.folder())
            runs[arm].append(ran)
            share, fault = max(share, load), fault or wrong
    bench.kept["arms"] = Arms(runs, share, fault)
    return arms(bench)


def cpu(bench: Bench) -> list[Row]:
    """User and system time of the process, start-up included."""
    goal = "<= 2.0x the floor's, <= 0.2x AsyncOpenAI's"
    found = arms(bench)
    if found.fault:
        return [Row("cpu", goal, found.fault, passed=False)]
    cost = {arm: found.middle(arm, "cpu_seconds") for arm in found.runs}
    to_floor = cost["synthgen"] / cost["floor"]
    to_openai = cost["synthgen"] / cost["openai"] if "openai" in cost else None
    each = ", ".join(f"{arm} {seconds / PROMPTS * 1e3:.2f}" for arm, seconds in cost.items())
    beside = "openai is not installed" if to_openai is None else f"{to_openai:.2f}x AsyncOpenAI's"
    figure = f"{to_floor:.2f}x, {beside} (ms a request: {each}; the server {found.server_share:.0%} of a core)"
    passed = to_floor <= 2.0 and (to_openai is None or to_openai <= 0.2)
    return [Row("cpu", goal, figure, None if passed and to_openai is None else passed)]


def wall(bench: Bench) -> list[Row]:
    """From the start of the process to its exit."""
    goal = "<= 1.4x the floor's"
    found = arms(bench)
    if found.fault:
        return [Row("wall", goal, found.fault, passed=False)]
    seconds = {arm: found.middle(arm, "wall_seconds") for arm in found.runs}
    ratio = seconds["synthgen"] / seconds["floor"]
    each = ", ".join(f"{arm} {s:.2f} s" for arm, s in seconds.items())
    return [Row("wall", goal, f"{ratio:.2f}x ({each})", ratio <= 1.4)]


def large(bench: Bench) -> tuple[Ran, Path, str]:
    """200,000 tasks on a fast server: the cost, the folder, what is wrong. Also what `resume` starts from."""
    if "large" not in bench.kept:
        home = bench.folder()
        source = prompts(home / "prompts.jsonl", LARGE)
        with Fake("--latency", "0.01", "--slots", "256") as server:
            ran = respond([server.url], source, home / "run", "--concurrency", "256")
            asked = server.stats()["requests"]
        wrong = trouble(ran, home / "run", LARGE) or ("" if asked == LARGE else f"{asked:,} requests")
        bench.kept["large"] = (ran, home / "run", wrong)
    found: tuple[Ran, Path, str] = bench.kept["large"]
    return found


def memory(bench: Bench) -> list[Row]:
    """Peak memory at 2,000 tasks, and how it grows with a hundred times as many."""
    small_goal, large_goal = "<= 100 MB at 2,000 tasks", "<= 1.2x of that at 200,000"
    found = arms(bench)
    small = max(run.peak_bytes for run in found.runs["synthgen"])
    rows = [Row("memory", small_goal, f"{small / _MEBIBYTE:.0f} MB", small <= 100 * _MEBIBYTE)]
    if found.fault:
        rows = [Row("memory", small_goal, found.fault, passed=False)]
    ran, _, wrong = large(bench)
    ratio = ran.peak_bytes / small
    pace = f"{LARGE / ran.wall_seconds:,.0f} tasks/s, {ran.cpu_seconds / LARGE * 1e3:.2f} ms CPU a task"
    figure = wrong or f"{ratio:.2f}x ({ran.peak_bytes / _MEBIBYTE:.0f} MB; {pace})"
    return [*rows, Row("memory", large_goal, figure, not wrong and ratio <= 1.2)]

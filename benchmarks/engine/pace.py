"""Rows of load without tuning: a large server, a small one, a pool with a slow and a dying server."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.engine.kit import (
    Bench,
    Fake,
    Log,
    count_lines,
    last_line,
    prompts,
    respond,
    respond_command,
    started,
    trouble,
)
from benchmarks.table import Row

FIRST = 3_000
SLOTS, SECONDS = 96, 0.8  # of one server of the pool: no default of concurrency fits by accident
SLOWER = 5


def slots512(bench: Bench) -> list[Row]:
    """1 s latency, 512 slots, nothing said about concurrency; the last thousand prompts keep the tail out of it."""
    goal = f">= 250 req/s over the first {FIRST:,}"
    rows = []
    for name, flags in (("slots512, with /metrics", ["--gauge"]), ("slots512, without", [])):
        home = bench.folder()
        source = prompts(home / "prompts.jsonl", FIRST + 1_000)
        with Fake("--latency", "1", "--slots", "512", *flags) as server:
            ran = respond([server.url], source, home / "run")
            log = server.log()
        wrong = trouble(ran, home / "run", FIRST + 1_000)
        if wrong:
            rows.append(Row(name, goal, wrong, passed=False))
            continue
        rate = FIRST / (log.times[FIRST - 1] - log.began)
        figure = f"{rate:.0f} req/s of 512 (at most {log.most_in_flight} in flight, {log.most_waiting} waiting)"
        rows.append(Row(name, goal, figure, rate >= 250))
    return rows


def slots8(bench: Bench) -> list[Row]:
    """The same against 8 slots; a run that idles would queue nothing, so its pace counts too."""
    goal = "<= 16 waiting, at >= 75 % of its pace"
    rows = []
    for name, flags in (("slots8, with /metrics", ["--gauge"]), ("slots8, without", [])):
        home = bench.folder()
        count = 1_200 if bench.full else 240
        source = prompts(home / "prompts.jsonl", count)
        with Fake("--latency", "1", "--slots", "8", *flags) as server:
            ran = respond([server.url], source, home / "run")
            log = server.log()
        wrong = trouble(ran, home / "run", count)
        if wrong:
            rows.append(Row(name, goal, wrong, passed=False))
            continue
        rate = count / (log.times[-1] - log.began)
        figure = f"{log.most_waiting} waiting at most, {rate:.1f} of 8 req/s"
        rows.append(Row(name, goal, figure, log.most_waiting <= 16 and rate >= 6))
    return rows


def pool4(bench: Bench) -> list[Row]:
    """Four servers, one five times slower, one that dies at half: against what those alive could have done."""
    count, least = (20_000, 0.92) if bench.full else (6_000, 0.88)
    goal = f">= {least:.0%} of the ideal over {count:,}, none lost"
    rows = []
    for name, gauge in (("pool4, with /metrics", ["--gauge"]), ("pool4, without", [])):
        share, wrong = _pool(bench, count, gauge)
        figure = wrong or f"{share:.1%} of the ideal, all {count:,} there"
        rows.append(Row(name, goal, figure, not wrong and share >= least))
    return rows


def _pool(bench: Bench, count: int, gauge: list[str]) -> tuple[float, str]:
    home = bench.folder()
    source = prompts(home / "prompts.jsonl", count)
    flags = ["--latency", str(SECONDS), "--slots", str(SLOTS), *gauge]
    with ExitStack() as stack:
        servers = [stack.enter_context(Fake(*flags)) for _ in range(3)]
        servers.insert(2, stack.enter_context(Fake(*flags, "--service-factor", str(SLOWER))))
        command = respond_command([s.url for s in servers], source, home / "run")
        deadline = time.monotonic() + 20 * count / (3 * SLOTS / SECONDS)
        with started(command, home) as run:
            while run.poll() is None and sum(s.stats()["delivered"] for s in servers) < count / 2:
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    return 0.0, "it did not end"
            servers[3].die()
            code = run.wait(max(1.0, deadline - time.monotonic()))
        logs = [s.log() for s in servers]
    found = count_lines(home / "run" / "alpaca.jsonl")
    if (code, found) != (0, count):
        return 0.0, f"exit {code}, {found:,} rows: {last_line((home / 'said.txt').read_text(errors='replace'))}"
    return count / _could(logs), ""


def _could(logs: list[Log]) -> float:
    """Answers that the servers alive could have given between the first request and the last answer."""
    began = min(log.began for log in logs if log.first is not None)
    ended = max(log.times[-1] for log in logs if log.times)
    paces = [SLOTS / SECONDS] * 4
    paces[2] /= SLOWER
    return sum(pace * ((log.died or ended) - began) for pace, log in zip(paces, logs, strict=True))

"""Rows of faults: prompts refused for good, errors and stragglers, answers cut short."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine.kit import Bench, Fake, Log, Ran, lines, prompts, respond, trouble
from benchmarks.table import Row

PROMPTS = 2_000
STRAGGLER_SECONDS = 5.0
_MARK = "[refuse this]"


def always400(bench: Bench) -> list[Row]:
    """0.5 % of the prompts are refused whatever is done: one failure row each, everything else there."""
    home = bench.folder()
    marked = range(100, PROMPTS, PROMPTS // 10)
    bad = {f"q{n}" for n in marked}
    source = prompts(home / "prompts.jsonl", PROMPTS, marked=marked, marker=_MARK)
    with Fake("--latency", "0.1", "--slots", "64", "--refuse", _MARK) as server:
        ran = respond([server.url], source, home / "run")
        log = server.log()
    failed = lines(home / "run" / "failures.jsonl")
    wrong = trouble(ran, home / "run", PROMPTS - len(bad), code=5)
    if not wrong and (len(failed) != len(bad) or log.statuses.get("400", 0) < len(bad)):
        wrong = f"{len(failed)} failure rows, {log.statuses.get('400', 0)} refusals"
    figure = wrong or f"{PROMPTS - len(bad):,} rows, {len(failed)} failures, exit 5, {log.asked:,} requests"
    goal = "1,990 of 2,000, a failure row each, exit 5, <= 2,010 requests"
    return [Row("always400", goal, figure, not wrong and log.asked <= PROMPTS + 10)]


def _timed(bench: Bench, *flags: str) -> tuple[Ran, Log, str]:
    home = bench.folder()
    source = prompts(home / "prompts.jsonl", PROMPTS)
    with Fake("--latency", "0.2", "--slots", "64", *flags) as server:
        ran = respond([server.url], source, home / "run")
        return ran, server.log(), trouble(ran, home / "run", PROMPTS)


def faults(bench: Bench) -> list[Row]:
    """3 % HTTP 500, 1 % 429 and 1 % stragglers of 5 s, against the same run without them."""
    goal = "all rows; wall <= 1.3x of the fault-free run plus one straggler"
    shares = ["--p500", "0.03", "--p429", "0.01", "--p-straggler", "0.01"]
    clean, faulty = [], []
    for _ in range(3 if bench.full else 1):
        quiet, _, wrong = _timed(bench)
        loud, log, also = _timed(bench, *shares, "--straggler-seconds", str(STRAGGLER_SECONDS))
        if wrong or also:
            return [Row("faults", goal, wrong or also, passed=False)]
        if not log.statuses.get("500") or not log.statuses.get("429"):
            return [Row("faults", goal, f"the faults did not come: {log.statuses}", passed=False)]
        clean.append(quiet.wall_seconds)
        faulty.append(loud.wall_seconds)
    base, took = sorted(clean)[len(clean) // 2], sorted(faulty)[len(faulty) // 2]
    limit = 1.3 * base + STRAGGLER_SECONDS
    met = f"{log.statuses['500']} times 500, {log.statuses['429']} times 429"
    return [Row("faults", goal, f"{took:.1f} s, limit {limit:.1f} s ({base:.1f} s without; {met})", took <= limit)]


def truncated(bench: Bench) -> list[Row]:
    """5 % of the prompts are answered with finish_reason length, at every attempt."""
    goal = "<= 2,100 requests, the truncated flagged, the rest kept"
    home = bench.folder()
    source = prompts(home / "prompts.jsonl", PROMPTS)
    with Fake("--latency", "0.1", "--slots", "64", "--p-truncated", "0.05") as server:
        ran = respond([server.url], source, home / "run", "--format", "alpaca,sharegpt,samples")
        log = server.log()
    kept, flagged = _flagged(home / "run")
    if ran.code != 0 or not log.truncated:
        wrong = trouble(ran, home / "run", PROMPTS) or "nothing was truncated"
    elif flagged != log.truncated:
        wrong = f"{len(flagged)} flagged, {len(flagged & log.truncated)} of {len(log.truncated)} truncated among them"
    elif kept | flagged != set(log.deliveries):
        wrong = f"{len(set(log.deliveries) - kept - flagged)} answers are nowhere"
    else:
        wrong = ""
    figure = wrong or f"{log.asked:,} requests, {len(flagged)} flagged, {len(kept):,} others kept"
    return [Row("truncated", goal, figure, not wrong and log.asked <= 2_100)]


def _flagged(run: Path) -> tuple[set[str], set[str]]:
    """(others, flagged), by the identity at the start of each answer: rejected as truncated, or marked in the meta."""
    kept, flagged = set(), set()
    for row in lines(run / "samples.jsonl"):
        marked = row["meta"].get("finish_reason") == "length" or bool(row["meta"].get("truncated"))
        (flagged if marked else kept).add(row["messages"][-1]["content"][:16])
    for row in lines(run / "rejected.jsonl"):
        if row["reason"] == "truncated" and row["sample"]:
            flagged.add(row["sample"]["messages"][-1]["content"][:16])
    return kept, flagged

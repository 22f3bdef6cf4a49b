"""A look at a run from another terminal, and what a run says of itself as it goes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from command import environment
from faulty import Faulty, generate, synthgen
from kit import run
from test_run import ANSWERS

from synthgen import output, queries
from synthgen.pulse import Pace, eta_seconds
from synthgen.queries import rates
from synthgen.report import clock, dollars, now
from synthgen.store import Store
from synthgen.types import Completion


def test_rates_are_those_of_the_last_minute() -> None:
    marks = [[0.0, 0, 0], [40.0, 4000, 10], [100.0, 4600, 20]]
    assert rates(marks, 100.0, 4600, 20) == (pytest.approx(10), pytest.approx(1 / 6))  # since 40
    assert rates(marks, 300.0, 4800, 20) == (1.0, 0.0)  # long silent: since the last mark
    assert rates([], 5.0, 1, 1) == (0.0, 0.0)
    assert rates([[100.0, 5, 5]], 100.0, 5, 5) == (0.0, 0.0)
    assert rates([[100.0, 5, 5]], 40.0, 9, 9) == (0.0, 0.0)  # a clock that went back


def test_a_pace_remembers_a_minute_and_no_more() -> None:
    pace = Pace()
    for second in range(0, 1000):
        found = pace.rates(float(second), 10 * second if second < 500 else 5000)
        if second in (2, 400):
            assert found == (pytest.approx(10),)
    assert found == (0.0,)
    assert len(pace.mark(2000.0, 1)) <= 13


def test_words_and_numbers() -> None:
    assert [clock(s) for s in (0, 61, 3600, 7325.9)] == ["0:00", "1:01", "1:00:00", "2:02:05"]
    assert [dollars(u) for u in (0.0, 0.000123456, 0.5, 12.345, 1234.5)] == [
        "$0.00",
        "$0.000123",
        "$0.5",
        "$12.35",
        "$1,234.50",
    ]
    assert eta_seconds(100, 40, 2.0) == 30.0
    assert eta_seconds(100, 40, 0.0) is eta_seconds(None, 40, 1.0) is None
    line = now({"requests_per_second": 2.0, "completion_tokens_per_second": 1500.4, "in_flight": 3, "usd": 0.5,
                "servers_left_out": ["http://a"], "budget": {"line": "1 of 2 tokens"}, "eta_seconds": 61})  # fmt: skip
    assert (
        line == "2.0 req/s · 1,500 tok/s · 3 in flight · left out: http://a · $0.5 · budget: 1 of 2 tokens · ETA 1:01"
    )


def test_a_pulse_is_written_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_seconds = 100.0
    monkeypatch.setattr("synthgen.store.time.monotonic", lambda: clock_seconds)
    beats = 0

    def pulse() -> bytes:
        nonlocal beats
        beats += 1
        return b"%d" % beats

    async def main() -> list[Any]:
        nonlocal clock_seconds
        store, found = Store(tmp_path), []
        store.pulse = pulse
        try:
            for n, moment in enumerate((100.0, 100.5, 100.99, 101.0, 101.5, 200.0)):
                clock_seconds = moment
                await store.save(b"%16d" % n, "t", "m", Completion("x"))
                found.append(store.meta("pulse"))
        finally:
            store.close()
        return found

    assert asyncio.run(main()) == [b"1", b"1", b"1", b"2", b"2", b"3"]


def test_a_store_without_a_pulse_writes_none(tmp_path: Path) -> None:
    run(tmp_path, ANSWERS["alpaca"], count=5)
    with output.reading(tmp_path) as db:
        assert queries.values(db, "pulse", "decided").keys() == {"decided"}


def test_status_of_a_live_run(tmp_path: Path, server: Faulty) -> None:
    stuck = threading.Event()

    def hang(asked: int) -> web.Response | None:
        if asked > 30:
            server.hangs = True
            stuck.set()
        return None

    server.twist = hang
    words = generate(
        server, "--count", "400", "--set", "listed=4", "--price", "in=10,out=20", "--budget", "usd=50", "--out", "run"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "synthgen", *map(str, words)],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert stuck.wait(60)
        time.sleep(1.0)
        status = synthgen("status", "run", "--json", cwd=tmp_path)
        shown = synthgen("status", "run", cwd=tmp_path)
        report = synthgen("report", "run", cwd=tmp_path)
    finally:
        process.kill()
        process.communicate(timeout=60)
    found = json.loads(status.out)
    live = found["live"]
    assert live["process"] == process.pid
    assert 0 < live["requests_per_second"] < 60
    assert live["completion_tokens_per_second"] > live["requests_per_second"]
    assert live["budget"]["usd"] == 50
    assert live["usd"] == pytest.approx((10 * found["prompt_tokens"] + 20 * found["completion_tokens"]) / 1e6)
    assert live["eta_seconds"] > 0
    assert live["in_flight"] > 0
    assert "of 400 accepted, live, process" in shown.out
    assert "req/s" in shown.out
    assert "budget: $" in shown.out
    assert (report.code, (tmp_path / "run" / "report.json").exists()) == (0, True)
    ended = json.loads(synthgen("status", "run", "--json", cwd=tmp_path).out)
    assert ended["live"] is None
    assert ended["requests"] == 30


def test_events_of_a_run(tmp_path: Path, server: Faulty) -> None:
    done = synthgen(*generate(server, "--count", "10", "--json", "--out", "run", "--price", "in=1,out=1"), cwd=tmp_path)
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [e["event"] for e in events] == ["progress", "result"]
    assert {"accepted", "requests_per_second", "in_flight", "usd", "budget", "eta_seconds"} <= events[0].keys()
    assert (events[-1]["exit_code"], events[-1]["accepted"]) == (0, 10)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert events[-1] == {"event": "result", "exit_code": 0, "message": "", "run": "run", **report}
    noted = synthgen("generate", "alpaca", "--count", "1", "--json", "--out", "e", cwd=tmp_path)
    assert [json.loads(line)["event"] for line in noted.out.splitlines()][:2] == ["note", "note"]
    assert noted.err == ""


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["lines", "events"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_run_outlasts_who_reads_of_it(stream: str, more: tuple[str, ...], tmp_path: Path) -> None:
    """What is paid for is written, and the exit code says how it went, though `head` had enough."""
    command = [sys.executable, "-m", "synthgen", "generate", "alpaca", "--out", "run", "--budget", "tokens=9", *more]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes) as process:
        closed = getattr(process, stream)
        closed.close()
        assert process.wait(60) == 6
    assert (tmp_path / "run" / "alpaca.jsonl").is_file()


def test_report_is_written_anew_and_keeps_to_the_store(tmp_path: Path, server: Faulty) -> None:
    assert synthgen(*generate(server, "--count", "10", "--out", "run"), cwd=tmp_path).code == 0
    path = tmp_path / "run" / "report.json"
    before = json.loads(path.read_text())
    path.unlink()
    done = synthgen("report", "run", "--json", cwd=tmp_path)
    after = json.loads(done.out)
    assert after == json.loads(path.read_text())
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"seconds", "files", "served_from_store"}
    shown = synthgen("report", "run", cwd=tmp_path)
    assert shown.out.startswith("candidates")
    synthgen("report", "nowhere", cwd=tmp_path).refused(2, "nowhere: no such run")

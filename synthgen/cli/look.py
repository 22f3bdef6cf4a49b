"""`status`, `report` and `show`: how a run stands, and what its samples say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.say import as_json, note

if TYPE_CHECKING:
    from synthgen.report import Summary


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def status(run: Path, json_: bool) -> None:
    """Progress, yield and cost of a run, live or ended.

    Example: synthgen status runs/alpaca-en
    """
    from dataclasses import replace

    from synthgen import finish, lock, report

    _check(run)
    process = lock.holder(run)
    summary = finish.summarize(run)
    if process is not None:
        summary = replace(summary, live={"process": process, **_now(run, summary)})
    if json_:
        as_json(summary.as_dict())
    else:
        report.print_status(summary)


def _now(run: Path, summary: Summary) -> dict[str, Any]:
    """Pace and state of a live run, from what it noted within the last second."""
    from synthgen import output, pulse, queries

    with output.reading(run) as db:
        noted = queries.values(db, "pulse").get("pulse", {})
        pace = queries.pace(db, time.time(), summary.falls.accepted)
    eta = pulse.eta_seconds(summary.target, summary.falls.accepted, pace.pop("accepted_per_second", 0.0))
    state = {name: noted.get(name) for name in ("in_flight", "servers_left_out", "budget")}
    return {**pace, **state, "usd": summary.usd, "eta_seconds": eta}


def _check(run: Path) -> None:
    from synthgen.errors import UsageError
    from synthgen.rows import nearest_path

    if not run.exists():
        raise UsageError(f"{run}: no such run{nearest_path(run)}")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def report(run: Path, json_: bool) -> None:
    """Write report.json of a run anew, and print its waterfall and its cost.

    Example: synthgen report runs/alpaca-en
    """
    from synthgen import finish
    from synthgen import report as printed

    _check(run)
    summary = finish.report(run)
    if json_:
        as_json(summary.as_dict())
    else:
        printed.print_waterfall(summary)


@click.command()
@click.argument("path", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option("-n", "number", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@click.option("--rejected", is_flag=True, help="Rejected samples instead, with their reasons.")
@click.option("--reason", help="Only those rejected for this reason.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def show(path: Path, number: int, rejected: bool, reason: str | None, json_: bool) -> None:
    """Read samples in the terminal.

    Example: synthgen show runs/alpaca-en -n 3 --rejected --reason novelty

    FILE may be duplicates.jsonl or contaminated.jsonl: each pair with its score; --reason rouge shows that level alone.
    """
    from itertools import islice

    from synthgen import bodies, output, showing
    from synthgen.errors import UsageError
    from synthgen.formats import SampleReader
    from synthgen.rows import nearest_path

    if not path.exists():
        raise UsageError(f"{path}: no such run or file{nearest_path(path)}")
    pairs = None if rejected or output.is_run(path) else _pairs(path)
    if pairs is not None:
        found = list(islice((row for row in pairs if reason in (None, row.get("level"), row.get("by"))), number))
        as_json({"pairs": found}) if json_ else showing.print_pairs(found)
        return
    if rejected or reason:
        if not output.is_run(path):
            raise UsageError(f"{path}: --rejected needs a run folder")
        rows = list(islice(_rejected(path, reason), number))
        if reason and not rows:
            there = sorted({row["reason"] for row in _rejected(path, None)})
            raise UsageError(f"{path}: nothing was rejected for {reason!r}; reasons here: {', '.join(there) or 'none'}")
    else:
        reading = SampleReader(path)
        samples = output.samples_of(path)() if output.is_run(path) else reading
        rows = [{"sample": bodies.row(s)} for s in islice(samples, number)]
        for line in reading.lines():
            note(line)
    if json_:
        as_json({"samples": rows})
    else:
        showing.print_samples(rows)


def _pairs(path: Path) -> Iterator[dict[str, Any]] | None:
    """The rows of a file of evidence; None where it is none. One without rows is evidence of nothing."""
    from synthgen.cleaning import decontaminating, deduplicating
    from synthgen.rows import read_rows

    if path.suffix != ".jsonl" or not path.is_file():
        return None
    if not path.stat().st_size and path.name in (deduplicating.EVIDENCE, decontaminating.EVIDENCE):
        return iter(())
    first = next(read_rows(path), None)
    if first is None or not {"row", "score"} <= first.fields.keys() or not {"nearest", "span"} & first.fields.keys():
        return None
    return (row.fields for row in read_rows(path))


def _rejected(run: Path, reason: str | None) -> Iterator[dict[str, Any]]:
    from synthgen import bodies, output

    about = output.read_run(run)
    with output.reading(run) as db:
        for task, why, body in output.decisions(db, about.get("count")):
            if why is not None and reason in (None, why):
                sample, detail = bodies.parse(body)
                yield {"task": task, "reason": why, "detail": detail, "sample": sample}

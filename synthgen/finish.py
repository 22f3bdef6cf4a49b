"""The last step of a run: every file of its folder, from the store, with what was counted on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from synthgen import bodies, output, queries
from synthgen.asking import Usage
from synthgen.budget import Price
from synthgen.estimate import REPORT, read_report
from synthgen.figures import Figures
from synthgen.formats import formats
from synthgen.formats.card import card, dataset_info
from synthgen.formats.write import write_bytes
from synthgen.queries import Paid
from synthgen.report import Before, Summary
from synthgen.run import Board
from synthgen.store import explain


@dataclass(frozen=True, slots=True)
class About:
    """What the files say of the run they come from."""

    recipe: str
    lang: str
    count: int | None
    formats: Sequence[str]
    models: Mapping[str, str]
    seeds: Sequence[str]
    command: str
    former: Sequence[str] = ()


# An interrupted run ends within two seconds: more rows than this are written by the command that goes on.
MOST_ROWS_AT_AN_INTERRUPT = 15_000


def finish(folder: Path, about: About, note: Callable[[str], None], *, served: int, seconds: float) -> Summary:
    """Write data, rejected and failures, registry and card; files of formats that are no longer asked for go."""
    with output.reading(folder) as db:
        falls, written = output.write_dataset(db, about.count, folder, about.formats)
        for name, one in written.items():
            for reason, number in one.left_out.items():
                note(f"{one.path}: {number} samples are not in it, as {name} cannot hold {reason}")
            for line in one.notes:
                note(f"{one.path}: {line}")
        files = {w.path.name: w.rows for w in written.values()}
        files["rejected.jsonl"] = sum(falls.rejected.values())
        files["failures.jsonl"] = output.write_failures(db, about.count, folder)
    summary = replace(summarize(folder, falls, counted=True), served=served, seconds=seconds, files=files)
    for name in about.former:
        if name not in written and name in formats():  # what an earlier command wrote here has other rows, or fewer
            (folder / formats()[name].file_name).unlink(missing_ok=True)
    info = dataset_info({name: (w.path.name, w.columns) for name, w in written.items() if w.rows})
    write_bytes(folder / "dataset_info.json", info)
    text = card(
        title=f"{about.recipe} ({about.lang})",
        folder=folder,
        files={name: (w.path.name, w.rows) for name, w in written.items()},
        recipe=about.recipe,
        languages=[about.lang],
        models=list(about.models.items()),
        waterfall=[("candidates", falls.candidates), *_steps(falls), ("accepted", falls.accepted)],
        seeds=[(source, "see its own README") for source in about.seeds],
        command=about.command,
    )
    write_bytes(folder / "README.md", text.encode())
    write_report(folder, summary)
    return summary


def summarize(folder: Path, falls: output.Waterfall | None = None, *, counted: bool = False) -> Summary:
    """How a run stands, from what lies in its folder; it may be live. Raises UsageError when it is none.

    `counted`: with the figures of its samples, which takes a pass over all of them.
    """
    about = output.read_run(folder)
    with output.reading(folder) as db:
        meta = queries.values(db, "pulse", "estimate", "decided")
        noted = meta.get("pulse", {})
        foreseen = meta.get("estimate") or {}
        since = foreseen.get("before", {})
        usage = queries.paid(db)
        paid_since = queries.paid(db, since["completions"]) if since.get("completions") else usage
        return Summary(
            recipe=about["recipe"],
            lang=about["lang"],
            target=about.get("count"),
            falls=falls or output.waterfall(db, about.get("count")),
            usage=usage,
            models=about.get("models", {}),
            prices=_prices(about),
            tasks=meta.get("decided", 0),
            tasks_asked=max(noted.get("tasks_asked", 0), meta.get("decided", 0)),
            seconds_in_all=noted.get("seconds"),
            figures=_figures(db, about) if counted else {},
            estimate=foreseen.get("estimate"),
            before=Before(since.get("accepted", 0), paid_since, since.get("seconds", 0.0)),
        )


def _figures(db: sqlite3.Connection, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe wants to be counted of its samples; one more pass over them where it wants anything."""
    names = about.get("figures", ())
    found = Figures(names)
    for task, reason, body in output.decisions(db, about.get("count")) if names else ():
        sample, _ = bodies.parse(body)
        if sample is not None:
            found.add(task, reason is None, sample["meta"])
    return found.as_dict()


def _prices(about: Mapping[str, Any]) -> dict[str, Price]:
    """By model, from a run.json."""
    models = about.get("models", {})
    return {models[role]: Price.of(p, "prices") for role, p in about.get("prices", {}).items() if role in models}


def report(folder: Path) -> Summary:
    """Write report.json anew; `files` stays as the last command wrote them. Raises UsageError, StoreError."""
    files = read_report(folder / REPORT).get("files", {})
    summary = replace(summarize(folder, counted=True), files=files)
    try:
        write_report(folder, summary)
    except OSError as error:
        raise explain(error, folder) from error
    return summary


def write_report(folder: Path, summary: Summary) -> None:
    """report.json."""
    output.write_json(folder / REPORT, summary.as_dict())


def counted(about: About, board: Board, usage: Usage, prices: Mapping[str, Price], seconds: float) -> Summary:
    """The counts of a run whose files are left as they were."""
    return Summary(
        recipe=about.recipe,
        lang=about.lang,
        target=about.count,
        falls=output.Waterfall(board.accepted, board.rejected, board.failed),
        usage=[Paid(about.models.get(role, role), **asdict(count)) for role, count in usage.by_role.items()],
        served=usage.served,
        seconds=seconds,
        models=about.models,
        prices=prices,
        tasks=board.tasks,
    )


def _steps(falls: output.Waterfall) -> list[tuple[str, int]]:
    """What was left after each reason, the biggest first."""
    left, steps = falls.candidates, []
    for reason, number in falls.rejected.most_common():
        left -= number
        steps.append((f"after {reason}", left))
    return steps

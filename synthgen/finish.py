"""The last step of a run: every file of its folder, from the store, with what was counted on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from synthgen import output
from synthgen.asking import Usage
from synthgen.budget import Price
from synthgen.formats import formats
from synthgen.formats.card import card, dataset_info
from synthgen.formats.write import write_bytes
from synthgen.queries import Paid, paid
from synthgen.report import Summary
from synthgen.run import Board


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
    prices: Mapping[str, Price] = field(default_factory=dict)  # by model


# An interrupted run ends within two seconds: more rows than this are written by the command that goes on.
MOST_ROWS_AT_AN_INTERRUPT = 15_000


def finish(folder: Path, about: About, note: Callable[[str], None], *, served: int, seconds: float) -> Summary:
    """Write data, rejected and failures, registry and card; files of formats that are no longer asked for go."""
    with output.reading(folder) as db:
        falls, written = output.write_dataset(db, about.count, folder, about.formats)
        for name, one in written.items():
            for reason, number in one.left_out.items():
                note(f"{one.path}: {number} samples are not in it, as {name} cannot hold {reason}")
        files = {w.path.name: w.rows for w in written.values()}
        files["rejected.jsonl"] = sum(falls.rejected.values())
        files["failures.jsonl"] = output.write_failures(db, about.count, folder)
        usage = paid(db)
    for name in about.former:
        if name not in written and name in formats():  # what an earlier command wrote here has other rows, or fewer
            (folder / formats()[name].file_name).unlink(missing_ok=True)
    info = dataset_info({name: (w.path.name, w.columns) for name, w in written.items()})
    write_bytes(folder / "dataset_info.json", info)
    text = card(
        title=f"{about.recipe} ({about.lang})",
        files={name: (w.path.name, w.rows) for name, w in written.items()},
        recipe=about.recipe,
        languages=[about.lang],
        models=list(about.models.items()),
        waterfall=[("candidates", falls.candidates), *_steps(falls), ("accepted", falls.accepted)],
        seeds=[(source, "see its own README") for source in about.seeds],
        command=about.command,
    )
    write_bytes(folder / "README.md", text.encode())
    return Summary(
        recipe=about.recipe,
        lang=about.lang,
        target=about.count,
        falls=falls,
        usage=usage,
        served=served,
        seconds=seconds,
        models=about.models,
        prices=about.prices,
        files=files,
    )


def counted(about: About, board: Board, usage: Usage, seconds: float) -> Summary:
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
        prices=about.prices,
    )


def _steps(falls: output.Waterfall) -> list[tuple[str, int]]:
    """What was left after each reason, the biggest first."""
    left, steps = falls.candidates, []
    for reason, number in falls.rejected.most_common():
        left -= number
        steps.append((f"after {reason}", left))
    return steps

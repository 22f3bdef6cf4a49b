"""`export`: a run or a file in another format."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.say import as_json, note

if TYPE_CHECKING:
    from synthgen.formats import Format, SampleReader
    from synthgen.formats.write import Written
    from synthgen.types import Sample


@click.command()
@click.argument("path", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option(
    "--to", "target", required=True, metavar="FORMAT", help="alpaca, sharegpt, messages, ...: see `synthgen formats`."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    required=True,
    help="The file to write: .jsonl, .json (an array), .csv or .parquet. Or FOLDER/: a data set with its card.",
)
@click.option(
    "--split", "splits", multiple=True, metavar="NAME=SHARE", help="A split of FOLDER/ beside train; repeatable."
)
@click.option("--push", metavar="OWNER/NAME", help="Upload FOLDER/ to the hub, as a private data set if it is new.")
@click.option("--public", is_flag=True, help="With --push: a new data set is for all to see.")
@click.option("--strict", is_flag=True, help="Exit 1 and write nothing when a sample would lose something.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def export(
    path: Path,
    target: str,
    out: str,
    splits: tuple[str, ...],
    push: str | None,
    public: bool,
    strict: bool,
    json_: bool,
) -> int:
    """Convert a run or a file; what the target cannot carry is counted and said, and so is what cannot be read.

    \b
    Example: synthgen export runs/alpaca-en --to messages -o train.jsonl
             synthgen export runs/alpaca-en --to alpaca -o data/ --split test=0.05 --push me/my-data

    FILE: jsonl, json, csv, tsv (also .gz, .zst), parquet, arrow, a folder of them or hf:owner/name[:config][:split].

    FOLDER/ gets a file for each split, dataset_info.json for LLaMA-Factory, and README.md, the card by which
    `load_dataset` and the hub know the splits. Splits are drawn by a hash of the prompt: no prompt is in two, a row
    stays where it is when others are added, and shares are those of different prompts. The token is HF_TOKEN's or
    that of hf auth login; without one the exit code is 2, and 4 where the hub refuses; FOLDER/ stays.
    """
    from synthgen.errors import UsageError
    from synthgen.formats import SampleReader, UnreadableError, open_format

    into, place = open_format(target), Path(out)
    folder = out.endswith(os.sep) or place.is_dir()
    if not folder and (splits or push):
        raise UsageError(f"{'--split' if splits else '--push'}: is for a data set in a folder; give -o {out}/")
    if public and not push:
        raise UsageError("--public: is for --push")
    _check_source(path, place)
    reading = SampleReader(path, strict=strict)
    try:
        if folder:
            _to_folder(path, reading, into, place, splits, strict=strict, push=push, public=public, json_=json_)
        else:
            _to_file(path, reading, into, place, strict=strict, json_=json_)
    except UnreadableError:
        for line in reading.lines():
            note(line)
        raise
    return 1 if reading.unread else 0


def _check_source(path: Path, out: Path) -> None:
    from synthgen import output
    from synthgen.errors import UsageError
    from synthgen.rows import nearest_path, row_files

    if str(path).startswith("hf:"):
        return
    if not path.exists():
        raise UsageError(f"{path}: no such run or file{nearest_path(path)}")
    read = [] if output.is_run(path) else row_files(path)
    if out.is_dir() and any(out.samefile(file.parent) for file in read):
        raise UsageError(f"{out}: is the folder that is read; give another -o")
    if out.exists() and any(out.samefile(file) for file in read):
        raise UsageError(f"{out}: is the file that is read; give another -o")


def _samples(path: Path, reading: SampleReader) -> Callable[[], Iterable[Sample]]:
    from synthgen import output

    return output.samples_of(path) if output.is_run(path) else reading.__iter__


def _to_file(path: Path, reading: SampleReader, into: Format, out: Path, *, strict: bool, json_: bool) -> None:
    from synthgen import output
    from synthgen.errors import UsageError
    from synthgen.formats.containers import check_name
    from synthgen.formats.write import write_samples

    if out.name.startswith(("run.", ".run.")) and output.is_run(out.parent):
        raise UsageError(f"{out}: belongs to the run itself; give another -o")
    check_name(out, into)
    written = write_samples(_samples(path, reading), into, out, strict=strict)
    left = _tell([written], reading)
    if json_:
        as_json({"path": str(out), "format": into.name, "rows": written.rows, **left})
    else:
        click.echo(f"{out}: {written.rows} rows in {into.name}")


def _to_folder(
    path: Path,
    reading: SampleReader,
    into: Format,
    out: Path,
    splits: tuple[str, ...],
    *,
    strict: bool,
    push: str | None,
    public: bool,
    json_: bool,
) -> None:
    from synthgen import hub
    from synthgen.datafolder import check_folder, write_folder
    from synthgen.formats.splits import read_shares

    shares = read_shares(splits)
    check_folder(out, into, shares)
    if push:
        hub.check_push(push)
    command = shlex.join(["synthgen", *sys.argv[1:]])
    made = write_folder(out, into, _samples(path, reading), shares, source=path, strict=strict, command=command)
    left = _tell(list(made.splits.values()), reading)
    for split in made.empty:
        note(f"{split}: no prompt fell into it, so that it has no file; give a larger share, or more rows")
    if made.moved:
        note(
            f"{made.moved} prompts moved to train, where `datasets` learns keys and types: it would stop at them later"
        )
    rows = {split: one.rows for split, one in made.splits.items()}
    if not json_:
        told = ", ".join(f"{number} in {split}" for split, number in rows.items())
        click.echo(f"{out}{os.sep}: {sum(rows.values())} rows in {into.name}: {told}")
    address = hub.push(out, made.files, push, private=not public) if push else None
    if json_:
        about = {"path": str(out), "format": into.name, "rows": sum(rows.values()), "splits": rows}
        as_json({**about, "files": list(made.files), **({"pushed": address} if address else {}), **left})
    elif address:
        click.echo(f"pushed: {address}")


def _tell(files: list[Written], reading: SampleReader) -> dict[str, Any]:
    """Says what could not be read and what the format could not hold, and returns it as it is told to programs."""
    for line in reading.lines():
        note(line)
    left: Counter[str] = sum((Counter(one.left_out) for one in files), Counter())
    lost: Counter[str] = sum((Counter(one.lost) for one in files), Counter())
    for reason, number in left.items():
        note(f"{number} left out: {reason}")
    for reason, number in lost.items():
        note(f"{number} samples lose: {reason}")
    for one in files:
        for line in one.notes:
            note(line if len(files) == 1 else f"{one.path}: {line}")
    unread = {"count": reading.unread, "first": [str(fault) for fault in reading.first]}
    return {"left_out": dict(left), "lost": dict(lost), "unread": unread, "others": dict(reading.others)}

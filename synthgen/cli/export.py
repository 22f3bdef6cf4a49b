"""`export`: a run or a file in another format."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.say import as_json, note

if TYPE_CHECKING:
    from synthgen.formats import Format, SampleReader
    from synthgen.formats.written import Written
    from synthgen.output import RunReader


_KEPT = {"reasoning": " (--to samples keeps it, and sharegpt where a tool call follows)"}


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
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Read COLUMN of FILE as NAME, such as question=title; repeatable.",
)
@click.option("--strict", is_flag=True, help="Exit 1 and write nothing when a sample would lose something.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def export(
    path: Path,
    target: str,
    out: str,
    splits: tuple[str, ...],
    push: str | None,
    public: bool,
    maps: tuple[str, ...],
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
    that of hf auth login; without one nothing is written. Where the hub refuses the exit code is 4; FOLDER/ stays.
    The splits that a folder's card names are kept where --split is not given.
    """
    from synthgen.errors import UsageError
    from synthgen.formats import SampleReader, UnreadableError, open_format
    from synthgen.formats.written import CannotCarryError
    from synthgen.output import RunReader, is_run

    into, place = open_format(target), Path(out)
    folder = out.endswith(os.sep) or place.is_dir()
    if not folder and (splits or push):
        name = place.name if place.suffix.lower() not in (".jsonl", ".json", ".csv", ".parquet") else place.stem
        given = "--split" if splits else "--push"
        raise UsageError(f"{given}: is for a data set in a folder; give -o {place.with_name(name)}/")
    if public and not push:
        raise UsageError("--public: is for --push")
    _check_source(path, place)
    reading = SampleReader(path, strict=strict, names=_names(maps, path))
    samples = RunReader(path) if is_run(path) else reading
    try:
        if folder:
            _to_folder(
                path, reading, samples, into, place, splits, strict=strict, push=push, public=public, json_=json_
            )
        else:
            _to_file(reading, samples, into, place, strict=strict, json_=json_)
    except (UnreadableError, CannotCarryError):
        for line in reading.lines():
            note(line)
        raise
    return 1 if reading.unread else 0


def _names(maps: tuple[str, ...], path: Path) -> dict[str, str]:
    """The columns of NAME=COLUMN by the names that are understood. Raises UsageError."""
    from synthgen.errors import UsageError
    from synthgen.output import is_run
    from synthgen.rows.shapes import VOCABULARY

    names: dict[str, str] = {}
    for given in maps:
        name, equals, column = given.partition("=")
        if not equals or not column or name not in VOCABULARY:
            understood = ", ".join(sorted(VOCABULARY))
            raise UsageError(f"--map {given}: must be NAME=COLUMN, with NAME one of {understood}")
        if name in names or column in names.values():
            raise UsageError(f"--map {given}: {name if name in names else column} is given twice")
        names[name] = column
    if names and is_run(path):
        raise UsageError(f"--map: is for a file; {path} is a run, whose columns are known")
    return names


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


def _to_file(
    reading: SampleReader, samples: SampleReader | RunReader, into: Format, out: Path, *, strict: bool, json_: bool
) -> None:
    from synthgen import output
    from synthgen.errors import UsageError
    from synthgen.formats.containers import check_name
    from synthgen.formats.splits import kept_splits
    from synthgen.formats.write import write_samples

    if out.name.startswith(("run.", ".run.")) and output.is_run(out.parent):
        raise UsageError(f"{out}: belongs to the run itself; give another -o")
    check_name(out, into)
    if samples is reading and (kept := kept_splits(Path(reading.source))):
        names = dict.fromkeys(kept.values())
        one = f"hf:{reading.source}:{next(reversed(names))} reads one of them, -o FOLDER/ keeps them"
        note(f"{reading.source}: its splits {', '.join(names)} are read as one; {one}")
    written = write_samples(samples.__iter__, into, out, strict=strict, some=True, where=lambda: samples.where)
    left = _tell([written], reading)
    if json_:
        as_json({"path": str(out), "format": into.name, "rows": written.rows, **left})
    else:
        click.echo(f"{out}: {written.rows} rows in {into.name}")


def _to_folder(
    path: Path,
    reading: SampleReader,
    samples: SampleReader | RunReader,
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
    from synthgen.formats.splits import REST, KeptSplits, kept_splits, read_shares

    shares = read_shares(splits)
    kept = {} if shares or samples is not reading else kept_splits(path)
    shares = {split: 0.0 for split in kept.values() if split != REST} or shares
    check_folder(out, into, shares)
    if push:
        hub.check_push(push)
    made = write_folder(
        out,
        into,
        samples.__iter__,
        shares,
        source=path,
        splitter=KeptSplits(kept, lambda: samples.where) if kept else None,
        strict=strict,
        command=_command(path, out),
        where=lambda: samples.where,
    )
    left = _tell(list(made.splits.values()), reading)
    for split in made.empty if not kept else ():
        note(f"{split}: no prompt fell into it, so that it has no file; give a larger share, or more rows")
    for name in made.removed:
        note(f"{out / name}: removed; an earlier export wrote it, and this one does not")
    if made.moved:
        note(
            f"{made.moved} prompts moved to train, where `datasets` learns keys and types: it would stop at them later"
        )
    rows = {split: one.rows for split, one in made.splits.items()}
    if not json_:
        told = ", ".join(f"{number} in {split}" for split, number in rows.items())
        click.echo(f"{out}{os.sep}: {sum(rows.values())} rows in {into.name}: {told}")
        if made.entries:
            click.echo(f"for LLaMA-Factory: dataset_dir: {out}, dataset: {','.join(made.entries)}")
    address = hub.push(out, made.files, push, private=not public) if push else None
    if json_:
        about = {"path": str(out), "format": into.name, "rows": sum(rows.values()), "splits": rows}
        more = {"files": list(made.files), "removed": list(made.removed), "dataset": list(made.entries)}
        as_json({**about, **more, **({"pushed": address} if address else {}), **left})
    elif address:
        click.echo(f"pushed: {address}")


def _command(path: Path, out: Path) -> str:
    """The command as a card may tell it to all: names, without the folders of this machine."""
    names = {str(one): one.resolve().name for one in (path, out) if not str(one).startswith("hf:")}
    words = []
    for word in sys.argv[1:]:
        option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
        name = names.get(str(Path(value)), value) if value else value
        words.append(f"{option}{equals}{name}{os.sep if name != value and value.endswith(os.sep) else ''}")
    return shlex.join(["synthgen", *words])


def _tell(files: list[Written], reading: SampleReader) -> dict[str, Any]:
    """Says what could not be read and what the format could not hold, and returns it as it is told to programs."""
    for line in reading.lines():
        note(line)
    left: Counter[str] = sum((Counter(one.left_out) for one in files), Counter())
    lost: Counter[str] = sum((Counter(one.lost) for one in files), Counter())
    places: dict[str, list[str]] = {}
    for one in files:
        for reason, found in one.left_out_at.items():
            places[reason] = [*places.get(reason, []), *found][:3]
    for reason, number in left.items():
        at = ", ".join(places.get(reason, []))
        note(
            f"{number} left out: {reason}" + (f" ({at}{', ...' if number > len(places[reason]) else ''})" if at else "")
        )
    for reason, number in lost.items():
        note(f"{number} samples lose: {reason}{_KEPT.get(reason, '')}")
    for one in files:
        for line in one.notes:
            note(line if len(files) == 1 else f"{one.path}: {line}")
    unread = {"count": reading.unread, "first": [str(fault) for fault in reading.first]}
    mapped = sum((Counter(one.mapped) for one in files), Counter[str]())
    told = {"left_out": dict(left), "left_out_at": places, "lost": dict(lost), "mapped": dict(mapped)}
    return {**told, "unread": unread, "others": dict(reading.others)}

"""`decontaminate`: files without the rows that stand in a benchmark, or the report alone."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.say import as_json, note, note_event, outlasting
from synthgen.cli.working import working

if TYPE_CHECKING:
    from rich.table import Table

    from synthgen.cleaning.decontaminating import Counts

_MOST_LINES, _MOST_CHARS = 10, 200


class _SeveralValues(click.Command):
    """`FILE --against A B` is `FILE --against A --against B`; before a FILE, `--against` takes one value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        valued = {name for one in self.params if isinstance(one, click.Option) and not one.is_flag for name in one.opts}
        return super().parse_args(ctx, list(_spread(args, "--against", valued)))


def _spread(args: list[str], option: str, valued: Collection[str]) -> Iterator[str]:
    files = several = False
    last = ""
    for place, arg in enumerate(args):
        if last in valued:
            last = ""
        elif arg == "--":
            yield from args[place:]
            return
        elif arg.startswith("-") and arg != "-":
            several, last = arg == option and files, arg
        elif several:
            yield option
        else:
            files = True
        yield arg


def _columns(ctx: click.Context, param: click.Parameter, text: str) -> tuple[str, ...]:
    known, found = ("prompts", "answers"), tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in found:
        if name not in known:
            raise click.UsageError(f"--columns {text}: {name!r} is neither prompts nor answers")
    return found


@click.command(cls=_SeveralValues)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--against", multiple=True, metavar="PATH...", help="Benchmarks: files, folders of them, hf:owner/name.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write; without it: the report alone.")
@click.option("--strict", is_flag=True, help="Exit 1 when a row is contaminated.")
@click.option(
    "--columns",
    default="prompts",
    show_default=True,
    callback=_columns,
    metavar="prompts|answers",
    help="What is held against the same of a benchmark; both with a comma.",
)
@click.option(
    "--field",
    metavar="COLUMN",
    help="The column that holds the prompt. [default: the first of instruction, question, prompt, text, messages]",
)
@click.option("--json", "json_", is_flag=True, help="One JSON object a line on stdout, the last is the result.")
def decontaminate(
    files: tuple[str, ...],
    against: tuple[str, ...],
    out: Path | None,
    strict: bool,
    columns: tuple[str, ...],
    field: str | None,
    json_: bool,
) -> int:
    """Find rows of benchmarks in a dataset, and drop the rows that have them; all others stay as they stand.

    \b
    Example: synthgen decontaminate train.jsonl --against gsm8k_test.jsonl mtbench.jsonl -o clean.jsonl

    A turn of the user has a row of a benchmark when they share 13 words in a row (16 Chinese characters), when more
    than half of the row stands in it (by 8-grams of words, 10-grams of characters), or when the two are alike as
    wholes (ROUGE-L above 0.7, Chinese 0.8). What stands in more than ten rows of the dataset, and in more than one of
    10,000, is no evidence: it is counted in a first pass and told. Evidence of each hit: contaminated.jsonl beside
    OUT. More than 2 % of a benchmark's rows hit: contaminated.

    FILE: jsonl, json, csv, tsv (also .gz, .zst; OUT is unpacked), parquet, a folder (all into one OUT), arrow or
    hf:owner/name (OUT is jsonl) or a run folder (OUT is jsonl in the format samples). Several must be of one kind.
    """  # fmt: skip
    from synthgen.cleaning.copying import Files
    from synthgen.cleaning.decontaminating import Decontamination, told

    if not against:
        raise click.UsageError("no benchmark: name its file with --against (none is bundled)")
    work = Decontamination(Files(files), against, columns, field)
    with working(work, json=json_):
        counts = work.run(out)
    with outlasting():
        for line in told(counts, field):
            (note_event if json_ else note)(line)
        if json_:
            as_json({"event": "result", "out": None if out is None else str(out), **counts.as_dict()})
        else:
            _close(counts, out)
    return int(strict and counts.hit > 0)


def _close(counts: Counts, out: Path | None) -> None:
    """What came of the rows and of each benchmark, examples, the files and the next command, in about 25 lines."""
    from rich.markup import escape

    from synthgen.cleaning.decontaminating import EVIDENCE
    from synthgen.report import console, shown

    terminal = console()
    terminal.print(f"{counts.rows:,} rows, {counts.hit:,} contaminated, [bold]{counts.kept:,} clean[/bold]")
    terminal.print(_benchmarks(counts))
    examples = [one for met in counts.benchmarks.values() for one in met.examples]
    for one in examples[:_MOST_LINES]:
        text = " ".join(f"{one.row}: {one.hit.evidence}"[: 4 * _MOST_CHARS].split())[:_MOST_CHARS]
        terminal.print(f"  {shown(text)}", soft_wrap=True)
    again = shlex.join(("synthgen", *sys.argv[1:]))
    if out is None:
        terminal.print(f"next: [bold]{escape(again)} -o OUT[/bold]")
        return
    terminal.print(escape(f"{out}: {counts.kept:,} rows; {out.parent / EVIDENCE}: the evidence"))
    terminal.print(f"next: [bold]synthgen show {escape(shlex.quote(str(out)))}[/bold]")


def _benchmarks(counts: Counts) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("benchmark")
    for name in ("rows", "hit", "share", "in rows", ""):
        table.add_column(name, justify="right")
    found = sorted(counts.benchmarks.items(), key=lambda one: -one[1].share)
    for name, met in found[:_MOST_LINES]:
        verdict = "[red]contaminated[/red]" if met.contaminated else ""
        numbers = f"{met.rows:,}", f"{len(met.hit):,}", f"{met.share:.1%}", f"{met.training_rows:,}"
        table.add_row(escape(name), *numbers, verdict)
    if len(found) > _MOST_LINES:
        table.add_row(f"{len(found) - _MOST_LINES} more (--json)", "", "", "", "", "")
    return table

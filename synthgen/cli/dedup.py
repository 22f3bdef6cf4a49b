"""`dedup`: files without the rows that were there before."""

from __future__ import annotations

import math
import shlex
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthgen.cli.embedding import about, embedding, embedding_options, foretell
from synthgen.cli.say import as_json, note, note_event, outlasting
from synthgen.cli.working import working

if TYPE_CHECKING:
    from synthgen.cleaning.deduplicating import Counts

_MOST_CHARS = 60


def _threshold(ctx: click.Context, param: click.Parameter, text: str | None) -> Fraction | None:
    """As it is written, not as a float: a pair whose score is 7/10 lies on 0.7, neither above nor below."""
    if text is None:
        return None
    try:
        size = float(text)  # first: of 1e999999999 a fraction would fill the memory
        found = Fraction(text) if 0 < size <= 1 else Fraction(0)
    except ValueError:  # of a fraction: thousands of digits
        size = math.nan
    if math.isnan(size):
        raise click.UsageError(f"--threshold {text[:40]}: a number such as 0.7 is expected")
    if not 0 < found <= 1:
        raise click.UsageError(f"--threshold {text[:40]}: it must be above 0 and at most 1")
    return found


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write; without it: the report alone.")
@click.option(
    "--method",
    "methods",
    default="exact,rouge",
    show_default=True,
    help="exact, rouge, minhash, semantic; several with commas.",
)
@click.option(
    "--threshold",
    callback=_threshold,
    metavar="T",
    help="Similarity above which a row is dropped (minhash, semantic: from which on), in (0, 1]; for each method but "
    "exact. [default: rouge 0.7, Chinese 0.8; minhash 0.8; semantic 0.9]",
)
@click.option(
    "--field",
    "column",
    metavar="COLUMN",
    help="The column that is compared. [default: the first of instruction, question, prompt, text, messages]",
)
@click.option(
    "--keep",
    default="first",
    show_default=True,
    metavar="first|best:COLUMN|all",
    help="Of several: the first, the one with the highest number in COLUMN, or all: only reported, but for equal rows.",
)
@embedding_options
@click.option("--json", "json_", is_flag=True, help="One JSON object a line on stdout, the last is the result.")
def dedup(
    files: tuple[str, ...],
    out: Path | None,
    methods: str,
    threshold: Fraction | None,
    column: str | None,
    keep: str,
    json_: bool,
    **given: Any,
) -> None:
    """Drop rows that were there before; all others stay as they stand, in the same kind of file.

    \b
    Example: synthgen dedup a.jsonl b.jsonl -o train.jsonl --method exact,rouge --keep best:score

    Rows are taken in file order, each compared with what is kept. exact: the same row again is always dropped, and
    so is the same prompt with another answer, by --keep. rouge compares prompts, with Alpaca's input, by ROUGE-L;
    instances of one task (same instruction, other input) are let through. minhash compares whole rows by the
    five-word runs they share, semantic the meaning of prompts, by the cosine of embeddings of a model that you name.
    Evidence of each drop: duplicates.jsonl beside OUT. Memory grows with what is kept; --keep best holds all texts.

    FILE: jsonl, json, csv, tsv (also .gz, .zst; OUT is unpacked), parquet, a folder (all into one OUT), arrow or
    hf:owner/name (OUT is jsonl) or a run folder (OUT is jsonl in the format samples). Several must be of one kind.
    """  # fmt: skip
    from synthgen.cleaning.copying import Files
    from synthgen.cleaning.deduplicating import Deduplication, Keep, told
    from synthgen.dedup.greedy import EXACT, SEMANTIC, in_order, opened

    names = in_order(name.strip() for name in methods.split(",") if name.strip())
    if not names:
        raise click.UsageError("--method: name at least one")
    if threshold is not None and names == [EXACT]:
        raise click.UsageError("--threshold: exact has none; leave it out or add a method to --method")
    sources, which, tell = Files(files), Keep.read(keep), note_event if json_ else note
    with embedding(given, tell, wanted=SEMANTIC in names) as embeds:
        levels = opened(names, threshold, embed=embeds)
        if embeds is not None:
            foretell(embeds, sum(1 for _ in sources.rows()), tell)
        work = Deduplication(sources, levels, exact=EXACT in names, keep=which, column=column)
        with working(work, json=json_):
            counts = work.run(out)
        more = {} if embeds is None else {SEMANTIC: about(embeds, threshold)}
    with outlasting():
        for line in told(counts, column):
            tell(line)
        if json_:
            found = {"event": "result", "out": None if out is None else str(out), "method": names}
            as_json({**found, **counts.as_dict(), **more})
        else:
            _close(counts, names, out, more.get(SEMANTIC))


def _close(counts: Counts, names: list[str], out: Path | None, semantic: dict[str, Any] | None) -> None:
    """What came of the rows, examples, the files and the next command, in at most 25 lines."""
    from rich.markup import escape

    from synthgen.cleaning.deduplicating import EVIDENCE
    from synthgen.dedup.greedy import EXACT
    from synthgen.report import console, shown, sums

    rows = [("rows", f"{counts.rows:,}")]
    for name in names:
        rows += [(f"  - {name}", f"-{counts.dropped[name]:,}")] if counts.dropped[name] else []
        rows += [(f"    {name}, only reported", f"{counts.near[name]:,}")] if counts.near[name] else []
        if name == EXACT and counts.contradictory:
            rows.append(("      the same prompt with another answer", f"{counts.contradictory:,}"))
    terminal = console()
    terminal.print(sums([*rows, ("[bold]kept[/bold]", f"[bold]{counts.kept:,}[/bold]")]))
    if semantic is not None:
        terminal.print(escape(f"semantic: {semantic['model']}, cosine of at least {semantic['threshold']:g}"))
    for name in names:
        for one in counts.examples.get(name, ()):
            text = " ".join(one["text"][: 4 * _MOST_CHARS].split())[:_MOST_CHARS]
            where = f"{one['row']} is {one['score']:.3f} {name} to {one['nearest']}"
            terminal.print(f"  {escape(where)}: {shown(text)}")
    again = shlex.join(("synthgen", *sys.argv[1:]))
    if out is None:
        terminal.print(f"next: [bold]{escape(again)} -o OUT[/bold]")
        return
    terminal.print(escape(f"{out}: {counts.kept:,} rows; {out.parent / EVIDENCE}: the evidence"))
    if counts.examples:
        terminal.print(f"next: [bold]synthgen show {escape(shlex.quote(str(out.parent / EVIDENCE)))}[/bold]")

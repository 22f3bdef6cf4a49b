"""`export`: a run or a file in another format."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.say import as_json, note


@click.command()
@click.argument("path", metavar="RUN|FILE", type=click.Path(path_type=Path))
@click.option(
    "--to", "target", required=True, metavar="FORMAT", help="alpaca, sharegpt, messages, ...: see `synthgen formats`."
)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--strict", is_flag=True, help="Exit 1 and write nothing when a sample would lose something.")
@click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")
def export(path: Path, target: str, out: Path, strict: bool, json_: bool) -> None:
    """Convert a run or a file; what the target cannot carry is counted and said.

    Example: synthgen export runs/alpaca-en --to messages -o train.jsonl
    """
    from synthgen import output
    from synthgen.errors import UsageError
    from synthgen.formats import open_format
    from synthgen.formats.write import write_samples
    from synthgen.rows import nearest_path, row_files

    into = open_format(target)
    if not path.exists():
        raise UsageError(f"{path}: no such run or file{nearest_path(path)}")
    read = [] if output.is_run(path) else row_files(path)
    if out.exists() and any(out.samefile(file) for file in read):
        raise UsageError(f"{out}: is the file that is read; give another -o")
    if out.name.startswith(("run.", ".run.")) and output.is_run(out.parent):
        raise UsageError(f"{out}: belongs to the run itself; give another -o")
    written = write_samples(output.samples_of(path), into, out, strict=strict)
    for what, counts in (("left out", written.left_out), ("without", written.lost)):
        for reason, number in counts.items():
            note(f"{number} {what}: {reason}" if what == "left out" else f"{number} samples lose: {reason}")
    for line in written.notes:
        note(line)
    if json_:
        left = {"left_out": dict(written.left_out), "lost": dict(written.lost)}
        as_json({"path": str(out), "format": into.name, "rows": written.rows, **left})
    else:
        click.echo(f"{out}: {written.rows} rows in {into.name}")

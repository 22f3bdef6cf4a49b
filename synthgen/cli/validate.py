"""`validate`: what trainers would do with files, and repaired copies of them."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.say import as_json, outlasting
from synthgen.cli.working import working

if TYPE_CHECKING:
    from rich.table import Table

    from synthgen.validating.checking import Checked, Finding
    from synthgen.validating.repairing import Repair, Repaired
    from synthgen.validating.validation import Validation

_MOST_FAULTS, _MOST_WARNINGS = 100, 3  # of a rule, that are shown
_MOST_ALIKE = 10  # that say the same of row after row
_MOST_REPAIRS, _MOST_CHARS = 1000, 300


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format", "format_name", metavar="FORMAT", help="What the rows are. [default: what most of the first are]"
)
@click.option("--fix", is_flag=True, help="Write a repaired copy to -o, and tell each repair and each row left out.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The repaired copy: .jsonl, or .json for an array.")
@click.option("--json", "json_", is_flag=True, help="One JSON object a line on stdout; the last is the result.")
def validate(files: tuple[str, ...], format_name: str | None, fix: bool, out: Path | None, json_: bool) -> int:
    """Tell what LLaMA-Factory, TRL, axolotl, ms-swift and OpenAI would drop, refuse, cut or misread, line by line.

    \b
    Example: synthgen validate train.jsonl --fix -o repaired.jsonl

    Exit 1 when FILE has a fault, repaired or not: something that a trainer of its format loses or refuses. Warnings
    alone exit 0: they hurt by version, template or length, or may be meant. Tokens are estimated: 0.3 a letter, 1 a
    Chinese character.

    --fix invents nothing: spellings of roles and labels, arguments and tools as object or text, missing columns, null
    text, what stands after a row. Rows that stay at fault are left out of the copy. FILE itself is never written.

    FILE: jsonl, json, csv, tsv (also .gz, .zst), parquet, arrow, or a folder: its dataset_info.json and the `configs`
    of its README.md are held against the files that they name.
    """  # fmt: skip
    from synthgen.validating.validation import Validation

    if fix is not (out is not None):
        raise click.UsageError("--fix writes a copy: name it with -o" if fix else "-o: is for --fix; add it")
    shown = _Shown()
    work = Validation(files, _tell_json if json_ else shown.take, format_name=format_name)
    if out is not None:
        work.check_fix(out)
    with working(work, json=json_):
        work.run()
        fixed = work.fix(out, _tell_json if json_ else shown.take_repair) if out is not None else None
    with outlasting():
        if json_:
            as_json({"event": "result", **work.as_dict()})
        else:
            _close(work, shown)
            if fixed is None:
                _advise(work)
            if fixed is not None and out is not None:
                _close_fix(out, fixed)
    return int(work.faults > 0)


def _tell_json(found: Finding | Repair) -> None:
    with outlasting():
        as_json(found.as_dict())


class _Shown:
    """The findings that are printed: the first of each rule, since a rule may be broken by every row."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()
        self._same: Counter[tuple[str, str]] = Counter()
        self.repairs: list[str] = []
        self.more_repairs = 0

    def take(self, found: Finding) -> None:
        from synthgen.validating.rules import told

        self.counts[found.rule.name] += 1
        fault = found.rule.level == "fault"
        self._same[found.rule.name, found.what] += 1
        if self.shown[found.rule.name] >= (_MOST_FAULTS if fault else _MOST_WARNINGS):
            return
        if self._same[found.rule.name, found.what] > _MOST_ALIKE:
            return
        self.shown[found.rule.name] += 1
        effects = f" ({told(found.effects)})" if found.effects else ""
        line = f"{found.where}: {found.rule.level} {found.rule.name}: {found.what}{effects}; {found.rule.hint}"
        (self.faults if fault else self.warnings).append(" ".join(line.split())[:_MOST_CHARS])

    def take_repair(self, one: Repair) -> None:
        if len(self.repairs) == _MOST_REPAIRS:
            self.more_repairs += 1
            return
        what = "left out" if one.left_out else "repaired"
        self.repairs.append(" ".join(f"{one.where}: {what}: {one.what}".split())[:_MOST_CHARS])


def _close_fix(out: Path, fixed: Repaired) -> None:
    from rich.markup import escape

    from synthgen.report import console

    counts = f"{fixed.rows:,} rows, {fixed.changed:,} of them repaired; {fixed.left_out:,} left out"
    terminal = console()
    terminal.print(escape(f"{out}: {counts}"))
    terminal.print(f"next: [bold]synthgen validate {escape(shlex.quote(str(out)))}[/bold]")


def _close(work: Validation, found: _Shown) -> None:
    """Each finding on a line, what each trainer makes of them, and of each file what is true of its format."""
    from rich.markup import escape

    from synthgen.report import console, shown
    from synthgen.validating.rules import RULES

    terminal = console()
    for lines, level in ((found.faults, "fault"), (found.warnings, "warning")):
        for line in lines:
            terminal.print(shown(line))
        for name, count in found.counts.items():
            if count > found.shown[name] and RULES[name].level == level:
                terminal.print(f"  {count - found.shown[name]:,} more of {name}: --json tells every one")
    for line in found.repairs:
        terminal.print(shown(line))
    if found.more_repairs:
        terminal.print(f"  {found.more_repairs:,} more repairs and rows left out: --json tells every one")
    if found.counts:
        terminal.print(_table(work))
    for one in work.checked:
        terminal.print(escape(_file_line(one)))
        for rule in one.notes:
            terminal.print(f"  note: {escape(rule.hint)}")


def _advise(work: Validation) -> None:
    from rich.markup import escape

    from synthgen.report import console
    from synthgen.validating.advice import advice

    for one in work.checked:
        for line in advice(one):
            console().print(escape(line))


def _file_line(one: Checked) -> str:
    kind = one.kind
    if not one.rows:  # a registry or a card
        return f"{one.path}: {one.of_level('fault'):,} faults, {one.of_level('warning'):,} warnings"
    what = "of no known format" if kind is None else kind.name
    readers = f", read by {', '.join(kind.readers)}" if kind is not None and kind.readers else ""
    counts = f"{one.of_level('fault'):,} faults, {one.of_level('warning'):,} warnings"
    return f"{one.path}: {one.rows:,} rows {what}{readers}: {counts}"


def _table(work: Validation) -> Table:
    """A line a rule: how often, and what the trainers of these files do; then the rows that each hurts."""
    from rich.table import Table

    from synthgen.validating.rules import LOADERS, RULES

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("rule")
    table.add_column("found", justify="right")
    for loader in LOADERS:
        table.add_column(loader)
    effects = work.effects
    for name, count in sorted(work.counts.items(), key=lambda one: (RULES[one[0]].level, -one[1])):
        table.add_row(name, f"{count:,}", *(effects[name].get(loader, "") for loader in LOADERS))
    for effect in ("drop", "abort", "garbage", "cut"):
        rows = [work.hurt[loader, effect] for loader in LOADERS]
        if any(rows):
            table.add_row(f"[bold]rows: {effect}[/bold]", "", *(f"{number:,}" if number else "" for number in rows))
    return table

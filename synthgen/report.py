"""What came out, what was rejected and why, what it cost: for the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from synthgen.budget import Price
from synthgen.output import Waterfall
from synthgen.queries import Paid

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_MOST_REASONS = 12  # the closing table keeps to 25 lines


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run stands: all counts; `process` is the one that works on it now."""

    recipe: str
    lang: str
    target: int | None
    falls: Waterfall
    usage: Sequence[Paid]  # over all lives of the run
    served: int = 0
    seconds: float | None = None
    process: int | None = None
    pace: float | None = None  # requests a second, of a live run
    models: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)  # by model

    @property
    def requests(self) -> int:
        return sum(p.requests for p in self.usage)

    @property
    def prompt_tokens(self) -> int:
        return sum(p.prompt_tokens for p in self.usage)

    @property
    def completion_tokens(self) -> int:
        return sum(p.completion_tokens for p in self.usage)

    @property
    def truncated(self) -> int:
        return sum(p.truncated for p in self.usage)

    @property
    def estimated(self) -> int:
        return sum(p.estimated for p in self.usage)

    @property
    def usd(self) -> float | None:
        """What it has cost; None without a price."""
        return sum(self._usd(p) or 0.0 for p in self.usage) if self.prices else None

    def _usd(self, paid: Paid) -> float | None:
        price = self.prices.get(paid.model)
        return price.usd(paid.prompt_tokens, paid.completion_tokens) if price else None

    def _role(self, paid: Paid) -> dict[str, Any]:
        usd = self._usd(paid)
        return {
            "roles": [role for role, model in self.models.items() if model == paid.model],
            **asdict(paid),
            "usd": None if usd is None else round(usd, 6),
        }

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        accepted = self.falls.accepted
        tokens = self.prompt_tokens + self.completion_tokens
        return {
            "recipe": self.recipe,
            "lang": self.lang,
            "models": dict(self.models),
            "target": self.target,
            "candidates": self.falls.candidates,
            "accepted": accepted,
            "rejected": dict(self.falls.rejected.most_common()),
            "failed": self.falls.failed,
            "requests": self.requests,
            "served_from_store": self.served,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "requests_per_accepted": round(self.requests / accepted, 3) if accepted else None,
            "tokens_per_accepted": round(tokens / accepted, 1) if accepted else None,
            "usd": None if self.usd is None else round(self.usd, 6),
            "usd_per_accepted": round(self.usd / accepted, 8) if accepted and self.usd is not None else None,
            "truncated_answers": self.truncated,
            "answers_with_estimated_tokens": self.estimated,
            "usage": [self._role(p) for p in self.usage],
            "seconds": None if self.seconds is None else round(self.seconds, 2),
            "live_process": self.process,
            "requests_per_second": None if self.pace is None else round(self.pace, 2),
            "files": dict(self.files),
        }


def console(*, err: bool = False) -> Console:
    """A terminal that prints text as it is: what a model wrote is no markup."""
    return Console(stderr=err, highlight=False, soft_wrap=True, emoji=False)


def print_closing(summary: Summary, folder: str, command: str) -> None:
    """The waterfall, the cost, the files and the next command, in at most 25 lines."""
    out = console()
    out.print(_waterfall(summary))
    for line in _cost(summary):
        out.print(escape(line))
    files = ", ".join(f"{name} ({rows})" for name, rows in summary.files.items())
    out.print(escape(f"{folder}: {files}"))
    out.print(f"next: [bold]{escape(command)}[/bold]")


def print_status(summary: Summary) -> None:
    """The same for a run that may still be live."""
    out = console()
    live = f"live, process {summary.process}" if summary.process is not None else "not running"
    live += f", {summary.pace:.1f} requests/s" if summary.pace is not None else ""
    goal = "all" if summary.target is None else str(summary.target)
    out.print(escape(f"{summary.recipe} ({summary.lang}): {summary.falls.accepted} of {goal} accepted, {live}"))
    out.print(_waterfall(summary))
    for line in _cost(summary):
        out.print(escape(line))


def print_samples(rows: Sequence[Mapping[str, Any]]) -> None:
    """Samples for reading, rejected ones with the reason and its evidence."""
    out = console()
    if hasattr(out.file, "reconfigure"):  # a terminal of another encoding shows what it can
        out.file.reconfigure(errors="backslashreplace")
    for row in rows:
        if "reason" in row:
            out.print(f"[red]{_shown(row['reason'])}[/red]  task {_shown(str(row['task']))}  {_shown(row['detail'])}")
        sample = row["sample"]
        if sample is None:
            out.print()
            continue
        split = sample.get("input_split")
        turns = sample["messages"]
        if split and not turns:
            out.print(f"[cyan]instruction[/cyan] {_shown(split[0])}")
        elif split:
            out.print(f"[cyan]instruction[/cyan] {_shown(split[0])}")
            if split[1]:
                out.print(f"[cyan]input[/cyan]       {_shown(split[1])}")
            turns = turns[1:] if turns[0]["role"] == "user" else turns
        for turn in turns:
            label = "output" if turn["role"] == "assistant" and split else turn["role"]
            out.print(f"[cyan]{label:<11}[/cyan] {_shown(turn.get('content') or '')}")
        out.print()


def _shown(text: str) -> str:
    """As text, not markup; what a model wrote must not steer the terminal either."""
    return escape(_STEERING.sub("\ufffd", text))


def _waterfall(summary: Summary) -> Table:
    falls = summary.falls
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_row("candidates", str(falls.candidates))
    common = falls.rejected.most_common()
    for reason, number in common[:_MOST_REASONS]:
        table.add_row(escape(f"  - {reason}"), f"-{number}")
    if len(common) > _MOST_REASONS:
        table.add_row("  - other reasons", f"-{sum(n for _, n in common[_MOST_REASONS:])}")
    table.add_row("[bold]accepted[/bold]", f"[bold]{falls.accepted}[/bold]")
    if falls.failed:
        table.add_row("[red]failed (never answered)[/red]", str(falls.failed))
    return table


def _cost(summary: Summary) -> list[str]:
    tokens = summary.prompt_tokens + summary.completion_tokens
    asked, written = f"{summary.prompt_tokens:,}", f"{summary.completion_tokens:,}"
    line = f"{summary.requests} requests, {asked} prompt and {written} completion tokens"
    if summary.estimated:
        line += " (estimated)" if summary.estimated == summary.requests else f" ({summary.estimated} answers estimated)"
    if summary.usd is not None:
        line += f", {dollars(summary.usd)}"
    if summary.served:
        line += f"; {summary.served} answers from the store"
    if summary.seconds is not None:
        line += f"; {summary.seconds:.1f} s"
    lines = [line]
    if summary.falls.accepted:
        each = summary.falls.accepted
        cost = f", {dollars(summary.usd / each)}" if summary.usd is not None else ""
        lines.append(
            f"for each accepted sample: {summary.requests / each:.2f} requests, {tokens / each:,.0f} tokens{cost}"
        )
    if summary.truncated:
        lines.append(f"{summary.truncated} answers were cut at their longest (see --max-tokens)")
    return lines


def dollars(usd: float) -> str:
    """Cents, and three digits below one."""
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.3g}"

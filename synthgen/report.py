"""What came out, what was rejected and why, what it cost: for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from synthgen import figures
from synthgen.budget import Price
from synthgen.output import Waterfall
from synthgen.queries import Paid

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
_MOST_REASONS, _MOST_STEPS = 12, 20  # the closing table keeps to 25 lines


@dataclass(frozen=True, slots=True)
class Before:
    """Where the run stood when its estimate was made, and what was paid since then."""

    accepted: int = 0
    paid_since: Sequence[Paid] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run stands: all counts."""

    recipe: str
    lang: str
    target: int | None
    falls: Waterfall
    usage: Sequence[Paid]  # over all lives of the run
    served: int = 0
    seconds: float | None = None
    seconds_in_all: float | None = None  # over all lives of the run
    tasks: int = 0  # decided
    tasks_asked: int = 0  # and those that were answered but not needed
    live: Mapping[str, Any] = field(default_factory=dict)  # of a run that is being worked on
    models: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)  # by model
    figures: Mapping[str, Any] = field(default_factory=dict)  # of what the recipe's samples tell (see figures)
    estimate: Mapping[str, Any] | None = None  # made when the last command began
    before: Before = Before()

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
        return self._cost(self.usage)

    def _cost(self, usage: Sequence[Paid]) -> float | None:
        return sum((self._usd(p) or 0.0 for p in usage), 0.0) if self.prices else None

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

    @property
    def measured(self) -> dict[str, Any] | None:
        """What was to be estimated, as it came."""
        if self.estimate is None:
            return None
        since = self.before
        usd = self._cost(since.paid_since)
        return {
            "samples": max(0, self.falls.accepted - since.accepted),
            "requests": sum(p.requests for p in since.paid_since),
            "prompt_tokens": sum(p.prompt_tokens for p in since.paid_since),
            "completion_tokens": sum(p.completion_tokens for p in since.paid_since),
            "usd": None if usd is None else round(usd, 6),
            "seconds": round((self.seconds_in_all or 0.0) - since.seconds, 2),
        }

    def _figures(self, tokens: int) -> dict[str, Any] | None:
        """With what a kept token has cost."""
        found = dict(self.figures)
        kept = found.get("expansion", {}).get("tokens_out")
        if kept:
            usd = None if self.usd is None else float(f"{self.usd / kept:.6g}")
            found["cost_of_a_kept_token"] = {"tokens": round(tokens / kept, 4), "usd": usd}
        return found or None

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
            "tasks": self.tasks,
            "tasks_asked": self.tasks_asked,
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
            "seconds_in_all": self.seconds_in_all,
            "figures": self._figures(tokens),
            "estimate": None if self.estimate is None else dict(self.estimate),
            "measured": self.measured,
            "live": dict(self.live) or None,
            "files": dict(self.files),
        }


def console(*, err: bool = False) -> Console:
    """A terminal that prints text as it is: what a model wrote is no markup."""
    return Console(stderr=err, highlight=False, soft_wrap=True, emoji=False)


def print_closing(summary: Summary, folder: str, command: str) -> None:
    """The waterfall, the cost, the files and the next command, in at most 25 lines."""
    out = console()
    out.print(_waterfall(summary))
    for line in (*_cost(summary), *_figures(summary), *_compared(summary)):
        out.print(escape(line))
    files = ", ".join(f"{name} ({rows})" for name, rows in summary.files.items())
    out.print(escape(f"{folder}: {files}"))
    out.print(f"next: [bold]{escape(command)}[/bold]")


def print_job(steps: Sequence[tuple[str, str, Summary | None]], files: str, command: str) -> None:
    """One row a step (its name, how it ended, its counts), the files and the next command, in at most 25 lines."""
    table = Table(box=None, pad_edge=False)
    for name in ("step", "", "accepted", "rejected", "failed", "requests", "tokens", "seconds"):
        table.add_column(name, justify="left" if name in ("step", "") else "right")
    for name, verdict, summary in steps[:_MOST_STEPS]:
        table.add_row(escape(name), verdict, *_counts(summary))
    out = console()
    out.print(table)
    if len(steps) > _MOST_STEPS:
        out.print(f"and {len(steps) - _MOST_STEPS} more steps")
    out.print(escape(files))
    out.print(f"next: [bold]{escape(command)}[/bold]")


def _counts(summary: Summary | None) -> list[str]:
    if summary is None:
        return []
    falls, tokens = summary.falls, summary.prompt_tokens + summary.completion_tokens
    goal = "" if summary.target is None else f"/{summary.target}"
    seconds = "" if summary.seconds is None else f"{summary.seconds:.1f}"
    rejected = sum(falls.rejected.values())
    return [f"{falls.accepted}{goal}", str(rejected), str(falls.failed), str(summary.requests), f"{tokens:,}", seconds]


def print_status(summary: Summary) -> None:
    """The same for a run that may still be live."""
    out = console()
    goal = "all" if summary.target is None else str(summary.target)
    state = f"live, process {summary.live['process']}" if summary.live else "not running"
    out.print(escape(f"{summary.recipe} ({summary.lang}): {summary.falls.accepted} of {goal} accepted, {state}"))
    if summary.live:
        out.print(escape(f"now: {now(summary.live)}"))
    out.print(_waterfall(summary))
    for line in _cost(summary):
        out.print(escape(line))


def print_waterfall(summary: Summary) -> None:
    """What became of everything, and what it cost."""
    out = console()
    out.print(_waterfall(summary))
    for line in (*_cost(summary), *_figures(summary)):
        out.print(escape(line))


def now(live: Mapping[str, Any]) -> str:
    """Pace, what is on the way, what is left: the numbers of `pulse.numbers` in words."""
    pieces = [
        f"{live.get('requests_per_second', 0):.1f} req/s",
        f"{live.get('completion_tokens_per_second', 0):,.0f} tok/s",
        f"{live.get('in_flight', 0)} in flight",
    ]
    if live.get("servers_left_out"):
        pieces.append(f"left out: {', '.join(live['servers_left_out'])}")
    if live.get("usd") is not None:
        pieces.append(dollars(live["usd"]))
    if live.get("budget"):
        pieces.append(f"budget: {live['budget']['line']}")
    if live.get("eta_seconds") is not None:
        pieces.append(f"ETA {clock(live['eta_seconds'])}")
    return " · ".join(pieces)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def shown(text: str) -> str:
    """As text, not markup; what a model wrote must not steer the terminal either."""
    return escape(steerless(text))


def steerless(text: str) -> str:
    """Without the characters that steer a terminal."""
    return _STEERING.sub("\ufffd", text)


def _waterfall(summary: Summary) -> Table:
    falls = summary.falls
    rows = [("candidates", str(falls.candidates))]
    common = falls.rejected.most_common()
    rows += [(escape(f"  - {reason}"), f"-{number}") for reason, number in common[:_MOST_REASONS]]
    if len(common) > _MOST_REASONS:
        rows.append(("  - other reasons", f"-{sum(n for _, n in common[_MOST_REASONS:])}"))
    rows.append(("[bold]accepted[/bold]", f"[bold]{falls.accepted}[/bold]"))
    if falls.failed:
        rows.append(("[red]failed (never answered)[/red]", str(falls.failed)))
    return sums(rows)


def sums(rows: Iterable[tuple[str, str]]) -> Table:
    """A name and a number a line, in markup."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, number in rows:
        table.add_row(name, number)
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
    seconds = summary.seconds_in_all if summary.seconds is None else summary.seconds
    if seconds is not None:
        line += f"; {seconds:.1f} s"
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


def _figures(summary: Summary) -> list[str]:
    return figures.lines(summary.figures, summary.prompt_tokens + summary.completion_tokens, summary.usd)


def _compared(summary: Summary) -> list[str]:
    """The estimate beside what was measured, where anything was asked."""
    foreseen, came = summary.estimate, summary.measured
    if foreseen is None or came is None or not came["requests"]:
        return []
    guess = f"{between(foreseen['requests'])} requests, {between(_tokens(foreseen))} tokens"
    found = f"{came['requests']:,} requests, {came['prompt_tokens'] + came['completion_tokens']:,} tokens"
    if came["usd"] is not None and foreseen["usd"]:
        guess += f", {dollars(foreseen['usd'][0])} to {dollars(foreseen['usd'][1])}"
        found += f", {dollars(came['usd'])}"
    goal = "all" if foreseen["samples"] is None else f"{foreseen['samples']:,}"
    return [f"estimated for {goal} samples: {guess}; measured for {came['samples']:,}: {found}"]


def estimate_lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """An estimate for the terminal: (what, how much)."""
    goal = "all there is to do" if found["samples"] is None else f"{found['samples']:,} accepted samples"
    usd, seconds = found["usd"], found["seconds"]
    tasks = [("tasks left", f"{found['tasks']:,}")] if found["tasks"] is not None else []
    return [
        ("for", goal),
        *tasks,
        ("requests", between(found["requests"])),
        ("prompt tokens", between(found["prompt_tokens"])),
        ("completion tokens", between(found["completion_tokens"])),
        ("cost", f"{dollars(usd[0])} to {dollars(usd[1])}" if usd else "unknown: no --price is given"),
        ("time", f"{clock(seconds[0])} to {clock(seconds[1])}" if seconds else "unknown: no earlier run of this model"),
        ("basis", found["basis"]),
    ]


def _tokens(foreseen: Mapping[str, Any]) -> list[float]:
    both = zip(foreseen["prompt_tokens"], foreseen["completion_tokens"], strict=True)
    return [prompt + completion for prompt, completion in both]


def between(numbers: Sequence[float]) -> str:
    """A range; one number where both ends are the same."""
    low, high = (f"{n:,.0f}" for n in numbers)
    return low if low == high else f"{low} to {high}"


def dollars(usd: float) -> str:
    """Cents, and three digits below one."""
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.3g}"

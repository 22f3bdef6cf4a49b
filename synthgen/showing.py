"""Samples and pairs for reading in the terminal: as they are, or beside the source that they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from synthgen.report import console, shown, steerless


def print_samples(rows: Sequence[Mapping[str, Any]]) -> None:
    """Samples for reading, rejected ones with the reason and its evidence; rewrites beside their source."""
    out = console()
    if hasattr(out.file, "reconfigure"):  # a terminal of another encoding shows what it can
        out.file.reconfigure(errors="backslashreplace")
    for source, some in groupby(rows, key=_source):
        if source is None:
            for row in some:
                _print_one(out, row)
        else:
            out.print(_beside(source, list(some)), soft_wrap=False)
            out.print()


def _print_one(out: Console, row: Mapping[str, Any]) -> None:
    if "reason" in row:
        out.print(f"[red]{shown(row['reason'])}[/red]  task {shown(str(row['task']))}  {shown(row['detail'])}")
    for label, text in _parts(row["sample"]) if row["sample"] is not None else ():
        out.print(f"[cyan]{label:<11}[/cyan] {shown(text)}")
    out.print()


def _parts(sample: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(label, text) of all that a sample says."""
    split, turns = sample.get("input_split"), sample["messages"]
    if split:
        yield "instruction", split[0]
        if turns and split[1]:
            yield "input", split[1]
        turns = turns[1:] if turns and turns[0]["role"] == "user" else turns
    for turn in turns:
        if turn.get("content") or not turn.get("tool_calls"):
            yield "output" if turn["role"] == "assistant" and split else turn["role"], turn.get("content") or ""
        for call in turn.get("tool_calls") or ():
            yield "call", f"{call['function']['name']}({call['function']['arguments']})"
    if sample.get("text"):
        yield "text", sample["text"]


def _source(row: Mapping[str, Any]) -> str | None:
    """The text that a sample was made from, where it tells."""
    told = ((row["sample"] or {}).get("meta") or {}).get("source")
    return told.get("text") if isinstance(told, Mapping) else None


def _beside(source: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The source on the left, what was made of it on the right, each with its readers and its score."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0), expand=True)
    table.add_column(ratio=2)
    table.add_column(ratio=3)
    where = rows[0]["sample"]["meta"]["source"]
    left = Group(Text(_place(where), style="cyan"), *_asked(where), Text(steerless(source)))
    table.add_row(left, Group(*(piece for row in rows for piece in _made(row))))
    return table


def _place(where: Mapping[str, Any]) -> str:
    if "document" not in where:
        return "source"
    part = f" {where['chunk']}/{where['of']}" if where.get("of", 1) > 1 else ""
    return steerless(f"{where['document']}{part} [{where['span'][0]}:{where['span'][1]}]")


def _asked(where: Mapping[str, Any]) -> list[Text]:
    question = where.get("question")
    return [] if not question or question == where["text"] else [Text(steerless(question), style="bold")]


def _made(row: Mapping[str, Any]) -> Iterator[Text]:
    meta, sample = row["sample"]["meta"], row["sample"]
    head = " · ".join(str(meta[name]) for name in ("genre", "audience") if name in meta)
    score = "" if meta.get("score") is None else f" · {meta['score']:g}"
    yield Text(steerless(head + score), style="cyan")
    if "reason" in row:
        yield Text(steerless(f"{row['reason']}: {row['detail']}"), style="red")
    made = sample.get("text") or (sample["messages"][-1].get("content") if sample["messages"] else "")
    yield Text(steerless(f"{made or ''}\n"))


def print_pairs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Evidence of dedup and decontaminate for reading: what was met, and the texts that say so."""
    out = console()
    if not rows:
        out.print("nothing was found")
    for row in rows:
        by = row.get("level") or row.get("by")
        met = row.get("nearest") or f"{row.get('benchmark')}:{row.get('benchmark_row')}"
        out.print(f"[red]{row['score']:.3f} {shown(str(by))}[/red]  {shown(str(row['row']))}  to  {shown(str(met))}")
        for label in ("text", "nearest_text", "span"):
            if row.get(label):
                out.print(f"[cyan]{label.replace('_', ' '):<12}[/cyan] {shown(str(row[label]))}")
        out.print()

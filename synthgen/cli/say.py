"""Lines for the user: faults and notes to stderr, results to stdout."""

from __future__ import annotations

import click


def fault(text: str) -> None:
    """One line on stderr: what, where, what to do."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)


def note(text: str) -> None:
    """One line on stderr that the user should know of."""
    click.echo(f"{click.style('note', fg='cyan')}: {text}", err=True)


def as_json(value: object) -> None:
    """One JSON object on one line of stdout."""
    import orjson

    click.echo(orjson.dumps(value).decode())


def note_event(text: str) -> None:
    """The same as an event, for a program that reads stdout."""
    as_json({"event": "note", "text": text})

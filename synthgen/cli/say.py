"""Lines for the user: faults and notes to stderr, results to stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import click


@contextlib.contextmanager
def outlasting() -> Iterator[None]:
    """Work that is paid for goes on when the reader of what it says has gone; what more it says goes nowhere."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # the latter from rich, at a pipe that is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def fault(text: str) -> None:
    """One line on stderr: what, where, what to do."""
    with outlasting():
        click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)


def note(text: str) -> None:
    """One line on stderr that the user should know of."""
    with outlasting():
        click.echo(f"{click.style('note', fg='cyan')}: {text}", err=True)


def as_json(value: object) -> None:
    """One JSON object on one line of stdout."""
    import orjson

    click.echo(orjson.dumps(value).decode())


def note_event(text: str) -> None:
    """The same as an event, for a program that reads stdout."""
    with outlasting():
        as_json({"event": "note", "text": text})

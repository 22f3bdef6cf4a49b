"""Work in the foreground: its live line, or a plain one without a terminal, and what the signals do to it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, NoReturn, Protocol

from synthgen.cli.say import as_json, outlasting
from synthgen.errors import SynthgenError

_PLAIN_SECONDS = 10.0


class Interrupted(SynthgenError):  # noqa: N818 - says what happened
    """Ctrl-C, before anything was written."""

    exit_code: ClassVar[int] = 130


class Terminated(SynthgenError):  # noqa: N818 - the same
    """SIGTERM, likewise."""

    exit_code: ClassVar[int] = 143


class _Works(Protocol):
    def line(self) -> str: ...


@contextmanager
def working(thing: _Works, *, json: bool) -> Iterator[None]:
    """Shows how far a thing is while the block runs; files must be written so that an exception leaves none half."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with _live(thing) if sys.stderr.isatty() and not json else _plain(thing, json=json):
            yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written") from None
    except SystemExit as error:
        if error.code != Terminated.exit_code:
            raise
        raise Terminated("terminated; nothing was written") from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(Terminated.exit_code)  # an event loop lets this one through


@contextmanager
def _live(thing: _Works) -> Iterator[None]:
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    from synthgen.report import console

    spinner = Spinner("dots")

    def now() -> Spinner:
        spinner.update(text=Text(thing.line(), no_wrap=True, overflow="ellipsis"))
        return spinner

    with Live(console=console(err=True), refresh_per_second=4, transient=True, get_renderable=now):
        yield


@contextmanager
def _plain(thing: _Works, *, json: bool) -> Iterator[None]:
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_PLAIN_SECONDS):
            with outlasting():
                if json:
                    as_json({"event": "progress", "line": thing.line()})
                else:
                    print(thing.line(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

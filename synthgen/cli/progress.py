"""The live lines of what is running, their plain form without a terminal, and what the signals do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from synthgen.cli.say import as_json, note, note_event, outlasting

if TYPE_CHECKING:
    from rich.console import Console

    from synthgen.pulse import Pace
    from synthgen.run import Conveyor, Ending

_REDRAW_SECONDS, _PLAIN_SECONDS = 0.25, 10.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def settle_memory() -> None:
    """Before long work, once everything is loaded.

    Reference counts free what a request makes; the collector's rounds over all that is loaded took a fifth of a run's
    CPU. And glibc, left to itself, keeps ever more of what was freed: 90 MB after 200,000 requests instead of 55.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            for threshold in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
                mallopt(threshold, 128 * 1024)


class _Shown(Protocol):
    """A line of the display: of a conveyor, or of something else that takes its time."""

    step: str

    def line(self) -> str: ...

    def counts(self) -> dict[str, Any]: ...

    def noting(self) -> Sequence[_Notes]: ...


class _Notes(Protocol):
    """A pool or a budget, which several lines may share."""

    notes: list[str]


@dataclass(slots=True)
class Watch:
    """Shows what runs, one line each; `async with` around a job of several, or called with the only conveyor."""

    quiet: bool
    json: bool
    label: str = ""
    _shown: list[_Shown] = field(default_factory=list)
    _told: dict[int, int] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None
    _terminal: Console | None = None  # while it draws there: lines of others go above its own

    async def __call__(self, conveyor: Conveyor) -> Ending:
        with signals(conveyor.stop):
            async with self:
                return await self.conveyor(conveyor, self.label)

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._show())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._terminal = None

    async def conveyor(self, conveyor: Conveyor, label: str, step: str = "") -> Ending:
        """Run a conveyor while its line is shown."""
        from synthgen.pulse import Pace

        line = _Line(conveyor, label, step or label, Pace())
        line.counts()  # the first mark of its pace
        with self._showing(line):
            return await conveyor.run()

    def showing(self, thing: _Tells, step: str = "") -> contextlib.AbstractContextManager[None]:
        """The line of something that is no conveyor: a server that starts, a mix."""
        return self._showing(_Other(thing, step))

    def note(self, text: str, step: str = "") -> None:
        """One line that the user should know of, above the live ones."""
        said = f"{step}: {text}" if step else text
        if self.json:
            note_event(said)
        elif self._terminal is None:
            note(said)
        else:
            from rich.text import Text

            self._terminal.print(Text.assemble(("note", "cyan"), f": {said}"))

    @contextlib.contextmanager
    def _showing(self, shown: _Shown) -> Iterator[None]:
        self._shown.append(shown)
        try:
            yield
        finally:
            self._tell(shown)
            self._shown.remove(shown)

    async def _show(self) -> None:
        if self.json:
            await self._events()
        elif self.quiet:
            return
        elif sys.stderr.isatty():
            await self._live()
        else:
            await self._plain()

    async def _live(self) -> None:
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        from synthgen.report import console

        with Live(console=console(err=True), refresh_per_second=4, transient=True) as live:
            self._terminal = live.console
            while True:
                for shown in self._shown:
                    self._tell(shown)
                text = Text("\n".join(s.line() for s in self._shown), no_wrap=True, overflow="ellipsis")
                starts = any(isinstance(s, _Other) for s in self._shown)
                live.update(Spinner("dots", text) if starts else text)
                await asyncio.sleep(_REDRAW_SECONDS)

    async def _plain(self) -> None:
        while True:
            await asyncio.sleep(_PLAIN_SECONDS)
            for shown in self._shown:
                self._tell(shown)
                with outlasting():
                    print(shown.line(), file=sys.stderr, flush=True)

    async def _events(self) -> None:
        while True:
            for shown in self._shown:
                self._tell(shown)
                with outlasting():
                    as_json({"event": "progress", "step": shown.step, **shown.counts()})
            await asyncio.sleep(_PLAIN_SECONDS)

    def _tell(self, shown: _Shown) -> None:
        """What the pools have noted since: a server that is left out, one that is back."""
        for source in shown.noting():
            new = source.notes[self._told.get(id(source), 0) :]
            self._told[id(source)] = self._told.get(id(source), 0) + len(new)
            for line in new:
                self.note(line)


class _Tells(Protocol):
    def line(self) -> str: ...


@dataclass(slots=True)
class _Other:
    """A thing with a line and no counts."""

    thing: _Tells
    step: str

    def line(self) -> str:
        return self.thing.line()

    def counts(self) -> dict[str, Any]:
        return {"line": self.thing.line()}

    def noting(self) -> Sequence[_Notes]:
        return ()


@dataclass(slots=True)
class _Line:
    """The line of a conveyor."""

    conveyor: Conveyor
    label: str
    step: str
    pace: Pace

    def counts(self) -> dict[str, Any]:
        from synthgen.pulse import numbers

        return numbers(self.conveyor, self.pace)

    def noting(self) -> Sequence[_Notes]:
        asking = self.conveyor.asking
        return [*(s.pool for s in asking.speakers.values()), *([asking.budget] if asking.budget else [])]

    def line(self) -> str:
        from synthgen.report import now

        found = self.counts()
        pieces = [f"{self.label} {found['accepted']}/{found['target'] or found['tasks_in_all'] or '?'}", now(found)]
        if found["rejected"]:
            most = ", ".join(f"{reason} {n}" for reason, n in self.conveyor.board.rejected.most_common(3))
            pieces.append(f"rejected {sum(found['rejected'].values())} ({most})")
        if found["failed"]:
            pieces.append(f"failed {found['failed']}")
        return " · ".join(pieces)


@contextlib.contextmanager
def signals(stop: Callable[[Ending], None]) -> Iterator[None]:
    """The first signal ends the run in good order, a second one at once."""
    from synthgen.run import Ending

    loop = asyncio.get_running_loop()
    endings = {
        signal.SIGINT: Ending(130, "interrupted; the same command continues"),
        signal.SIGTERM: Ending(143, "terminated; the same command continues"),
    }

    def first(number: signal.Signals) -> None:
        stop(endings[number])
        loop.remove_signal_handler(number)

    for number in endings:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number in endings:
            loop.remove_signal_handler(number)

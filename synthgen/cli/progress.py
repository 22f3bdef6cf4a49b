"""The live line of a run, its plain form without a terminal, and what the signals do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synthgen.cli.say import as_json, note

if TYPE_CHECKING:
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


@dataclass(slots=True)
class Watch:
    """Runs a conveyor while it shows how it goes; SIGINT and SIGTERM end it with everything whole."""

    quiet: bool
    json: bool
    label: str
    note: Callable[[str], None] = note
    told: int = 0
    pace: Pace = field(init=False)

    async def __call__(self, conveyor: Conveyor) -> Ending:
        from synthgen.pulse import Pace

        self.pace = Pace()
        self._numbers(conveyor)  # the first mark
        with _signals(conveyor):
            shown = asyncio.create_task(self._show(conveyor))
            try:
                return await conveyor.run()
            finally:
                self._tell(conveyor)
                shown.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await shown

    async def _show(self, conveyor: Conveyor) -> None:
        if self.json:
            await self._events(conveyor)
        elif self.quiet:
            return
        elif sys.stderr.isatty():
            await self._live(conveyor)
        else:
            await self._plain(conveyor)

    async def _live(self, conveyor: Conveyor) -> None:
        from rich.live import Live
        from rich.text import Text

        from synthgen.report import console

        with Live(console=console(err=True), refresh_per_second=4, transient=True) as live:
            while True:
                self._tell(conveyor)
                live.update(Text(self._line(conveyor), no_wrap=True, overflow="ellipsis"))
                await asyncio.sleep(_REDRAW_SECONDS)

    async def _plain(self, conveyor: Conveyor) -> None:
        while True:
            await asyncio.sleep(_PLAIN_SECONDS)
            self._tell(conveyor)
            print(self._line(conveyor), file=sys.stderr, flush=True)

    async def _events(self, conveyor: Conveyor) -> None:
        while True:
            self._tell(conveyor)
            as_json({"event": "progress", "step": self.label, **self._numbers(conveyor)})
            await asyncio.sleep(_PLAIN_SECONDS)

    def _numbers(self, conveyor: Conveyor) -> dict[str, Any]:
        from synthgen.pulse import numbers

        return numbers(conveyor, self.pace)

    def _tell(self, conveyor: Conveyor) -> None:
        """What the pools have noted since: a server that is left out, one that is back."""
        asking = conveyor.asking
        notes = [line for s in asking.speakers.values() for line in s.pool.notes]
        notes += asking.budget.notes if asking.budget else []
        for line in notes[self.told :]:
            self.note(line)
        self.told = len(notes)

    def _line(self, conveyor: Conveyor) -> str:
        from synthgen.report import now

        found = self._numbers(conveyor)
        goal = "?" if found["target"] is None else found["target"]
        pieces = [f"{self.label} {found['accepted']}/{goal}", now(found)]
        if found["rejected"]:
            most = ", ".join(f"{reason} {n}" for reason, n in conveyor.board.rejected.most_common(3))
            pieces.append(f"rejected {sum(found['rejected'].values())} ({most})")
        if found["failed"]:
            pieces.append(f"failed {found['failed']}")
        return " · ".join(pieces)


@contextlib.contextmanager
def _signals(conveyor: Conveyor) -> Iterator[None]:
    """The first signal ends the run in good order, a second one at once."""
    from synthgen.run import Ending

    loop = asyncio.get_running_loop()
    endings = {
        signal.SIGINT: Ending(130, "interrupted; the same command continues"),
        signal.SIGTERM: Ending(143, "terminated; the same command continues"),
    }

    def stop(number: signal.Signals) -> None:
        conveyor.stop(endings[number])
        loop.remove_signal_handler(number)

    for number in endings:
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in endings:
            loop.remove_signal_handler(number)

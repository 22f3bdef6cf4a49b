"""The servers of a job: started before the first step that needs them, stopped after the last."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthgen.errors import NotAllowed
from synthgen.run import Conveyor, Ending
from synthgen.serve import Fleet, Serve, fallen, logs


@dataclass(slots=True)
class _Started:
    fleet: Fleet
    ready: asyncio.Task[Fleet]
    watch: asyncio.Task[None] | None = None
    users: list[Conveyor] = field(default_factory=list)
    fallen: Ending | None = None  # when no server is left


class Fleets:
    """One fleet for each `serve`, whoever names it; `need` says in advance how many steps will."""

    def __init__(
        self, folder: Path, note: Callable[[str], None], showing: Callable[[Fleet], AbstractContextManager[object]]
    ) -> None:
        self._folder, self._note, self._showing = folder, note, showing
        self._needed: Counter[Serve] = Counter()
        self._started: dict[Serve, _Started] = {}

    def need(self, serve: Serve) -> None:
        self._needed[serve] += 1

    async def base_urls(self, serve: Serve, role: str) -> tuple[str, ...]:
        """Where the model is served, as soon as it is. Raises NotAllowed when a server does not start."""
        if serve not in self._started:
            fleet = Fleet(serve, logs(self._folder, serve.replicas, "" if role == "default" else role))
            self._started[serve] = _Started(fleet, asyncio.create_task(self._start(fleet)))
        # One step that gives up must not take the server from the others: their last release does.
        await asyncio.shield(self._started[serve].ready)
        return self._started[serve].fleet.base_urls

    async def _start(self, fleet: Fleet) -> Fleet:
        with self._showing(fleet):
            await fleet.__aenter__()
        self._started[fleet.serve].watch = asyncio.create_task(self._look_after(self._started[fleet.serve]))
        return fleet

    async def _look_after(self, started: _Started) -> None:
        """Says which server fell; when none is left, ends the steps that need them instead of letting them wait."""
        serve = started.fleet.serve
        for left in reversed(range(serve.replicas)):
            server = await started.fleet.died()
            text = fallen(serve, server)
            self._note(text)
            if not left:
                started.fallen = Ending(NotAllowed.exit_code, text.splitlines()[0].rstrip(":"))
                for conveyor in started.users:
                    conveyor.stop(started.fallen)

    @contextmanager
    def used_by(self, serve: Serve, conveyor: Conveyor) -> Iterator[Any]:
        started = self._started[serve]
        users = started.users
        users.append(conveyor)
        if started.fallen is not None:
            conveyor.stop(started.fallen)
        try:
            yield
        finally:
            users.remove(conveyor)

    async def release(self, serve: Serve) -> None:
        """A step that needed it is done; after the last one the servers end."""
        self._needed[serve] -= 1
        if not self._needed[serve]:
            await self._end(serve)

    async def aclose(self) -> None:
        for serve in list(self._started):
            await self._end(serve)

    async def _end(self, serve: Serve) -> None:
        started = self._started.pop(serve, None)
        if started is None:
            return
        tasks = [task for task in (started.ready, started.watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await started.fleet.aclose()

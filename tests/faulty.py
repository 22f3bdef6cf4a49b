"""For tests of what goes wrong: a server that answers as a test says, and what a refused command must look like."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import command
import orjson
from aiohttp import web
from fake_server import completion

from synthgen.lock import LOCK

Tree = dict[str, str]
DATA = ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl")


def tree(folder: Path) -> Tree:
    """Every file by its digest, less the lock and what SQLite makes to read a run, which hold nothing of it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == LOCK or path.name.endswith("-shm") or (path.name.endswith("-wal") and not path.stat().st_size):
            continue
        name = path.relative_to(folder).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended, and its folder before and after."""

    code: int
    out: str
    err: str
    before: Tree
    after: Tree

    def error(self, code: int) -> str:
        """Its one error line; everything else on stderr is a note."""
        assert self.code == code, self.out + self.err
        lines = self.err.splitlines()
        faults = [line for line in lines if line.startswith("error: ")]
        assert len(faults) == 1, self.err
        assert all(line.startswith(("error: ", "note: ")) for line in lines), self.err
        return faults[0]

    def refused(self, code: int, *parts: str) -> None:
        """It said why in one line that has these parts, and changed nothing."""
        line = self.error(code)
        assert [part for part in parts if part not in line] == [], line
        assert self.out == ""
        assert self.after == self.before


def synthgen(*args: str | Path, cwd: Path, **env: str) -> Done:
    """Run `synthgen ARGS` in `cwd`, which is compared as it was and as it is."""
    before = tree(cwd)
    done = command.synthgen(*args, cwd=cwd, timeout=60, **env)
    return Done(done.returncode, done.stdout, done.stderr, before, tree(cwd))


class Faulty:
    """A server whose answers are a function of the request's bytes, except where `twist(number)` gives one.

    A test sets `twist`, `models`, `listing`, `script` or `hangs`, and calls `reset` before.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.reset()

    def reset(self) -> None:
        self.models = ["fake"]
        self.listing: web.Response | None = None
        self.twist: Callable[[int], web.Response | None] = lambda number: None
        self.hangs = False
        self.script = "alpaca"  # see fake_server
        self.asked = 0
        self.bodies: list[dict[str, Any]] = []

    def texts(self) -> list[str]:
        """All that models were told, one text a request."""
        return ["\n".join(m["content"] for m in body["messages"]) for body in self.bodies]

    async def list_models(self, request: web.Request) -> web.Response:
        self.asked += 1
        entries = [{"id": name, "object": "model", "max_model_len": 8192} for name in self.models]
        return _copy(self.listing) or web.json_response({"data": entries})

    async def chat(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.bodies.append(orjson.loads(raw))
        twisted = self.twist(len(self.bodies))
        if self.hangs:
            await asyncio.sleep(3600)
        chance = int.from_bytes(hashlib.blake2b(raw, digest_size=16).digest(), "big")
        return twisted or web.json_response(completion(self.bodies[-1], chance, self.script))

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app


def generate(server: Faulty, *more: str | Path) -> tuple[str | Path, ...]:
    """The words of a run on that server."""
    return ("generate", "alpaca", "--base-url", server.base_url, *more)


def rows(path: Path) -> list[dict[str, object]]:
    """The rows of a file of JSON lines."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def data(folder: Path) -> dict[str, bytes]:
    """The files of a run that are the same bytes for the same answers."""
    return {name: (folder / name).read_bytes() for name in DATA}


def said(text: str | None) -> web.Response:
    """An answer with this text."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})


def _copy(response: web.Response | None) -> web.Response | None:
    """A response object can be sent once."""
    if response is None:
        return None
    return web.Response(status=response.status, body=response.body, content_type=response.content_type)


class Application(Protocol):
    """A server that tests talk to; it is told its address."""

    base_url: str

    def application(self) -> web.Application: ...


S = TypeVar("S", bound=Application)


def serving() -> AbstractContextManager[Faulty]:
    """A `Faulty` on a loop of its own, in a thread, until the end of the block."""
    return threaded(Faulty())


@contextmanager
def threaded(server: S) -> Iterator[S]:
    """The server on a loop of its own, in a thread, until the end of the block."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    async def stop() -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # answers that hang
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

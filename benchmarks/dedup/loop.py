"""The row of novelty in a run: its part of the CPU of `generate self-instruct` that must differ from 52,000 texts."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.dedup.kit import Bench, Row, grown, in_a_process

_POOL = 52_000
_OFFLINE, _FAST = 200, 2_000  # samples of the embedded model, and of a server that answers at once
_ANSWERS = {
    "english": "The river keeps its own time, and each answer names one cause before the next",
    "chinese": "河水有自己的节奏，每个回答先说出一个原因，再说下一个",
}


def serve(kind: str) -> None:
    """A server on loopback: lists of instructions that nobody has seen, "No" to classification, an instance each."""
    from aiohttp import web

    fresh = iter(grown(kind, 200_000, seed=9))
    numbers = count(1)

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        if body["max_tokens"] == 3:
            text = "No"
        elif body["max_tokens"] == 350:
            text = f"Input: <noinput>\nOutput: {_ANSWERS[kind]} {next(numbers)}."
        else:
            text = "\n".join(f"{n}. {next(fresh)}" for n in range(9, 16))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        return web.json_response({"id": "x", "model": "fake", "choices": [choice], "usage": usage})

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_get("/v1/models", models)

    async def main() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    asyncio.run(main())


class _Meter:
    """CPU seconds of this thread inside what is wrapped, the outermost call alone."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def wrap(self, owner: type, name: str) -> None:
        inner = getattr(owner, name)

        def outer(*args: Any, **more: Any) -> Any:
            if self._depth:
                return inner(*args, **more)
            self._depth, began = 1, time.thread_time()
            try:
                return inner(*args, **more)
            finally:
                self.seconds += time.thread_time() - began
                self._depth = 0

        setattr(owner, name, outer)


def generate(model: str, against: str, out: str, lang: str, samples: int) -> None:
    """`synthgen generate` with meters; prints CPU seconds: of the whole command and of novelty in it, loading included,
    and of both in the run itself."""
    from synthgen.cli import run
    from synthgen.dedup import NoveltyByScript, Seen
    from synthgen.session import Session

    meter, loaded = _Meter(), [0.0, 0.0]
    for owner in (Seen, NoveltyByScript):
        for name in vars(owner):
            if name.startswith(("nearest", "add", "same", "top")):
                meter.wrap(owner, name)
    seen = Session._seen

    def timed_seen(session: Session) -> Seen:
        found = seen(session)
        loaded[:] = time.process_time(), meter.seconds
        return found

    Session._seen = timed_seen  # type: ignore[method-assign]
    words = f"generate self-instruct {model} --count {samples} --lang {lang} --quiet"
    stdout, sys.stdout = sys.stdout, sys.stderr
    code = run([*words.split(), "--novel-against", against, "--out", out])
    sys.stdout = stdout
    cpu, load = time.process_time(), loaded
    told = {"code": code, "cpu": cpu, "novelty": meter.seconds, "run": cpu - load[0], "in_run": meter.seconds - load[1]}
    print(json.dumps(told))


def in_the_loop(_: Bench) -> Iterator[Row]:
    """One row a language: judged on the embedded model, beside a client whose server's CPU is not counted."""
    for kind, lang in (("english", "en"), ("chinese", "zh")):
        with tempfile.TemporaryDirectory() as home:
            against = Path(home, "there.jsonl")
            rows = (json.dumps({"instruction": text, "input": "", "output": "x"}) for text in grown(kind, _POOL))
            against.write_text("\n".join(rows) + "\n", encoding="utf-8")
            whole = in_a_process(generate, "--model embedded", str(against), str(Path(home, "a")), lang, _OFFLINE)
            with _server(kind) as url:
                model = f"--model fake --base-url {url}"
                client = in_a_process(generate, model, str(against), str(Path(home, "b")), lang, _FAST)
        share = whole["novelty"] / whole["cpu"]
        figure = (
            f"{share:.1%} of {whole['cpu']:.1f} s of CPU for {_OFFLINE} samples of the embedded model, "
            f"loading the {_POOL:,} included ({whole['in_run'] / whole['run']:.1%} without); of a client alone, "
            f"whose server answers at once: {client['in_run'] / client['run']:.0%} of {client['run']:.1f} s for "
            f"{_FAST:,} samples"
        )
        yield Row(f"in a run, {_POOL:,} {kind}", "< 5 % of the run's CPU", figure, not whole["code"] and share < 0.05)


@contextmanager
def _server(kind: str) -> Iterator[str]:
    code = f"from benchmarks.dedup.loop import serve; serve({kind!r})"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.kill()
        server.wait()


ROWS: dict[str, Callable[[Bench], Iterable[Row]]] = {"loop": in_the_loop}

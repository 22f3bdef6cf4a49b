"""vLLM's batch runner: requests in a file of the run folder, answered below this process or wherever the model is."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from synthgen.backends import Note
from synthgen.backends.batch import Ended, Entry, lines
from synthgen.backends.vllm_model import VllmModel
from synthgen.backends.wire import one_line
from synthgen.errors import NotAllowed, NotYet, StoreError, UsageError
from synthgen.types import Capabilities

_MODULE = "vllm.entrypoints.openai.run_batch"
_DONE = re.compile(r"(\d+)/(\d+) \[")  # the progress bar in the log
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 1.0, 30.0
STOP_SECONDS = 20.0


class VllmFiles:
    """A way for `Batch`: `batch-0001.jsonl` in the run folder, its answers in `batch-0001.out.jsonl`.

    vLLM's runner holds a lock while it works, so that after a SIGKILL of this process, which it survives, the next
    one waits for it.
    """

    strict, chats_only = False, True

    def __init__(self, model: VllmModel, folder: Path, note: Note, *, here: bool) -> None:
        """`here`: the model can be loaded on this machine, if there is a Python that has vLLM."""
        self.model = model.name
        self.name = f"batch files for {model.name}"
        self._asked, self._folder, self._note = model, folder, note
        self._python = _python() if here else None

    async def probe(self) -> Capabilities:
        return Capabilities(
            models=(self.model,),
            context_tokens=self._asked.context_tokens(),
            completions=False,
            seed=True,
            software="vllm",
        )

    async def submit(self, entry: Entry, file: bytes) -> str:
        taken = [int(path.name[6:10]) for path in self._folder.glob("batch-[0-9][0-9][0-9][0-9].jsonl")]
        name = f"batch-{max(taken, default=0) + 1:04d}"
        path = self._folder / f"{name}.jsonl"
        try:
            with path.with_suffix(".tmp").open("wb") as out:
                out.write(file)
                out.flush()
                os.fsync(out.fileno())
            path.with_suffix(".tmp").replace(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
        return name

    async def find(self, entry: Entry) -> str | None:
        for path in self._folder.glob("batch-[0-9][0-9][0-9][0-9].jsonl"):
            if lines.names(path.read_bytes()) == entry.keys:
                return path.stem
        return None

    async def wait(self, entry: Entry) -> Ended:
        given, out = self._folder / f"{entry.shown}.jsonl", self._folder / f"{entry.shown}.out.jsonl"
        said, pause = False, FIRST_LOOK_SECONDS
        while True:
            with self._lock(entry) as lock:
                if lock is not None:
                    if not out.exists():
                        if not given.exists():
                            return Ended(why="its file is gone")
                        await self._answer(entry, given, out, lock)
                    return Ended(dict(lines.read(out.read_bytes())), "it ended without them")
            if not said:
                self._note(f"{entry.shown}: vLLM is still at work on it, since an earlier command")
            said = True
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LONGEST_LOOK_SECONDS)

    @contextmanager
    def _lock(self, entry: Entry) -> Iterator[IO[str] | None]:
        """The right to answer a batch; None while another process has it."""
        with (self._folder / f".{entry.shown}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield file

    async def _answer(self, entry: Entry, given: Path, out: Path, lock: IO[str]) -> None:
        """Let vLLM answer it. Raises NotYet with the command where that is for somebody else to do."""
        words = ["-m", _MODULE, "-i", str(given), "-o", str(out)]
        words += ["--model", self._asked.path, *self._asked.flags()]
        if self._python is None:
            raise NotYet(
                f"{len(entry.keys):,} requests wait for `{shlex.join(['python', *words])}`; then run this again"
            )
        log = out.with_name(f"{entry.shown}.log")
        self._note(f"{entry.shown}: vLLM answers it, that takes a minute or two to begin (its log: {log})")
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                self._python, *words, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
                pass_fds=(lock.fileno(),), start_new_session=True,
            )  # fmt: skip
        try:
            await self._watch(process, entry, log)
        finally:
            if process.returncode is None:
                await _stop(process)
        if process.returncode:
            said = f"vLLM ended with {process.returncode}: {_last_line(log)} (its log: {log})"
            raise NotAllowed(f"{entry.shown}: {said}; without {given} the same command writes its requests anew")

    async def _watch(self, process: asyncio.subprocess.Process, entry: Entry, log: Path) -> None:
        """Until it has ended; says how far it is, ever more rarely."""
        pause, said = FIRST_LOOK_SECONDS, ""
        while process.returncode is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), pause)
            pause = min(pause * 1.3, LONGEST_LOOK_SECONDS)
            done = _DONE.findall(_tail(log))
            now = f"{entry.shown}: {done[-1][0]} of {done[-1][1]} done" if done else ""
            if now != said:
                self._note(now)
                said = now

    def leave(self, entry: Entry) -> str:
        return f"{entry.shown} was stopped; the same command answers it from its beginning"

    async def aclose(self) -> None:
        """Nothing stays open: a runner ends with the waiting for it."""


def _python() -> str | None:
    """The Python that has vLLM: what the environment names, or this one; None where there is none.

    Raises UsageError where the environment names nothing that runs.
    """
    named = os.environ.get("SYNTHGEN_VLLM_PYTHON", "").strip()
    if named and shutil.which(named) is None:
        raise UsageError(f"SYNTHGEN_VLLM_PYTHON={named}: no program of that name")
    return named or (sys.executable if find_spec("vllm") is not None else None)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the runner, which ends its engine; SIGKILL to what is left of its session."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4000))
        return file.read().decode("utf-8", "replace")


def _last_line(log: Path) -> str:
    found = [line for line in re.split(r"[\r\n]+", _tail(log)) if line.strip()]
    return one_line(found[-1])[:300] if found else "it said nothing"

"""What every row needs: the fake server as a process, prompts, synthgen as a user types it, and what a run left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_SECONDS = 900.0
# Proxies, keys and addresses of the user's own would change who is asked; an installed program has its bytecode.
_FOREIGN = (
    "PYTHONDONTWRITEBYTECODE",
    "OPENAI_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
)
_TOPICS = ("a river", "an old bridge", "bread", "the tides", "a lock", "paper", "a clock", "salt", "wool", "a lens")


@dataclass(frozen=True, slots=True)
class Ran:
    """What one process cost from its start to its exit. `began` is on the clock of the servers' logs."""

    code: int
    began: float
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    said: str = ""


@dataclass(slots=True)
class Bench:
    """A temporary folder, and whether the long forms are wanted; `kept` is what rows share."""

    home: Path
    full: bool = False
    kept: dict[str, Any] = field(default_factory=dict)

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.home))


@dataclass(frozen=True, slots=True)
class Log:
    """What a server counted; several servers of a pool add up."""

    requests: dict[str, int]
    deliveries: dict[str, int]
    truncated: set[str]
    statuses: dict[str, int]
    most_waiting: int
    most_in_flight: int
    first: float | None
    died: float | None
    times: list[float]
    cpu_seconds: float

    @property
    def asked(self) -> int:
        return sum(self.requests.values())

    @property
    def began(self) -> float:
        """When the first request came. Raises ValueError where none did."""
        if self.first is None:
            raise ValueError("the server was asked nothing")
        return self.first


class Fake:
    """A running fake server; `urls` is for --base-url."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, str(HERE / "fake.py"), "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.control = self.process.stdout.readline().strip()

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _told(self, path: str) -> dict[str, Any]:
        if self.process.poll() is not None:
            raise RuntimeError(f"the fake server ended with exit code {self.process.returncode}")
        with urllib.request.urlopen(self.control + path, timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def log(self) -> Log:
        told = self._told("/_log")
        return Log(**{**told, "truncated": set(told["truncated"])})

    def stats(self) -> dict[str, int]:
        """Requests, delivered, running, waiting: cheap enough to poll."""
        return self._told("/_stats")

    def die(self) -> None:
        self._told("/_die")


def prompts(path: Path, count: int, *, first: int = 0, marked: Iterable[int] = (), marker: str = "") -> Path:
    """`count` different prompts of about 300 characters, each with its own id."""
    chosen = set(marked)
    with path.open("w", encoding="utf-8") as file:
        for n in range(first, first + count):
            topic = _TOPICS[n % len(_TOPICS)]
            text = (
                f"Question {n}: explain to a curious reader how {topic} came to be what it is today. Begin with the "
                f"oldest form that is known, name two turning points and say what changed at each of them, and end "
                f"with one thing that most people get wrong about {topic}. Use plain words and at most eight sentences."
            )
            text += f" {marker}" if n in chosen else ""
            file.write(json.dumps({"id": f"q{n}", "prompt": text}) + "\n")
    return path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"PYTHONPATH": str(ROOT)}


def respond_command(urls: Sequence[str], source: Path, out: Path, *flags: str) -> list[str]:
    """`synthgen generate respond` as a user types it: nothing switched off."""
    servers = [part for url in urls for part in ("--base-url", url)]
    return [
        *(sys.executable, "-m", "synthgen", "generate", "respond"),
        *("--input", str(source), *servers, "--out", str(out), *flags),
    ]


def respond(urls: Sequence[str], source: Path, out: Path, *flags: str) -> Ran:
    return measured(respond_command(urls, source, out, *flags), out.parent)


def measured(command: Sequence[str], folder: Path) -> Ran:
    """The command from start to exit, killed with all it started after LIMIT_SECONDS (code 124)."""
    result, said = folder / "cost.json", folder / "said.txt"
    result.unlink(missing_ok=True)
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "measure.py"), str(result), *command],
            env=environment(), cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ran(124, 0.0, LIMIT_SECONDS, LIMIT_SECONDS, 0, "killed: it did not end")
    return Ran(**json.loads(result.read_text()), said=said.read_text(errors="replace"))


@contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command running, for rows that watch or kill it; nothing of it is left afterwards."""
    with (folder / "said.txt").open("ab") as file:
        process = subprocess.Popen(
            command, env=environment(), cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, none where it is missing."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def count_lines(path: Path) -> int:
    """How many rows, without holding them."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


DATA_FILES = ("alpaca.jsonl", "sharegpt.jsonl", "rejected.jsonl", "failures.jsonl")


def same_data(one: Path, other: Path) -> bool:
    """Whether two run folders hold the same bytes in every data file, all of which must be there."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in DATA_FILES)


def last_line(text: str) -> str:
    """The end of what a program said, for a row that is missed."""
    said = [line for line in text.splitlines() if line.strip()]
    return said[-1][:160] if said else ""


def trouble(ran: Ran, out: Path, rows: int, code: int = 0) -> str:
    """What is wrong with a run that should have ended with `code` and `rows` rows; empty when nothing is."""
    found = count_lines(out / "alpaca.jsonl")
    if ran.code != code:
        return f"exit {ran.code} instead of {code}: {last_line(ran.said)}"
    return "" if found == rows else f"{found} rows instead of {rows}"

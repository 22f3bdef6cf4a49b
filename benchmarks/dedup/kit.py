"""What the rows share: pools grown from real instructions, timing in CPU seconds, memory of a process of its own."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.table import Row

__all__ = [
    "KINDS",
    "ROOT",
    "Bench",
    "Row",
    "Timer",
    "growing",
    "grown",
    "in_a_process",
    "light_edit",
    "real",
    "resident_bytes",
    "timed",
]

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SYNTHGEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
_FILES = {
    "english": (
        "lf_alpaca_en_demo.json",
        "selfinstruct_seed_tasks.jsonl",
        "selfinstruct_user_oriented_instructions.jsonl",
    ),
    "chinese": ("lf_alpaca_zh_demo.json", "belle_zh_seed_tasks.json"),
}
_SEEDS = {"english": "en", "chinese": "zh"}
KINDS = ("english", "chinese", "mixed", "templates", "family")


@dataclass(slots=True)
class Bench:
    """Whether the long forms are wanted; `kept` is what rows share."""

    full: bool = False
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (1_000, 10_000, 52_000, 200_000, *((1_000_000,) if self.full else ()))


@dataclass(slots=True)
class Timer:
    """CPU seconds of this process: other work on the machine changes them least."""

    seconds: float = 0.0


@contextmanager
def timed() -> Iterator[Timer]:
    timer = Timer()
    began = time.process_time()
    try:
        yield timer
    finally:
        timer.seconds = time.process_time() - began


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    gc.collect()
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    said = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], stdout=subprocess.PIPE, check=True).stdout
    return int(said) * 1024


def in_a_process(function: Callable[..., None], *arguments: str | int) -> dict[str, Any]:
    """What `function(*arguments)`, named by its module, prints as JSON from a fresh process: for memory."""
    code = f"from {function.__module__} import {function.__name__} as f; f(*{arguments!r})"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment, cwd=ROOT)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON array or of JSON lines, whatever the suffix says."""
    text = path.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]
    )
    return found


@cache
def real(kind: str) -> tuple[str, ...]:
    """Distinct real instructions, `english` or `chinese`, of at most 60 words or 120 characters."""
    texts = dict.fromkeys(str(row["instruction"]).strip() for row in _source(kind))
    most = 120 if kind == "chinese" else 60
    return tuple(text for text in texts if 3 <= len(_pieces(text, kind)) <= most)


@cache
def _spare(kind: str) -> tuple[str, ...]:
    """Pieces of the answers, as often as they occur there: rare words too, which instructions alone lack."""
    answers = (row.get("output") or row["instances"][0]["output"] for row in _source(kind))
    return tuple(piece for answer in answers for piece in _pieces(str(answer), kind) if not piece.isspace())


@cache
def _source(kind: str) -> tuple[dict[str, Any], ...]:
    paths = [DATA / name for name in _FILES[kind]]
    if not all(path.is_file() for path in paths):
        paths = [ROOT / "seeds" / _SEEDS[kind] / "tasks.jsonl"]
        print(f"no files in {DATA}: {kind} pools are grown from {paths[0].relative_to(ROOT)}", file=sys.stderr)
    return tuple(row for path in paths for row in _rows(path))


def _pieces(text: str, kind: str) -> list[str]:
    return list(text) if kind == "chinese" else text.split()


def light_edit(text: str, rng: Random, kind: str = "english") -> str:
    """One word, or one Chinese character, exchanged for one of a real answer."""
    pieces = _pieces(text, kind)
    pieces[rng.randrange(len(pieces))] = rng.choice(_spare(kind))
    return ("" if kind == "chinese" else " ").join(pieces)


def _crossed(kind: str, rng: Random) -> Iterator[str]:
    """The head of one real instruction and the tail of another, every fifth piece exchanged for one of an answer."""
    texts, spare = real(kind), _spare(kind)
    join = ("" if kind == "chinese" else " ").join
    while True:
        head, tail = (_pieces(rng.choice(texts), kind) for _ in range(2))
        pieces = head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :]
        yield join([rng.choice(spare) if rng.random() < 0.2 else piece for piece in pieces])


def _mixed(rng: Random) -> Iterator[str]:
    """Chinese instructions with one to six English words within, so that either script may have the majority."""
    for text in _crossed("chinese", rng):
        words = rng.choice(real("english")).split()[: rng.randint(1, 6)]
        at = rng.randrange(len(text) + 1)
        yield f"{text[:at]} {' '.join(words)} {text[at:][: rng.randint(0, 12)]}"


def _templated(rng: Random, shared: int) -> Iterator[str]:
    """Twenty words, `shared` of them one of twenty templates', the rest slots filled with rare words."""
    base = Random(7)
    vocabulary = sorted(set(_spare("english")))
    common = [word for text in real("english")[:500] for word in text.split()]
    templates = [[base.choice(common) for _ in range(20)] for _ in range(20)]
    slots = [set(base.sample(range(20), 20 - shared)) for _ in templates]
    while True:
        n = rng.randrange(len(templates))
        yield " ".join(rng.choice(vocabulary) if i in slots[n] else word for i, word in enumerate(templates[n]))


def growing(kind: str, seed: int = 0) -> Iterator[str]:
    """Texts of one of KINDS without end, the same for the same seed.

    `templates` share 13 of 20 words within each of twenty templates, so that a pool can hold them at 0.7; `family` 16.
    """
    rng = Random(f"{kind} {seed}")
    if kind == "mixed":
        return _mixed(rng)
    if kind in ("templates", "family"):
        return _templated(rng, 13 if kind == "templates" else 16)
    return _crossed(kind, rng)


def grown(kind: str, count: int, seed: int = 0) -> list[str]:
    """The first `count` of them."""
    return list(islice(growing(kind, seed), count))


def peak_mb() -> float:
    """MB that this process held at most. What getrusage says begins with the peak of the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        return (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 2**10
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

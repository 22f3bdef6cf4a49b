"""MB/s and memory of `validate` and `export` beside orjson alone: python benchmarks/formats.py [--rows 1000000]."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOAL_MB_PER_SECOND, GOAL_MB = 50, 150
WITH_GOALS = ("validate,", "export, alpaca")
# What a file is converted to; rows at fault are told, and take no other way.
TARGETS = {
    "alpaca": ("alpaca", "sharegpt", "messages"),
    "sharegpt": ("sharegpt", "messages"),
    "messages": ("messages", "sharegpt"),
}
# What a line costs whatever is done with it.
ORJSON = """
import sys, orjson
with open(sys.argv[1], "rb") as file, open("/dev/null", "wb") as out:
    for line in file:
        out.write(orjson.dumps(orjson.loads(line), option=orjson.OPT_APPEND_NEWLINE))
"""
TOOLS = json.dumps([{"name": "look_up", "parameters": {"type": "object", "properties": {"what": {"type": "string"}}}}])


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: CPU seconds of the whole command, start-up included, and the most memory that it held."""

    name: str
    file_mb: float
    cpu_seconds: float
    memory_mb: float

    @property
    def mb_per_second(self) -> float:
        return self.file_mb / self.cpu_seconds


def measured(name: str, path: Path, *command: str) -> Row:
    """The command in a process of its own, which may exit with 0 or 1."""
    null = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *command],
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)],
    )
    os.close(null)
    _, status, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{name}: exit {os.waitstatus_to_exitcode(status)}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return Row(name, path.stat().st_size / 1e6, used.ru_utime + used.ru_stime, used.ru_maxrss * kilobyte / 1e6)


def texts(rng: Random, words: list[str]) -> Iterator[str]:
    """Texts of 5 to 120 words."""
    while True:
        yield " ".join(rng.choices(words, k=rng.randrange(5, 120)))


def write(folder: Path, rows: int) -> dict[str, Path]:
    """A file of each format; every thousandth row of one of them is at fault."""
    rng = Random(0)
    said = texts(rng, (ROOT / "README.md").read_text(encoding="utf-8").split())
    call = '{"name": "look_up", "arguments": {"what": "x"}}'

    def sharegpt() -> dict[str, Any]:
        speakers = ("human", "function_call", "observation", "gpt")
        turns = [(one, call if one == "function_call" else next(said)) for one in speakers]
        return {"conversations": [{"from": one, "value": text} for one, text in turns], "tools": TOOLS}

    makers = {
        "alpaca": (rows, lambda: {"instruction": next(said), "input": "", "output": next(said)}),
        "sharegpt": (rows // 4, sharegpt),
        "messages": (
            rows // 4,
            lambda: {"messages": [{"role": r, "content": next(said)} for r in ("user", "assistant")]},
        ),
    }
    paths = {}
    for name, (count, make) in makers.items():
        paths[name] = folder / f"{name}.jsonl"
        with paths[name].open("w", encoding="utf-8") as file:
            for _ in range(count):
                file.write(json.dumps(make(), ensure_ascii=False) + "\n")
    paths["alpaca with faults"] = folder / "faults.jsonl"
    with paths["alpaca"].open(encoding="utf-8") as file, paths["alpaca with faults"].open("w", encoding="utf-8") as out:
        for number, line in enumerate(file):
            out.write(line if number % 1000 else json.dumps({**json.loads(line), "output": None}) + "\n")
    return paths


def rows_of(name: str, path: Path, out: Path) -> Iterator[Row]:
    """What is done with a file: it is checked, repaired and converted."""
    yield measured(f"validate, {name}", path, "-m", "synthgen", "validate", str(path))
    fix = ("--fix", "-o", str(out))
    yield measured(f"validate --fix, {name}", path, "-m", "synthgen", "validate", str(path), *fix)
    for target in TARGETS.get(name, ()):
        export = ("-m", "synthgen", "export", str(path), "--to", target, "-o", str(out))
        yield measured(f"export, {name} to {target}", path, *export)


def main() -> int:
    """Prints each measurement; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    missed = 0
    with TemporaryDirectory() as place:
        for name, path in write(Path(place), given.rows).items():
            alone = measured(f"orjson loads + dumps, {name}", path, "-c", ORJSON, str(path))
            for row in (alone, *rows_of(name, path, Path(place) / "out.jsonl")):
                goal = row.mb_per_second >= GOAL_MB_PER_SECOND and row.memory_mb <= GOAL_MB
                missed += row.name.startswith(WITH_GOALS) and not goal
                ratio = row.cpu_seconds / alone.cpu_seconds
                if given.json:
                    print(json.dumps({**asdict(row), "mb_per_second": row.mb_per_second, "times_orjson": ratio}))
                else:
                    speed = f"{row.mb_per_second:6.0f} MB/s of CPU, {row.memory_mb:4.0f} MB of memory"
                    print(f"{row.name:<40} {row.file_mb:5.0f} MB {speed}, {ratio:4.1f} x orjson", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

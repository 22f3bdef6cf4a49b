"""A job on two vLLM servers of its own, killed twice, against an undisturbed one: bytes, processes left, seconds."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORD = "weights-of-this-benchmark"
FLAGS = (
    "--served-model-name, tiny, --max-model-len, 1024, --enforce-eager, --no-enable-chunked-prefill, "
    "--max-num-batched-tokens, 8192, --shutdown-timeout, 20"
)
JOB = """
name: demo
models: {{default: {{serve: {word}, replicas: {replicas}, args: [{flags}]}}}}
steps:
  - {{id: en, recipe: self-instruct, lang: en, count: {count}}}
  - {{id: zh, recipe: alpaca, lang: zh, count: {count}}}
  - {{id: clean, mix: {{en: 1.0, zh: 0.75}}, dedup: [exact, rouge], decontaminate: [bench.jsonl]}}
  - {{id: train, mix: {{clean: 1.0}}, export: {{alpaca: out/train.jsonl}}}}
"""
SESSIONS: set[str] = set()  # of all servers that were seen
DATA = ("alpaca.jsonl", "sharegpt.jsonl", "samples.jsonl", "rejected.jsonl", "failures.jsonl", "train.jsonl")


def environment() -> dict[str, str]:
    """One GiB of cache for each server of the CPU build, no network."""
    defaults = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {**defaults, **os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def answers(folder: Path) -> int:
    """How many are stored in all steps together."""
    total = 0
    for path in folder.glob("runs/demo/*/run.sqlite"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            if db.execute("select 1 from sqlite_master where name = 'completion'").fetchone():
                total += db.execute("select count(*) from completion").fetchone()[0]
    return total


def left() -> int:
    """Processes of the servers; vLLM's engine has a command line of its own choosing, but stays in their session."""
    listed = subprocess.run(["ps", "-Ao", "sess=,stat=,command="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    SESSIONS.update(session for session, _, command in rows if WORD in command)
    return sum(session in SESSIONS and state[0] != "Z" for session, state, _ in rows)


def wait_until_gone(seconds: float) -> tuple[int, float]:
    """(processes still there, seconds that it took)."""
    began = time.monotonic()
    while (number := left()) and time.monotonic() < began + seconds:
        time.sleep(0.1)
    return number, time.monotonic() - began


def life(folder: Path, kill_after: int | None) -> None:
    """One run of the job; killed when it has stored so many answers."""
    command = [sys.executable, "-m", "synthgen", "run", "job.yaml", "--quiet"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and (kill_after is None or answers(folder) < kill_after):
            left()
            time.sleep(0.1)
        if kill_after is not None:
            if process.poll() is not None:
                sys.exit(f"ended with {process.returncode} before it had stored {kill_after} answers")
            process.send_signal(signal.SIGKILL)
        code = process.wait()
    number, seconds = wait_until_gone(60)
    what = "killed" if kill_after is not None else f"ended with {code}"
    print(
        f"  {what}: {answers(folder)} answers stored, {number} server processes left after {seconds:.1f} s", flush=True
    )
    if kill_after is None and code:
        sys.exit(code)


def made(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("runs/demo/*/*"), *folder.glob("out/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name in DATA}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--replicas", type=int, default=2)
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as place:
        for name, kills in (("undisturbed", ()), ("killed twice", (given.count // 2, given.count))):
            folder = Path(place) / name.replace(" ", "-")
            shutil.copytree(ROOT / "models" / "instruct", folder / WORD)
            text = JOB.format(word=WORD, flags=FLAGS, count=given.count, replicas=given.replicas)
            (folder / "job.yaml").write_text(text)
            (folder / "bench.jsonl").write_text('{"question": "How much is twelve times eleven?"}\n')
            print(name, flush=True)
            began = time.monotonic()
            for kill_after in (*kills, None):
                life(folder, kill_after)
            print(f"  {time.monotonic() - began:.0f} s in all", flush=True)
            results[name] = made(folder)
    same = results["undisturbed"] == results["killed twice"]
    print(f"{len(results['undisturbed'])} files, {'the same bytes' if same else 'DIFFERENT BYTES'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()

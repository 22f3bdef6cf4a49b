"""What is still running: processes by a word of their command line."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def running(word: str) -> dict[int, str]:
    """Command lines with the word in them, by process; this one and the dead that nobody has buried are left out."""
    found = {}
    if Path("/proc/self/cmdline").exists():
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    found[int(folder.name)] = (
                        (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
                except OSError:  # it ended meanwhile
                    continue
    else:
        listed = subprocess.run(["ps", "-Ao", "pid=,command="], capture_output=True, text=True, check=True).stdout
        found = {int(line.split()[0]): line.split(None, 1)[1] for line in listed.splitlines()}
    return {pid: line for pid, line in found.items() if word in line and pid != os.getpid()}


def none_left(word: str, seconds: float) -> dict[int, str]:
    """What is still there after so long; empty as soon as nothing is."""
    until = time.monotonic() + seconds
    while (left := running(word)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def sessions(word: str) -> set[int]:
    """The sessions of processes with the word in their command lines: what they start stays in them."""
    found = set()
    for pid in running(word):
        try:
            found.add(os.getsid(pid))
        except ProcessLookupError:
            continue
    return found - {os.getsid(0)}


def in_sessions(wanted: set[int]) -> dict[int, int]:
    """The session of each process that is in one of them; vLLM's engine has a command line of its own choosing."""
    listed = subprocess.run(["ps", "-Ao", "pid=,sess=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {int(pid): int(session) for pid, session, state in rows if int(session) in wanted and state[0] != "Z"}

"""Who works in a folder: one process, and others can see which."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from synthgen.errors import StoreError

LOCK = ".run.lock"  # stays: removing it would let two processes hold two files of one name


def lock(path: Path) -> IO[str]:
    """The right to work in a folder, until it is closed. Raises StoreError that names the process which has it."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    for seconds in (0.02, 0.05, None):  # `status` looks at the lock for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if seconds is not None:
                time.sleep(seconds)
                continue
            who = file.read().strip() or "unknown"
            file.close()
            raise StoreError(f"{path.parent}: in use by process {who}; wait for it, or give another --out") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def holder(folder: Path) -> int | None:
    """The process that works on a run folder now, None when nobody does."""
    path = folder / LOCK
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: a look must not keep a run out
    except BlockingIOError:
        text = path.read_text().strip()
        return int(text) if text.isdigit() else 0
    except OSError:
        return None
    return None

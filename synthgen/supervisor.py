"""A process of its own between us and a server: when we end, however we end, so does everything the server started.

`python supervisor.py LOG GRACE_SECONDS COMMAND...` runs the command in a process group of its own until it ends, or
standard input is closed, which the kernel does when the process at its other end is killed. SIGTERM goes to the command
first, as servers end their workers themselves; after the grace, SIGKILL to the whole group. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

_LOOK_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


def main(log: str, grace_seconds: str, *command: str) -> int:
    """The command's exit code, as a shell tells it; 127 where it could not be started."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # whoever started us says when to stop
        signal.signal(number, signal.SIG_IGN)
    with open(log, "ab", buffering=0) as out:  # noqa: PTH123 - pathlib costs half of this program's start
        os.dup2(out.fileno(), 1)  # nothing of the starter's stays open here: who reads its output sees its end
        os.dup2(out.fileno(), 2)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                restore_signals=True,
                preexec_fn=_own_signals,  # noqa: PLW1509 - there are no threads here
            )
        except OSError as error:
            out.write(f"{command[0]}: {error.strerror}\n".encode())
            return 127
    while process.poll() is None and not _closed(_LOOK_SECONDS):
        pass
    _end(process, float(grace_seconds))
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _own_signals() -> None:
    """What is ignored here would be ignored by the server too; and where this process is killed it is told to end."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":  # elsewhere it would live on
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _closed(seconds: float) -> bool:
    """Whether the starter has closed its end, or has said something, which means the same."""
    return bool(select.select([0], [], [], seconds)[0])


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    until = time.monotonic() + grace_seconds
    if process.poll() is None:
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, until - time.monotonic()))
    with contextlib.suppress(ProcessLookupError, PermissionError):  # a Mac says the latter of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

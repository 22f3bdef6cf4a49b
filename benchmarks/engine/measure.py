"""Run one command and write what it cost: python -I -S measure.py RESULT.json COMMAND...

A process of its own, as small as Python gets: a child's peak memory counts from its fork, so that a large parent would
be measured instead.
"""

import json
import os
import sys
import time


def main() -> None:
    result, *command = sys.argv[1:]
    began = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    wall = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes here
    with open(result, "w") as file:  # noqa: PTH123 - pathlib would double the memory of this process
        json.dump(
            {
                "code": os.waitstatus_to_exitcode(status),
                "began": began,
                "wall_seconds": wall,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_bytes": used.ru_maxrss * unit,
            },
            file,
        )


if __name__ == "__main__":
    main()

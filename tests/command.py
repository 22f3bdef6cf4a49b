"""The real command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def environment(**more: str) -> dict[str, str]:
    """This environment with the checkout first on the path, and without what a user may have set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "160", **more}


def synthgen(*args: str | Path, cwd: Path, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `synthgen ARGS`; the caller looks at returncode, stdout and stderr."""
    command = [sys.executable, "-m", "synthgen", *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout, check=False
    )


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def lines(path: Path) -> list[str]:
    """The lines of a text file."""
    return path.read_text(encoding="utf-8").splitlines()


def result(done: subprocess.CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    """The last object of `--json`, where the exit code is this."""
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

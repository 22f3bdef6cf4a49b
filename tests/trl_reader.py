"""TRL for tests: a process of vLLM's Python, which has torch, that says what TRL's trainers see in a file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import vllm_server

READER = Path(__file__).parent / "readers" / "trl_rows.py"


@dataclass(frozen=True)
class Trl:
    """A running reader."""

    process: subprocess.Popen[str]

    def read(self, path: Path, trainer: str = "", *, template: str = "", **options: Any) -> dict[str, Any]:
        """The answer of tests/readers/trl_rows.py; RuntimeError with what TRL said where it stopped."""
        request = {"path": str(path), "trainer": trainer, "template": template, "options": options}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


@contextmanager
def reading(python: str, log: Path) -> Iterator[Trl]:
    """A reader with the tokenizer and the chat template of the embedded model."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, str(READER), str(vllm_server.MODEL)],
            env=vllm_server.environment(0) | {"HF_HOME": str(log.parent / "hf")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            encoding="utf-8",
        )
    with process:  # closes its stdin, at which it ends, and waits
        yield Trl(process)


@cache
def why_no_trl() -> str | None:
    """Why TRL cannot be asked here, in one line; None where it can."""
    if reason := vllm_server.why_unusable():
        return reason.replace("no vLLM server", "no TRL")
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('trl') is None)"
    absent = subprocess.run([os.environ["SYNTHGEN_VLLM_PYTHON"], "-I", "-c", look], check=False).returncode
    return "no TRL: SYNTHGEN_VLLM_PYTHON has none (pip install 'synthgen[finetune]' there)" if absent else None

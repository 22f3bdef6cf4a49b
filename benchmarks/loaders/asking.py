"""A reader at work: requests in, what its trainer sees out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .venvs import ROOT, Reader, python_of

MODEL = ROOT / "models" / "instruct"
# Of a model that calls tools and does not think.
TEMPLATE = "qwen3_instruct_2507_training"
_TRAINERS = {"sft": "sft", "text": "sft", "pairs": "dpo", "labels": "kto"}


class StoppedError(Exception):
    """The reader refused the file, in its own words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A running reader."""

    reader: Reader
    process: subprocess.Popen[str]

    def rows(
        self, path: Path, name: str, task: str, columns: tuple[str, ...], entry: Any, *, masked: bool = True
    ) -> list[dict[str, Any]]:
        """The rows that are trained, as the protocol of readers/serving.py has them; StoppedError.

        `masked`: messages are trained in the assistant's turns alone, which TRL does where it is told to.
        """
        request = {"path": str(path), "format": name, "task": task, "model": str(MODEL), "columns": columns}
        if entry is not None:
            request["entry"] = entry
        if self.reader.name == "TRL":
            mask = {"assistant_only_loss": True} if masked and name == "messages" else {}
            request |= {"trainer": _TRAINERS[task], "template": TEMPLATE, "options": mask}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise StoppedError(answer["error"])
        return [_told_apart(row) for row in answer["rows"]]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # else what a library prints while it is imported
                return dict(json.loads(line))
        raise SystemExit(f"{self.reader.name} ended; see its log")


def _told_apart(row: dict[str, Any]) -> dict[str, Any]:
    """TRL's rows of pairs and labels are texts: a prompt, and what is trained after it."""
    if "prompt" not in row:
        return row
    made = {
        n: {"text": row["prompt"] + row[n], "trained": [row[n]]}
        for n in ("chosen", "rejected", "completion")
        if n in row
    }
    return {**made["completion"], "label": row["label"]} if "completion" in made else made


@contextmanager
def asking(reader: Reader, cache: Path, log: Path) -> Iterator[Asked]:
    """The reader in its own environment, which is made first where that is needed."""
    python = python_of(reader, cache)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    places = {"HF_HOME": str(log.parent / "hf"), "MODELSCOPE_CACHE": str(log.parent / "ms"), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, reader.script, str(MODEL)],
            env=kept | places,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            encoding="utf-8",
        )
    with process:
        yield Asked(reader, process)

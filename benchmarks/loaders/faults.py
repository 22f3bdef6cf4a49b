"""What `validate` says that trainers do with a row at fault, beside what they do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synthgen.formats import open_format

from .asking import Asked, StoppedError
from .files import task_of
from .venvs import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from test_validate import CASES, check  # type: ignore[import-not-found]

# Files whose fault is in their columns alone would be of 10 MB; `tests` has `datasets` read those.
_NONE_LEFT = ("Cannot find valid samples", "dataset is empty")


@dataclass(frozen=True, slots=True)
class Fault:
    """`says` is the effect that the rule has for this reader, "" where none; `does` what became of the last row."""

    rule: str
    level: str
    reader: str
    format: str
    says: str
    does: str
    seen: str

    @property
    def agrees(self) -> bool | None:
        """None where the row is trained: whether that is garbage is for eyes."""
        if self.does == "nothing":  # a row without a loss
            return self.says in ("drop", "garbage")
        if self.does == "trained":
            return None if self.says in ("garbage", "cut", "") or self.level == "warning" else False
        return self.says == self.does

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "agrees": self.agrees}


def faults(asked: Asked, folder: Path) -> Iterator[Fault]:
    """One for each rule that a file of a format can break which this reader reads."""
    for rule, rows in CASES.items():
        path = folder / "faults" / rule / "a.jsonl"
        path.parent.mkdir(parents=True)
        one, found = check(path, rows)
        if one.kind is None or asked.reader.name not in one.kind.readers or len(found) != 1:
            continue
        does, seen = _done(asked, path, one.kind.name, rows)
        yield Fault(
            rule,
            found[0].rule.level,
            asked.reader.name,
            one.kind.name,
            found[0].effects.get(asked.reader.name, ""),
            does,
            seen,
        )


def _done(asked: Asked, path: Path, name: str, rows: Sequence[Any] | bytes) -> tuple[str, str]:
    """What becomes of the last row, and what is trained of it or what the reader says."""
    count = len(rows) if not isinstance(rows, bytes) else rows.count(b"\n")
    columns = tuple(dict.fromkeys(key for row in rows for key in row)) if not isinstance(rows, bytes) else ("text",)
    task = "text" if name in ("text", "chatml", "chatml-sep") else task_of(name)
    try:
        seen = asked.rows(path, name, task, columns, _entry(path, name, columns, rows), masked=False)
    except StoppedError as error:
        return ("drop" if any(words in str(error) for words in _NONE_LEFT) else "abort"), str(error)[:160]
    if len(seen) < count and not (task == "text" and asked.reader.name == "LLaMA-Factory"):
        return "drop", f"{count} rows, {len(seen)} left"
    last = seen[-1] if seen else {}
    parts = [part for part in (last, last.get("chosen"), last.get("rejected")) if part and "trained" in part]
    runs = [run for part in parts for run in part["trained"]]
    return "trained" if runs else "nothing", json.dumps(runs, ensure_ascii=False)[:160]


def _entry(path: Path, name: str, columns: tuple[str, ...], rows: Sequence[Any] | bytes) -> Any:
    """The entry that someone would write who has the documentation beside the file."""
    if name in ("text", "chatml", "chatml-sep"):
        return {"file_name": path.name, "columns": {"prompt": "text"}}
    if path.parent.name in ("no-input-column", "other-output-column"):  # what is read where nobody says
        return {"file_name": path.name}
    entry = open_format(name).dataset_info(path.name, columns)
    if (entry is not None and "tool_calls" not in str(rows)) or "messages" not in columns:
        return entry
    return {
        "file_name": path.name,
        "formatting": "openai",
        "columns": {n: n for n in ("messages", "tools") if n in columns},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "observation_tag": "tool",
            "function_tag": "function_call",
            "system_tag": "system",
        },
    }

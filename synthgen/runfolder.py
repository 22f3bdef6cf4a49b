"""The folder that a run goes to: its language, and whether it may be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from synthgen import output
from synthgen.errors import UsageError
from synthgen.formats import formats

_OURS = ("README.md", "dataset_info.json", "rejected.jsonl", "failures.jsonl", "report.json", "run.json")


def settled_language(recipe: str, out: Path | None, inputs: Sequence[str], found: str) -> str:
    """The language of a run that is there already, so that rows added to its input do not move it; else what was found.

    Without a folder it is the default one's, of whichever language, that was made from the same inputs.
    """
    if out is not None:
        there = _about(out)
        return str(there["lang"]) if there.get("recipe") == recipe else found
    for lang in (found, *({"en", "zh"} - {found})):
        there = _about(Path("runs") / f"{recipe}-{lang}")
        if inputs and there.get("recipe") == recipe and there.get("input") == list(inputs):
            return lang
    return found


def check(out: Path, recipe: str, lang: str, inputs: Iterable[str]) -> list[str]:
    """The formats that an earlier command wrote here. Raises UsageError where what is there is something else."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file is in the way; give another --out")
    written = (*_OURS, *(one.file_name for one in formats().values()))
    for path in map(Path, inputs):
        if path.is_file() and path.name in written and path.resolve().parent == out.resolve():
            raise UsageError(f"--input {path}: this run would write over it; give another --out")
    there = _about(out)
    if not output.is_run(out):
        foreign = [name for name in written if (out / name).exists()]
        if foreign and not there:
            raise UsageError(f"{out}: no run, but holds {foreign[0]}, which one would write over; give another --out")
        return []
    if there:
        check_same(out, (there.get("recipe"), there.get("lang")), (recipe, lang))
    return list(there.get("formats", ()))


def check_same(out: Path, there: tuple[Any, Any], here: tuple[str, str]) -> None:
    """Raises UsageError where a folder holds a run of another recipe or language."""
    if there != here:
        raise UsageError(
            f"{out}: holds a run of {there[0]} ({there[1]}), not of {here[0]} ({here[1]}); give another --out"
        )


def _about(out: Path) -> dict[str, Any]:
    """run.json; empty where there is none: killed before it was written, or edited since, it is written anew."""
    try:
        return output.read_run(out)
    except UsageError:
        return {}

"""A data set in a folder of its own: a file for each split, LLaMA-Factory's registry and a card."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen import output
from synthgen.dedup import cjk_share
from synthgen.errors import UsageError
from synthgen.formats import Format
from synthgen.formats.card import OURS, folder_card, registry
from synthgen.formats.splits import REST, Splitter, prompt_of
from synthgen.formats.write import write_bytes, write_splits
from synthgen.formats.written import Written
from synthgen.rows.folder import front_matter
from synthgen.types import Sample

_REGISTRY, _CARD = "dataset_info.json", "README.md"
_MOST_HEARD = 200


@dataclass(frozen=True, slots=True)
class Made:
    """What came of each split, all files that were written by name, the splits without rows, and the prompts that are
    in train in the place of another split. `removed`: files of an earlier export. `entries`: the registry's of today.
    """

    splits: Mapping[str, Written]
    files: tuple[str, ...]
    empty: tuple[str, ...]
    moved: int
    removed: tuple[str, ...]
    entries: tuple[str, ...]


def check_folder(folder: Path, into: Format, shares: Iterable[str]) -> None:
    """Raises UsageError where it is no place for a data set with these splits: what others made would be lost."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give -o the name of a folder")
    if output.is_run(folder):
        raise UsageError(f"{folder}: is a run folder, which has its own files; give another -o")
    if OURS not in _texts(front_matter(folder / _CARD).get("tags")):
        for path in (folder / _CARD, *_paths(folder, into, shares).values()):
            if path.exists():
                raise UsageError(f"{path}: is not of synthgen's making; move it away, or give another folder")
    _registry(folder)


def write_folder(
    folder: Path,
    into: Format,
    samples: Callable[[], Iterable[Sample]],
    shares: Mapping[str, float],
    *,
    source: Path,
    splitter: Splitter | None = None,
    strict: bool = False,
    command: str = "",
    where: Callable[[], str] | None = None,
) -> Made:
    """`shares` are those of all splits but train, their names alone where a `splitter` is given.

    CannotCarryError as in `write_splits`, and nothing is left then.
    """
    paths = _paths(folder, into, shares)
    by_hash, splitter, was_there = splitter is None, splitter or Splitter(shares), folder.exists()
    asked: dict[int, str] = {}  # by the first samples, which tell the language

    def heard() -> Iterator[Sample]:
        for number, sample in enumerate(samples()):
            if number < _MOST_HEARD:
                asked[number] = prompt_of(sample)
            yield sample

    try:
        written = write_splits(heard, into, paths, splitter, strict=strict, some=True, where=where)
    finally:
        if not was_there:
            with suppress(OSError):  # there is something in it
                folder.rmdir()
    kept = {split: one for split, one in written.items() if one.rows} or {REST: written[REST]}
    former = _written_before(folder)
    name = re.sub(r"[^\w.-]", "_", folder.resolve().name) or "data"
    entries = {entry: one for entry, one in _registry(folder).items() if not _is_ours(one, entry, name)}
    told = {split: into.dataset_info(one.path.name, one.columns) for split, one in kept.items() if one.rows}
    ours = {name if split == REST else f"{name}_{split}": one for split, one in told.items() if one is not None}
    entries |= ours
    files = [one.path.name for one in kept.values()]
    if entries or (folder / _REGISTRY).exists():
        write_bytes(folder / _REGISTRY, registry(entries))
        files.append(_REGISTRY)
    card = _card(folder, into, kept, written, source, command, "".join(asked.values()), by_hash=by_hash)
    write_bytes(folder / _CARD, card.encode())
    empty = tuple(split for split in paths if split not in kept)
    stale = [name for name in former if name not in files]  # what an earlier export put there
    stale += [paths[split].name for split in empty if paths[split].exists()]
    removed = tuple(dict.fromkeys(stale))
    for one in removed:
        (folder / one).unlink(missing_ok=True)
    return Made(written, (*files, _CARD), empty, len(splitter.moved), removed, tuple(ours))


def _written_before(folder: Path) -> list[str]:
    """The data files that an earlier card names, which is ours: those that are there, in the folder itself."""
    configs = front_matter(folder / _CARD).get("configs") or []
    files = [one for config in configs if isinstance(config, dict) for one in config.get("data_files") or []]
    names = [one.get("path") for one in files if isinstance(one, dict)]
    return [name for name in _texts(names) if Path(name).name == name and (folder / name).is_file()]


def _paths(folder: Path, into: Format, shares: Iterable[str]) -> dict[str, Path]:
    """The file of each split, train first."""
    return {split: folder / f"{split}{Path(into.file_name).suffix}" for split in (REST, *shares)}


def _is_ours(entry: Any, name: str, ours: str) -> bool:
    """Whether an entry of the registry is one that an earlier export of this folder wrote."""
    file = entry.get("file_name") if isinstance(entry, dict) else None
    return isinstance(file, str) and name in (ours, f"{ours}_{Path(file).stem}")


def _registry(folder: Path) -> dict[str, Any]:
    """What is there already: other entries stay, as the folder may be LLaMA-Factory's own."""
    path = folder / _REGISTRY
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: is no registry of LLaMA-Factory; move it away, or give another folder")
    return found


def _card(
    folder: Path,
    into: Format,
    kept: Mapping[str, Written],
    written: Mapping[str, Written],
    source: Path,
    command: str,
    asked: str,
    *,
    by_hash: bool,
) -> str:
    run = output.read_run(source) if output.is_run(source) else {}
    former = {} if run or not source.is_dir() else front_matter(source / _CARD)
    lost: Counter[str] = Counter()
    for one in written.values():
        lost.update({f"left out: {reason}": number for reason, number in one.left_out.items()})
        lost.update(one.lost)
    languages = [str(run["lang"])] if run else _texts(former.get("language")) or _language(asked)
    synthetic = [] if not run and not _is_synthetic(former) else ["synthetic"]
    about = [f"They were made with the recipe `{run['recipe']}`."] if run else []
    return folder_card(
        title=folder.resolve().name,
        folder=folder,
        splits={split: (one.path.name, one.rows) for split, one in kept.items()},
        format_name=into.name,
        about=about,
        languages=languages,
        license_id=next(iter(_texts(former.get("license"))), ""),
        tags=tuple(dict.fromkeys([*_texts(former.get("tags")), *synthetic, OURS])),
        by_hash=by_hash,
        models=list(run.get("models", {}).items()),
        lost=lost,
        command=command,
    )


def _is_synthetic(card: Mapping[str, Any]) -> bool:
    """Whether a card says that machines wrote its rows."""
    made = [*_texts(card.get("annotations_creators")), *_texts(card.get("language_creators"))]
    return "synthetic" in _texts(card.get("tags")) or "machine-generated" in made


def _texts(value: Any) -> list[str]:
    """A text of a front matter, or a list of them."""
    found = value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, str)]


def _language(text: str) -> list[str]:
    """Chinese is known by its characters; which of the others it is, nobody knows here."""
    return ["zh"] if cjk_share(text) >= 0.3 else []

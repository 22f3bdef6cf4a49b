"""The files of a folder that hold its rows: those that its card names, or `save_to_disk` wrote, or all of a kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows.packed import is_packed

# Beside the rows lie files about them, which are JSON too.
_ABOUT = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"})
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)


def folder_files(folder: Path, readable: frozenset[str], *, by_card: bool) -> list[Path]:
    """In order, without checking their kind; empty where there are none. Raises UsageError, PermissionError.

    All splits of what the card calls its default config. Without a card that names files: those in the folder, or
    where it has none those in the folders in it. `readable` are the suffixes of files of rows.
    """
    if found := _saved(folder) or (_named(folder) if by_card else []):
        return found
    shards = [file for file in _rows(folder.glob("data/*"), readable) if _SHARD.search(file.name)]
    return shards or _rows(folder.iterdir(), readable) or _rows(folder.rglob("*"), readable, within=folder)


def _rows(files: Iterator[Path], readable: frozenset[str], within: Path | None = None) -> list[Path]:
    kept = []
    for file in files:
        parts = file.relative_to(within).parts if within else (file.name,)
        hidden = any(part.startswith((".", "__")) for part in parts)
        kind = "".join(file.suffixes[-2:]) if is_packed(file) else file.suffix
        if kind.lower() in readable and not hidden and file.name not in _ABOUT and file.is_file():
            kept.append(file)
    return sorted(kept)


def _saved(folder: Path) -> list[Path]:
    """What `save_to_disk` wrote: one data set, or one for each split."""
    splits = _json(folder / "dataset_dict.json", "splits")
    if splits is not None:
        return [file for split in splits for file in _saved(folder / str(split))]
    files = _json(folder / "state.json", "_data_files")
    return [_there(folder, one["filename"], "state.json") for one in files or () if isinstance(one, dict)]


def _json(path: Path, key: str) -> list[Any] | None:
    """The list under a key of a small file, None where it is not there or of another kind."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes()).get(key)
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _named(folder: Path) -> list[Path]:
    """The data files of the card's default config."""
    chosen = _default(folder)
    if chosen is None:
        return []
    base = folder / str(chosen.get("data_dir") or ".")
    return list(dict.fromkeys(file for one in patterns(chosen["data_files"]) for file in _matching(base, one)))


def _default(folder: Path) -> Any:
    """The card's default config that names files; None where there is none."""
    configs = [one for one in front_matter(folder / "README.md").get("configs") or () if _has_files(one)]
    if not configs:
        return None
    default = [one for one in configs if one.get("default") or one.get("config_name", "default") == "default"]
    if not default and len(configs) > 1:
        names = ", ".join(str(one.get("config_name")) for one in configs)
        raise UsageError(f"{folder}: its README.md has the configs {names}, none of them the default; give their files")
    return (default or configs)[0]


def folder_splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, as `folder_files` has them, where its card names them or `save_to_disk` wrote them;
    empty where neither is so.
    """
    saved = _json(folder / "dataset_dict.json", "splits")
    if saved is not None:
        return {str(split): _saved(folder / str(split)) for split in saved}
    chosen = _default(folder)
    if chosen is None:
        return {}
    base, given = folder / str(chosen.get("data_dir") or "."), chosen["data_files"]
    one_by_one = given if isinstance(given, list) else [given]
    named = [
        (str(one["split"]), one["path"]) for one in one_by_one if isinstance(one, dict) and {"split", "path"} <= {*one}
    ]
    if isinstance(given, dict) and "path" not in given:
        named = [(str(split), path) for split, path in given.items()]
    found: dict[str, list[Path]] = {}
    for split, given_patterns in named:
        found.setdefault(split, []).extend(file for one in patterns(given_patterns) for file in _matching(base, one))
    return found


def _has_files(config: Any) -> bool:
    return isinstance(config, dict) and bool(config.get("data_files"))


def front_matter(card: Path) -> dict[str, Any]:
    """The YAML that a data set card opens with; empty where there is none."""
    import yaml

    if not card.is_file():
        return {}
    front = _FRONT.match(card.read_text("utf-8", errors="replace").removeprefix("\ufeff"))
    try:
        found = yaml.safe_load(front[1]) if front else None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        what = " ".join(str(error).split())[:120]
        message = f"its front matter is not YAML ({what}); fix it, or give the files themselves"
        raise UsageError(f"{card}: {message}") from None
    return found if isinstance(found, dict) else {}


def patterns(data_files: Any) -> Iterator[str]:
    """A pattern, a list of them, {split, path} in a list, or a split's name with either."""
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, list):
        for one in data_files:
            yield from patterns(one)
    elif isinstance(data_files, dict):
        yield from patterns(data_files["path"] if "path" in data_files else list(data_files.values()))


def _matching(base: Path, pattern: str) -> list[Path]:
    if "://" in pattern or Path(pattern).is_absolute():
        raise UsageError(f"{base}: its README.md names {pattern}, which lies elsewhere; give the files themselves")
    return matching(base, pattern) or [_there(base, pattern, "README.md")]


def matching(base: Path, pattern: str) -> list[Path]:
    """The files of a pattern of a card, in order; none where it is no pattern, or leads out of the folder."""
    if "://" in pattern or Path(pattern).is_absolute():
        return []
    try:
        return sorted(file for file in base.glob(pattern) if file.is_file())
    except (ValueError, NotImplementedError):  # a pattern that is none
        return []


def _there(folder: Path, name: str, by: str) -> Path:
    path = folder / str(name)
    if not path.is_file():
        raise UsageError(f"{path}: no such file, though {by} names it; fetch it, or give the files that are there")
    return path

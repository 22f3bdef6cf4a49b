"""A folder of data: which of its files are rows, what the card leaves to chance, what the registry does not say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows import row_files
from synthgen.rows.folder import front_matter, matching, patterns
from synthgen.rows.shapes import is_registry
from synthgen.validating.checking import Checked, Finding, Tell
from synthgen.validating.kinds import Kind, kind_of
from synthgen.validating.reading import pieces
from synthgen.validating.registry import entry_faults
from synthgen.validating.rules import RULES

REGISTRY = "dataset_info.json"
_MOST_BYTES = 5_000_000  # LLaMA-Factory's own, of some two hundred sets, is a hundredth of it
# LLaMA-Factory takes the first of these that an entry has.
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
# Where any file is named after a split, `datasets` takes those alone.
_SPLIT = re.compile(
    r"(?:^|[-._ 0-9])(?:train(?:ing)?|valid(?:ation)?|dev|val|test(?:ing)?|eval(?:uation)?)(?:[-._ 0-9]|$)"
)


def is_registry_file(path: Path) -> bool:
    """Whether a file is a registry by its name, or by what it holds."""
    if path.name == REGISTRY or path.suffix.lower() != ".json" or not path.is_file():
        return path.name == REGISTRY
    if path.stat().st_size > _MOST_BYTES:
        return False
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(found, dict) and is_registry(found)


class Folder:
    """`files` are those that are data by the card and by the registry, or all where neither names any.

    `registry`: the name of one that is looked at alone.
    """

    def __init__(self, path: Path, tell: Tell, *, registry: str = "") -> None:
        """Raises UsageError where there is nothing to read."""
        self.path, self._tell = path, tell
        self._registry = path / (registry or REGISTRY)
        self.found: list[Checked] = []  # of the card and of the registry
        self._card = None if registry else self._read_card()
        self._entries = self._read_registry()
        named = [file for pattern in self._card or () for file in matching(path, pattern)]
        named += [file for _, place in self._local() for file in _files_at(place)]
        self.files = list(dict.fromkeys(named))
        if not self.files and not registry and not any(self._local()):
            self.files = self._rest()
        elif not any(self._local()) and not self.found and not self.files:
            raise UsageError(f"{self._registry}: names no file that is here; give the files themselves")

    def _rest(self) -> list[Path]:
        """The rows of a folder that says nothing of its files, less what `datasets` ignores and what is astray."""
        files = [file for file in row_files(self.path, by_card=False) if file.name != REGISTRY]
        astray = self._astray(files)
        return [file for file in files if file not in astray]

    def _astray(self, files: Sequence[Path]) -> list[Path]:
        splits = [file for file in files if _SPLIT.search(file.stem.lower())]
        files = [file for file in splits or files if not _is_broken(file)]
        kinds = [(file, kind.name if (kind := _kind_of_first(file)) else "") for file in files]
        known = Counter(kind for _, kind in kinds if kind)
        if self._card is not None or not known:
            return []
        usual = known.most_common(1)[0][0]
        astray = [file for file, kind in kinds if kind != usual]
        for file in astray:
            self._say(file, 1, "stray-file", f"no {usual} row as in the files beside it")
        return [file for file in astray if _kind_of_first(file) is None]

    def mapped(self, file: Path) -> bool:
        """Whether the registry has an entry for a file, which is then held against its columns."""
        return any(file in (place, place / file.name) for _, place in self._local())

    def finish(self, checked: Sequence[Checked]) -> None:
        """Holds the registry against what was found in the files."""
        by_path = {one.path: one for one in checked}
        for name, entry in (self._entries or {}).items():
            line = self._line_of(name)
            if not isinstance(entry, dict):
                self._say(self._registry, line, "registry-json", f"{name} is no object")
                continue
            if any(key in entry for key in _ELSEWHERE):
                continue
            file = self.path / str(entry.get("file_name"))
            if not _files_at(file):
                self._say(self._registry, line, "registry-file", f"{name}: no file {entry.get('file_name')}")
            for one in [by_path[str(place)] for place in _files_at(file) if str(place) in by_path]:
                for rule, what in entry_faults(entry, one):
                    self._say(self._registry, line, rule, f"{name}: {what}")

    def _local(self) -> Iterator[tuple[Mapping[str, Any], Path]]:
        """The entries whose file is here."""
        for entry in (self._entries or {}).values():
            if isinstance(entry, dict) and not any(key in entry for key in _ELSEWHERE):
                yield entry, self.path / str(entry.get("file_name"))

    def _read_registry(self) -> dict[str, Any] | None:
        path = self._registry
        if not path.is_file():
            return None
        data = path.read_bytes()
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            self._say(path, getattr(error, "lineno", 1), "registry-json", f"not JSON ({error})")
            return {}
        if not isinstance(found, dict):
            self._say(path, 1, "registry-json", "no object")
            return {}
        if not data.isascii():
            line = next(number for number, text in enumerate(data.splitlines(), start=1) if not text.isascii())
            self._say(path, line, "registry-ascii", "a character that is not ASCII")
        return found

    def _read_card(self) -> list[str] | None:
        """The patterns of the card's data files; None without a card, or where it names none."""
        path = self.path / "README.md"
        try:
            configs = front_matter(path).get("configs")
        except UsageError as error:
            self._say(path, 1, "card-yaml", str(error).removeprefix(f"{path}: ").rpartition(";")[0])
            return None
        if not isinstance(configs, list) or not any(isinstance(one, dict) and one.get("data_files") for one in configs):
            return None
        named = [one for config in configs if isinstance(config, dict) for one in patterns(config.get("data_files"))]
        text = path.read_text("utf-8", errors="replace")
        for pattern in named:
            if not matching(self.path, pattern):
                line = next((n for n, said in enumerate(text.splitlines(), start=1) if pattern in said), 1)
                self._say(path, line, "card-files", f"no file {pattern}")
        return named

    def _line_of(self, name: str) -> int:
        text = self._registry.read_text("utf-8", errors="replace")
        for spelled in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
            if found := re.search(rf"{re.escape(spelled)}\s*:", text):
                return text.count("\n", 0, found.start()) + 1
        return 1

    def _say(self, path: Path, line: int, name: str, what: str) -> None:
        if not self.found or self.found[-1].path != str(path):
            self.found.append(Checked(str(path)))
        one, rule = self.found[-1], RULES[name]
        one.counts[name] += 1
        one.hurt.update(rule.effects.items())
        self._tell(Finding(str(path), line, rule, what, rule.effects))


def _files_at(place: Path) -> list[Path]:
    """What an entry's `file_name` stands for: a file, or all in a folder, as LLaMA-Factory takes them."""
    return [file for file in (sorted(place.iterdir()) if place.is_dir() else [place]) if file.is_file()]


def _is_broken(path: Path) -> bool:
    """Whether there is something in a file, and no row in that: which is a fault of its own."""
    try:
        problems = [piece[4] for piece in islice(pieces(path), 100)]
    except UsageError:
        return True
    return all(problem is not None and problem[0] != "no-rows" for problem in problems)


def _kind_of_first(path: Path) -> Kind | None:
    """The kind of the first row that can be read."""
    try:
        for piece in islice(pieces(path), 100):
            if piece[4] is None:
                return kind_of(piece[3])
    except UsageError:
        pass
    return None

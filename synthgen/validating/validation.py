"""What was given, file by file: what each breaks, and all of it in counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError
from synthgen.rows import nearest_path
from synthgen.validating.checking import Check, Checked, Tell
from synthgen.validating.folder import Folder, is_registry_file
from synthgen.validating.kinds import Kind, open_kind
from synthgen.validating.repairing import Repair, Repaired, Repairing
from synthgen.validating.rules import LOADERS, RULES, Effect, Loader


class Validation:
    """`tell` gets each finding as it is met. Memory does not grow with the files."""

    def __init__(self, sources: Sequence[str], tell: Tell, *, format_name: str | None = None) -> None:
        """Raises UsageError for an unknown format, and for a source that is not there."""
        self.checked: list[Checked] = []
        self._kind: Kind | None = open_kind(format_name) if format_name else None
        self._tell = tell
        self._repairing: Repairing | None = None
        self._repaired: Repaired | None = None
        self._sources = [Path(source) for source in sources]
        for source in self._sources:
            if not source.exists():
                raise UsageError(f"{source}: no such file{nearest_path(source)}")

    def run(self) -> list[Checked]:
        """Raises UsageError where a source holds no rows at all."""
        for source in self._sources:
            if source.is_dir() or is_registry_file(source):
                self._run_folder(source)
            else:
                self._run_file(source)
        return self.checked

    def check_fix(self, out: Path) -> None:
        """Raises UsageError where OUT cannot be a repaired copy of what was given."""
        if len(self._sources) > 1 or self._sources[0].is_dir() or is_registry_file(self._sources[0]):
            raise UsageError("--fix repairs one file of rows; give it alone")
        Repairing.check(self._sources[0], out)

    def fix(self, out: Path, tell: Callable[[Repair], object]) -> Repaired:
        """A repaired copy of the one file, after `run`."""
        self._repairing = Repairing(self.checked[0], out, tell)
        self._repaired = self._repairing.run()
        return self._repaired

    def _run_folder(self, source: Path) -> None:
        alone = not source.is_dir()
        folder = Folder(source.parent if alone else source, self._tell, registry=source.name if alone else "")
        start = len(self.checked)
        for path in folder.files:
            self._run_file(path, mapped=folder.mapped(path))
        folder.finish(self.checked[start:])
        self.checked += folder.found

    def _run_file(self, path: Path, *, mapped: bool = False) -> None:
        check = Check(path, self._tell, kind=self._kind, mapped=mapped)
        self.checked.append(check.found)
        check.run()

    def line(self) -> str:
        """How far it is, for a progress line."""
        if self._repairing is not None:
            return self._repairing.line()
        found = self.checked[-1:]
        where = f" · {found[0].path} · {found[0].rows:,} rows" if found else ""
        return f"validate{where} · {self.faults:,} faults"

    @property
    def counts(self) -> Counter[str]:
        """Findings by rule, over all files."""
        return sum((one.counts for one in self.checked), Counter())

    @property
    def hurt(self) -> Counter[tuple[Loader, Effect]]:
        """Rows by what a trainer does with them."""
        return sum((one.hurt for one in self.checked), Counter())

    @property
    def effects(self) -> dict[str, dict[Loader, Effect]]:
        """What the trainers do by each rule that was broken, those that read one of the files."""
        found: dict[str, dict[Loader, Effect]] = {}
        for one in self.checked:
            for name in one.counts:
                found.setdefault(name, {}).update(one.effects(RULES[name]))
        return found

    @property
    def faults(self) -> int:
        """How many findings are faults."""
        return sum(one.of_level("fault") for one in self.checked)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        loaders: dict[str, dict[str, int]] = {loader: {} for loader in LOADERS}
        for (loader, effect), rows in self.hurt.items():
            loaders[loader][effect] = rows
        return {
            "faults": self.faults,
            "warnings": sum(one.of_level("warning") for one in self.checked),
            "rules": {name: {"count": n, "level": RULES[name].level} for name, n in self.counts.items()},
            "loaders": loaders,
            "files": [_file(one) for one in self.checked],
            **({"fixed": asdict(self._repaired)} if self._repaired else {}),
        }


def _file(one: Checked) -> dict[str, Any]:
    return {
        "path": one.path,
        "format": one.kind.name if one.kind else None,
        "rows": one.rows,
        "faults": one.of_level("fault"),
        "warnings": one.of_level("warning"),
        "notes": [rule.name for rule in one.notes],
    }

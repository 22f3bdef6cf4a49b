"""What a recipe is given to work on: seeds, prompts or documents, whichever it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.data import folder
from synthgen.document_recipe import cleaning_of, thresholds_of
from synthgen.documents import Documents, Reading
from synthgen.errors import UsageError
from synthgen.inputs import Inputs, Scan
from synthgen.recipe import Recipe
from synthgen.seeds import read_seeds
from synthgen.types import Seed

# The option, and what the help calls its value.
_FLAGS = {"seeds": "--seeds", "prompts": "--input", "documents": "--documents"}
_MEANT = {"prompts": "FILE|RUN", "documents": "PATH"}


@dataclass(frozen=True, slots=True)
class Given:
    """`what` it is, from where, and as seeds: a list, or what is read again for each pass, with its `scan`."""

    what: str
    paths: tuple[str, ...]
    seeds: Iterable[Seed]
    scan: Scan | Reading | None = None

    @property
    def unread(self) -> int:
        """Documents that are not used, each a task that asks nothing."""
        return self.scan.refused.total() if isinstance(self.scan, Reading) else 0


def given(
    kind: type[Recipe],
    brought: Mapping[str, Sequence[str]],
    lang: str,
    values: Mapping[str, Any],
    note: Callable[[str], None],
) -> Given:
    """Reads what was brought, of which one kind must be what the recipe takes. Raises UsageError."""
    takes, works_on = kind.takes, f"{kind.name} works on {' or '.join(kind.takes)}"
    for what, paths in brought.items():
        if paths and what not in takes:
            flags = " or ".join(_FLAGS[one] for one in takes)
            raise UsageError(f"{_FLAGS[what]} {paths[0]}: {works_on}; give them as {flags}")
    chosen = [what for what in takes if brought[what]] or [what for what in takes if what == "seeds"]
    if not chosen:
        raise UsageError(f"{works_on}: give {' or '.join(f'{_FLAGS[one]} {_MEANT[one]}' for one in takes)}")
    if len(chosen) > 1:
        raise UsageError(f"{works_on}, not on both at once; leave {_FLAGS[chosen[0]]} or {_FLAGS[chosen[1]]} out")
    (what,), paths = chosen, tuple(brought[chosen[0]])
    if what == "seeds":
        known = tuple(map(_known, paths or ("zh" if lang == "zh" else "en",)))
        return Given(what, known, read_seeds(known))
    if what == "prompts":
        inputs = Inputs(paths)
        return Given(what, paths, inputs, inputs.scan())
    documents = Documents(paths, thresholds_of(kind, values), clean=cleaning_of(kind, values), note=note)
    reading = documents.scan()
    for line in reading.lines():
        note(line)
    return Given(what, paths, documents, reading)


def _known(path: str) -> str:
    """`en` and `zh` are the built-in seeds, unless such a file is there."""
    return str(folder("seeds") / path) if path in ("en", "zh") and not Path(path).exists() else path

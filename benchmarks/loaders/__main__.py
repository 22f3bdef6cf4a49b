"""Our files through the real readers: python -m benchmarks.loaders [--only NAME] [--json] [--faults] [--cache DIR]."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .asking import Asked, StoppedError, asking
from .comparing import aligned, difference
from .faults import Fault, faults
from .files import FORMATS, File, files, task_of
from .known import known, known_stop
from .venvs import READERS

_MISREAD = "no entry in its registry: it would misread the file"


@dataclass(slots=True)
class Line:
    """A reader and a file: its rows, those that are trained on, those that are what the sample says.

    `own` are differences that are the reader's, `missed` those that nobody knows of.
    """

    reader: str
    format: str
    source: str
    rows: int
    seen: int = 0
    equal: int = 0
    own: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def lines(asked: Asked, folder: Path) -> Iterator[Line]:
    """One for each file that the reader is given."""
    for name in FORMATS[asked.reader.name]:
        for file in files(name, folder):
            yield _line(asked, file)


def _line(asked: Asked, file: File) -> Line:
    name, reader = file.format.name, asked.reader.name
    line = Line(reader, name, file.source, len(file.samples))
    if reader == "LLaMA-Factory" and file.entry is None:
        line.own[_MISREAD] = line.rows
        return line
    try:
        rows = asked.rows(file.path, name, task_of(name), file.columns, file.entry)
    except StoppedError as error:
        why = known_stop(reader, name, file.samples)
        (line.own if why else line.missed)[why or f"stops: {error}"[:200]] = line.rows
        return line
    line.seen = len(rows)
    pairs = aligned(file.samples, rows, name, lambda sample: known(reader, name, sample, "dropped"))
    for number, (sample, row) in enumerate(pairs, start=1):
        what = "dropped" if row is None else difference(sample, row, name)
        if what is None:
            line.equal += 1
        elif why := known(reader, name, sample, what):
            line.own[why] += 1
        else:
            line.missed[what] += 1
            line.first = line.first or f"row {number}: {json.dumps(row, ensure_ascii=False)}"[:1500]
    return line


def table(found: Sequence[Line]) -> Iterator[str]:
    """One line for each reader and format, over all files."""
    yield f"{'reader':<14} {'format':<20} {'rows':>6} {'seen':>6} {'equal':>6}"
    for reader, name in dict.fromkeys((line.reader, line.format) for line in found):
        of = [line for line in found if (line.reader, line.format) == (reader, name)]
        rows, seen, equal = (sum(getattr(line, column) for line in of) for column in ("rows", "seen", "equal"))
        yield f"{reader:<14} {name:<20} {rows:6} {seen:6} {equal:6}"
        for sort in ("own", "missed"):
            for what, count in sum((getattr(line, sort) for line in of), Counter()).items():
                yield f"{'':<14} {'MISSED' if sort == 'missed' else '':<20} {count:6} {what}"
        yield from (f"{'':<14} {line.source}: {line.first}" for line in of if line.first)


def told(found: Sequence[Fault]) -> Iterator[str]:
    """One line for each rule and reader: what is said, what is done."""
    for fault in found:
        verdict = "WRONG" if fault.agrees is False else ""
        where = f"{fault.rule:<20} {fault.format:<22} {fault.reader:<14}"
        yield f"{verdict:<6} {where} says {fault.says or '-':<8} {fault.does:<8} {fault.seen}"


def main() -> int:
    """1 where a reader does what nobody knows of it, or where a rule says what it does not do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(READERS), help="a reader; repeatable")
    parser.add_argument("--cache", type=Path, default=_cache(), help="where the environments of the readers are kept")
    parser.add_argument("--json", action="store_true", help="one object a file, or a fault, on stdout")
    parser.add_argument("--faults", action="store_true", help="rows at fault: what validate says, what the readers do")
    args = parser.parse_args()
    found: list[Line] = []
    wrong: list[Fault] = []
    for name in args.only or READERS:
        reader = READERS[name]
        print(f"{reader.package}{': ' if reader.remark else ''}{reader.remark}", file=sys.stderr)
        with TemporaryDirectory() as place, asking(reader, args.cache.expanduser(), Path(place) / "log") as asked:
            for one in faults(asked, Path(place)) if args.faults else lines(asked, Path(place)):
                (wrong if isinstance(one, Fault) else found).append(one)
                if args.json:
                    print(json.dumps(one.as_dict(), ensure_ascii=False), flush=True)
    if not args.json:
        print("\n".join(told(wrong) if args.faults else table(found)))
    return int(any(line.missed for line in found) or any(fault.agrees is False for fault in wrong))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "synthgen" / "loaders"


if __name__ == "__main__":
    sys.exit(main())

"""Our files through the real readers of four trainers: python -m benchmarks.loaders [--only NAME] [--json] [--cache DIR]."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from .asking import Asked, StoppedError, asking
from .comparing import aligned, difference
from .files import FORMATS, File, files, task_of
from .venvs import READERS


@dataclass(slots=True)
class Line:
    """A reader and a format: rows of all files, those that it trains on, those that are what the sample says."""

    reader: str
    format: str
    source: str
    rows: int
    seen: int = 0
    equal: int = 0
    differences: Counter[str] = field(default_factory=Counter)
    first: str = ""


def lines(asked: Asked, folder: Path) -> Iterator[Line]:
    """One for each file that the reader is given."""
    for name in FORMATS[asked.reader.name]:
        for file in files(name, folder):
            yield _line(asked, file)


def _line(asked: Asked, file: File) -> Line:
    name = file.format.name
    line = Line(asked.reader.name, name, file.source, len(file.samples))
    if asked.reader.name == "LLaMA-Factory" and file.entry is None:
        line.differences["no entry in its registry, as it would misread the file"] = line.rows
        return line
    try:
        rows = asked.rows(file.path, name, task_of(name), file.columns, file.entry)
    except StoppedError as error:
        line.differences[f"stops: {error}"[:200]] = line.rows
        return line
    line.seen = len(rows)
    for number, (sample, row) in enumerate(aligned(file.samples, rows), start=1):
        what = "dropped" if row is None else difference(sample, row, name)
        line.equal += what is None
        if what:
            line.differences[what] += 1
            line.first = line.first or f"row {number}: {json.dumps(row, ensure_ascii=False)}"[:1500]
    return line


def main() -> int:
    """0 where each reader sees each row as it was meant, or differs in what is known of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(READERS), help="a reader; repeatable")
    parser.add_argument("--cache", type=Path, default=_cache(), help="where the environments of the readers are kept")
    parser.add_argument("--json", action="store_true", help="one object a file on stdout")
    args = parser.parse_args()
    missed = 0
    for name in args.only or READERS:
        reader = READERS[name]
        print(f"{reader.package}{': ' if reader.remark else ''}{reader.remark}", file=sys.stderr)
        with TemporaryDirectory() as place, asking(reader, args.cache, Path(place) / "log") as asked:
            for line in lines(asked, Path(place)):
                if args.json:
                    print(json.dumps({**asdict(replace(line, differences={})), "differences": line.differences}, ensure_ascii=False), flush=True)
                else:
                    print(f"{line.reader:<14} {line.format:<20} {line.source:<36} {line.rows:6} {line.seen:6} {line.equal:6}  {dict(line.differences) or ''}", flush=True)
    return int(missed > 0)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "synthgen" / "loaders"


if __name__ == "__main__":
    sys.exit(main())

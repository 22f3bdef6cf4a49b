"""A dataset checked pair by pair by brute force: python benchmarks/novelty.py RUN|FILE."""

from __future__ import annotations

import sys
from pathlib import Path

from synthgen.filters import parts
from synthgen.output import samples_of

ROOT = Path(__file__).resolve().parents[1]


def check(path: Path) -> None:
    """Pairs above the threshold: none is expected."""
    sys.path.insert(0, str(ROOT / "tests"))
    from brute import pairs_too_near

    instructions = [parts(s)[0] for s in samples_of(path)()]
    near = pairs_too_near(instructions)
    print(f"{len(instructions)} instructions, {len(near)} pairs above the threshold")
    for pair in near[:10]:
        print(*pair, sep="\n  ")


if __name__ == "__main__":
    check(Path(sys.argv[1]))

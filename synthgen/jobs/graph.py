"""Which step reads which: circles, and steps that read a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthgen.jobs.tree import Faults


def check(steps: Sequence[tuple[str, int, tuple[str, ...]]], faults: Faults) -> None:
    """(id, line, ids that it reads) in the order of the file: every circle, and every other read of a later step."""
    reads = {name: others for name, _, others in steps if name}
    lines = {name: line for name, line, _ in steps}
    places = {name: place for place, (name, _, _) in enumerate(steps)}
    in_circle: set[str] = set()
    for name in reads:
        circle = _circle(name, reads) if name not in in_circle else []
        if circle:
            in_circle.update(circle)
            way = " reads ".join((*circle, circle[0]))
            faults.add(lines[name], f"circle: {way}; take one of these inputs away")
    for name, others in reads.items():
        for other in others:
            if places[other] > places[name] and not {name, other} <= in_circle:
                hint = f"move {other} (line {lines[other]}) before it"
                faults.add(lines[name], f"step {name!r} reads the later step {other!r}; {hint}")


def _circle(start: str, reads: Mapping[str, Sequence[str]]) -> list[str]:
    """The shortest way from a step back to itself, empty where there is none."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for other in reads.get(way[-1], ()):
            if other == start:
                return way
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []

"""Which step reads which: circles, steps that read a later one, and files that one makes and another reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from synthgen.jobs.plan import MixStep, Step
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


def check_files(steps: Sequence[Step], faults: Faults) -> None:
    """What a step makes is read by the step's id: nobody waits for a path."""
    made = {step.folder.resolve(): step.id for step in steps}
    for step in steps:
        for path in step.export.values() if isinstance(step, MixStep) else ():
            other = made.setdefault(path.resolve(), step.id)
            if other != step.id:
                faults.add(step.line, f"export: {path} is made by {other} too; give each step a file of its own")
    for step in steps:
        for place in _places(step):
            path = Path(place).resolve()
            maker = next((made[one] for one in (path, *path.parents) if one in made), None)
            if maker == step.id:
                faults.add(step.line, f"step {maker!r} reads {place}, which it makes itself; give it another export")
            elif maker is not None and maker not in step.reads:
                hint = f"write {maker}, and it waits for it"
                faults.add(step.line, f"step {step.id!r} reads {place}, which the step {maker!r} makes; {hint}")


def _places(step: Step) -> Sequence[str]:
    """What lies on the disk and is read."""
    if isinstance(step, MixStep):
        return [part.source.place for part in step.parts] + list(step.against)
    return [*step.wish.input, *step.wish.documents, *step.wish.seeds, *map(str, step.wish.novel_against)]

"""What helps with a file at fault: a repaired copy, or a conversion of rows that `export` reads and trainers do not."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats import open_format, read_row
from synthgen.types import Sample
from synthgen.validating.checking import Checked, breaks, mixed
from synthgen.validating.kinds import KINDS, UNKNOWN, Kind, kind_of
from synthgen.validating.mending import mended
from synthgen.validating.repairing import HOLD_ROWS, unbroken


def advice(one: Checked) -> Iterator[str]:
    """Lines about the first rows at fault, each of which was tried."""
    if not one.at_fault:
        return
    fixed = sum(_is_fixed(one, *found) for found in one.at_fault)
    path = shlex.quote(one.path)
    if fixed:
        how_many = f"{fixed} of the first {len(one.at_fault)} rows at fault"
        yield f"--fix repairs {how_many}: synthgen validate {path} --fix -o repaired.jsonl"
    if fixed < len(one.at_fault):
        read = Counter(found for row, _, _ in one.at_fault if row is not None and (found := _exported(row)))
        for target in dict.fromkeys(target for _, target in read):
            names = ", ".join(name for name, other in read if other == target)
            count = sum(count for (_, other), count in read.items() if other == target)
            told = f"export reads {count} of the first {len(one.at_fault)} rows at fault as {names}"
            yield f"{told}: synthgen export {path} --to {target} -o {target}.jsonl"


def _is_fixed(one: Checked, row: Mapping[str, Any] | None, raw: bytes, rule: str) -> bool:
    if row is None:
        return rule in HOLD_ROWS and any(True for _ in unbroken(raw, []))
    kind: Kind = one.kind or UNKNOWN
    if kind is UNKNOWN or (not one.named and mixed(kind, row)):
        return False
    made = dict(row)
    if kind.name.endswith("alpaca"):
        made.setdefault("input", "")
    return not breaks(kind, mended(made, kind, lambda _: None), raw)


def _exported(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The format that a row is read as, and the one that trainers take it in without a fault."""
    try:
        member, samples = read_row(row)
    except ParseError:
        return None
    target = _target(samples[0])
    written = open_format(target)
    if any(written.carries(sample) for sample in samples):
        return None
    made = written.row(samples[0], written.columns(samples))
    after = kind_of(made)
    return None if after is None or breaks(KINDS[after.name], made, b"") else (member.name, target)


def _target(sample: Sample) -> str:
    if sample.rejected:
        return "preference"
    if sample.label is not None:
        return "kto"
    if sample.text is not None:
        return "text"
    return "messages" if sample.messages and sample.messages[-1].role == "assistant" else "rl"

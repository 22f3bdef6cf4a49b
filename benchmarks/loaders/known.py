"""What the readers are known to do with rows that are sound: it is told in the table, and no miss of ours."""

from __future__ import annotations

import re

from synthgen.formats.turns import calls_tools, to_json
from synthgen.types import Sample

_FRACTION = re.compile(r"\d(?:\.\d|e[+-]?\d)")


def known(reader: str, name: str, sample: Sample, what: str) -> str | None:
    """Why the difference is the reader's own, or None."""
    if what == "{{idx}} in a turn" and reader == "LLaMA-Factory":
        return "{{idx}} becomes the number of the turn"
    if what == "history" and reader == "axolotl":
        return "history is not read"
    if reader == "axolotl" and name == "sharegpt" and what == "a call":
        return "calls are trained as plain text"
    if reader == "ms-swift" and name == "sharegpt" and what == "dropped" and _thinks_or_calls_twice(sample):
        return "a turn with a thought or several calls is dropped"
    if reader == "ms-swift" and name == "messages" and what in ("a call", "what is trained") and _has_fraction(sample):
        return "fractions in arguments are altered"
    return None


def _has_fraction(sample: Sample) -> bool:
    """It reads and writes them by ujson: 0.3 becomes 0.30000000000000004, and long ones keep ten digits."""
    return bool(_FRACTION.search(to_json([[call.arguments for call in turn.tool_calls] for turn in sample.messages])))


def known_stop(reader: str, name: str, samples: list[Sample]) -> str | None:
    """The same of a file at which the reader stops."""
    if reader == "axolotl" and name == "preference" and any(calls_tools(sample) for sample in samples):
        return "pairs whose turns call tools are not read"
    return None


def _thinks_or_calls_twice(sample: Sample) -> bool:
    return any(turn.tool_calls and (turn.reasoning or len(turn.tool_calls) > 1) for turn in sample.messages)

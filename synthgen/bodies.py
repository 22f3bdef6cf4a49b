"""A decided sample as the bytes that the store keeps, and back."""

from __future__ import annotations

from typing import Any

import orjson

from synthgen.formats.samples import FORMAT
from synthgen.formats.turns import to_json
from synthgen.rows.text import from_line
from synthgen.types import Sample


def row(sample: Sample) -> dict[str, Any]:
    """The lossless row of one sample, with the columns that it has."""
    return FORMAT.row(sample, FORMAT.columns([sample]))


def dump(sample: Sample | None, detail: str = "") -> bytes:
    """What the store keeps of a sample, accepted or rejected; `detail` is the evidence of a rejection."""
    body: dict[str, Any] = {"sample": None if sample is None else row(sample)}
    if detail:
        body["detail"] = detail
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # whole numbers beyond 64 bits
        return to_json(body).encode()


def parse(body: bytes) -> tuple[dict[str, Any] | None, str]:
    """(row or None, detail) of a stored body."""
    found = from_line(body)
    return found["sample"], found.get("detail", "")


def load(body: bytes) -> Sample:
    """The sample of a stored body that has one."""
    return FORMAT.read(from_line(body)["sample"])

"""The lines of batch files: a request to one of the input, one of the output to what was answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import orjson

# The batch ended before their turn came: they were never tried.
_UNTRIED = ("batch_expired", "batch_cancelled")


@dataclass(frozen=True, slots=True)
class Line:
    """What a server answered to one request: its status, and its body as JSON."""

    status: int
    body: bytes


def write(custom_id: str, url: str, body: Mapping[str, Any]) -> bytes:
    """One line of an input file."""
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}) + b"\n"


def names(raw: bytes) -> tuple[str, ...]:
    """The custom_ids of an input file."""
    return tuple(str(orjson.loads(text)["custom_id"]) for text in raw.splitlines())


def read(raw: bytes) -> Iterator[tuple[str, Line]]:
    """(custom_id, answer) of every line that holds one; a last line that was cut is none."""
    for text in BytesIO(raw):
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
            line = _line(row)
            if line is not None:
                yield row["custom_id"], line


def _line(row: Mapping[str, Any]) -> Line | None:
    response, error = row.get("response"), row.get("error")
    if not isinstance(response, dict):
        code = error.get("code") if isinstance(error, dict) else None
        return None if code in _UNTRIED else Line(500, _said(error))
    status, body = response.get("status_code"), response.get("body")
    if not isinstance(status, int):
        return Line(500, _said(error))
    return Line(status, orjson.dumps(body) if body is not None else _said(error))


def _said(error: Any) -> bytes:
    """An error as servers send it; vLLM nests it twice, or writes a bare text."""
    while isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    return orjson.dumps({"error": error})

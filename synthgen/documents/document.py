"""What reading gives: a document, or why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One text, cleaned; `where` is its file, `file:line` or `hf:owner/name:row`.

    A text of more than PART_CHARS comes in parts, each a document: `start` is where the part begins in the whole
    cleaned text. An id is the row's own, else made from the content, so that it stays when files are moved or added.
    """

    id: str
    text: str
    where: str
    title: str = ""
    licence: str = ""
    start: int = 0
    encoding: str = "utf-8"
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that is not used: one line says why; `reason` is a name of a few words, for counts."""

    id: str
    where: str
    reason: str
    detail: str


def content_id(text: str) -> str:
    """The same on every machine, wherever the file lies."""
    return "d-" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

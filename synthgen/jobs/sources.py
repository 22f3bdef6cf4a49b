"""What a mix reads beside runs: rows of files and of the hub, and documents as the texts that they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from synthgen.documents import Refused, holds_documents, read_documents
from synthgen.errors import UsageError
from synthgen.formats import SampleReader
from synthgen.rows import Fault
from synthgen.types import Sample

_MOST_TOLD = 5


class Reading(Protocol):
    """The same samples as often as it is iterated over; of the last pass `unread` rows, and what is wrong with each.

    `lines` are what a user should know of it.
    """

    unread: int
    first: list[Fault]

    def __iter__(self) -> Iterator[Sample]: ...

    def lines(self) -> Iterator[str]: ...


class Texts:
    """Documents, each a sample with its text; those that cannot be read are counted and told."""

    def __init__(self, path: Path) -> None:
        self._path, self.first, self.unread = path, list[Fault](), 0

    def __iter__(self) -> Iterator[Sample]:
        self.first, self.unread, found = [], 0, False
        for one in read_documents(self._path):
            if isinstance(one, Refused):
                self.first.append(Fault(one.where, f"{one.reason}: {one.detail}"))
                self.unread += 1
                continue
            found = True
            source = {"document": one.id, "where": one.where, **({"licence": one.licence} if one.licence else {})}
            yield Sample(text=one.text, meta={"id": one.id, "source": source})
        if not found:
            raise UsageError(f"{self.first[0] if self.first else self._path} (no document can be read)")

    def lines(self) -> Iterator[str]:
        yield from map(str, self.first[:_MOST_TOLD])
        if self.unread > _MOST_TOLD:
            yield f"{self._path}: {self.unread - _MOST_TOLD} more documents cannot be read"


def reading(place: str) -> Reading:
    """The samples of a file, a folder or `hf:owner/name`."""
    if not place.startswith("hf:") and holds_documents(Path(place)):
        return Texts(Path(place))
    return SampleReader(place, most=sys.maxsize)

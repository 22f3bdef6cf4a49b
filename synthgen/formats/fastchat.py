"""The first ShareGPT, as FastChat trains on it: one JSON array of conversations between a human and a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.formats.sharegpt import FORMAT as SHAREGPT
from synthgen.formats.sharegpt import is_original, spoken_turns
from synthgen.formats.turns import columns_of, lost, plain_fault, split_system
from synthgen.types import Sample

_KEEPS = frozenset({"id"})


class FastChat:
    """Every row has an id, since FastChat's own tools split and merge by it; its template brings the system text."""

    name = "fastchat"
    description = "the original ShareGPT, one JSON array of {id, conversations}: FastChat"
    file_name = "fastchat.json"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return is_original(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        return SHAREGPT.read(row)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return ("id", "conversations")

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        turns = spoken_turns(split_system(sample)[1])
        return {"id": _id(sample, turns), "conversations": turns}

    def carries(self, sample: Sample) -> str | None:
        # FastChat stops at two turns of one speaker, and steps over an answer that comes first.
        return plain_fault(sample)

    def loses(self, sample: Sample) -> tuple[str, ...]:
        system = ("the system text",) if split_system(sample)[0] else ()
        return (*system, *lost(sample, _KEEPS))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return {"file_name": file_name, "formatting": "sharegpt", "columns": {"messages": "conversations"}}


def _id(sample: Sample, turns: Sequence[Mapping[str, str]]) -> str:
    """The id that was read, the sample's own, or one of its content: text, since FastChat adds to it."""
    own = columns_of(sample).get("id", sample.meta.get("id"))
    if isinstance(own, str | int) and own != "":
        return str(own)
    return hashlib.blake2b(repr(turns).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


FORMAT = FastChat()

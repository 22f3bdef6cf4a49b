"""Our own format: everything that a sample holds, its provenance included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.messages import message_row, read_messages
from synthgen.formats.turns import text_of, tools_of
from synthgen.types import Message, Sample

_ALWAYS = ("messages", "meta")
_MORE = ("text", "rejected", "reference", "label", "tools", "input_split")


class Samples:
    """Messages in OpenAI's form and `meta`, and what else any sample of the file has."""

    name = "samples"
    description = "messages, meta and all else that a sample holds: lossless, for synthgen itself"
    file_name = "samples.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "messages" in row and "meta" in row

    def read(self, row: Mapping[str, Any]) -> Sample:
        meta, label, split = row.get("meta"), row.get("label"), row.get("input_split")
        if not isinstance(meta, Mapping):
            raise ParseError("meta must be an object")
        if label is not None and not isinstance(label, bool):
            raise ParseError("label must be true, false or null")
        if split is not None and (not isinstance(split, list) or [type(part) for part in split] != [str, str]):
            raise ParseError("input_split must be [instruction, input] or null")
        return Sample(
            _messages(row.get("messages")),
            text=None if row.get("text") is None else text_of(row, "text"),
            rejected=_messages(row.get("rejected")),
            reference=None if row.get("reference") is None else text_of(row, "reference"),
            label=label,
            tools=tools_of(row),
            input_split=(split[0], split[1]) if split else None,
            meta=meta,
        )

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        there: set[str] = set()
        for sample in samples:
            there.update(name for name in _MORE if getattr(sample, name) not in (None, ()))
        return (*_ALWAYS, *(name for name in _MORE if name in there))

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        row = {
            "messages": [message_row(message) for message in sample.messages],
            "meta": sample.meta,
            "text": sample.text,
            "rejected": [message_row(message) for message in sample.rejected],
            "reference": sample.reference,
            "label": sample.label,
            "tools": list(sample.tools),
            "input_split": sample.input_split,
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        return None

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return ()

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # free keys in meta: not a file for other tools


def _messages(value: Any) -> tuple[Message, ...]:
    return read_messages(value) if value else ()


FORMAT = Samples()

"""A format of single conversations with one column more, which says whether the answer is good: KTO's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from synthgen.formats import Format
from synthgen.formats.labels import label_of, spelling, tag_column
from synthgen.formats.pairs import alone, label_fault, label_loses, unpaired
from synthgen.formats.turns import noted, to_json
from synthgen.types import Sample

_PAIRS = frozenset({"chosen", "preferred_output", "rejected_response", "rejected_messages"})
_OTHERS = _PAIRS | {"meta", "messages", "conversations", "completion"}  # columns of other formats


class Labelled:
    """Written with the label in the column `tag`; read from that or from the other that is usual."""

    def __init__(self, name: str, description: str, base: Format, marks: Iterable[frozenset[str]], tag: str) -> None:
        self.name, self.description, self.file_name = name, description, f"{name}.jsonl"
        self._base, self._marks, self._tag = base, tuple(marks), tag
        self._others = _OTHERS - frozenset().union(*self._marks)

    def sniff(self, row: Mapping[str, Any]) -> bool:
        marked = any(columns <= row.keys() for columns in self._marks)
        return marked and not self._others & row.keys() and tag_column(row) is not None

    def read(self, row: Mapping[str, Any]) -> Sample:
        tag = tag_column(row) or self._tag
        label = label_of(row, tag)
        sample = self._base.read({key: value for key, value in row.items() if key != tag})
        second = () if sample.label is None else ("column label",)  # beside kto_tag
        return replace(sample, label=label, meta=noted(sample.meta, *spelling(row, tag), *second))

    def apart(self, sample: Sample) -> tuple[Sample, ...]:
        return unpaired(sample)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return (*self._base.columns(samples), self._tag)

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        base = [column for column in columns if column != self._tag]
        row = self._base.row(sample, base)
        if isinstance(tools := row.get("tools"), list):
            row["tools"] = to_json(tools)  # a list would give each tool the keys of all in a table of Arrow's
        return {**row, self._tag: sample.label}

    def carries(self, sample: Sample) -> str | None:
        return label_fault(sample) or self._base.carries(replace(alone(sample), label=None))

    def loses(self, sample: Sample) -> tuple[str, ...]:
        return label_loses(sample, self._base)

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        entry = self._base.dataset_info(file_name, [column for column in columns if column != self._tag])
        return entry and entry | {"columns": entry["columns"] | {"kto_tag": self._tag}}

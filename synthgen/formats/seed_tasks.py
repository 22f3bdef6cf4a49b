"""Seed tasks of Self-Instruct: an instruction with instances of it, each an input and its output."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.errors import ParseError
from synthgen.formats.alpaca import FORMAT as ALPACA
from synthgen.formats.alpaca import joined
from synthgen.formats.turns import columns_of, lost, meta_of, plain_fault, split_system, text_of
from synthgen.types import Message, Sample

_COLUMNS = ("id", "name", "instruction", "instances", "is_classification")
_OWN = frozenset({"instruction", "instances"})
_KEEPS = frozenset({*_COLUMNS, "the border of instruction and input"})
_OTHERS = frozenset({"output", "response", "chosen", "messages", "conversations"})


class SeedTasks:
    """A sample for each instance, a row for each sample: the instances of one task come back under ids of their own."""

    name = "seed-tasks"
    description = "id, name, instruction, instances of {input, output}: Self-Instruct, BELLE, synthgen --seeds"
    file_name = "seed-tasks.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "instruction" in row and "instances" in row and _OTHERS.isdisjoint(row)

    def read(self, row: Mapping[str, Any]) -> Sample:
        return self.several(row)[0]

    def several(self, row: Mapping[str, Any]) -> tuple[Sample, ...]:
        """The samples of a row, one for each instance; ParseError as of `read`."""
        instruction, meta = text_of(row, "instruction", needed=True), meta_of(row, _OWN)
        instances = row.get("instances")
        if not isinstance(instances, list):
            raise ParseError("instances must be a list of {input, output}")
        found = []
        for number, instance in enumerate(instances or [{"output": None}], start=1):
            if not isinstance(instance, Mapping):
                raise ParseError(f"instance {number} must be an object {{input, output}}")
            split = instruction, text_of(instance, "input")
            output = text_of(instance, "output")
            answer = (Message("assistant", output),) if output else ()  # a task that nobody has answered is a prompt
            asked = Message("user", joined(*split))
            found.append(Sample((asked, *answer), input_split=split, meta=_numbered(meta, number)))
        return tuple(found)

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return _COLUMNS

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        kept = columns_of(sample)
        alpaca = ALPACA.row(sample, ("instruction", "input", "output"))
        id_ = kept.get("id") or _id(alpaca)
        flag = kept.get("is_classification")
        row = {
            "id": id_,
            "name": kept.get("name") or id_,
            "instruction": alpaca["instruction"],
            "instances": [{"input": alpaca["input"], "output": alpaca["output"]}],
            "is_classification": flag if isinstance(flag, bool) else None,
        }
        return {column: row[column] for column in columns}

    def carries(self, sample: Sample) -> str | None:
        if fault := plain_fault(sample):
            return fault
        return "earlier turns" if len(split_system(sample)[1]) > 2 else None

    def loses(self, sample: Sample) -> tuple[str, ...]:
        system = ("the system text",) if split_system(sample)[0] else ()
        return (*system, *lost(sample, _KEEPS))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return None  # no trainer looks into instances


def _numbered(meta: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """The meta of an instance: the second and later ones cannot have the id of their row as well."""
    columns = meta.get("columns", {})
    if number == 1 or not isinstance(id_ := columns.get("id"), str | int):
        return meta
    return {**meta, "columns": {**columns, "id": f"{id_}~{number}"}}


def _id(row: Mapping[str, Any]) -> str:
    text = repr(sorted(row.items())).encode("utf-8", "surrogatepass")
    return "seed_task_" + hashlib.blake2b(text, digest_size=6).hexdigest()


FORMAT = SeedTasks()

"""Text for pre-training: one column, as every trainer of language models reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synthgen.formats.chatml import OTHERS, mark_of
from synthgen.formats.turns import lost, meta_of, text_of
from synthgen.types import Sample

_OWN = frozenset({"text"})
_KEEPS = frozenset({"text beside the turns"})


class Text:
    """Rows {text}; the other columns that such files have (url, date, source) are kept beside the sample."""

    name = "text"
    description = "text: pre-training in any trainer (LLaMA-Factory's stage pt, TRL, axolotl completion)"
    file_name = "text.jsonl"

    def sniff(self, row: Mapping[str, Any]) -> bool:
        return "text" in row and not OTHERS & row.keys() and mark_of(row) is None

    def read(self, row: Mapping[str, Any]) -> Sample:
        return Sample(text=text_of(row, "text", needed=True), meta=meta_of(row, _OWN))

    def columns(self, samples: Iterable[Sample]) -> tuple[str, ...]:
        return ("text",)

    def row(self, sample: Sample, columns: Sequence[str]) -> dict[str, Any]:
        return {"text": sample.text}

    def carries(self, sample: Sample) -> str | None:
        if sample.text is None:
            return "turns without a text" if sample.messages else "neither text nor turns"
        return None if sample.text.strip() else "an empty text"

    def loses(self, sample: Sample) -> tuple[str, ...]:
        beside = (("the turns", sample.messages), ("tools", sample.tools))
        return (*(part for part, there in beside if there), *lost(sample, _KEEPS))

    def dataset_info(self, file_name: str, columns: Sequence[str]) -> dict[str, Any] | None:
        return {"file_name": file_name, "columns": {"prompt": "text"}}


FORMAT = Text()

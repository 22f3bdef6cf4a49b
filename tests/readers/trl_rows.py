"""What TRL's trainers make of a file, for a Python that has TRL and torch: a request a line in, an answer a line out.

A request {path, trainer, template, options} is a file of JSON lines, "sft", "dpo" or "kto", one of TRL's own chat
templates or "" for the model's, and settings of the trainer. The answer {columns, rows} has the rows as the trainer
would train on them: what was loaded, the text, and the runs of it that are trained (of pairs: of both answers).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}

import trl
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import data_utils

SHAPES = {"sft": ("SFTTrainer", "SFTConfig"), "dpo": ("DPOTrainer", "DPOConfig"), "kto": ("KTOTrainer", "KTOConfig")}


class Reader:
    """One model and its tokenizer, loaded once."""

    def __init__(self, model: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._model = AutoModelForCausalLM.from_pretrained(model)
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._template = self._tokenizer.chat_template

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        loaded = load_dataset(
            "json", data_files=request["path"], split="train", cache_dir=str(self._scratch / "datasets")
        )
        rows = [dict(row) for row in loaded]
        found = {
            "columns": loaded.column_names,
            "loaded": rows,
            "conversational": [data_utils.is_conversational(row) for row in rows],
        }
        if request.get("trainer"):
            found["rows"] = [self._row(row) for row in self._trainer(loaded, request).train_dataset]
        elif "chosen" in loaded.column_names:
            found["unpaired"] = data_utils.unpair_preference_dataset(loaded).to_list()
            found["extracted"] = [data_utils.maybe_extract_prompt(row) for row in rows]
        return found

    def _trainer(self, loaded: Any, request: dict[str, Any]) -> Any:
        name = request.get("template", "")
        folder = Path(trl.__file__).parent / "chat_templates"
        self._tokenizer.chat_template = (folder / f"{name}.jinja").read_text("utf-8") if name else self._template
        trainer, config = (getattr(trl, name) for name in SHAPES[request["trainer"]])
        settings = {
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "max_length": None,
            "per_device_train_batch_size": 2,
        }
        args = config(output_dir=str(self._scratch), **settings | request.get("options", {}))
        return trainer(self._model, args=args, train_dataset=loaded, processing_class=self._tokenizer)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if "labels" in row:
            return {"text": self._text(row["input_ids"]), "trained": list(self._runs(row["input_ids"], row["labels"]))}
        texts = {name.removesuffix("_ids"): self._text(ids) for name, ids in row.items() if name.endswith("_ids")}
        return {**texts, "label": row.get("label")}

    def _runs(self, ids: Sequence[int], labels: Sequence[int]) -> Iterator[str]:
        pairs = zip(ids, labels, strict=True)
        for trained, run in groupby(pairs, key=lambda pair: pair[1] != -100):
            if trained:
                yield self._text([token for token, _ in run])

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def main(model: str) -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(Path(model), Path(scratch))
        for line in sys.stdin:
            try:
                answer = reader.answer(json.loads(line))
            except Exception as error:  # noqa: BLE001 - whatever stops a trainer is the answer
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer, default=str), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

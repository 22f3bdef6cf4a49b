"""ms-swift: its own loading, preprocessors, template and tokenisation over a file of ours."""

from __future__ import annotations

from functools import cache
from typing import Any

from serving import Answer, run, serve
from swift.dataset import EncodePreprocessor, load_dataset
from swift.model import get_processor
from swift.template import get_template

MODES = {"sft": "train", "text": "train", "pairs": "rlhf", "labels": "kto"}


@cache
def _template(model: str, mode: str) -> Any:
    processor = get_processor(model, model_type="qwen2")
    scale = "default" if mode == "train" else "last_round"  # what its arguments set where nobody does
    template = get_template(
        processor, template_type="qwen2_5", agent_template="hermes", max_length=10_000_000, loss_scale=scale
    )
    template.set_mode(mode)
    return template


def read(request: dict[str, Any]) -> Answer:
    template = _template(request["model"], MODES[request["task"]])
    rows, _ = load_dataset([request["path"]], load_from_cache_file=False, download_mode="force_redownload")
    encoded = EncodePreprocessor(template=template)(rows, load_from_cache_file=False)
    return [_row(template.tokenizer, row, request["task"]) for row in encoded]


def _row(tokenizer: Any, row: dict[str, Any], task: str) -> dict[str, Any]:
    if task in ("sft", "text"):
        return run(tokenizer, row["input_ids"], row["labels"])
    names = ("chosen", "rejected") if task == "pairs" else ("chosen",)
    found = {name: run(tokenizer, row[f"{name}_input_ids"], row[f"{name}_labels"]) for name in names}
    return found if task == "pairs" else {**found["chosen"], "label": row["label"]}


if __name__ == "__main__":
    serve(read)

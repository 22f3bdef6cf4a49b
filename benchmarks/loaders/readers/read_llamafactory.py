"""LLaMA-Factory: its own arguments, registry, converters and tokenisation over a file of ours."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

os.environ["DISABLE_VERSION_CHECK"] = "1"  # of packages that only training needs


if importlib.util.find_spec("torchaudio") is None:
    # It has no wheel for every torch; it is imported for files of sound, which ours have none of.
    for name in ("torchaudio", "torchaudio.functional"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.loader import get_dataset
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from serving import Answer, run, serve

STAGES = {"sft": "sft", "pairs": "rm", "labels": "kto", "text": "pt"}


def _settings(model: str, stage: str, folder: Path, scratch: Path) -> dict[str, Any]:
    """What a user writes into the YAML file of a run."""
    return {
        "model_name_or_path": model, "stage": stage, "do_train": True, "dataset": "d", "dataset_dir": str(folder),
        "template": "qwen3_nothink",
        "cutoff_len": 2 if stage == "pt" else 10_000_000,  # running text is cut into blocks, and what is left dropped
        "output_dir": str(scratch), "cache_dir": str(scratch / "cache"), "overwrite_cache": True, "use_cpu": True,
        "bf16": False, "report_to": "none",
    }  # fmt: skip


def read(request: dict[str, Any]) -> Answer:
    """`entry` is the file's entry of dataset_info.json."""
    path, scratch = Path(request["path"]), Path(request["scratch"])
    if "entry" in request:
        (path.parent / "dataset_info.json").write_text(json.dumps({"d": request["entry"]}), "utf-8")
    settings = _settings(request["model"], STAGES[request["task"]], path.parent, scratch)
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(settings)
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    module = get_dataset(template, model_args, data_args, training_args, finetuning_args.stage, tokenizer=tokenizer)
    rows = module["train_dataset"]
    if request["task"] == "pairs":
        names = ("chosen", "rejected")
        return [{n: run(tokenizer, row[f"{n}_input_ids"], row[f"{n}_labels"]) for n in names} for row in rows]
    if request["task"] == "labels":
        return [{**run(tokenizer, row["input_ids"], row["labels"]), "label": row["kto_tags"]} for row in rows]
    return [run(tokenizer, row["input_ids"], row.get("labels", row["input_ids"])) for row in rows]


if __name__ == "__main__":
    serve(read)

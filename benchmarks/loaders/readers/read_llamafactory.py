"""LLaMA-Factory: its own arguments, registry, converters and tokenisation over a file of ours."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

os.environ["DISABLE_VERSION_CHECK"] = "1"  # of packages that only training needs


def _stub_sound() -> None:
    """torchaudio has no wheel for every torch; it is imported for files of sound, which ours have none of."""
    if importlib.util.find_spec("torchaudio") is None:
        for name in ("torchaudio", "torchaudio.functional"):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)


_stub_sound()
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.loader import get_dataset
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

from serving import Answer, run, serve

STAGES = {"sft": "sft", "pairs": "rm", "labels": "kto", "text": "pt"}


@cache
def _tokenizer(model: str) -> Any:
    model_args, *_ = get_train_args({"model_name_or_path": model, "stage": "sft", "do_train": True, "dataset": "d", "template": "qwen3_nothink", "output_dir": "out", "use_cpu": True, "bf16": False})
    return load_tokenizer(model_args)["tokenizer"]


def read(request: dict[str, Any]) -> Answer:
    """`entry` is the file's entry of dataset_info.json."""
    path, scratch = Path(request["path"]), Path(request["scratch"])
    folder = path.parent
    if "entry" in request:
        (folder / "dataset_info.json").write_text(json.dumps({"d": request["entry"]}), "utf-8")
    settings = {
        "model_name_or_path": request["model"], "stage": STAGES[request["task"]], "do_train": True, "dataset": "d",
        "dataset_dir": str(folder), "template": "qwen3_nothink", "cutoff_len": 10_000_000, "output_dir": str(scratch),
        "cache_dir": str(scratch / "cache"), "overwrite_cache": True, "use_cpu": True, "bf16": False, "report_to": "none",
    }  # fmt: skip
    model_args, data_args, training_args, finetuning_args, _ = get_train_args(settings)
    tokenizer = _tokenizer(request["model"])
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    module = get_dataset(template, model_args, data_args, training_args, finetuning_args.stage, tokenizer=tokenizer)
    rows = module["train_dataset"]
    if request["task"] == "pairs":
        names = ("chosen", "rejected")
        return [{n: run(tokenizer, row[f"{n}_input_ids"], row[f"{n}_labels"]) for n in names} for row in rows]
    if request["task"] == "labels":
        return [{**run(tokenizer, row["input_ids"], row["labels"]), "label": row["kto_tags"]} for row in rows]
    return [run(tokenizer, row["input_ids"], row["labels"]) for row in rows]


if __name__ == "__main__":
    serve(read)

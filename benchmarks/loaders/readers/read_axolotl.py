"""axolotl: its own loading, prompt strategies and tokenisation over a file of ours."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

os.environ |= {"AXOLOTL_DO_NOT_TRACK": "1", "AXOLOTL_IS_PREPROCESS": "1"}

from axolotl.utils.data.rl import _load_split
from axolotl.utils.data.sft import _load_and_process_single_dataset
from axolotl.utils.dict import DictDefault
from axolotl.utils.schemas.enums import RLType
from serving import Answer, run, serve
from transformers import AutoTokenizer

# What a user of axolotl writes for each format, by its documentation.
_SHAREGPT = {
    "type": "chat_template",
    "field_messages": "conversations",
    "message_property_mappings": {"role": "from", "content": "value"},
    "roles": {
        "user": ["human"],
        "assistant": ["gpt", "function_call"],
        "tool": ["observation"],
        "system": ["system"],
    },
}
TYPES: dict[str, dict[str, Any]] = {
    "alpaca": {"type": "alpaca"},
    "alpaca with system": {"type": "alpaca_w_system.load_instruct"},
    "sharegpt": _SHAREGPT,
    "fastchat": _SHAREGPT,
    "messages": {"type": "chat_template", "field_messages": "messages"},
    "preference": {"type": "chat_template.default", "field_messages": "prompt"},
    "kto": {"type": "chatml.prompt_pairs"},
    "text": {"type": "completion", "field": "text"},
    "chatml": {"type": "completion", "field": "text"},
}


@cache
def _tokenizer(model: str) -> Any:
    return AutoTokenizer.from_pretrained(model)


def read(request: dict[str, Any]) -> Answer:
    """`columns` are those of the file."""
    tokenizer = _tokenizer(request["model"])
    name, columns = request["format"], request["columns"]
    more = " with system" if name == "alpaca" and "system" in columns else ""
    chosen = TYPES.get(name + more) or TYPES[name]
    config = DictDefault({
        "base_model": request["model"], "tokenizer_config": request["model"], "sequence_len": 10_000_000,
        "chat_template": "qwen_25", "train_on_inputs": False, "is_preprocess": True, "dataset_num_proc": 1,
        "dataset_prepared_path": request["scratch"], "val_set_size": 0, "special_tokens": {}, "seed": 0,
        "datasets": [{"path": request["path"], "ds_type": "json", "split": "train", **chosen}],
        "rl": {"pairs": RLType.DPO, "labels": RLType.KTO}.get(request["task"]),
    })  # fmt: skip
    if config.rl:
        rows = _load_split(config, "train")
        if config.rl is RLType.KTO:
            return [{**_texts(row, "completion"), "label": row["label"]} for row in rows]
        return [{name: _texts(row, name) for name in ("chosen", "rejected")} for row in rows]
    rows, _ = _load_and_process_single_dataset(config.datasets[0], config, tokenizer, "train", 0)
    return [run(tokenizer, row["input_ids"], row["labels"]) for row in rows]


def _texts(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Pairs stay texts until TRL's trainer has them."""
    return {"text": row["prompt"] + row[name], "trained": [row[name]]}


if __name__ == "__main__":
    serve(read)

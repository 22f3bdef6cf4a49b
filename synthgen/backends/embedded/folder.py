"""A model folder without its weights: config.json, generation_config.json, what files there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError

# Everything that shapes an answer beside the weights, the request and the code.
_IDENTITY = ("config.json", "generation_config.json", "tokenizer.json")
_INDEX = "model.safetensors.index.json"
_SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class Config:
    """The numbers of a Llama-architecture model; `defaults` are its own sampling values."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    epsilon: float
    theta: float
    eos: frozenset[int]
    defaults: Mapping[str, float]


def read_config(folder: Path) -> Config:
    """The folder's config; UsageError names what this engine does not know."""
    path = folder / "config.json"
    raw = read_json(path)
    generation = read_json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    _refuse_unknown(path, raw, rope)
    eos = generation.get("eos_token_id", raw.get("eos_token_id"))
    try:
        return Config(
            vocab=raw["vocab_size"],
            hidden=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
            head_dim=raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"],
            context=raw["max_position_embeddings"],
            epsilon=raw["rms_norm_eps"],
            theta=rope.get("rope_theta") or raw.get("rope_theta", 10000.0),
            eos=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
            defaults={name: float(generation[name]) for name in _SAMPLING if generation.get(name) is not None},
        )
    except KeyError as missing:
        raise UsageError(f"{path} has no {missing}") from missing


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object of a model folder."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as missing:
        raise UsageError(f"{path.parent} is no model folder: {path.name} is missing") from missing
    except ValueError as broken:
        raise UsageError(f"{path} is not JSON: {broken}") from broken
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a JSON object")
    return value


def weight_files(folder: Path) -> list[Path]:
    """The weights of a folder: one file, or the shards that its index names."""
    whole = folder / "model.safetensors"
    if whole.exists() or not (folder / _INDEX).exists():
        return [whole]
    shards = read_json(folder / _INDEX).get("weight_map", {})
    return [folder / name for name in sorted(set(shards.values()))]


def digest(folder: Path) -> str:
    """16 hex digits over all that shapes an answer: weights, tokenizer, configs (a few ms)."""
    whole = hashlib.sha256()
    for path in [folder / name for name in _IDENTITY] + weight_files(folder):
        data = path.read_bytes() if path.exists() else b""
        whole.update(f"{path.name}:{len(data)}:".encode())  # so that no byte can move from file to file
        whole.update(data)
    return whole.hexdigest()[:16]


def _refuse_unknown(path: Path, raw: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    """Run nothing that would run wrongly: another architecture gives fluent nonsense, not an error."""
    known = {
        "model_type": (raw.get("model_type"), "llama"),
        "hidden_act": (raw.get("hidden_act", "silu"), "silu"),
        "attention_bias": (bool(raw.get("attention_bias")), False),
        "mlp_bias": (bool(raw.get("mlp_bias")), False),
        "rope_type": (rope.get("rope_type", "default"), "default"),
    }
    for name, (found, expected) in known.items():
        if found != expected:
            raise UsageError(f"{path}: {name} is {found!r}, the embedded engine knows only {expected!r}")

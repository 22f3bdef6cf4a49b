"""Safetensors read by hand: name to float32 array."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthgen.errors import UsageError

from .folder import weight_files

Array = npt.NDArray[np.float32]


def read_tensors(folder: Path) -> dict[str, Array]:
    """All tensors of a model folder by name; UsageError for a missing, cut or foreign file."""
    tensors: dict[str, Array] = {}
    for path in weight_files(folder):
        tensors.update(_read_safetensors(path))
    return tensors


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Format: u64 length of the header, JSON header, bytes (github.com/huggingface/safetensors)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as missing:
        raise UsageError(f"{path.parent} is no model folder: {path.name} is missing") from missing
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < start or data[8:9] != b"{":
        raise UsageError(f"{path} is not safetensors (a Git LFS pointer, or cut short?)")
    header: dict[str, Any] = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if start + end > len(data):
            raise UsageError(f"{path} is cut short: {name} ends at byte {start + end} of {len(data)}")
        tensors[name] = _floats(data[start + begin : start + end], entry["dtype"], path).reshape(entry["shape"])
    return tensors


def _floats(raw: bytes, dtype: str, path: Path) -> Array:
    if dtype == "BF16":  # the upper half of a float32; numpy has no such type
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype in ("F16", "F32"):
        return np.frombuffer(raw, "<f2" if dtype == "F16" else "<f4").astype(np.float32)
    raise UsageError(f"{path}: weights of type {dtype}; the embedded engine reads BF16, F16 and F32")

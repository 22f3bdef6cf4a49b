"""`PATH?name=value&...`: a model for vLLM with engine arguments, for its engine or for its command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from synthgen.errors import UsageError

Value = bool | int | float | str | dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class VllmModel:
    """A folder or a name on the hub, and what the engine is told beside it, by the names of AsyncEngineArgs."""

    path: str
    options: dict[str, str]

    @property
    def name(self) -> str:
        """What requests call the model: as on vLLM's server, its path where no other name is given."""
        return self.options.get("served_model_name") or self.path

    @property
    def typed(self) -> dict[str, Value]:
        return {name: _typed(value) for name, value in self.options.items()}

    def flags(self) -> list[str]:
        """The same for vLLM's command line."""
        words = []
        for name, value in self.typed.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", self.options[name]]
        return words

    @property
    def local(self) -> bool:
        return (Path(self.path) / "config.json").is_file()

    def context_tokens(self) -> int | None:
        """What it is told, else what its own configuration says; None where that is elsewhere."""
        given = self.typed.get("max_model_len")
        if isinstance(given, int):
            return given
        if not self.local:
            return None
        config = json.loads((Path(self.path) / "config.json").read_text(encoding="utf-8"))
        found = config.get("max_position_embeddings")
        return found if isinstance(found, int) else None


def read_model(spec: str) -> VllmModel:
    """`PATH?max_model_len=1024&enforce_eager=true`. Raises UsageError."""
    path, _, query = spec.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if query and (not pairs or any(not value for _, value in pairs)):
        raise UsageError(f"--model vllm:{spec}: NAME=VALUE&NAME=VALUE is expected after the question mark")
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    if looks_local and not (Path(path).expanduser() / "config.json").is_file():
        raise UsageError(f"--model vllm:{path}: no model in that folder (config.json is missing)")
    where = str(Path(path).expanduser()) if path.startswith("~") else path
    return VllmModel(where, {name.replace("-", "_"): value for name, value in pairs})


def closest(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?`, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _typed(value: str) -> Value:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        found: Value = json.loads(value)
    except json.JSONDecodeError:
        return value
    return value if found is None else found

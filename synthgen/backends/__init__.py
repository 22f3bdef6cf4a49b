"""Ways to reach a model: a specification becomes backends, and nothing heavy is imported before that."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import UsageError
from synthgen.types import Backend, Capabilities

if TYPE_CHECKING:
    from synthgen.backends.batch import Way

OPENAI_URL = "https://api.openai.com/v1"
BATCH_WAYS = ("openai", "vllm-file")
Note = Callable[[str], None]


@dataclass(frozen=True)
class ModelSpec:
    """What a user gives for a role: NAME, `embedded`, `openai:NAME` or `vllm:PATH`, and where it is served.

    `batch` is one of BATCH_WAYS, or None for answers while one waits.
    """

    name: str | None
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    timeout_seconds: float = 600
    batch: str | None = None
    folder: Path | None = None  # of the run that its batches belong to
    embeds: bool = False  # its requests are of kind `embed`; `local:PATH|NAME` runs in this process


def silent(line: str) -> None:
    """For those who show no notes."""


def open_backends(spec: ModelSpec, note: Note = silent) -> list[Backend]:
    """One backend a server, none of them asked yet; `note` is told what a user should know, one line each.

    Raises UsageError where the specification says too little.
    """
    kind, _, rest = (spec.name or "").partition(":")
    if spec.embeds:
        return _embedding(spec)
    if spec.batch is not None:
        return [_batch(spec, note)]
    if spec.name == "embedded":
        return [_embedded(spec)]
    if kind == "vllm" and rest:
        return [_vllm(spec, rest, note)]
    urls = spec.base_urls or tuple(filter(None, [os.environ.get("OPENAI_BASE_URL", "").strip()]))
    distinct = tuple(dict.fromkeys(url.strip().rstrip("/") for url in urls))
    if kind == "openai" and rest:
        from synthgen.backends.openai_api import OpenAI, open_account

        accounts = [open_account(url, spec.api_key_env, spec.timeout_seconds) for url in distinct or (None,)]
        return [OpenAI(account, rest, note) for account in accounts]
    if not distinct:
        named = f"--model {spec.name}" if spec.name else "no model"
        raise UsageError(
            f"{named}: where is it served? Give --base-url URL (or OPENAI_BASE_URL), openai:NAME for OpenAI, "
            "or --model embedded for the small model that needs no server"
        )
    from synthgen.backends.http import Http

    key = os.environ.get(spec.api_key_env)
    return [Http(url, model=spec.name, api_key=key, timeout_seconds=spec.timeout_seconds) for url in distinct]


def _embedding(spec: ModelSpec) -> list[Backend]:
    kind, _, rest = (spec.name or "").partition(":")
    if kind == "local" and rest:
        if spec.base_urls:
            raise UsageError(f"--model {spec.name} runs in this process; --base-url {spec.base_urls[0]} does not fit")
        from synthgen.backends.local_embedding import LocalEmbedding

        return [LocalEmbedding(rest)]
    if spec.name == "embedded" or (kind == "vllm" and rest):
        raise UsageError(f"--model {spec.name}: makes no embeddings; give one that a server has, or local:PATH|NAME")
    openai = kind == "openai" and bool(rest)
    own = (OPENAI_URL,) if openai else ()
    urls = spec.base_urls or tuple(filter(None, [os.environ.get("OPENAI_BASE_URL", "").strip()])) or own
    if not urls:
        raise UsageError(
            f"--model {spec.name}: where is it served? Give --base-url URL (or OPENAI_BASE_URL), openai:NAME for "
            "OpenAI, or local:PATH|NAME for a sentence model that runs here"
        )
    from synthgen.backends.embeddings import EmbeddingServer

    key, name = os.environ.get(spec.api_key_env), rest if openai else spec.name
    distinct = dict.fromkeys(url.strip().rstrip("/") for url in urls)
    return [EmbeddingServer(u, model=name, api_key=key, timeout_seconds=spec.timeout_seconds) for u in distinct]


def _embedded(spec: ModelSpec) -> Backend:
    if spec.base_urls:
        raise UsageError(f"--model embedded runs in this process; --base-url {spec.base_urls[0]} does not go with it")
    from synthgen.backends.embedded import Embedded
    from synthgen.data import folder

    return Embedded(folder("models") / "instruct")


def _vllm(spec: ModelSpec, rest: str, note: Note) -> Backend:
    if spec.base_urls:
        raise UsageError(
            f"--model {spec.name} runs in this process; --base-url {spec.base_urls[0]} does not go with it"
        )
    from synthgen.backends.vllm_model import read_model
    from synthgen.backends.vllm_process import VllmProcess

    return VllmProcess(read_model(rest), note)


def _batch(spec: ModelSpec, note: Note) -> Backend:
    from synthgen.backends.batch import Batch

    kind, _, rest = (spec.name or "").partition(":")
    if spec.name is None or kind in ("embedded", {"openai": "vllm", "vllm-file": "openai"}[spec.batch or ""]):
        hint = "openai:NAME" if spec.batch == "openai" else "vllm:PATH, or the NAME that the answering machine has"
        raise UsageError(f"--batch {spec.batch}: {spec.name or 'no model'} is nothing for it; give --model {hint}")
    name = rest if kind in ("openai", "vllm") else spec.name
    return Batch(_openai_batches(spec, name, note) if spec.batch == "openai" else _vllm_files(spec, name, note), note)


def _openai_batches(spec: ModelSpec, name: str, note: Note) -> Way:
    from synthgen.backends.batch.openai_batch import OpenAIBatches
    from synthgen.backends.openai_api import open_account

    if len(spec.base_urls) > 1:
        raise UsageError("--batch openai: one --base-url is expected, or none for OpenAI's own")
    url = next(iter(spec.base_urls), os.environ.get("OPENAI_BASE_URL", "").strip() or None)
    return OpenAIBatches(open_account(url, spec.api_key_env, spec.timeout_seconds), name, note)


def _vllm_files(spec: ModelSpec, name: str, note: Note) -> Way:
    from synthgen.backends.batch.vllm_file import VllmFiles
    from synthgen.backends.vllm_model import read_model

    if spec.base_urls:
        raise UsageError(f"--batch vllm-file asks no server; --base-url {spec.base_urls[0]} does not go with it")
    model = read_model(name)
    here = model.local or (spec.name or "").startswith("vllm:")
    return VllmFiles(model, spec.folder or Path(), note, here=here)


def check_same_model(backends: Sequence[Backend], capabilities: Sequence[Capabilities]) -> None:
    """Servers of one pool serve one model. Raises UsageError naming two that differ.

    Where a backend has no `model`, the only one that it serves counts.
    """
    served = [
        (backend.name, getattr(backend, "model", None) or ", ".join(known.models))
        for backend, known in zip(backends, capabilities, strict=True)
    ]
    for name, model in served[1:]:
        first_name, first_model = served[0]
        if model != first_model:
            raise UsageError(
                "servers of one pool must serve one model: "
                f"{first_name} serves {first_model or 'nothing'}, {name} serves {model or 'nothing'}"
            )

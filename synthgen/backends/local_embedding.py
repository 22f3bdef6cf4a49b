"""A sentence model in this process, a folder or a name on the hub; sentence-transformers (an extra) runs it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import RequestRefused, UsageError
from synthgen.types import Capabilities, Completion, Embeddings, Request

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_AT_ONCE = 32
_PIECE_BYTES = 1 << 20
# What the same weights are stored as for other libraries.
_OTHERS = ("onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.gguf", "*.md", ".*", "*.png")


class LocalEmbedding:
    """A `Backend` whose requests are of kind `embed`. `digest` is that of its files: other weights, other vectors."""

    most_at_once = 2  # the next is there when one is done

    def __init__(self, place: str) -> None:
        """`place` is a folder or a name. Raises UsageError where neither is there, or the library is not."""
        self.name = f"local:{place}"
        self._place = place
        if find_spec("sentence_transformers") is None:
            raise UsageError(f'--model {self.name} needs sentence-transformers: pip install "synthgen[semantic]"')
        self._folder = _folder(place)
        self.digest = _digest(self._folder)
        self._model: SentenceTransformer | None = None
        self._turn = asyncio.Lock()

    async def probe(self) -> Capabilities:
        return Capabilities(models=(self.name,), software="sentence-transformers")

    async def complete(self, request: Request) -> Completion:
        async with self._turn:
            return await asyncio.to_thread(self._embed, request.texts)

    async def aclose(self) -> None:
        self._model = None

    def _embed(self, texts: Sequence[str]) -> Embeddings:
        """Raises RequestRefused for a text that is longer than the model reads: the library would cut it silently."""
        import numpy as np

        from synthgen.backends.embeddings import check_meaning

        self._model = self._model or self._load()
        model = self._model
        lengths = [len(ids) for ids in model.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]
        most = model.max_seq_length
        if most is not None and max(lengths) > most:
            raise RequestRefused(f"a text of {max(lengths)} tokens, of which {self.name} reads {most}")
        rows = model.encode(list(texts), batch_size=_TEXTS_AT_ONCE, show_progress_bar=False, convert_to_numpy=True)
        rows = np.ascontiguousarray(rows, "<f4")
        check_meaning(rows)
        vectors = tuple(row.tobytes() for row in rows)
        return Embeddings("", prompt_tokens=sum(lengths), completion_tokens=0, vectors=vectors)

    def _load(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(self._folder), local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"{self._place}: cannot be loaded as a sentence model ({said})") from error


def _folder(place: str) -> Path:
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or place.startswith((".", "~")):
        raise UsageError(f"--model local:{place}: no such folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(place, ignore_patterns=list(_OTHERS)))
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"--model local:{place}: neither a folder nor a model that can be fetched ({said})") from error


def _digest(folder: Path) -> str:
    """Of all files that make the model, in the order of their names."""
    found = hashlib.blake2b(digest_size=8)
    files = (f for f in folder.rglob("*") if f.is_file() and not any(f.relative_to(folder).match(o) for o in _OTHERS))
    for path in sorted(files):
        found.update(f"{path.relative_to(folder).as_posix()}\x00{path.stat().st_size}\x00".encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                found.update(piece)
    return found.hexdigest()

"""The file of saved MinHash signatures: a header that says what they were made with, the ids, 448 bytes a row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.dedup.shingles import LENGTH, TOKENIZER
from synthgen.errors import StoreError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Signatures = NDArray[np.uint32]

_AT_ONCE = 4096  # rows
_LONGEST_HEADER = 4096


def write(path: Path, ids: Sequence[str], rows: Iterable[Signatures], made_with: dict[str, int]) -> None:
    """One line of JSON, the ids as JSON, then the signatures, little endian; renamed when whole."""
    listed = json.dumps(list(ids)).encode()
    header = json.dumps({**_header(made_with), "rows": len(ids), "bytes_of_ids": len(listed)})
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(header.encode() + b"\n" + listed)
            for block in rows:
                file.write(np.ascontiguousarray(block, "<u4").data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the signatures: {error.strerror or error}") from error


def read(path: Path, made_with: dict[str, int]) -> tuple[list[str], Iterator[Signatures]]:
    """The ids, and the signatures in blocks of 4,096 rows. Raises UsageError where the file does not fit."""
    try:
        with path.open("rb") as file:
            header = _checked(path, file.readline(_LONGEST_HEADER), made_with)
            rows, start = header["rows"], file.tell() + header["bytes_of_ids"]
            size, whole = os.fstat(file.fileno()).st_size, start + 4 * made_with["permutations"] * rows
            if size != whole:
                what = "cut short" if size < whole else "longer than its header says"
                raise UsageError(f"{path}: {what}, {size:,} bytes instead of {whole:,}: delete it, it is made anew")
            ids = _ids(path, file.read(header["bytes_of_ids"]), rows)
    except OSError as error:
        raise UsageError(f"{path}: cannot read the signatures: {error.strerror or error}") from error
    return ids, _blocks(path, start, rows, made_with["permutations"])


def _header(made_with: dict[str, int]) -> dict[str, Any]:
    return {"what": "minhash signatures", "version": 1, "tokenizer": TOKENIZER, "n": LENGTH, **made_with}


def _checked(path: Path, line: bytes, made_with: dict[str, int]) -> dict[str, Any]:
    """The header, when signatures made here and now could be compared with those of the file."""
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("what") != "minhash signatures":
        raise UsageError(f"{path}: not a file of MinHash signatures")
    for name, here in _header(made_with).items():
        if header.get(name) != here:
            raise UsageError(
                f"{path}: made with {name} {header.get(name)!r}, needed is {here!r}: delete it, it is made anew"
            )
    counts = header.get("rows"), header.get("bytes_of_ids")
    if not all(type(count) is int and count >= 0 for count in counts):
        raise UsageError(f"{path}: not a file of MinHash signatures")
    return header


def _ids(path: Path, listed: bytes, rows: int) -> list[str]:
    try:
        ids = json.loads(listed)
    except ValueError:
        ids = None
    if not isinstance(ids, list) or len(ids) != rows or not all(isinstance(id_, str) for id_ in ids):
        raise UsageError(f"{path}: its ids cannot be read: delete it, it is made anew")
    return ids


def _blocks(path: Path, start: int, rows: int, permutations: int) -> Iterator[Signatures]:
    with path.open("rb") as file:
        file.seek(start)
        for first in range(0, rows, _AT_ONCE):
            here = min(_AT_ONCE, rows - first)
            block = np.frombuffer(file.read(4 * permutations * here), "<u4").reshape(here, permutations)
            yield block.astype(np.uint32)

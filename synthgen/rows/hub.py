"""Rows out of the hub's data sets, streamed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from socket import getaddrinfo
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from synthgen.errors import UsageError
from synthgen.rows.packed import INSTALL
from synthgen.rows.table import plain
from synthgen.rows.text import Fault, Row, checked


def hub_rows(source: str) -> Iterator[Row | Fault]:
    """`hf:owner/name[:config][:split]`; `where` is the source and the number of the row.

    One word after the name is a config where there is one of that name, else a split. Without a split it is train, or
    the only one there is. Raises UsageError.
    """
    name, _, rest = source.removeprefix("hf:").partition(":")
    given = rest.split(":") if rest else []
    if not name.strip("/") or len(given) > 2 or not all(given):
        raise UsageError(f"{source}: must be hf:owner/name, hf:owner/name:split or hf:owner/name:config:split")
    _settle()
    try:
        from datasets import get_dataset_config_names, load_dataset
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise UsageError(f"{source}: the hub needs more packages: {INSTALL}") from None
    number = 0
    # The bases: those of the HTTP library that is behind it, which changes with versions.
    theirs = (OSError, ValueError, RuntimeError, DatasetsError, *HfHubHTTPError.__bases__)
    try:
        config = given[0] if len(given) == 2 or (given and given[0] in get_dataset_config_names(name)) else None
        splits = load_dataset(name, config, streaming=True)
        for number, value in enumerate(_split(splits, given[1 if config else 0 :], source), start=1):
            yield checked(plain(dict(value)), f"{source}:{number}", maybe_nul=True)
    except theirs as error:
        said = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())
        where = f"{source}: stops after row {number}" if number else f"{source}: cannot be read from the hub"
        raise UsageError(f"{where} ({said}); is it hf:owner/name[:config][:split], and is the network there?") from None


def _settle() -> None:
    """Without a network, what the cache has is read at once: its libraries would try for half a minute, and say so."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    if getproxies() or host is None:
        return
    try:
        getaddrinfo(host, None)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when they are imported, and by nobody later


def _split(splits: Any, given: list[str], source: str) -> Any:
    names = list(splits)
    wanted = given[0] if given else "train" if "train" in names else names[0]
    if wanted not in names or (not given and wanted != "train" and len(names) > 1):
        what = f"no split is called {wanted!r}" if given else "which split?"
        raise UsageError(f"{source}: {what}; it has {', '.join(names)}: hf:owner/name:{names[0]}")
    return splits[wanted]

"""A folder onto the hub of Hugging Face."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import NotAllowed, UsageError
from synthgen.rows.packed import INSTALL

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def check_push(name: str) -> None:
    """Raises UsageError where nothing could be pushed to this name, or nobody is there to push."""
    if not _NAME.fullmatch(name) or "--" in name or ".." in name or name.endswith((".git", "-", ".")):
        raise UsageError(f"--push {name}: must be owner/name, in letters, digits, -, _ and .")
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise UsageError(f"--push {name}: the hub needs more packages: {INSTALL}") from None
    if get_token() is None:
        raise UsageError(f"--push {name}: no token: set HF_TOKEN, or log in with hf auth login; nothing was written")


def push(folder: Path, files: Sequence[str], name: str, *, private: bool) -> str:
    """These files of a folder as one commit to the data set `name`, which is made where it is not there; its address.

    `private` is for one that is made. Raises NotAllowed where the hub does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils.tqdm import disable_progress_bars

    # The bases: those of the HTTP library behind it, which changes with versions. ValueError: a card that is refused.
    theirs: Any = (*HfHubHTTPError.__bases__, ValueError)
    stays = f"the folder {folder} stays as it is"
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    operations = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in files]
    try:
        made = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.create_commit(name, operations, commit_message="Upload by synthgen", repo_type="dataset")
    except OfflineModeIsEnabled:
        raise NotAllowed(f"--push {name}: HF_HUB_OFFLINE is set, so that nothing is sent; {stays}") from None
    except theirs as error:
        raise NotAllowed(f"--push {name}: {constants.ENDPOINT} {_said(error)}; {stays}") from None
    return str(made)


def _said(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    what = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split())[:200]
    if status in (401, 403):
        return f"does not allow it ({status}); is the token one that may write there?"
    return f"does not take it ({what})" if status else f"does not answer ({what})"

"""Where the files are that ship with the program: prompts, seeds and models."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from synthgen.errors import UsageError


def folder(name: str) -> Path:
    """The folder `prompts`, `seeds` or `models`: inside the package in a wheel, beside it in a checkout."""
    package = Path(str(files("synthgen")))
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise UsageError(f"{package / name}: this installation lacks its folder {name!r}; install synthgen again")

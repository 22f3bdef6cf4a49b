"""The main text of a page of HTML, without its menus, notices and scripts."""

from __future__ import annotations

import html
import logging
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from synthgen.documents.encoding import INSTALL
from synthgen.errors import UsageError

_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,500}?)</title", re.IGNORECASE | re.DOTALL)
_LICENCE = re.compile(r"""<(?:a|link)\b[^>]{0,500}?\brel\s*=\s*["']?license\b[^>]{0,500}?>""", re.IGNORECASE)
_ADDRESS = re.compile(r"""\bhref\s*=\s*["']?([^"'\s>]{4,200})""", re.IGNORECASE)
_HEAD_CHARS = 200_000


@cache
def _library() -> ModuleType:
    import trafilatura

    # It tells of each page without text on stderr; here that is a row with a reason.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL + 1)
    return trafilatura


def check_library(path: Path) -> None:
    """Raises UsageError where the library is absent, before anything is read."""
    try:
        _library()
    except ImportError:
        raise UsageError(f"{path}: HTML needs more packages: {INSTALL}") from None


def main_text(page: str) -> str:
    """The text that the page is about, a line a paragraph; "" where it has none."""
    # Without comments of readers; tables and lists are a part of the matter.
    found = _library().extract(page, include_comments=False, include_tables=True, deduplicate=False)
    return found or ""


def title_of(page: str) -> str:
    found = _TITLE.search(page, 0, _HEAD_CHARS)
    return " ".join(html.unescape(found.group(1)).split()) if found else ""


def licence_of(page: str) -> str:
    """The address that the page names as its licence (rel=license), "" where it names none."""
    tag = _LICENCE.search(page)
    address = _ADDRESS.search(tag.group()) if tag else None
    return html.unescape(address.group(1)) if address else ""

"""Documents out of text, Markdown, HTML, rows, folders and the hub, one at a time; a bad one costs itself alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthgen.documents import html
from synthgen.documents.cleaning import cleaned
from synthgen.documents.document import Document, Refused, content_id
from synthgen.documents.encoding import NotTextError, encoding_of, pieces, text_of
from synthgen.errors import UsageError
from synthgen.rows import Fault, Row, nearest_path, row_files, scan_rows

# What is longer comes in parts: memory stays flat, and no rule has to look at a book at once.
PART_CHARS = 200_000
MOST_HTML_BYTES = 8_000_000  # a tree of a page takes fifty times its size
_TEXT, _HTML = (".txt", ".md", ".markdown"), (".html", ".htm", ".xhtml")
Clean = Callable[[str], str]
KINDS = "txt, md, html, or rows with a column text (jsonl, json, csv, parquet)"
# Cards and licences speak of the documents beside them.
_ABOUT = frozenset({"readme", "license", "licence", "copying", "notice", "changelog", "dataset_info"})
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.{0,20000}?)^(?:---|\.\.\.)[ \t]*\r?$\n?", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"\A\s*#{1,2}[ \t]+([^\n]{1,200})")
_LICENCES = ("license", "licence")
_LONGEST_COLUMN_CHARS = 500  # what is longer is a text of its own, not something about this one


def read_documents(source: str | Path, clean: Clean = cleaned) -> Iterator[Document | Refused]:
    """Every document of a file, a folder (with those below it, by name) or `hf:owner/name[:split]`, cleaned.

    Raises UsageError where the source is none: no such path, another kind of file, rows without `text`.
    """
    if isinstance(source, str) and source.startswith("hf:"):
        yield from _of_rows(source, clean)
        return
    path = Path(source)
    if path.is_dir():
        for file in files_of(path):
            if file.suffix.lower() in _HTML:
                html.check_library(file)  # what is not installed is no fault of the page
            try:
                yield from _of_file(file, clean)
            except UsageError as error:
                yield Refused(content_id(file.name), str(file), "unreadable", str(error).removeprefix(f"{file}: "))
        return
    if not path.exists():
        raise UsageError(f"{path}: no such file{nearest_path(path)}")
    if not path.is_file():  # documents are looked at more than once
        raise UsageError(f"{path}: is a pipe or a device; write what comes out of it to a file, and give that")
    if not _is_document(path) and not _has_rows(path):
        raise UsageError(f"{path}: cannot read documents from this kind of file; it takes {KINDS}")
    yield from _of_file(path, clean)


def files_of(folder: Path) -> Iterator[Path]:
    """The files below a folder that can hold documents, by name; hidden ones, cards and licences are left out.

    Raises UsageError when there is none.
    """
    found = False
    for path in _below(folder):
        if path.stem.lower() not in _ABOUT and (_is_document(path) or _has_rows(path)):
            found = True
            yield path
    if not found:
        raise UsageError(f"{folder}: no documents in this folder; it takes {KINDS}")


def holds_documents(path: Path) -> bool:
    """Whether a file is a document of its own, or a folder has such and no rows."""
    if not path.is_dir():
        return _is_document(path)
    return not _has_rows(path) and any(_is_document(file) for file in files_of(path))


def _below(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except PermissionError:
        raise UsageError(f"{folder}: permission denied; make it readable (chmod +rx)") from None
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():  # a circle has no end
                yield from _below(path)
        elif path.is_file():
            yield path


def _is_document(path: Path) -> bool:
    return path.suffix.lower() in (*_TEXT, *_HTML)


def _has_rows(path: Path) -> bool:
    try:
        return bool(row_files(path))
    except UsageError:
        return False


def _of_file(path: Path, clean: Clean) -> Iterator[Document | Refused]:
    suffix = path.suffix.lower()
    if suffix in _HTML:
        html.check_library(path)
    try:
        if suffix in _TEXT:
            yield from _of_text(path, clean)
        elif suffix in _HTML:
            yield from _of_html(path, clean)
        else:
            yield from _of_rows(path, clean)
    except NotTextError as error:
        yield Refused(content_id(path.name), str(path), error.reason, str(error))
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    except OSError as error:  # it was there when the folder was listed
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _of_text(path: Path, clean: Clean) -> Iterator[Document | Refused]:
    codec = encoding_of(path)
    blocks = _blocks(pieces(path, codec))
    first = next(blocks, "")
    about: Mapping[str, str] = {}
    if path.suffix.lower() != ".txt" and (front := _FRONT.match(first)):
        about, first = _front_matter(front.group(1)), first[front.end() :]
    heading = _HEADING.search(first) if path.suffix.lower() != ".txt" else None
    title = about.get("title") or (heading.group(1).strip("# ") if heading else "")
    licence = next((about[name] for name in _LICENCES if name in about), "")
    yield from _parts((clean(block) for block in _chain(first, blocks)), str(path), "", title, licence, codec)


def _of_html(path: Path, clean: Clean) -> Iterator[Document | Refused]:
    with path.open("rb") as file:
        data = file.read(MOST_HTML_BYTES + 1)
    if len(data) > MOST_HTML_BYTES:
        size = path.stat().st_size / 1e6
        raise NotTextError("too large", f"a page of {size:.1f} MB, at most {MOST_HTML_BYTES / 1e6:.0f} MB are read")
    page, codec = text_of(data)
    text = clean(html.main_text(page)) if page.strip() else ""
    if not text:
        why = "is empty" if not page.strip() else "a page without text (a script may write it in a browser)"
        raise NotTextError("empty", f"{why}; leave it out")
    blocks = _blocks(iter([text]))
    yield from _parts(blocks, str(path), "", html.title_of(page), html.licence_of(page), codec)


def _of_rows(source: str | Path, clean: Clean) -> Iterator[Document | Refused]:
    known = False  # a file without the column is another kind of file; a row without it is a bad row
    for row in scan_rows(source, as_text=True):
        if isinstance(row, Fault):
            yield Refused(content_id(row.where), row.where, "unreadable", row.message)
            continue
        text = row.fields.get("text")
        if not known and "text" not in row.fields:
            there = ", ".join(list(row.fields)[:12]) or "none"
            raise UsageError(f"{row.where}: no column text (columns: {there}); a document is a row's text")
        known = True
        if not isinstance(text, str):
            what = "no text" if text is None else f"text must be a string, not {type(text).__name__}"
            yield Refused(content_id(row.where), row.where, "empty", f"{what}; fix or delete the row")
            continue
        yield from _of_row(row, text, clean)


def _of_row(row: Row, text: str, clean: Clean) -> Iterator[Document | Refused]:
    fields = row.fields
    title = fields.get("title")
    name = fields.get("id")
    licence = next((v for column in _LICENCES if isinstance(v := fields.get(column), str)), "")
    columns = {
        k: v
        for k, v in fields.items()
        if k not in ("text", "id", "title", *_LICENCES)
        and isinstance(v, str | int | float)
        and len(str(v)) <= (_LONGEST_COLUMN_CHARS if isinstance(v, str) else 18)  # 64 bits are the most
    }
    own = "" if name is None or isinstance(name, bool) or not isinstance(name, str | int) else str(name)
    blocks = (clean(block) for block in _blocks(iter([text])))
    title = title if isinstance(title, str) else ""
    yield from _parts(blocks, row.where, own, title, licence, "utf-8", columns)


def _parts(
    blocks: Iterable[str],
    where: str,
    name: str,
    title: str,
    licence: str,
    codec: str,
    columns: Mapping[str, Any] | None = None,
) -> Iterator[Document | Refused]:
    """A document for each cleaned block; the whole cleaned text is the blocks with an empty line between them."""
    start = number = 0
    for text in blocks:
        if text.strip():
            number += 1
            part = name and (name if number == 1 else f"{name}#{number}")
            yield Document(part or content_id(text), text, where, title, licence, start, codec, columns or {})
            start += len(text) + 2
    if not number:
        yield Refused(name or content_id(where.rpartition("/")[2]), where, "empty", "no text in it")


def _front_matter(text: str) -> dict[str, str]:
    """The single values of the YAML that a Markdown file may begin with; nothing where it is no YAML."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return {str(k).lower(): str(v) for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _blocks(text: Iterator[str]) -> Iterator[str]:
    """Stretches of at most PART_CHARS, cut at an empty line, else at a newline, a full stop, anywhere."""
    waiting = ""
    for piece in text:
        waiting += piece
        while len(waiting) > PART_CHARS:
            at = _border(waiting)
            yield waiting[:at]
            waiting = waiting[at:]
    if waiting:
        yield waiting


def _border(text: str) -> int:
    for mark in ("\n\n", "\n", "。", ". ", " "):
        at = text.rfind(mark, PART_CHARS // 2, PART_CHARS)
        if at >= 0:
            return at + len(mark)
    return PART_CHARS

"""All documents of a run, read once: what came of each lies in a temporary file, from which every pass is served."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from synthgen.dedup import Fingerprints
from synthgen.documents.cleaning import cleaned
from synthgen.documents.document import Document, Refused
from synthgen.documents.reading import KINDS, read_documents
from synthgen.documents.rules import reason
from synthgen.errors import StoreError, UsageError
from synthgen.types import UNREAD, Seed

_SAY_EVERY_SECONDS = 10.0
_LINES_BYTES = 1 << 16


@dataclass(slots=True)
class Reading:
    """What a pass over the documents found. `rows` counts what was refused too: each is a task, with its reason."""

    rows: int = 0
    digest: str = ""
    digest_of_first: str = ""  # of as many as were asked for, "" where there are fewer
    marked: int = 0  # documents that hold chat control tokens
    first_marked: str = ""
    refused: Counter[str] = field(default_factory=Counter)
    first_refused: str = ""
    encodings: dict[str, tuple[int, str]] = field(default_factory=dict)  # other than UTF-8: how many, and the first

    @property
    def used(self) -> int:
        return self.rows - self.refused.total()

    def lines(self) -> list[str]:
        """What a user should know of the reading, a line each."""
        said = [f"{first}: read as {codec} ({n} such)" for codec, (n, first) in self.encodings.items()]
        if self.refused:
            why = ", ".join(f"{n} {name}" for name, n in self.refused.most_common(5))
            said.append(
                f"{self.used:,} of {self.rows:,} documents are used; not used: {why} (first: {self.first_refused})"
            )
        return said


class Documents:
    """Documents as seeds, in order. Each has the fields `text`, `title`, `licence`, `where`, `start`, `encoding` and
    `columns`; one that is not used has `unread`, a pair of reason and detail, instead of a text.

    Ids are unique and do not depend on where a file lies. A second document of the same text is not used. The text is
    held on the disk (TMPDIR), never all at once in memory.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        thresholds: Mapping[str, float] | None = None,
        *,
        clean: Callable[[str], str] = cleaned,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`thresholds` are those of the rules, None leaves the rules out; `note` is told how far a long reading is.

        Raises UsageError where a source is none, and where no document is left.
        """
        self._sources, self._thresholds, self._clean, self._note = list(sources), thresholds, clean, note
        self._spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this does
        weakref.finalize(self, self._spool.close)
        try:
            self._reading = self._read()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            place = tempfile.gettempdir()
            raise StoreError(f"{place}: the disk is full; set TMPDIR to one with room for the documents") from None

    def __iter__(self) -> Iterator[Seed]:
        for line in self._lines():
            name, fields, where = orjson.loads(line)
            if UNREAD in fields:
                fields[UNREAD] = tuple(fields[UNREAD])
            yield Seed(name, fields, where)

    def scan(self, first: int | None = None) -> Reading:
        """What the reading found; with `first`, the digest of so many documents from the start, too."""
        if first is not None and first <= self._reading.rows:
            running = hashlib.blake2b(digest_size=16)
            for line in islice(self._lines(), first):
                running.update(_content(*orjson.loads(line)))
            self._reading.digest_of_first = running.hexdigest()
        return self._reading

    def _read(self) -> Reading:
        found, running = Reading(), hashlib.blake2b(digest_size=16)
        texts, names = Fingerprints(), _Names()
        said = time.monotonic()
        for source in self._sources:
            for one in read_documents(source, self._clean):
                judged = self._judged(one, texts, names, found)
                self._spool.write(orjson.dumps(judged, option=orjson.OPT_APPEND_NEWLINE))
                running.update(_content(*judged))
                found.rows += 1
                if time.monotonic() - said > _SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    self._note(f"reading documents: {found.rows:,} so far, {found.used:,} of them used")
        self._spool.flush()
        found.digest = running.hexdigest()
        if not found.used:
            why = f": {found.first_refused}" if found.rows == 1 else f" of {found.rows:,}; first: {found.first_refused}"
            raise UsageError(f"no document is left{why}" if found.rows else f"no documents: give --documents {KINDS}")
        return found

    def _judged(
        self, one: Document | Refused, texts: Fingerprints, names: _Names, found: Reading
    ) -> tuple[str, dict[str, Any], str]:
        """(id, fields, where): the document, or why it is not used."""
        if isinstance(one, Document):
            if one.encoding not in ("utf-8", "utf-8-sig"):
                times, first = found.encodings.get(one.encoding, (0, one.where))
                found.encodings[one.encoding] = times + 1, first
            failed = ("duplicate", "the same text came before") if not texts.add(one.text) else None
            if failed is None and self._thresholds is not None:
                failed = reason(one.text, self._thresholds)
            if failed is None:
                if "<|im_" in one.text:
                    found.marked += 1
                    found.first_marked = found.first_marked or one.where
                about = {"title": one.title, "licence": one.licence, "start": one.start, "encoding": one.encoding}
                return names.new(one.id), {"text": one.text, **about, "columns": one.columns}, one.where
            one = Refused(one.id, one.where, *failed)
        found.refused[one.reason] += 1
        found.first_refused = found.first_refused or f"{one.where}: {one.reason}: {one.detail}"
        return names.new(one.id), {UNREAD: (one.reason, one.detail)}, one.where

    def _lines(self) -> Iterator[bytes]:
        """The lines of the spool, each pass with a place of its own."""
        handle, at, left = self._spool.fileno(), 0, b""
        while data := os.pread(handle, _LINES_BYTES, at):
            at += len(data)
            *whole, left = (left + data).split(b"\n")
            yield from whole


def _content(name: str, fields: Mapping[str, Any], where: str) -> bytes:
    """What shapes a dataset: a folder that moved holds the same documents."""
    return orjson.dumps([name, fields])


class _Names:
    """Ids, of which one that came before gets a number."""

    def __init__(self) -> None:
        self._taken = Fingerprints()
        self._last: dict[str, int] = {}

    def new(self, name: str) -> str:
        unique = name
        while not self._taken.add(unique):
            self._last[name] = self._last.get(name, 1) + 1
            unique = f"{name}~{self._last[name]}"
        return unique

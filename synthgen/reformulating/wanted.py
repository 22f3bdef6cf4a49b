"""What `--set pairs=` says: pairs by name, a file of them, the library, or pairs that a model shall think of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from synthgen.errors import UsageError
from synthgen.reformulating.library import Library
from synthgen.reformulating.pairs import Pair, Titled, titled, visual
from synthgen.rows import nearest_path, read_rows

MOST_PAIRS = 20
_ROW_FILES = (".jsonl", ".json", ".csv", ".parquet")
_SOURCES = ("generated", "library")
_FORMS = "generated, library, a number, a file, or genre-audience;genre-audience"
_WORD = re.compile(r"([a-z]+)(?::(\d+))?")
_DASH = re.compile(r"\s+(?:-|–|—|－)+\s+|\s*[－—]+\s*")
_DESCRIPTIONS = ("description", "text")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where pairs come from. `count` is None where nothing was said; `pairs` are those that were given."""

    source: Literal["generated", "library", "given"] = "generated"
    count: int | None = None
    pairs: tuple[Pair, ...] = ()
    said: str = ""  # how it stands in run.json: with a digest of what a file or the library says


def wanted(text: str, library: Library) -> Wanted:
    """What a user typed. Raises UsageError: one line with what is wrong and the forms that there are."""
    text = text.strip()
    if not text:
        return Wanted()
    if re.fullmatch(r"\d+", text):
        return Wanted("generated", _number(text, text), said=text)
    word = _WORD.fullmatch(text)
    if word is not None and word[1] in _SOURCES:
        count = None if word[2] is None else _number(word[2], text)
        if word[1] == "generated":
            return Wanted("generated", count, said=text)
        return Wanted("library", count, said=f"{text} ({_digest(library)})")
    if Path(text).suffix.lower() in (*_ROW_FILES, ".txt") or _is_file(text):
        return _of_file(Path(text), library)
    found = _checked(_listed(text, library), f"--set pairs={text}")
    return Wanted("given", None, found, f"{text} ({_digest(found)})")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a long list is no name of a file
        return False


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _number(digits: str, text: str) -> int:
    if not 1 <= int(digits) <= MOST_PAIRS:
        raise UsageError(f"--set pairs={text}: 1 to {MOST_PAIRS} pairs are expected")
    return int(digits)


def _listed(text: str, library: Library) -> Iterator[Pair]:
    for item in re.split(r"[;；\n]", text):
        if item.strip():
            yield _pair(item.strip(), library, f"--set pairs={text}")


def _pair(item: str, library: Library, where: str) -> Pair:
    """A genre and an audience around one dash, which has spaces around it where a name has a dash of its own."""
    parts = _DASH.split(item) if _DASH.search(item) else item.split("-")
    if len(parts) != 2 or not all(part.strip() for part in parts):
        word = re.split(r"[:\s]", item.lower())[0]
        near = get_close_matches(word, _SOURCES, n=1)
        hint = f"; did you mean {near[0]}?" if near and len(parts) == 1 else f" ({_FORMS})"
        wish = "genre - audience, with spaces around the dash" if len(parts) > 2 else "genre-audience"
        raise UsageError(f"{where}: {item!r} is no pair: {wish} is expected{hint}")
    return Pair(library.genre(parts[0].strip()), library.audience(parts[1].strip()))


def _of_file(path: Path, library: Library) -> Wanted:
    if not path.is_file():
        raise UsageError(f"--set pairs={path}: no such file{nearest_path(path)}")
    pairs: Iterator[Pair]
    if path.suffix.lower() in _ROW_FILES:
        pairs = (_of_row(row.fields, library, row.where) for row in read_rows(path))
    else:
        pairs = _of_lines(path, library)
    found = _checked(pairs, str(path))
    return Wanted("given", None, found, f"{path} ({_digest(found)})")


def _of_lines(path: Path, library: Library) -> Iterator[Pair]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); write it as UTF-8") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _pair(line.strip(), library, f"{path}:{number}")


def _of_row(fields: Mapping[str, object], library: Library, where: str) -> Pair:
    genre, audience = (_side(fields, side, where) for side in ("genre", "audience"))
    return Pair(
        genre if genre.description else library.genre(genre.title),
        audience if audience.description else library.audience(audience.title),
    )


def _side(fields: Mapping[str, object], side: str, where: str) -> Titled:
    said = fields.get(side)
    if not isinstance(said, str) or not said.strip():
        raise UsageError(f"{where}: no {side}; a row needs the columns genre and audience")
    more = next((v for name in _DESCRIPTIONS if isinstance(v := fields.get(f"{side}_{name}"), str) and v.strip()), None)
    return titled(said) if more is None else Titled(said.strip(), more.strip())


def _checked(pairs: Iterator[Pair], where: str) -> tuple[Pair, ...]:
    found: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        if visual(pair.genre):
            raise UsageError(f'{where}: the genre "{pair.genre.title}" is not text alone; name one that is')
        key = pair.genre.title.casefold(), pair.audience.title.casefold()
        if key in found:
            raise UsageError(f"{where}: the pair {pair} stands there twice; delete one")
        found[key] = pair
    if not found:
        raise UsageError(f"{where}: no pairs ({_FORMS})")
    return tuple(found.values())

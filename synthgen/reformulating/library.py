"""The built-in genres and audiences, and pairs drawn from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from synthgen.data import folder
from synthgen.errors import UsageError
from synthgen.reformulating.pairs import ALIKE, Pair, Titled, alike, visual

GENRES, AUDIENCES = "reformulate/genres.jsonl", "reformulate/audiences.jsonl"


@dataclass(frozen=True, slots=True)
class Library:
    """Genres and audiences of one language, in the order of their files."""

    genres: tuple[Titled, ...]
    audiences: tuple[Titled, ...]

    def draw(self, count: int, rng: Random) -> list[Pair]:
        """`count` pairs at random; no two genres of them are alike, and no two audiences."""
        genres, audiences = _apart(self.genres, count, rng), _apart(self.audiences, count, rng)
        return [Pair(genre, audience) for genre, audience in zip(genres, audiences, strict=True)]

    def genre(self, title: str) -> Titled:
        """What is known of a title, or the title alone."""
        return _known(title, self.genres)

    def audience(self, title: str) -> Titled:
        return _known(title, self.audiences)


def library(lang: str, folders: Sequence[Path] = ()) -> Library:
    """The library for a language, from the first of the folders that has it, else the built-in one."""
    genres, audiences = _read(GENRES, lang, folders), _read(AUDIENCES, lang, folders)
    for genre in genres:
        if visual(genre):
            raise UsageError(f'{GENRES}: the genre "{genre.title}" is not text alone; delete the row')
    return Library(genres, audiences)


def _read(name: str, lang: str, folders: Sequence[Path]) -> tuple[Titled, ...]:
    path = next(
        p for base in (*folders, folder("prompts")) if (p := base / name).is_file() or base == folder("prompts")
    )
    return tuple(_rows(path, lang))


def _rows(path: Path, lang: str) -> Iterator[Titled]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)[lang]
            yield Titled(str(said["title"]), str(said["description"]))
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{path}:{number}: JSON with {lang}: {{title, description}} is expected; fix or delete the row"
            ) from None


def _apart(entries: Sequence[Titled], count: int, rng: Random) -> list[Titled]:
    found: list[Titled] = []
    for entry in rng.sample(entries, len(entries)):
        if all(alike(entry.title, other.title) <= ALIKE for other in found):
            found.append(entry)
        if len(found) == count:
            return found
    raise UsageError(f"the library has no {count} entries that differ; ask for fewer pairs")


def _known(title: str, entries: Sequence[Titled]) -> Titled:
    return next((entry for entry in entries if entry.title.casefold() == title.casefold()), Titled(title))

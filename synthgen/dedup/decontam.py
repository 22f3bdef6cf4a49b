"""Rows of benchmarks that stand in a text: whole, in part, inside a longer one, or with some words changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from synthgen.dedup.alike import Alike
from synthgen.dedup.exact import key, normal
from synthgen.dedup.ngrams import UNKNOWN, Ngrams, letter
from synthgen.dedup.tokens import is_cjk, spans, words

# Tülu 3 (arXiv 2411.15124) and Llama 3: 8-grams, more than half of a row's tokens; GPT-3: any 13 tokens.
# With every tenth word changed no 13-gram is left, and most of a row is covered by 8-grams.
_WORDS, _CJK = (8, 13, Fraction(7, 10)), (10, 16, Fraction(8, 10))
# ROUGE-L is for a turn that is the row; a longer row is found by its n-grams.
_LONGEST_ALIKE = 400
_BATCH, _BATCH_CHARS = 256, 1_000_000


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of a benchmark that was met, and the evidence.

    `run` is the longest stretch of shared tokens that is not common, `cover` the share of the row's tokens in shared
    n-grams, `span` what matched as it stands in the text. `by` is exact, run, cover or rouge-l; `score` is the F1 for
    rouge-l, 1 for exact, else the cover.
    """

    benchmark: str
    row: str
    run: int
    cover: float
    span: str
    by: str
    score: float

    @property
    def evidence(self) -> str:
        """The verdict in one line."""
        if self.by in ("run", "cover"):
            return f"{self.run} tokens in a row, {self.cover:.0%} of {self.benchmark}:{self.row}: {self.span}"
        return f"{self.score:.3f} {self.by} to {self.benchmark}:{self.row}: {self.span}"


@dataclass(frozen=True, slots=True)
class Common:
    """A stretch of tokens of the benchmarks that stands in too many rows to be evidence."""

    text: str
    rows: int


@dataclass(frozen=True, slots=True)
class _Row:
    benchmark: str
    id: str
    text: str


class Decontam:
    """Benchmarks, and what of them stands in a text.

    First every row with `add`; then, where there is a whole set to check, `count` over its rows, so that what stands in
    many of them is no evidence; then `check`. Memory belongs to the benchmarks, not to what is checked.
    """

    def __init__(self, *, only_long: bool = False) -> None:
        """`only_long`: rows that are too short for a run are not taken."""
        self._only_long = only_long
        self._letters: dict[str, str] = {}
        self._kinds = (_Kind(*_WORDS), _Kind(*_CJK))
        self._wordless: dict[str, list[_Row]] = {}
        self._asked = 0

    def __len__(self) -> int:
        return sum(len(kind.rows) for kind in self._kinds) + sum(map(len, self._wordless.values()))

    def add(self, benchmark: str, row_id: str, text: str) -> bool:
        """One turn of a row, and whether it was taken; what was counted before is forgotten."""
        row = _Row(benchmark, row_id, text)
        tokens = words(text)
        kind, bare = self._kinds[is_cjk(tokens)], normal(text)
        if not bare or (self._only_long and len(tokens) < kind.grams.long):
            return False
        self._asked = 0
        if tokens:
            letters = self._letters
            kind.add(row, "".join([letters.setdefault(token, letter(len(letters))) for token in tokens]))
        else:
            self._wordless.setdefault(bare, []).append(row)
        return True

    def count(self, rows: Sequence[Sequence[str]]) -> None:
        """The texts of each row of the set that will be checked, each row once."""
        for part in _batches([list(texts) for texts in rows]):
            said = [UNKNOWN.join([self._said(words(text)) for text in texts]) for texts in part]
            names = ["\0".join(texts) for texts in part]
            for kind in self._kinds:
                kind.grams.count(said, names)
        self._asked += len(rows)
        for kind in self._kinds:
            kind.grams.settle(self._asked)

    def common(self) -> list[Common]:
        """What was counted in more than ten rows and in more than one of 10,000, the most frequent first."""
        found = [one for kind in self._kinds for one in kind.common()]
        return sorted(found, key=lambda one: (-one.rows, one.text))

    def check(self, text: str) -> list[Hit]:
        """The rows that a text meets, the highest score first."""
        return self.check_many([text])[0]

    def check_many(self, texts: Sequence[str]) -> list[list[Hit]]:
        """The same for many texts, at a tenth of the cost."""
        return [hits for part in _batches([[text] for text in texts]) for hits in self._check([t for (t,) in part])]

    def _check(self, texts: Sequence[str]) -> list[list[Hit]]:
        tokens = [words(text) for text in texts]
        said = [self._said(one) for one in tokens]
        met: list[dict[tuple[int, int], float]] = [{} for _ in texts]  # (kind, row) -> F1, or 0
        for number, kind in enumerate(self._kinds):
            for text, row in kind.grams.candidates(said):
                met[text][number, row] = 0.0
        for text, one in enumerate(said):
            script = int(not texts[text].isascii() and is_cjk(tokens[text]))
            for row, score in self._kinds[script].alike.over(one):
                met[text][script, row] = score
        return [self._hits(*each) for each in zip(texts, said, met, strict=True)]

    def _hits(self, text: str, said: str, met: Mapping[tuple[int, int], float]) -> list[Hit]:
        if not said:
            same = self._wordless.get(normal(text), ())
            return [Hit(row.benchmark, row.id, 0, 0.0, text, "exact", 1.0) for row in same]
        known = _Text(text, said)
        found = [self._hit(known, self._kinds[kind], row, score) for (kind, row), score in met.items()]
        return sorted(filter(None, found), key=lambda hit: -hit.score)

    def _hit(self, text: _Text, kind: _Kind, number: int, score: float) -> Hit | None:
        """The verdict on one pair; None where only the keys of n-grams were the same."""
        row, grams = kind.rows[number], kind.grams
        run, cover, at = grams.measure(number, text.said)
        by, evidence = "rouge-l", (score, text.text)
        if score == 1.0 and text.key == key(row.text):
            by = "exact"
        elif run >= grams.long or 2 * cover > 1:
            by = "run" if run >= grams.long else "cover"
            evidence = (cover, text.span(at, at + run))
        elif not score:
            return None
        return Hit(row.benchmark, row.id, run, cover, evidence[1], by, evidence[0])

    def _said(self, tokens: list[str]) -> str:
        get = self._letters.get
        return "".join([get(token, UNKNOWN) for token in tokens])


class _Text:
    """A text that is checked, one letter a token as `said`; what its hits share is found out once."""

    def __init__(self, text: str, said: str) -> None:
        self.text, self.said = text, said

    @cached_property
    def key(self) -> bytes:
        return key(self.text)

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return spans(self.text)

    def span(self, first: int, last: int) -> str:
        """The tokens [first, last) as they stand in the text."""
        return self.text[self._spans[first][0] : self._spans[last - 1][1]]


class _Kind:
    """The rows of one script: their n-grams and their likeness."""

    def __init__(self, n: int, long: int, threshold: Fraction) -> None:
        self.rows: list[_Row] = []
        self.grams, self.alike = Ngrams(n, long), Alike(threshold, _LONGEST_ALIKE)

    def add(self, row: _Row, said: str) -> None:
        self.grams.add(said)
        self.alike.add(len(self.rows), said)
        self.rows.append(row)

    def common(self) -> Iterator[Common]:
        for number, start, end, rows in self.grams.common():
            yield Common(_Text(self.rows[number].text, "").span(start, end), rows)


def _batches(rows: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """Enough rows for numpy, not so long that their arrays fill the memory."""
    part: list[list[str]] = []
    chars = 0
    for texts in rows:
        part.append(texts)
        chars += sum(map(len, texts))
        if len(part) == _BATCH or chars > _BATCH_CHARS:
            yield part
            part, chars = [], 0
    if part:
        yield part

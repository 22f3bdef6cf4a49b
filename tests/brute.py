"""An independent look at a dataset: novelty by brute force, without the product's own index."""

from __future__ import annotations

import json
import re
import unicodedata
from fractions import Fraction
from pathlib import Path

CJK = r"\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


def tokens(text: str) -> list[str]:
    """Words of Latin scripts, single Chinese characters."""
    text = unicodedata.normalize("NFKC", text).casefold()
    found = []
    for run in re.findall(r"[^\W_]+", text):
        found += re.findall(rf"[{CJK}]|[^{CJK}]+", run)
    return found


def lcs(a: list[str], b: list[str]) -> int:
    """Longest common subsequence by the textbook table."""
    row = [0] * (len(b) + 1)
    for x in a:
        last = 0
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], last + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def lcs_bits(a: list[str], b: list[str]) -> int:
    """The same on the bits of one integer (Hyyrö 2004), for thousands of pairs; a test holds it to the table."""
    masks: dict[str, int] = {}
    for i, x in enumerate(a):
        masks[x] = masks.get(x, 0) | 1 << i
    row = full = (1 << len(a)) - 1
    for y in b:
        both = row & masks.get(y, 0)
        row = ((row + both) | (row - both)) & full
    return len(a) - row.bit_count()


def is_cjk(found: list[str]) -> bool:
    return 2 * sum(1 for t in found if re.match(f"[{CJK}]", t)) > len(found)


def pairs_too_near(instructions: list[str]) -> list[tuple[str, str, float]]:
    """Pairs above 0.7 on words, or 0.8 where both are mostly Chinese characters."""
    split = [(text, tokens(text)) for text in instructions]
    near = []
    for i, (text, a) in enumerate(split):
        for other, b in split[:i]:
            if is_cjk(a) != is_cjk(b) or not a or not b:
                continue
            limit = Fraction(8, 10) if is_cjk(a) else Fraction(7, 10)
            score = Fraction(2 * lcs(a, b), len(a) + len(b))
            if score > limit:
                near.append((text, other, float(score)))
    return near


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def same_tokens(text: str) -> tuple[str, ...]:
    """What an exact duplicate shares, for texts of plain words."""
    return tuple(tokens(text))


def near_score(a: str, b: str, latin: Fraction, cjk: Fraction) -> Fraction | None:
    """ROUGE-L F1 of two texts where it is above the threshold of their script."""
    x, y = tokens(a), tokens(b)
    if not x or not y or is_cjk(x) != is_cjk(y):
        return None
    score = Fraction(2 * lcs(x, y), len(x) + len(y))
    return score if score > (cjk if is_cjk(x) else latin) else None


def greedy(
    rows: list[tuple[str, str, str]], methods: tuple[str, ...], latin: Fraction, cjk: Fraction, *, keep_all: bool
) -> list[tuple[str, int, Fraction] | None]:
    """For each (prompt, input, answer): (level, nearest row, score) of what was kept, or None; one by one, no index.

    The same row again is never kept; the rest only where `keep_all`.
    """
    kept: list[int] = []
    compared: list[int] = []  # kept, and no further instance of a task
    found: list[tuple[str, int, Fraction] | None] = []
    keys = [tuple(same_tokens(part) for part in row) for row in rows]
    questions = ["\n".join(filter(None, row[:2])) for row in rows]
    for n, (prompt, _, _) in enumerate(rows):
        met: tuple[str, int, Fraction] | None = None
        again = [m for m in kept if keys[m] == keys[n]] if "exact" in methods else []
        asked = [m for m in kept if keys[m][:2] == keys[n][:2]]
        instance = not asked and any(keys[m][0] == keys[n][0] for m in kept)
        if again:
            met = ("exact", again[0], Fraction(1))
        elif "exact" in methods and asked and prompt.strip():
            met = ("exact", asked[0], Fraction(1))
        elif "rouge" in methods and not instance:
            scores = [
                (s, -m) for m in compared if (s := near_score(questions[n], questions[m], latin, cjk)) is not None
            ]
            if scores:
                met = ("rouge", -max(scores)[1], max(scores)[0])
        if met is None or (keep_all and not again):
            kept.append(n)
            compared += [] if instance else [n]
        found.append(met)
    return found

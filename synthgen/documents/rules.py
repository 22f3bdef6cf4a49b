"""The table of what a document must be like to be worth reformulating: each rule with its thresholds and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from synthgen.documents import features as f
from synthgen.documents.features import Features, Measure

GOPHER = "Gopher (arXiv 2112.11446, table A1)"
C4 = "C4 (arXiv 1910.10683)"
FINEWEB = "FineWeb (arXiv 2406.17557)"
ZH = "its Chinese variant"


@dataclass(frozen=True, slots=True)
class Rule:
    """A document passes where `measure` is at most, or at least, the threshold: `latin`, or `cjk` for Chinese text.

    None: the rule is not for that script. A threshold is the knob of the rule's name; where the two scripts differ,
    that of Chinese has `_cjk` behind it.
    """

    name: str
    help: str
    measure: Measure
    latin: float | None
    cjk: float | None
    source: str
    least: bool = False
    high: float = 1.0

    def knobs(self) -> dict[str, float]:
        """Knob and default, one or two."""
        if self.latin is None or self.cjk is None:
            (only,) = (one for one in (self.latin, self.cjk) if one is not None)
            return {self.name: only}
        return {self.name: self.latin} | ({self.cjk_name: self.cjk} if self.cjk != self.latin else {})

    @property
    def cjk_name(self) -> str:
        return f"{self.name}_cjk"

    def threshold(self, is_cjk: bool, given: Mapping[str, float]) -> float | None:
        """What holds for a script, as given or by default; None where the rule is not for it."""
        own = self.cjk if is_cjk else self.latin
        if own is None:
            return None
        name = self.cjk_name if is_cjk and self.cjk_name in self.knobs() else self.name
        return given.get(name, own)

    def failed(self, found: Features, threshold: float) -> str | None:
        """What was found and what is asked for, None where the document passes."""
        value = found.value(self.measure)
        if value < threshold if self.least else value > threshold:
            return f"{value:.4g}, {'at least' if self.least else 'at most'} {threshold:g} is asked for"
        return None


# The cheap ones first. What a threshold means is in `help`; lines and words are those of features.py.
RULES = (
    Rule("size", "fewest words of a document", f.size, 50, 200, f"{GOPHER}; {ZH}: characters", least=True, high=1e6),
    Rule("most_size", "most words of a document", f.size, 100_000, 200_000, f"{GOPHER}; {ZH}: characters", high=1e9),
    Rule("word_length", "shortest mean word", f.word_length, 3, None, GOPHER, least=True, high=100),
    Rule("most_word_length", "longest mean word", f.word_length, 10, None, GOPHER, high=1e6),
    Rule("stop_words", "fewest stop words there (the be to of and that have with; 的了是在)", f.stop_words, 2, 2,
         f"{GOPHER}; {ZH}", least=True, high=8),
    Rule("symbols", "most hash signs or ellipses a word", f.symbols, 0.1, 0.1, GOPHER, high=100),
    Rule("alphabetic", "smallest share of words with a letter", f.alphabetic, 0.8, None, GOPHER, least=True),
    Rule("punctuation", "smallest share of marks in Chinese", f.punctuation, None, 0.02, ZH, least=True),
    Rule("most_punctuation", "largest share of marks in Chinese", f.punctuation, None, 0.25, ZH),
    Rule("bullet_lines", "largest share of lines with a bullet", f.bullet_lines, 0.9, 0.9, GOPHER),
    Rule("ellipsis_lines", "largest share of lines ending in an ellipsis", f.ellipsis_lines, 0.3, 0.3, GOPHER),
    Rule("sentences", "fewest sentences", f.sentences, 5, 5, C4, least=True, high=1e6),
    Rule("lorem_ipsum", "most placeholder texts", f.lorem_ipsum, 0, 0, C4, high=1e6),
    Rule("curly_lines", "largest share of lines with a curly bracket (1 for code)", f.curly_lines, 0, 0, C4),
    Rule("ended_lines", "smallest share of lines with a mark at the end", f.ended_lines, 0.12, 0.12, FINEWEB,
         least=True),
    Rule("short_lines", "largest share of short lines (30 characters; 15 Chinese)", f.short_lines, 0.67, 0.67, FINEWEB),
    Rule("newlines", "most lines a word", f.newlines, 0.3, 0.2, f"{FINEWEB}; {ZH}: a character", high=100),
    Rule("duplicate_lines", "largest share of repeated lines", f.duplicate_lines, 0.3, 0.3, GOPHER),
    Rule("duplicate_line_chars", "their share of the characters", f.duplicate_line_chars, 0.01, 0.01,
         f"{FINEWEB}; Gopher: 0.2"),
    Rule("duplicate_paragraphs", "largest share of repeated paragraphs", f.duplicate_paragraphs, 0.3, 0.3, GOPHER),
    Rule("duplicate_paragraph_chars", "their share of the characters", f.duplicate_paragraph_chars, 0.2, 0.2, GOPHER),
    *(Rule(f"top_{n}gram", f"largest share of text in the commonest {n} words", f.top_ngram(n), most, most, GOPHER)
      for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))),
    *(Rule(f"repeated_{n}grams", f"largest share of text in {n} words that came before", f.repeated_ngrams(n),
           most, most, GOPHER)
      for n, most in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))),
)  # fmt: skip


def defaults() -> dict[str, float]:
    """Every threshold by its knob's name."""
    return {name: value for rule in RULES for name, value in rule.knobs().items()}


def reason(text: str, given: Mapping[str, float] | None = None) -> tuple[str, str] | None:
    """(rule, what was found and what is asked for) of the first rule that a text fails; None where it passes all.

    `given` are thresholds by knob name; those that are absent keep their defaults.
    """
    found = Features(text)
    for rule in RULES:
        threshold = rule.threshold(found.is_cjk, given or {})
        why = None if threshold is None else rule.failed(found, threshold)
        if why is not None:
            return rule.name, why
    return None

"""What recipes over documents share: the rules' knobs, and tasks that are chunks with their document and span."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, ClassVar

from synthgen.documents import RULES, chunks
from synthgen.documents.cleaning import cleaned, whole_lines
from synthgen.recipe import Knob, Recipe, knob
from synthgen.types import UNREAD, UNREAD_REASON, Rejection, Seed, Task


class DocumentRecipe(Recipe):
    """A task is a chunk: vars `text`, `document`, `chunk`, `of`, `span`, `where`, `title`, `licence`, `columns`.

    A document that is not used is a task, too, whose `unread` is its reason: `run` begins with `unread(task)`.
    """

    takes: ClassVar[tuple[str, ...]] = ("documents",)
    formats: ClassVar[tuple[str, ...]] = ("text",)
    unlike_seeds = False

    chunk_tokens = knob(2048, "most tokens of a document that are shown at once", low=64, high=131072)
    sentence_lines = knob(False, "drop lines that are no sentences: headings, lists, menus; C4 (arXiv 1910.10683)")
    rules = knob("all", "what documents must be like", choices=("all", "none"))

    def longest_chunk(self) -> int:
        """Tokens of a chunk: the knob, or a third of the context, which the prompt and the answer share."""
        return self.chunk_tokens if self.context_tokens is None else min(self.chunk_tokens, self.context_tokens // 3)

    def fit(self, seeds: Iterable[Seed]) -> None:
        if self.longest_chunk() < self.chunk_tokens:
            self.notes.append(
                f"fitted to a context of {self.context_tokens:,} tokens: chunks of {self.longest_chunk():,} at most"
            )

    def tasks(self, seeds: Iterable[Seed], rng: Random) -> Iterator[Task]:
        for seed in seeds:
            if UNREAD in seed.fields:
                yield Task(seed.id, {UNREAD: seed.fields[UNREAD], "where": seed.where})
            else:
                yield from self._chunks_of(seed)

    def _chunks_of(self, seed: Seed) -> Iterator[Task]:
        given = seed.fields
        cut = chunks(given["text"], self.longest_chunk(), self.count_tokens)
        for n, one in enumerate(cut, 1):
            text = one.of(given["text"]).rstrip()
            start = given["start"] + one.start
            about = {"where": seed.where, "title": given["title"], "licence": given["licence"]}
            place = {"document": seed.id, "chunk": n, "of": len(cut), "span": [start, start + len(text)]}
            yield Task(f"{seed.id}/{n}", {"text": text, **place, **about, "columns": given["columns"]})

    @staticmethod
    def unread(task: Task) -> Rejection | None:
        """The reason of a document that is not used, None where there is something to do."""
        if UNREAD not in task.vars:
            return None
        reason, detail = task.vars[UNREAD]
        return Rejection(UNREAD_REASON + reason, f"{task.vars['where']}: {detail}")

    @staticmethod
    def provenance(task: Task) -> dict[str, Any]:
        """Where a sample comes from, for its meta."""
        given = task.vars
        names = ("document", "chunk", "of", "span", "where", "title", "licence")
        return {"source": {**{name: given[name] for name in names if given[name] != ""}, **_row(given["columns"])}}


def thresholds_of(kind: type[Recipe], values: Mapping[str, Any]) -> dict[str, float] | None:
    """The thresholds of the rules as the user set them, None for no rules. Raises UsageError."""
    found = {name: kind.knob_value(name, str(text)) for name, text in values.items()}
    if found.get("rules", "all") == "none":
        return None
    return {name: found.get(name, one.default) for name, one in _rule_knobs().items()}


def cleaning_of(kind: type[Recipe], values: Mapping[str, Any]) -> Callable[[str], str]:
    """How documents are cleaned, as the user set it. Raises UsageError."""
    given = values.get("sentence_lines")
    wanted = given is not None and kind.knob_value("sentence_lines", str(given))
    return whole_lines if wanted else cleaned


def _row(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {"row": dict(columns)} if columns else {}


def _rule_knobs() -> dict[str, Knob]:
    found = {}
    for rule in RULES:
        for name, default in rule.knobs().items():
            script = ", Chinese" if name == rule.cjk_name else ""
            found[name] = Knob(float(default), f"{rule.help}{script}; {rule.source}", 0, rule.high)
    return found


for _name, _knob in _rule_knobs().items():
    setattr(DocumentRecipe, _name, _knob)

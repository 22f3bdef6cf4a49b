"""The rewrites of one source beside one another: of what is the same or nearly so, one stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.reformulating.texts import too_near
from synthgen.types import Failure, Rejection, Sample

Item = Sample | Rejection | Failure


def text_of(sample: Sample) -> str:
    """What was written: the text, or the last turn."""
    return sample.text if sample.text is not None else sample.messages[-1].content


def without_copies(items: Sequence[Item]) -> list[Item]:
    """The first of those that are the same but for their white space; all keep their places."""
    seen: dict[str, Mapping[str, Any]] = {}
    found: list[Item] = []
    for item in items:
        if isinstance(item, Sample):
            other = seen.setdefault(" ".join(text_of(item).split()), item.meta)
            if other is not item.meta:
                found.append(Rejection("duplicate", f"the same as its sibling {_readers(other)}", item))
                continue
        found.append(item)
    return found


def best_apart(items: Sequence[Item], *, latin: float, cjk: float) -> list[Item]:
    """The best, by `meta["score"]`, of those whose ROUGE-L is not below the threshold; all keep their places."""
    found = list(items)
    samples = [(n, item) for n, item in enumerate(items) if isinstance(item, Sample)]
    kept: list[Sample] = []
    for n, item in sorted(samples, key=lambda one: (-one[1].meta["score"], one[0])):
        near = too_near(text_of(item), [text_of(other) for other in kept], latin=latin, cjk=cjk)
        if near is None:
            kept.append(item)
        else:
            said = f"{near[1]:.3f} rouge-l to its sibling {_readers(kept[near[0]].meta)}"
            found[n] = Rejection("novelty", said, item)
    return found


def _readers(meta: Mapping[str, Any]) -> str:
    return f"{meta['genre']} - {meta['audience']}"

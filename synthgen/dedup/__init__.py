"""Seen before? One question, answered with evidence: which row, how near, by what measure."""

from synthgen.dedup.exact import Fingerprints, key
from synthgen.dedup.near import Near, nearer
from synthgen.dedup.novelty import Novelty, NoveltyByScript
from synthgen.dedup.seen import Seen
from synthgen.dedup.tokens import cjk_count, cjk_share, words

__all__ = [
    "Fingerprints",
    "Near",
    "Novelty",
    "NoveltyByScript",
    "Seen",
    "cjk_count",
    "cjk_share",
    "key",
    "nearer",
    "words",
]

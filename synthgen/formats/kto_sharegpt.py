"""KTO data of LLaMA-Factory in ShareGPT's columns, with kto_tag."""

from __future__ import annotations

from synthgen.formats.labelled import Labelled
from synthgen.formats.sharegpt import FORMAT as SHAREGPT

FORMAT = Labelled(
    "kto-sharegpt",
    "conversations, kto_tag true or false (+ system, tools): LLaMA-Factory (KTO)",
    SHAREGPT,
    (frozenset({"conversations"}),),
    "kto_tag",
)

"""KTO data of LLaMA-Factory in Alpaca's columns, with kto_tag."""

from __future__ import annotations

from synthgen.formats.alpaca import FORMAT as ALPACA
from synthgen.formats.labelled import Labelled

FORMAT = Labelled(
    "kto-alpaca",
    "instruction, input, output, kto_tag true or false (+ system, history): LLaMA-Factory (KTO)",
    ALPACA,
    (frozenset({"instruction", "output"}), frozenset({"instruction", "response"})),
    "kto_tag",
)

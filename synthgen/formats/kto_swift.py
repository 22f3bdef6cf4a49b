"""KTO data of ms-swift: messages and a label, which LLaMA-Factory takes too where no tools are called."""

from __future__ import annotations

from synthgen.formats.labelled import Labelled
from synthgen.formats.messages import FORMAT as MESSAGES

FORMAT = Labelled(
    "kto-swift",
    "messages, label true or false (+ tools): ms-swift (KTO), LLaMA-Factory (KTO, without tools)",
    MESSAGES,
    (frozenset({"messages"}),),
    "label",
)

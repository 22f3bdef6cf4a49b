"""ChatML with a separator token after the role, as Phi-4 has it."""

from __future__ import annotations

from synthgen.formats.chatml import END, SEP, START, ChatML

FORMAT = ChatML("chatml-sep", f"text as {START}role{SEP}text{END} (+ spans of what is trained): Phi-4", SEP, "")

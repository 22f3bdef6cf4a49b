"""Documents out of files, folders and the hub: read, cleaned, judged by rules, cut into chunks."""

from __future__ import annotations

from synthgen.documents.chunks import Chunk, chunks
from synthgen.documents.document import Document, Refused
from synthgen.documents.reading import holds_documents, read_documents
from synthgen.documents.rules import RULES, Rule, reason
from synthgen.documents.spool import Documents, Reading

__all__ = [
    "RULES",
    "Chunk",
    "Document",
    "Documents",
    "Reading",
    "Refused",
    "Rule",
    "chunks",
    "holds_documents",
    "read_documents",
    "reason",
]

"""What texts must not say to a tokenizer or a template, and how long they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from synthgen.dedup.tokens import cjk_count
from synthgen.types import Capabilities
from synthgen.validating.turns import Found

_CONTROL = re.compile(r"<\|[A-Za-z][\w ]{0,40}\|>|<｜[^｜<>]{1,40}｜>|</s>|\[/?INST\]|<(?:start|end)_of_turn>")
_TURN_NUMBER = "{{idx}}"
_MEDIA = re.compile(r"<(?:image|video|audio)>")
TRL_TOKENS, LF_TOKENS = 1024, 2048  # max_length and cutoff_len where nobody sets them
_PER_CHAR, _PER_CJK = Capabilities().tokens_per_char
# No text is more tokens than that by the estimate: Chinese takes three bytes a character, and all else fewer tokens.
_BYTES_PER_TOKEN = 3


def looks(raw: bytes) -> bool:
    """Whether the bytes of a row are worth a look by `marks`: their quotes may be escapes."""
    return b"<" in raw or b"{{" in raw or b"INST]" in raw or b"\\u00" in raw or b"\\uff5c" in raw


def marks(row: Mapping[str, Any], read: Collection[str], *, chat: bool) -> Iterator[Found]:
    """Control tokens and placeholders in the columns that are trained on; `chat`: the text is a chat's markup."""
    told: set[str] = set()
    for text in _texts(row, read):
        for rule, found in _marks(text, chat=chat):
            if rule not in told:
                told.add(rule)
                yield rule, f"the text has {found}"


def _marks(text: str, *, chat: bool) -> Iterator[Found]:
    if "<" in text or "[" in text:
        if not chat and (control := _CONTROL.search(text)):
            yield "control-token", control[0]
        if media := _MEDIA.search(text):
            yield "media-placeholder", media[0]
    if _TURN_NUMBER in text:
        yield "turn-number", _TURN_NUMBER
    if "\0" in text:
        yield "nul", "a NUL character"


def length(row: Mapping[str, Any], read: Collection[str], size: int) -> Found | None:
    """Whether trainers cut the row, by an estimate of its tokens; `size` are its bytes, 0 where that is not known."""
    if 0 < size <= TRL_TOKENS * _BYTES_PER_TOKEN:
        return None
    names = [name for name in read or row if name not in ("chosen", "rejected")]
    tokens = _tokens(row, names)
    tokens += max((_tokens(row, [name]) for name in ("chosen", "rejected") if name in row), default=0)
    if tokens <= TRL_TOKENS:
        return None
    return f"over-{LF_TOKENS if tokens > LF_TOKENS else TRL_TOKENS}", f"about {tokens:,} tokens"


def _tokens(row: Mapping[str, Any], names: Collection[str]) -> int:
    """0.3 a letter and 1 a Chinese character, the rates that synthgen estimates with everywhere."""
    total = 0.0
    for text in _texts(row, names):
        ideographs = 0 if text.isascii() else cjk_count(text)
        total += (len(text) - ideographs) * _PER_CHAR + ideographs * _PER_CJK
    return int(total)


def _texts(row: Mapping[str, Any], read: Collection[str]) -> Iterator[str]:
    """Every text in these columns, or in all where none are named; not the keys. Rows may be nested deep."""
    waiting = [row[name] for name in read if name in row] if read else list(row.values())
    while waiting:
        value = waiting.pop()
        if type(value) is str:
            yield value
        elif type(value) is dict:
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)

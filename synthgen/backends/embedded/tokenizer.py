"""Byte-level BPE by hand: the ids that the `tokenizers` library gives, without the library."""

from __future__ import annotations

import codecs
import heapq
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError

from .folder import read_json

# The one pre-tokenizer that is reproduced here, in the words of tokenizer.json (Oniguruma's regex).
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CACHED_WORDS = 65_536  # about 10 MB; then the cache starts anew


class Tokenizer:
    """Text to ids and back. Text is only text: no spelling of a control token gives its id."""

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        raw = read_json(path)
        _refuse_unknown(path, raw)
        self.control: Mapping[str, int] = {token["content"]: token["id"] for token in raw["added_tokens"]}
        vocab: dict[str, int] = {word: n for word, n in raw["model"]["vocab"].items() if word not in self.control}
        alphabet = _alphabet()
        self._byte = [vocab[char] for char in alphabet]
        back = {ord(char): byte for byte, char in enumerate(alphabet)}
        self._bytes = {n: word.translate(back).encode("latin-1") for word, n in vocab.items()}
        self._merges: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, merge in enumerate(raw["model"]["merges"]):
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            self._merges[vocab[left], vocab[right]] = (rank, vocab[left + right])
        self._words = word_pattern()
        self._cache: dict[str, tuple[int, ...]] = {}

    def encode(self, text: str) -> list[int]:
        """The ids of ordinary text."""
        ids: list[int] = []
        for match in self._words.finditer(text):
            word = match.group()
            known = self._cache.get(word)
            if known is None:
                if len(self._cache) >= _CACHED_WORDS:
                    self._cache.clear()
                known = self._cache[word] = tuple(self._merged(word))
            ids.extend(known)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids: control tokens are nothing, bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.bytes_of, ids)).decode("utf-8", "replace")

    def bytes_of(self, token: int) -> bytes:
        """What one id stands for; nothing for a control token."""
        return self._bytes.get(token, b"")

    def _merged(self, word: str) -> list[int]:
        """The lowest-ranked neighbours join first, leftmost first; n log n, for words may be long."""
        # A lone surrogate is no text: "?" rather than an error, a server would never see it.
        ids = [self._byte[byte] for byte in word.encode("utf-8", "replace")]
        end = len(ids)
        after, before = list(range(1, end + 1)), list(range(-1, end - 1))
        heap = [(*self._merges[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in self._merges]
        heapq.heapify(heap)
        while heap:
            rank, joined, i = heapq.heappop(heap)
            j = after[i]
            if j >= end or self._merges.get((ids[i], ids[j])) != (rank, joined):
                continue  # one of the two has joined another since
            ids[i], ids[j], after[i] = joined, -1, after[j]
            if after[j] < end:
                before[after[j]] = i
            for left, right in ((before[i], i), (i, after[i])):
                if left >= 0 and right < end and (ids[left], ids[right]) in self._merges:
                    heapq.heappush(heap, (*self._merges[ids[left], ids[right]], left))
        return [token for token in ids if token >= 0]


class Reader:
    """Ids to text one by one: bytes are held back until their character is whole.

    What is left incomplete at the end is dropped, as an answer cut by length must not end in U+FFFD.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def read(self, token: int) -> str:
        return self._decode(self._bytes_of(token))


def word_pattern() -> re.Pattern[str]:
    r"""`_PATTERN` for the stdlib, which has neither \p{L} nor \p{N} and another \s.

    There \w is a letter, a decimal digit, any other number, or "_"; taking the other numbers out by hand leaves
    the letters. Letters are those of this Python's Unicode version: younger scripts count as symbols.
    """
    # Nl and No: numeric, but neither decimal nor (like the Chinese numerals) letters. None above U+1FFFF.
    other = "".join(c for c in map(chr, range(0x20000)) if c.isnumeric() and not c.isdecimal() and not c.isalpha())
    space = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # White_Space; not U+001C-1F as in \s
    letter, number = rf"[^\W\d_{other}]", rf"[\d{other}]"
    return re.compile(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        rf"|(?:[^\r\n\w]|_)?{letter}+"
        rf"|{number}"
        rf"| ?(?:[^\w{space}]|_)+[\r\n]*"
        rf"|[{space}]*[\r\n]+|[{space}]+(?![^{space}])|[{space}]+"
    )


def _alphabet() -> list[str]:
    """The printable character that stands for each byte in a vocabulary file (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def _refuse_unknown(path: Path, raw: Mapping[str, Any]) -> None:
    steps = (raw.get("pre_tokenizer") or {}).get("pretokenizers") or [{}]
    if (
        (raw.get("model") or {}).get("type") != "BPE"
        or raw.get("normalizer")
        or [step.get("type") for step in steps] != ["Split", "ByteLevel"]
        or steps[0]["pattern"] != {"Regex": _PATTERN}
        or steps[1].get("add_prefix_space")
    ):
        raise UsageError(f"{path}: the embedded engine knows one byte-level BPE only, and this is another tokenizer")

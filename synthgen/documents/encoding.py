"""Bytes into text: UTF-8, what a mark says, Chinese encodings where that is sure; the rest is named and refused."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from synthgen.dedup.tokens import CJK

INSTALL = 'pip install "synthgen[documents]"'
_PIECE_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 18
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FAMILIES = {
    **dict.fromkeys(("gb18030", "gbk", "gb2312", "cp936"), "gb18030"),
    **dict.fromkeys(("big5", "big5hkscs", "cp950", "big5_tw"), "big5hkscs"),
}
# The commonest characters of simplified and traditional text: two fifths of what is written. Bytes of another encoding
# read as GB18030 or Big5 give characters at random, of which these are a twentieth.
_COMMON = frozenset(
    "的一是不了在人有我他这個这大来來上国國个到说說们們为為子中你地出道也时時年得就那要下以生会會自着著去之过過家学學对對可她里裡后後小么麼"
    "心多天而能好都然没沒日于於起还還发發成事只作当當想看文无無开開手用主行方又如前所本见見经經头頭面公同三已老从從动動两兩长長"
)
_HANZI = re.compile(f"[{CJK}]")
# (hits, share of them): enough beside what the library says, and enough alone. Of 980 answers in Chinese as GB18030
# none was read as anything else; 67 that are short, or code and lists of names for the most part, were refused.
_LIKELY, _SURE = (3, 0.12), (6, 0.2)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)


class NotTextError(Exception):
    """These bytes are no text that can be read; the words say why and what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def encoding_of(path: Path) -> str:
    """The codec that reads the whole file. Raises NotTextError; the file is read in pieces."""
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
    if marked := _marked(head):
        failed = _failure(path, marked)
        if failed is not None:
            raise NotTextError("encoding", f"begins as {marked}, but byte {failed:,} is not; convert it with iconv")
        return marked
    if b"\0" in head:
        raise NotTextError("binary", "is no text but a binary file; give it as what it is, or leave it out")
    failed = _failure(path, "utf-8")
    if failed is None:
        return "utf-8"
    with path.open("rb") as file:
        file.seek(max(0, failed - _SAMPLE_BYTES // 2))
        found = detected(_whole_lines(file.read(_SAMPLE_BYTES), cut_start=failed > _SAMPLE_BYTES // 2), failed)
    again = _failure(path, found)
    if again is not None:
        raise NotTextError("encoding", f"is {found} up to byte {again:,}, which is not; convert it to UTF-8 (iconv)")
    return found


def text_of(data: bytes) -> tuple[str, str]:
    """(text, codec) of a page of HTML, which may say what it is. Raises NotTextError."""
    said = _CHARSET.search(data[:4096])
    declared = [said.group(1).decode("ascii").lower()] if said else []
    at = 0
    for codec in filter(None, (_marked(data), "utf-8", *(_FAMILIES.get(name, name) for name in declared))):
        try:
            return data.decode(codec), codec
        except UnicodeDecodeError as error:
            at = at or error.start
        except LookupError:  # a page may declare what nobody knows
            continue
    if b"\0" in data[:_SAMPLE_BYTES]:
        raise NotTextError("binary", "is no page but a binary file; leave it out")
    found = detected(_whole_lines(data[:_SAMPLE_BYTES], cut_start=False), at)
    try:
        return data.decode(found), found
    except UnicodeDecodeError as error:
        raise NotTextError("encoding", f"is {found} up to byte {error.start:,}, which is not; use iconv") from None


def pieces(path: Path, codec: str) -> Iterator[str]:
    """The text of a file that `encoding_of` has looked at, a megabyte at a time, with line ends as newlines."""
    with path.open(encoding=codec, newline=None) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def detected(sample: bytes, at: int) -> str:
    """The codec of text that is not UTF-8. Raises NotTextError, which names what it seems to be."""
    if _nearly_utf_8(sample):
        raise NotTextError("encoding", f"is UTF-8 but for byte {at:,}; mend it, or: iconv -c -t UTF-8 old > new")
    common = {codec: _common(sample, codec) for codec in ("gb18030", "big5hkscs")}
    best = max(common, key=lambda codec: common[codec][1])
    if _enough(common[best], _SURE):
        return best
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise NotTextError("encoding", f"is not UTF-8 (byte {at:,}); to have it recognised: {INSTALL}") from None
    found = from_bytes(sample).best()
    if found is None:
        raise NotTextError("binary", f"is no text: byte {at:,} is in no encoding that is known; leave it out")
    family = _FAMILIES.get(found.encoding)
    if family is not None and _enough(common[family], _LIKELY):
        return family
    name = found.encoding.upper().replace("_", "-")
    raise NotTextError("encoding", f"is not UTF-8 but may be {name}; look, and convert it: iconv -f {name} -t UTF-8")


def _marked(head: bytes) -> str | None:
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), None)


def _failure(path: Path, codec: str) -> int | None:
    """The first byte that the codec cannot read, None where it reads them all."""
    decoder = codecs.getincrementaldecoder(codec)()
    read = 0
    with path.open("rb") as file:
        while True:
            data = file.read(_PIECE_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                return read - pending + error.start
            read += len(data)
            if not data:
                return None


def _whole_lines(sample: bytes, *, cut_start: bool) -> bytes:
    """Without the cut lines at its ends, where it has others: a newline is no part of a character in any of these."""
    first = sample.find(b"\n") + 1 if cut_start else 0
    last = sample.rfind(b"\n") if len(sample) >= _SAMPLE_BYTES // 2 else len(sample)
    return sample[first:last] if last > first else sample


def _nearly_utf_8(sample: bytes) -> bool:
    """Whether ten times as many characters of several bytes are whole as are not: no other encoding gives that."""
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return 10 * bad <= sum(character > "\x7f" for character in text) - bad


def _common(sample: bytes, codec: str) -> tuple[int, float]:
    """Common characters, and their share among the Chinese ones; none where the codec cannot read it."""
    try:
        hanzi = _HANZI.findall(sample.decode(codec))
    except UnicodeDecodeError:
        return 0, 0.0
    hits = sum(c in _COMMON for c in hanzi)
    return hits, hits / max(1, len(hanzi))


def _enough(found: tuple[int, float], least: tuple[int, float]) -> bool:
    return found[0] >= least[0] and found[1] >= least[1]

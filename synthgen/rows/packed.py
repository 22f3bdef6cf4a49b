"""Archives of one file, gzip and zstd: the bytes in them as a stream, which says where it breaks off."""

from __future__ import annotations

import io
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from synthgen.errors import UsageError

INSTALL = 'pip install "synthgen[hub]"'
PACKED = (".gz", ".zst")
_NAMES = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_PIECE_BYTES = 1 << 16
_ZSTD_PIECE_BYTES = 1 << 10  # what one piece holds is unpacked at once, and of a kilobyte that can be 32 MB


class BrokenError(Exception):
    """The archive is damaged here or ends too early; `rest` is what could still be read."""

    def __init__(self, message: str, rest: bytes = b"") -> None:
        super().__init__(message)
        self.rest = rest


def kind_of(path: Path) -> str:
    """The suffix that says what the file holds, of an archive that of what is packed: `.jsonl` of `a.jsonl.gz`."""
    return Path(path.stem).suffix.lower() if is_packed(path) else path.suffix.lower()


def is_packed(path: Path) -> bool:
    """Whether the name says that it is an archive."""
    return path.suffix.lower() in PACKED


def unpacked(path: Path) -> io.BufferedReader:
    """The bytes of a file, of an archive those in it, from the first on; without seeking. Raises UsageError.

    Reading raises BrokenError where an archive is damaged, after all that could be read.
    """
    if path.suffix.lower() == ".zst" and find_spec("zstandard") is None:
        raise UsageError(f"{path}: zstd needs another package: {INSTALL}")
    try:
        file = path.open("rb")
    except PermissionError:
        raise UsageError(f"{path}: permission denied; make it readable (chmod +r)") from None
    head = file.peek(4)
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    wanted = path.suffix.lower() if is_packed(path) else ""
    if found != wanted and (found or head):
        file.close()
        raise UsageError(f"{path}: {_misnamed(path, found, wanted)}")
    if not wanted:
        return file
    member = _GzipMember if wanted == ".gz" else _ZstdMember
    return io.BufferedReader(_Stream(file, member), 1 << 18)


def _misnamed(path: Path, found: str, wanted: str) -> str:
    name = path.stem if wanted else path.name
    if found:
        return f"is a {_NAMES[found]} archive; call it {name}{found}"
    return f"is no {_NAMES[wanted]} archive; call it {name} if it is not packed, or fetch it again"


class _Member(Protocol):
    """One of the archives that may stand one after another in a file."""

    ended: bool

    def unpack(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """Some of what the data hold, and which of them are still to be given; BrokenError."""


class _GzipMember:
    def __init__(self) -> None:
        self._inflate, self.ended = zlib.decompressobj(wbits=31), False

    def unpack(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        before = self._inflate.copy()
        try:
            found = self._inflate.decompress(data, most)
        except zlib.error as error:
            raise BrokenError(str(error).rpartition(": ")[2], _salvaged(before, data)) from None
        self.ended = self._inflate.eof
        return found, self._inflate.unused_data if self.ended else self._inflate.unconsumed_tail


def _salvaged(inflate: Any, data: bytes) -> bytes:
    """What stands before the damage: the call that met it gave nothing of what it had unpacked."""
    found = []
    try:
        for place in range(len(data)):
            found.append(inflate.decompress(data[place : place + 1]))
    except zlib.error:
        pass
    return b"".join(found)


class _ZstdMember:
    def __init__(self) -> None:
        from zstandard import ZstdDecompressor

        self._frame, self.ended = ZstdDecompressor().decompressobj(), False

    def unpack(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        from zstandard import ZstdError

        piece, rest = data[:_ZSTD_PIECE_BYTES], data[_ZSTD_PIECE_BYTES:]
        try:
            found = self._frame.decompress(piece)
        except ZstdError as error:
            raise BrokenError(str(error).rpartition(": ")[2]) from None
        self.ended = self._frame.eof
        return found, self._frame.unused_data + rest if self.ended else rest


class _Stream(io.RawIOBase):
    """What is wrong is raised by the read after the last that brought something."""

    def __init__(self, file: BinaryIO, member: type[_Member]) -> None:
        self._file, self._begin = file, member
        self._member: _Member | None = None  # between two members there is none
        self._packed = self._ready = b""
        self._given = 0
        self._broken: BrokenError | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._given

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        into, filled = memoryview(buffer), 0
        while filled < len(into) and (self._ready or self._more(len(into))):
            piece, self._ready = self._ready[: len(into) - filled], self._ready[len(into) - filled :]
            into[filled : filled + len(piece)] = piece
            filled += len(piece)
        if not filled and self._broken is not None:
            raise self._broken
        self._given += filled
        return filled

    def _more(self, most: int) -> bool:
        """Unpack some; False at the end, and where it breaks off."""
        try:
            while not self._ready and self._broken is None:
                self._packed = self._packed or self._file.read(_PIECE_BYTES)
                ended = not self._packed
                if self._member is None:
                    self._packed = self._packed.lstrip(b"\0")  # tapes fill up with zeros
                    if ended:
                        break
                    self._member = self._begin() if self._packed else None
                    continue
                self._ready, self._packed = self._member.unpack(self._packed, most)
                if ended and not self._ready:
                    raise BrokenError("it ends too early")
                if self._member.ended:
                    self._member = None
        except BrokenError as error:
            self._broken, self._ready = error, error.rest
        return bool(self._ready)

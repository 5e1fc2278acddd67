"""Compressed streams that notice a missing end: .gz and .zst, of one part or of several parts one after another.

Heavy imports (zstandard) are inside the functions that need them.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from typing import IO, Any

CHUNK = 1 << 14  # compressed bytes that are decompressed at once
WINDOW = 1 << 31  # bytes; the longest window that a .zst file can ask for (zstd --long=31)


class ZstdFrames(io.RawIOBase):
    """The content of a .zst file: every frame of it, whatever its window.

    Reading raises EOFError where a frame has no end or there is no frame, and zstandard.ZstdError where bytes are damaged or
    follow the last frame.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        import zstandard

        self.raw = raw
        self.begun = False
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self.frame: Any = None
        self.held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.held and (made := self._more()) is not None:
            self.held = memoryview(made)
        count = min(len(buffer), len(self.held))
        buffer[:count] = self.held[:count]
        self.held = self.held[count:]
        return count

    def _more(self) -> bytes | None:
        """Return the content of the next piece of the file, or None after the last one."""
        rest = b""
        if self.frame is not None and self.frame.eof:
            rest, self.frame = self.frame.unused_data, None
        piece = rest or self.raw.read(CHUNK)
        if piece:
            self.begun = True
            self.frame = self.frame or self.decompressor.decompressobj()
            return self.frame.decompress(piece)
        if self.frame is not None or not self.begun:
            raise EOFError("it ends before the end of its last frame" if self.begun else "it is empty")
        return None


def decompressed(raw: IO[bytes], compression: str) -> Any:
    """Return a binary stream of the content of ``raw``, which is compressed as ``compression`` says: gz, zst or not at all."""
    if compression == "gz":
        return gzip.open(raw)
    if compression == "zst":
        return io.BufferedReader(ZstdFrames(raw), 1 << 20)
    return raw


def damage(compression: str) -> tuple[type[Exception], ...]:
    """Return what reading raises where compressed bytes are damaged or end too early; members of zip files are such bytes too."""
    found: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, lzma.LZMAError)
    if compression == "zst":
        import zstandard

        found += (zstandard.ZstdError,)
    return found

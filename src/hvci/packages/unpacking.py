"""What gzip, bzip2 and xz compress, as one stream; tells whether anything else stands behind it.

Knows no archive. Of the standard library those of bzip2 and xz take what they do not know for an
end.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Callable
from typing import IO, Any

_MAKERS: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
)
_PIECE = 1 << 16


class Unpacking(io.RawIOBase):
    """The streams that stand one behind the other in a file, unpacked; zeros between and behind
    them fill up.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._begin()

    def _begin(self) -> None:
        self._packed.seek(0)
        self.is_followed = False
        """Something that is none of these stands behind, as far as that was read."""
        self._at, self._pending = 0, b""
        self._one = self._next()

    def _next(self) -> Any:  # noqa: ANN401 (the three are not of one class)
        """What unpacks the stream that comes; None where there is no other."""
        start = self._pending.lstrip(b"\0")
        while not start:
            if not (piece := self._packed.read(_PIECE)):
                return None
            start = piece.lstrip(b"\0")
        self._pending = start + self._packed.read(_PIECE)
        for mark, made in _MAKERS:
            if self._pending.startswith(mark):
                return made()
        self.is_followed = True
        return None

    def readable(self) -> bool:
        """It is read only."""
        return True

    def seekable(self) -> bool:
        """By unpacking anew."""
        return True

    def tell(self) -> int:
        """How much was unpacked."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place from the start."""
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("from the start only")
        if offset < self._at:
            self._begin()
        while self._at < offset and self.read(min(_PIECE, offset - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        """The next bytes."""
        found = self._unpacked(len(buffer))
        memoryview(buffer).cast("B")[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _unpacked(self, size: int) -> bytes:
        while self._one is not None:
            if self._one.eof:
                self._pending = self._one.unused_data
                self._one = self._next()
                continue
            found: bytes = self._one.decompress(self._pending, size)
            self._pending = getattr(self._one, "unconsumed_tail", b"")
            if found:
                return found
            if not (self._one.eof or self._pending):
                self._pending = self._packed.read(_PIECE)
                if not self._pending:
                    raise EOFError("it is cut off")
        return b""

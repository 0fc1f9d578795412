"""Reads a shim database (.sdb): tags with their data, and the strings that they refer to.

The upper four bits of a tag say what its data is like. Bounded in depth and number; knows nothing
of what tags mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hvci.errors import InputError

MAGIC = b"sdbf"
_HEADER = 12
_MOST_TAGS = 4_000_000
_DEEPEST = 16
_SIZES = {0x1: 0, 0x2: 1, 0x3: 2, 0x4: 4, 0x5: 8, 0x6: 4}
_LIST, _STRING, _BINARY = 0x7, 0x8, 0x9
_STRING_TABLE = 0x7801


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag: its number, and where its data starts and ends."""

    number: int
    start: int
    end: int

    @property
    def kind(self) -> int:
        """What its data is like."""
        return self.number >> 12


class Database:
    """The tags of one file."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER or data[8:12] != MAGIC:
            raise InputError("not a shim database: it does not say sdbf")
        self.data = data
        self.major, self.minor = struct.unpack_from("<II", data)
        if self.major not in (2, 3):
            raise InputError(f"a shim database of version {self.major}; hvci reads 2 and 3")
        self._left = _MOST_TAGS
        self._strings = 0
        for tag in self.children(Tag(0x7000, _HEADER, len(data))):
            if tag.number == _STRING_TABLE:
                self._strings = tag.start - 6

    def renew(self) -> None:
        """Start to count tags anew, for one more question."""
        self._left = _MOST_TAGS

    @property
    def root(self) -> Tag:
        """The whole file as a list."""
        return Tag(0x7000, _HEADER, len(self.data))

    def children(self, parent: Tag) -> Iterator[Tag]:
        """The tags in a list; raise `InputError` where they stop making sense."""
        at = parent.start
        while at + 2 <= parent.end:
            self._left -= 1
            if self._left < 0:
                raise InputError("the database has too many tags")
            tag = self._tag(at, parent.end)
            yield tag
            at = tag.end + (tag.end - parent.start) % 2  # tags start at even offsets

    def _tag(self, at: int, limit: int) -> Tag:
        (number,) = struct.unpack_from("<H", self.data, at)
        kind, start = number >> 12, at + 2
        size = _SIZES.get(kind)
        if kind in (_LIST, _STRING, _BINARY) and start + 4 <= limit:
            (size,) = struct.unpack_from("<I", self.data, start)
            start += 4
        if size is None or start + size > limit:
            raise InputError(f"tag {number:#06x} at offset {at:#x} is cut off")
        return Tag(number, start, start + size)

    def walk(self, parent: Tag, within: frozenset[int], depth: int = 0) -> Iterator[Tag]:
        """The lists in a list, and those in lists of certain numbers."""
        for tag in self.children(parent):
            if tag.kind != _LIST:
                continue
            yield tag
            if tag.number in within and depth < _DEEPEST:
                yield from self.walk(tag, within, depth + 1)

    def number(self, tag: Tag) -> int:
        """The number that a tag holds."""
        return int.from_bytes(self.data[tag.start : tag.end], "little")

    def text(self, tag: Tag) -> str:
        """The string that a tag holds or refers to; empty where there is none."""
        if tag.kind == _STRING:
            start, end = tag.start, tag.end
        else:
            start = self._strings + self.number(tag)
            if not self._strings or start + 6 > len(self.data):
                return ""
            number, size = struct.unpack_from("<HI", self.data, start)
            if number >> 12 != _STRING:
                return ""
            start, end = start + 6, min(start + 6 + size, len(self.data))
        raw = self.data[start : start + ((end - start) & ~1)]
        return raw.decode("utf-16-le", "replace").partition("\0")[0]

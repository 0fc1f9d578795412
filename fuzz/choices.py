"""Bytes as decisions: a fuzzer's input says what is built, so that it reaches behind the headers.

The meaning of a byte must not change: inputs that once found a defect are kept as tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Decisions read from bytes one after the other; zero for all when they are spent."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        found = self._data[self._at : self._at + count]
        self._at += count
        return found.ljust(count, b"\0")

    def number(self, size: int) -> int:
        """An unsigned number of some bytes."""
        return int.from_bytes(self.bytes(size), "little")

    def below(self, end: int) -> int:
        """A number from zero up to, not including, `end`; at most 65536 of them."""
        return self.number(1 if end <= 256 else 2) % end

    def pick(self, items: Sequence[T]) -> T:
        """One of some."""
        return items[self.below(len(items))]

    def rest(self) -> bytes:
        """All that is left."""
        found = self._data[self._at :]
        self._at = len(self._data)
        return found

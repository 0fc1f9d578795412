"""Where the instructions of a stretch of code start, decoded as far as somebody asks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

AT_ONCE = 64
"""Instructions decoded together."""


class Boundaries:
    """The starts of the instructions of one stretch, in order."""

    def __init__(self, starts: Iterator[int]) -> None:
        self._rest = starts
        self._known: list[int] = []

    def holding(self, rva: int) -> int | None:
        """RVA of the instruction that holds an RVA; None before the first."""
        known = self._known
        while not known or known[-1] <= rva:
            more = list(islice(self._rest, AT_ONCE))
            if not more:
                break
            known += more
        i = bisect_right(known, rva) - 1
        return known[i] if i >= 0 else None

    def all(self) -> list[int]:
        """Every start."""
        self._known += self._rest
        return self._known

"""What one path may use, counted in blocks and calls: never seconds, so that two runs are the same.

Knows numbers and names; runs nothing.
"""

from __future__ import annotations

from typing import NamedTuple

PRICE = 24
"""What a call costs against a cheap one."""
CHEAP = frozenset(
    (
        "KeInitializeEvent",
        "KeInitializeMutex",
        "KeInitializeSpinLock",
        "READ_PORT_UCHAR",
        "READ_PORT_ULONG",
        "READ_PORT_USHORT",
        "RtlCompareMemory",
        "WRITE_PORT_UCHAR",
        "WRITE_PORT_ULONG",
        "WRITE_PORT_USHORT",
        "_stricmp",
        "_strnicmp",
        "_wcsicmp",
        "_wcsnicmp",
        "memcmp",
        "memcpy",
        "memset",
        "strcmp",
        "strncmp",
        "wcscmp",
        "wcsncmp",
    )
)
"""Drivers scan memory and buses with these, and fill tables by the thousand."""


class Budget(NamedTuple):
    """What one path may use."""

    blocks: int
    calls: int
    calls_from_one_place: int


NATURAL = Budget(blocks=400_000, calls=6_000, calls_from_one_place=3_000)
"""Enough to copy the 65,536 bytes below one megabyte and to look at each."""
DISPATCH = Budget(blocks=50_000, calls=1_500, calls_from_one_place=300)
FORCED = Budget(blocks=4_000, calls=400, calls_from_one_place=64)


class Meter:
    """Counts the calls of one path."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._spent = 0
        self._most = budget.calls_from_one_place * PRICE
        self._total = budget.calls * PRICE
        self._from: dict[tuple[str, int], int] = {}

    def charge(self, name: str, place: int) -> bool:
        """Charge a call from a place; False when the budget is spent."""
        cost = 1 if name in CHEAP else PRICE
        self._spent += cost
        key = name, place
        here = self._from[key] = self._from.get(key, 0) + cost
        return here <= self._most and self._spent <= self._total

"""What exception data tells of functions, whatever its format: bounds, fragments and frames."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol


class Frame(NamedTuple):
    """The frame of one fragment: its size and the length of its prologue, in bytes."""

    size: int
    prologue: int


NO_FRAME = partial(Frame, 0, 0)
"""What code without unwind data has."""


class Fragment(NamedTuple):
    """One runtime function entry."""

    start: int
    end: int
    unwind: int


class Exceptions(Protocol):
    """What a table of exception data answers."""

    starts: list[int]
    ends: list[int]

    @property
    def chained(self) -> tuple[list[int], list[int]]:
        """Starts of the fragments that belong to another one, and of the functions of each."""

    def find(self, rva: int) -> list[Fragment]:
        """All fragments of the function that holds an RVA, its own first; empty when none does."""

    def gap(self, rva: int) -> tuple[int, int]:
        """The stretch around an RVA that no entry covers, within its code section."""

    def frame(self, fragment: Fragment) -> Frame:
        """The frame of a fragment."""

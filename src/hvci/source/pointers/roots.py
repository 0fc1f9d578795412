"""What a pointer in source text can be made of: memory that was allocated, a routine, data, code.

Knows names of allocating routines; follows nothing and judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hvci.source.preprocess.tree import File, Function
from hvci.source.program.program import Macro

if TYPE_CHECKING:
    from tree_sitter import Node

SAME = {"WdfMemoryGetBuffer": 0, "Add2Ptr": 0, "RtlOffsetToPointer": 0, "PTR_ADD_OFFSET": 0}
"""Routines and macros whose result is in the memory of an argument."""


class Made(StrEnum):
    """What made a pointer."""

    MEMORY = "memory"
    ROUTINE = "routine found by name"
    DATA = "data of the driver"
    """An array or string of its image; only `own_data` asks for these."""
    CODE = "function"
    """Whatever a name stands for that nothing gives a value: maybe a function."""
    VARIABLE = "the address of a variable"
    UNKNOWN = "something else"
    """What comes from outside, or is not followed."""


@dataclass(frozen=True, order=True)
class Root:
    """One thing that a pointer can be."""

    made: Made
    name: str
    """The allocating routine, or the routine that is pointed at; may be empty."""
    path: str
    start: int
    """Where it is made: offset of the routine's name."""
    exact: bool = True
    """The pointer is what was made, not something computed from it."""
    stored: str = ""
    """The last field or global variable on the way."""
    shared: bool = False
    """What is stored goes by another name of the memory, which is given values by this one too."""
    mixed: bool = False
    """On the way is a place that holds code as well, and which of both was written last is open."""


Roots = frozenset[Root]
NONE: Roots = frozenset()
NOTHING_KNOWN = Root(Made.UNKNOWN, "", "", 0)


@dataclass(frozen=True)
class Where:
    """The text that an expression stands in."""

    file: File | None
    function: Function | None
    offset: int
    path: str
    words: tuple[tuple[bytes, Node], ...] = ()
    macro: Macro | None = None
    """The macro whose body the expression is."""
    calls: tuple[Frame, ...] = ()
    """The calls by which the function was come to, the last one first."""

    def here(self, function: Function | None, offset: int) -> Where:
        """Another place of the same function."""
        return Where(self.file, function, offset, self.path, calls=self.calls)


@dataclass(frozen=True)
class Frame:
    """A call that is followed into its function: only this one is come back to."""

    call: Node
    where: Where

"""Where the stack pointer is, relative to function entry: what each architecture answers."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

from hvci.binary.form.code import Function


class StackDepth(Protocol):
    """Answers where the stack pointer is."""

    def before(self, function: Function, i: int) -> int | None:
        """Depth before instruction `i`; None when it is not known."""

    def frame_pointer(self, function: Function, i: int) -> int | None:
        """What the frame pointer register holds, as a depth; None when it is not one."""

    def uneven(self, function: Function) -> AbstractSet[int]:
        """The instructions at which ways meet on which the stack pointer is not the same."""

"""Where the content of registers goes within a function: copies, and stores into memory."""

from __future__ import annotations

from typing import NamedTuple


class Moves(NamedTuple):
    """The plain copies and stores of whole registers; no pushes, no arithmetic."""

    copies: dict[int, tuple[tuple[int, ...], int]]
    """(registers, the one that one of them is copied into), by instruction index."""
    stores: list[tuple[int, int]]
    """(instruction index, register that it puts into memory)."""

    def reach(self, registers: int) -> int:
        """The registers (a mask) that may hold, anywhere, what some registers hold."""
        reached = 0
        while reached != registers:
            reached = registers
            for sources, target in self.copies.values():
                if any(registers >> source & 1 for source in sources):
                    registers |= 1 << target
        return registers

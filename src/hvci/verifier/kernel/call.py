"""One call of a DDI: its arguments, and short ways to read and write what they point at.

Knows calling conventions through the processor; knows nothing of what the DDI means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.verifier.arch import Convention
from hvci.verifier.memory import Memory

if TYPE_CHECKING:
    from hvci.verifier.kernel.kernel import Kernel
    from hvci.verifier.kernel.models import Model

LOWEST_POINTER = 0x10000


class EndPath(Exception):
    """The path ends here: the driver stopped the system or its own thread."""


class Call:
    """A DDI that was just entered."""

    __slots__ = (
        "_wide",
        "convention",
        "hidden",
        "kernel",
        "memory",
        "model",
        "name",
        "pointer_size",
    )

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        convention: Convention,
        wide: frozenset[int],
        hidden: int,
        model: Model | None,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.convention = convention
        self.memory: Memory = kernel.machine.memory
        self.pointer_size = self.memory.pointer_size
        self._wide = wide if self.pointer_size == 4 else frozenset()
        self.hidden = hidden
        self.model = model
        """What answers; None where only the prototype does."""

    def slot(self, index: int) -> int:
        """A register or stack slot, counted from 0."""
        return self.kernel.machine.processor.argument(index, self.convention)

    def arg(self, index: int) -> int:
        """A documented argument, counted from 0; KMDF's leading globals are not counted."""
        if not self._wide:
            return self.slot(index + self.hidden)
        at = index + self.hidden + sum(1 for wide in self._wide if wide < index)
        if index in self._wide:
            return self.slot(at) | self.slot(at + 1) << 32
        return self.slot(at)

    def u32(self, index: int) -> int:
        """An argument of four bytes."""
        return self.arg(index) & 0xFFFF_FFFF

    def u8(self, index: int) -> int:
        """An argument of one byte."""
        return self.arg(index) & 0xFF

    # ---- what arguments point at

    def give(self, index: int, value: int) -> None:
        """Store a pointer where an argument points, if it points anywhere."""
        address = self.arg(index)
        if address >= LOWEST_POINTER:
            self.memory.put_pointer(address, value)

    def give_u32(self, index: int, value: int) -> None:
        """Store four bytes where an argument points, if it points anywhere."""
        address = self.arg(index)
        if address >= LOWEST_POINTER:
            self.memory.put_u32(address, value)

    def give_bytes(self, index: int, data: bytes) -> None:
        """Store bytes where an argument points, if it points anywhere."""
        address = self.arg(index)
        if address >= LOWEST_POINTER:
            self.memory.write(address, data)

    def give_bytes_at(self, address: int, data: bytes) -> None:
        """Store bytes at an address, if it is one."""
        if address >= LOWEST_POINTER:
            self.memory.write(address, data)

    def field(self, address: int, offset_64: int, offset_32: int) -> int:
        """Address of a field by its offset in the two layouts."""
        return address + (offset_64 if self.pointer_size == 8 else offset_32)

    def unicode(self, address: int) -> str:
        """The text of a UNICODE_STRING."""
        if address < LOWEST_POINTER:
            return ""
        size = min(self.memory.u16(address), 0x2000)
        buffer = self.memory.pointer(address + self.pointer_size)
        if not size or buffer < LOWEST_POINTER:
            return ""
        return self.memory.read(buffer, size & ~1).decode("utf-16-le", "replace")

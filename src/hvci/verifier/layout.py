"""Where everything lies in the emulated address space. Knows addresses only."""

from __future__ import annotations

from dataclasses import dataclass

STUB_BYTES = 16
"""One stand-in: code that stops the processor."""
STUB_REGION = 0x40000
EXIT = STUB_REGION // STUB_BYTES - 1
"""Number of the stand-in to which an entry point returns."""
RESUME = EXIT - 1
"""Number of the one to which a callback returns that a stand-in called."""
ARENA = 0x400_0000
STACK = 0x20000
USER = 0x20000
IO_REGION = 0x200_0000
ALIAS_REGION = 0x100_0000


@dataclass(frozen=True, slots=True)
class Layout:
    """Start addresses; sizes are constants of this module."""

    stubs: int
    data: int
    """Variables that the kernel exports."""
    image: int
    control: int
    """Per-processor data."""
    shared: int
    """KUSER_SHARED_DATA."""
    stack: int
    arena: int
    """Pool and kernel objects."""
    io: int
    """Device memory."""
    alias: int
    """Second mappings of frames."""
    user: int
    """A buffer of a user-mode caller."""

    @property
    def exit(self) -> int:
        """Return address of an entry point: the last stand-in."""
        return self.stubs + STUB_BYTES * EXIT

    @property
    def resume(self) -> int:
        """Return address of a callback that a stand-in called: the last but one."""
        return self.stubs + STUB_BYTES * RESUME


_HIGH = 0xFFFF_F800_0000_0000

LAYOUT_64 = Layout(
    stubs=_HIGH,
    data=_HIGH + 0x800_0000,
    image=_HIGH + 0x1000_0000,
    control=_HIGH + 0x4000_0000,
    shared=0xFFFF_F780_0000_0000,
    stack=0xFFFF_D000_0000_0000,
    arena=0xFFFF_A000_0000_0000,
    io=0xFFFF_B000_0000_0000,
    alias=0xFFFF_C000_0000_0000,
    user=0x1000_0000,
)

LAYOUT_32 = Layout(
    stubs=0x8000_0000,
    data=0x8800_0000,
    image=0x8A00_0000,
    control=0xFFDF_F000,
    shared=0xFFDF_0000,
    stack=0x9F00_0000,
    arena=0xA000_0000,
    io=0xC000_0000,
    alias=0xD000_0000,
    user=0x1000_0000,
)

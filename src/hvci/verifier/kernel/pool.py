"""The arena from which pool and kernel objects come, and who owns what in it.

One arena, mapped once: mapping is the dearest thing the engine does. Freed memory is not used
again within a path, so a stale pointer shows what it showed. Knows nothing of DDIs.
"""

from __future__ import annotations

from bisect import bisect_right

from hvci.verifier import layout as lay
from hvci.verifier.memory import PAGE, Mapping, Memory, page_up

LARGEST = 0x40_0000
"""A larger request fails, as it would on a machine that is short of memory."""
ALIGNMENT = 16


class Arena:
    """A bump allocator over one mapping; remembers what the driver asked for itself."""

    def __init__(self, memory: Memory, mapping: Mapping) -> None:
        self._memory = memory
        self._mapping = mapping
        self.top = mapping.start
        self._starts: list[int] = []
        self._owned: list[tuple[int, str]] = []
        self.count = 0
        """Allocations made for the driver."""
        self.bytes = 0

    def take(self, size: int) -> int:
        """Zero memory for the kernel's own use; 0 when there is none left."""
        size = max(size, ALIGNMENT)
        start = page_up(self.top) if size >= PAGE else self.top
        end = start + ((size + ALIGNMENT - 1) & ~(ALIGNMENT - 1))
        if size > LARGEST or end > self._mapping.end:
            return 0
        frame = self._mapping.frame + start - self._mapping.start
        self._memory.ram[frame : frame + end - start] = 0
        self._memory.note(frame, 1)  # pages behind it were not in use, so no snapshot holds them
        self.top = end
        return start

    def allocate(self, size: int, owner: str) -> int:
        """Zero memory that the driver asked for through DDI `owner`; 0 when there is none."""
        address = self.take(size)
        if address:
            self._starts.append(address)
            self._owned.append((address + size, owner))
            self.count += 1
            self.bytes += size
        return address

    def owner(self, address: int) -> str:
        """The DDI through which the driver got this memory; empty when it did not."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._owned[at][0]:
            return ""
        return self._owned[at][1]

    def rewind(self, top: int) -> None:
        """Forget everything that was allocated above `top`."""
        self.top = top
        keep = bisect_right(self._starts, top - 1)
        del self._starts[keep:], self._owned[keep:]

    @property
    def used(self) -> tuple[int, int]:
        """(frame offset, bytes) of the part in use."""
        return self._mapping.frame, page_up(self.top) - self._mapping.start


def make_arena(memory: Memory, start: int) -> Arena:
    """The arena over the mapping that starts there."""
    mapping = memory.find(start)
    assert mapping is not None
    assert mapping.size >= lay.IO_REGION
    return Arena(memory, mapping)

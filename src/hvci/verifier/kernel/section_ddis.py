"""Stand-ins for section objects, views and virtual memory.

Opening the physical memory section and mapping it gives true aliases of frames.
"""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in
from hvci.verifier.kernel.pool_ddis import map_alias
from hvci.verifier.memory import PAGE, page_up

SMALLEST_VIEW = 0x10000
LARGEST = 0x10_0000
PHYSICAL_MEMORY = "\\device\\physicalmemory"


@stands_in("ZwCreateSection")
def create_section(call: Call) -> int:
    """A section object with memory of its own."""
    handle = call.kernel.handle()
    size = call.memory.u64(call.arg(3)) if call.arg(3) else SMALLEST_VIEW
    size = min(max(page_up(size), PAGE), LARGEST)
    call.kernel.kept["section", handle] = call.kernel.arena.allocate(size, call.name)
    call.kernel.sizes[handle] = size
    call.give(0, handle)
    return 0


@stands_in("ZwOpenSection")
def open_section(call: Call) -> int:
    """A section by name; the one of physical memory is known."""
    handle, attributes = call.kernel.handle(), call.arg(2)
    name = call.unicode(call.memory.pointer(attributes + 2 * call.pointer_size))
    if name.lower() == PHYSICAL_MEMORY:
        call.kernel.physical_sections.add(handle)
    call.give(0, handle)
    return 0


@stands_in("ZwMapViewOfSection")
def map_view(call: Call) -> int:
    """A view of the section's memory, or of physical memory at the section offset."""
    size = call.memory.pointer(call.arg(6)) if call.arg(6) else 0
    offset = call.memory.u64(call.arg(5)) if call.arg(5) else 0
    address, length = _view(call, call.arg(0), offset, size)
    if not address:
        return 0xC000_0017
    call.give(2, address)
    call.give(6, size or length)
    return 0


def _view(call: Call, handle: int, offset: int, size: int) -> tuple[int, int]:
    kernel = call.kernel
    if handle in kernel.physical_sections:
        length = min(page_up(max(size, PAGE)), LARGEST)
        frame = call.memory.frame_of(offset, length)
        if frame >= 0:
            return map_alias(call, frame, length), length
        return kernel.arena.allocate(length, call.name), length
    whole = kernel.kept.get(("section", handle), 0)
    length = kernel.sizes.get(handle, SMALLEST_VIEW)
    if not whole:
        whole = kernel.kept["section", handle] = kernel.arena.allocate(length, call.name)
    return whole + (offset if offset < length else 0), length


@stands_in("MmMapViewInSystemSpace", "MmMapViewInSystemSpaceEx", "MmMapViewInSessionSpace")
def map_in_system_space(call: Call) -> int:
    """A view of an unknown section."""
    size = call.memory.pointer(call.arg(2)) if call.arg(2) else 0
    size = min(page_up(max(size, SMALLEST_VIEW)), LARGEST)
    call.give(1, call.kernel.arena.allocate(size, call.name))
    call.give(2, size)
    return 0


@stands_in("ZwAllocateVirtualMemory")
def allocate_virtual(call: Call) -> int:
    """Memory of the wanted size."""
    size = min(page_up(max(call.memory.pointer(call.arg(3)), PAGE)), LARGEST)
    call.give(1, call.kernel.arena.allocate(size, call.name))
    call.give(3, size)
    return 0


@stands_in("ZwProtectVirtualMemory", "ZwFreeVirtualMemory", "ZwLockVirtualMemory")
def accept(call: Call) -> int:
    """Accept: the law holds whatever protection was asked."""
    return 0


@stands_in("MmSecureVirtualMemory")
def secure(call: Call) -> int:
    """A handle."""
    return call.kernel.handle()

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
NO_MEMORY = 0xC000_0017
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
    return _map(call, call.arg(0), base=2, offset=5, size=6)


@stands_in("MmMapViewInSystemSpace", "MmMapViewInSessionSpace")
def map_in_system_space(call: Call) -> int:
    """A view from the section's start on."""
    return _map(call, call.kernel.section_of(call.arg(0)), base=1, offset=-1, size=2)


@stands_in("MmMapViewInSystemSpaceEx", "MmMapViewInSessionSpaceEx")
def map_in_system_space_ex(call: Call) -> int:
    """A view at the section offset."""
    return _map(call, call.kernel.section_of(call.arg(0)), base=1, offset=3, size=2)


def _map(call: Call, handle: int, base: int, offset: int, size: int) -> int:
    """Map a section; the indices say which arguments hold base, offset (-1: none) and size.

    The offset is rounded down and given back so, as Windows does; to a page, for any alignment
    that a driver can handle is one.
    """
    where = call.arg(offset) if offset >= 0 else 0
    start = call.memory.u64(where) & ~(PAGE - 1) if where else 0
    wanted = call.memory.pointer(call.arg(size)) if call.arg(size) else 0
    address, length = _view(call, handle, start, wanted)
    if not address:
        return NO_MEMORY
    if where:
        call.give_bytes(offset, start.to_bytes(8, "little"))
    call.give(base, address)
    call.give(size, wanted or length)
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
    length = kernel.sizes.get(handle, 0)
    if not whole or not length:
        length = min(page_up(max(size, SMALLEST_VIEW)), LARGEST)
        whole = kernel.arena.allocate(length, call.name)
        kernel.kept["section", handle], kernel.sizes[handle] = whole, length
    return whole + (offset if offset < length else 0), length


@stands_in("ZwAllocateVirtualMemory")
def allocate_virtual(call: Call) -> int:
    """Memory of the wanted size."""
    return _allocate(call, 3)


@stands_in("ZwAllocateVirtualMemoryEx")
def allocate_virtual_ex(call: Call) -> int:
    """Memory of the wanted size, which stands one argument before."""
    return _allocate(call, 2)


def _allocate(call: Call, size_at: int) -> int:
    size = min(page_up(max(call.memory.pointer(call.arg(size_at)), PAGE)), LARGEST)
    call.give(1, call.kernel.arena.allocate(size, call.name))
    call.give(size_at, size)
    return 0


@stands_in("ZwProtectVirtualMemory", "ZwFreeVirtualMemory", "ZwLockVirtualMemory")
def accept(call: Call) -> int:
    """Accept: the law holds whatever protection was asked."""
    return 0


@stands_in("MmSecureVirtualMemory")
def secure(call: Call) -> int:
    """A handle."""
    return call.kernel.handle()

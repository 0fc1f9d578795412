"""Stand-ins for pool, lookaside lists, contiguous memory and device memory.

The kernel hands out memory that never executes, whatever was asked; judging is not done here.
"""

from __future__ import annotations

from hvci.verifier import layout as lay
from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in
from hvci.verifier.memory import PAGE, RW, page_up

LOOKASIDE = 0x80
PAGED = 1
"""PagedPool."""
LARGEST_WINDOW = 0x10_0000
"""Bytes of device memory that one mapping really gets; drivers touch the first pages only."""


@stands_in(
    "ExAllocatePool",
    "ExAllocatePoolWithTag",
    "ExAllocatePoolWithQuota",
    "ExAllocatePoolWithQuotaTag",
    "ExAllocatePoolWithTagPriority",
    "ExAllocatePoolZero",
    "ExAllocatePoolUninitialized",
    "ExAllocatePoolQuotaZero",
    "ExAllocatePoolQuotaUninitialized",
    "ExAllocatePoolPriorityZero",
    "ExAllocatePoolPriorityUninitialized",
    "FsRtlAllocatePoolWithTag",
    "FsRtlAllocatePoolWithQuotaTag",
)
def allocate_pool(call: Call) -> int:
    """Give zero memory of the size in the second argument."""
    return call.kernel.arena.allocate(call.arg(1), call.name)


@stands_in("FsRtlAllocatePool", "FsRtlAllocatePoolWithQuota")
def allocate_pool_of_a_file_system(call: Call) -> int:
    """Give zero memory; the size takes four bytes on every machine."""
    return call.kernel.arena.allocate(call.u32(1), call.name)


@stands_in("ExAllocatePool2", "ExAllocatePool3", wide=(0,))
def allocate_pool_by_flags(call: Call) -> int:
    """Give zero memory; the flags take eight bytes on every machine."""
    return call.kernel.arena.allocate(call.arg(1), call.name)


@stands_in(
    "ExFreePool",
    "ExFreePoolWithTag",
    "ExFreePool2",
    "FltFreePoolAlignedWithTag",
    "ExpLookasideFree",
    "ExpLookasideFreeEx",
)
def free_pool(call: Call) -> None:
    """Keep the memory as it is: no later allocation of this path gets it."""


@stands_in("FltAllocatePoolAlignedWithTag", "VideoPortAllocatePool", "ChangerClassAllocatePool")
def allocate_sized_third(call: Call) -> int:
    """Give zero memory of the size that each of these takes at its own place."""
    size = call.arg(1) if call.name == "ChangerClassAllocatePool" else call.arg(2)
    return call.kernel.arena.allocate(size & 0xFFFF_FFFF, call.name)


@stands_in(
    "ExInitializeNPagedLookasideList",
    "ExInitializePagedLookasideList",
)
def initialize_lookaside(call: Call) -> None:
    """Describe the list where the inline allocation looks; its pool type is decided here."""
    kind = call.u32(3) | (PAGED if call.name == "ExInitializePagedLookasideList" else 0)
    _describe_lookaside(call, kind, call.arg(4), call.u32(5), "")


@stands_in("ExInitializeLookasideListEx")
def initialize_lookaside_ex(call: Call) -> int:
    """As above, with a status."""
    _describe_lookaside(call, call.u32(3), call.arg(5), call.u32(6), "Ex")
    return 0


def _describe_lookaside(call: Call, kind: int, size: int, tag: int, form: str) -> None:
    """GENERAL_LOOKASIDE: Type, Tag, Size, then the two functions, the kernel's when none given.

    Those of the kernel are no imports of the driver: Driver Verifier does not see them called.
    """
    memory, kernel, entry = call.memory, call.kernel, call.arg(0)
    at = call.field(entry, 0x24, 0x1C)
    memory.put_u32(at, kind)
    memory.put_u32(at + 4, tag)
    memory.put_u32(at + 8, size)
    functions = call.field(entry, 0x30, 0x28)
    allocate = call.arg(1) or kernel.address_of(f"ExpLookasideAllocate{form}")
    memory.put_pointer(functions, allocate)
    free = call.arg(2) or kernel.address_of(f"ExpLookasideFree{form}")
    memory.put_pointer(functions + call.pointer_size, free)


@stands_in("ExpLookasideAllocate", "ExpLookasideAllocateEx")
def allocate_for_lookaside(call: Call) -> int:
    """What the kernel puts into a list that has no function of the driver: type, size, tag."""
    return call.kernel.arena.allocate(call.arg(1), "a lookaside list")


@stands_in("ExAllocateFromLookasideListEx", "ExAllocateFromNPagedLookasideList")
def allocate_lookaside(call: Call) -> int:
    """Give zero memory of the list's entry size."""
    size = call.memory.u32(call.field(call.arg(0), 0x2C, 0x24)) & 0xFFFF
    return call.kernel.arena.allocate(size or LOOKASIDE, call.name)


@stands_in("MmAllocateContiguousMemory", wide=(1,))
def allocate_contiguous(call: Call) -> int:
    """Give whole pages."""
    return call.kernel.arena.allocate(max(call.arg(0), PAGE), call.name)


@stands_in(
    "MmAllocateContiguousMemorySpecifyCache",
    "MmAllocateContiguousMemorySpecifyCacheNode",
    "MmAllocateContiguousNodeMemory",
    wide=(1, 2, 3),
)
def allocate_contiguous_in_range(call: Call) -> int:
    """Give whole pages."""
    return call.kernel.arena.allocate(max(call.arg(0), PAGE), call.name)


@stands_in("MmAllocateContiguousMemoryEx", wide=(1, 2, 3))
def allocate_contiguous_ex(call: Call) -> int:
    """Put the address of whole pages where the last argument points; the size is given so too."""
    size = call.memory.pointer(call.arg(0)) if call.arg(0) else 0
    call.give(9, call.kernel.arena.allocate(max(size, PAGE), call.name))
    return 0


@stands_in("MmAllocateNonCachedMemory")
def allocate_non_cached(call: Call) -> int:
    """Give whole pages."""
    return call.kernel.arena.allocate(max(call.arg(0), PAGE), call.name)


@stands_in(
    "MmFreeContiguousMemory",
    "MmFreeContiguousMemorySpecifyCache",
    "MmFreeNonCachedMemory",
    "MmUnmapIoSpace",
    "MmUnmapVideoDisplay",
)
def free_pages(call: Call) -> None:
    """Keep the pages as they are."""


@stands_in("MmMapIoSpace", "MmMapIoSpaceEx", "MmMapVideoDisplay", wide=(0,))
def map_io_space(call: Call) -> int:
    """Map physical memory: an alias of existing frames, else device memory that reads zero."""
    kernel, physical, size = call.kernel, call.arg(0), max(call.arg(1), 1)
    size = min(page_up(size + (physical & (PAGE - 1))), LARGEST_WINDOW)
    offset = physical & (PAGE - 1)
    frame = call.memory.frame_of(physical, size)
    if frame >= 0:
        return map_alias(call, frame, size) + offset
    base = kernel.machine.layout.io
    if call.memory.find(base) is None:
        call.memory.map(base, lay.IO_REGION, RW, "device memory")
    address = kernel.io_top
    if address + size > base + lay.IO_REGION:
        return 0
    kernel.io_top = address + size
    return address + offset


def map_alias(call: Call, frame: int, size: int) -> int:
    """A second mapping of frames; the same frames get the same one again."""
    kernel = call.kernel
    start = kernel.aliases.get((frame, size), 0)
    if not start:
        start = kernel.alias_top
        if start + size > kernel.machine.layout.alias + lay.ALIAS_REGION:
            return 0
        kernel.alias_top = start + size + PAGE
        kernel.aliases[frame, size] = start
        for at, length in call.memory.runs(frame, size):
            call.memory.map(start + at - frame, length, RW, "alias", at)
    return start


@stands_in("MmGetPhysicalAddress")
def physical_address(call: Call) -> int:
    """Translate through the emulated page table; x86 returns the high half in edx."""
    return call.memory.physical(call.arg(0))


@stands_in("MmGetVirtualForPhysical", wide=(0,))
def virtual_for_physical(call: Call) -> int:
    """Find a mapping that shows the frame."""
    frame = call.memory.frame_of(call.arg(0), 1)
    for mapping in call.memory.mappings:
        if 0 <= frame - mapping.frame < mapping.size:
            return mapping.start + frame - mapping.frame + (call.arg(0) & (PAGE - 1))
    return 0


@stands_in("MmIsAddressValid")
def is_address_valid(call: Call) -> int:
    """Whether a page is there."""
    return int(call.memory.find(call.arg(0)) is not None)


@stands_in("MmCopyMemory", wide=(1,))
def copy_memory(call: Call) -> int:
    """Copy from a virtual or physical address (flag 1); MM_COPY_ADDRESS is passed by value."""
    target, source, size, flags = call.arg(0), call.arg(1), call.arg(2), call.u32(3)
    size = min(size, 0x10000)
    if flags & 1:
        frame = call.memory.frame_of(source, size)
        data = bytes(size) if frame < 0 else _frame_bytes(call, source, size)
    else:
        data = call.memory.read(source, size)
    call.memory.write(target, data)
    call.give(4, size)
    return 0


def _frame_bytes(call: Call, physical: int, size: int) -> bytes:
    start = call.memory.frame_of(physical, size) + (physical & (PAGE - 1))
    return call.memory.ram[start : start + size].tobytes()

"""Stand-ins for memory descriptor lists: an MDL mapping of code is an alias that obeys the law."""

from __future__ import annotations

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in
from hvci.verifier.kernel.pool_ddis import map_alias
from hvci.verifier.memory import PAGE, page_up


@stands_in("IoAllocateMdl")
def allocate_mdl(call: Call) -> int:
    """Describe a buffer; attach the MDL to an IRP when one is given."""
    mdl = call.kernel.objects.mdl(call.arg(0), call.u32(1))
    irp = call.arg(4)
    if irp and not call.u8(2):
        call.memory.put_pointer(irp + call.kernel.structures.irp_mdl, mdl)
    return mdl


@stands_in("MmCreateMdl")
def create_mdl(call: Call) -> int:
    """Describe a buffer, in given or fresh memory."""
    return call.kernel.objects.mdl(call.arg(1), call.u32(2))


@stands_in("MmAllocatePagesForMdl", "MmAllocatePagesForMdlEx", wide=(0, 1, 2))
def allocate_pages_for_mdl(call: Call) -> int:
    """Take pages and describe them, not mapped."""
    size = min(max(call.arg(3), PAGE), 0x10_0000)
    objects = call.kernel.objects
    mdl = objects.mdl(call.kernel.arena.allocate(page_up(size), call.name), size)
    objects.lock_mdl(mdl, mapped=False)
    return mdl


@stands_in("MmBuildMdlForNonPagedPool")
def build_mdl(call: Call) -> None:
    """The MDL's buffer is mapped where it is."""
    call.kernel.objects.lock_mdl(call.arg(0), mapped=True)


@stands_in("MmProbeAndLockPages", "MmProbeAndLockProcessPages", "MmProbeAndLockSelectedPages")
def lock_pages(call: Call) -> None:
    """Fill in the page numbers."""
    call.kernel.objects.lock_mdl(call.arg(0), mapped=False)


@stands_in(
    "MmMapLockedPages",
    "MmMapLockedPagesSpecifyCache",
    "MmMapMdl",
)
def map_locked_pages(call: Call) -> int:
    """Map an MDL's pages."""
    return _map(call, call.arg(0))


@stands_in("MmMapLockedPagesWithReservedMapping")
def map_reserved(call: Call) -> int:
    """Map an MDL's pages at a reserved address; the emulated kernel chooses its own."""
    return _map(call, call.arg(2))


def _map(call: Call, mdl: int) -> int:
    """Frames with code get an alias of their own; other memory is mapped already."""
    kernel = call.kernel
    address, size = kernel.objects.mdl_range(mdl)
    mapping = call.memory.find(address)
    if mapping is not None and call.memory.is_code(address):
        start = address & ~(PAGE - 1)
        length = min(page_up(address - start + size), mapping.end - start)
        address = map_alias(call, mapping.frame + start - mapping.start, length) + (address - start)
    call.memory.put_pointer(mdl + kernel.structures.mdl_mapped, address)
    flags = call.memory.u16(mdl + kernel.structures.mdl_flags)
    call.memory.put(mdl + kernel.structures.mdl_flags, flags | 1, 2)
    return address


@stands_in("MmProtectMdlSystemAddress")
def protect_mdl(call: Call) -> int:
    """Accept: the law holds whatever protection was asked."""
    return 0


@stands_in(
    "IoFreeMdl",
    "MmUnlockPages",
    "MmUnmapLockedPages",
    "MmFreePagesFromMdl",
    "MmUnmapReservedMapping",
    "MmPrepareMdlForReuse",
    "MmAdvanceMdl",
)
def drop_mdl(call: Call) -> int:
    """Keep MDL and pages as they are."""
    return 0


@stands_in("MmAllocateMappingAddress", "MmAllocateMappingAddressEx")
def allocate_mapping_address(call: Call) -> int:
    """Reserve addresses."""
    return call.kernel.arena.take(call.arg(0))


@stands_in("IoBuildPartialMdl")
def partial_mdl(call: Call) -> None:
    """Describe part of another MDL's buffer."""
    kernel, target, at = call.kernel, call.arg(1), call.kernel.structures
    source = kernel.objects.mdl(call.arg(2), call.u32(3) or call.memory.u32(call.arg(0)))
    kernel.objects.lock_mdl(source, mapped=True)
    call.memory.write(target + call.pointer_size, call.memory.read(source + call.pointer_size, 4))
    rest = at.mdl_pages - at.mdl_mapped
    call.memory.write(target + at.mdl_mapped, call.memory.read(source + at.mdl_mapped, rest))

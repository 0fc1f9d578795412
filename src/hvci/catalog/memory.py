"""Routines that hand out memory, copy it or find routines by name: what behaviours start from."""

from __future__ import annotations

from hvci.catalog.prototypes import x86_bytes

COPIES = frozenset(("memcpy", "memmove", "RtlCopyMemory", "RtlMoveMemory", "RtlCopyBytes"))
"""Destination, source, length."""
FILLS = frozenset(("memset", "RtlFillMemory", "RtlZeroMemory"))
BLOCKS = COPIES | FILLS
RESOLVERS = ("MmGetSystemRoutineAddress",)
POOL = frozenset(
    (
        "ExAllocatePool",
        "ExAllocatePool2",
        "ExAllocatePool3",
        "ExAllocatePoolWithTag",
        "ExAllocatePoolWithTagPriority",
        "ExAllocatePoolWithQuota",
        "ExAllocatePoolWithQuotaTag",
        "ExAllocatePoolZero",
        "ExAllocatePoolUninitialized",
        "FsRtlAllocatePool",
        "FsRtlAllocatePoolWithTag",
        "FsRtlAllocatePoolWithQuotaTag",
        "NdisAllocateMemoryWithTagPriority",
        "FltAllocatePoolAlignedWithTag",
    )
)
CONTIGUOUS = frozenset(
    (
        "MmAllocateContiguousMemory",
        "MmAllocateContiguousMemoryEx",
        "MmAllocateContiguousMemorySpecifyCache",
        "MmAllocateContiguousMemorySpecifyCacheNode",
        "MmAllocateContiguousNodeMemory",
        "MmAllocateNonCachedMemory",
        "MmAllocateIndependentPages",
    )
)
MAPPINGS = frozenset(
    (
        "MmMapIoSpace",
        "MmMapIoSpaceEx",
        "MmMapLockedPages",
        "MmMapLockedPagesSpecifyCache",
        "MmMapLockedPagesWithReservedMapping",
        "MmAllocateMappingAddress",
        "MmGetVirtualForPhysical",
    )
)
RETURNED = POOL | CONTIGUOUS | MAPPINGS
"""DDIs that return memory which never executes under memory integrity."""
VIEWS = frozenset(
    (
        "MmMapViewInSystemSpace",
        "MmMapViewInSystemSpaceEx",
        "MmMapViewInSessionSpace",
        "MmMapViewInSessionSpaceEx",
    )
)
VIRTUAL = frozenset(("ZwAllocateVirtualMemory", "NtAllocateVirtualMemory"))
PUT = VIEWS | VIRTUAL
"""DDIs that put the address of such memory where their second argument points."""
PUT_POSITION = 1
ALLOCATIONS = RETURNED | PUT
_WORDS = (
    (POOL, "pool"),
    (CONTIGUOUS, "contiguous memory"),
    (MAPPINGS, "mapped memory"),
    (VIEWS, "a view"),
    (VIRTUAL, "virtual memory"),
)
_DATA_SYSTEM_NAMES = frozenset(("NtBuildNumber", "NtGlobalFlag", "NtBuildGUID", "NtBuildLab"))


def memory_of(name: str) -> str:
    """What kind of memory a DDI returns, in words."""
    return next((word for known, word in _WORDS if name in known), "memory")


def is_function(name: str) -> bool:
    """Whether an export of the kernel is known to be code and no variable."""
    if name in _DATA_SYSTEM_NAMES:
        return False
    return x86_bytes(name) is not None or name.startswith(("Zw", "Nt"))

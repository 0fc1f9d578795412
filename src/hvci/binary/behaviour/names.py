"""Names of imports that matter to behaviours; sources start from the same."""

from __future__ import annotations

from hvci.catalog.memory import (
    ALLOCATIONS,
    BLOCK_ROUTINES,
    BLOCKS,
    CONTIGUOUS,
    COPIES,
    FILLS,
    MAPPINGS,
    POOL,
    PUT,
    RESOLVERS,
    RETURNED,
    VIEWS,
    VIRTUAL,
    is_function,
    memory_of,
)

WATCHED = {
    **dict.fromkeys(
        (
            "IoAllocateMdl",
            "MmBuildMdlForNonPagedPool",
            "MmGetPhysicalAddress",
            "MmMapLockedPages",
            "MmMapLockedPagesSpecifyCache",
            "MmMapLockedPagesWithReservedMapping",
            "MmProtectMdlSystemAddress",
        ),
        "writes-executable-memory",
    ),
    **dict.fromkeys(
        (
            "FsRtlCreateSectionForDataScan",
            "NtCreateSection",
            "NtLoadDriver",
            "NtSetSystemInformation",
            "ZwCreateSection",
            "ZwLoadDriver",
            "ZwSetSystemInformation",
        ),
        "data-file-as-executable",
    ),
    **dict.fromkeys(
        ("MmAllocateIndependentPages", "MmGetVirtualForPhysical"),
        "dynamic-code",
    ),
}
"""The rule that an import matters to, whose use nobody else accounts for."""

__all__ = [
    "ALLOCATIONS",
    "BLOCKS",
    "BLOCK_ROUTINES",
    "CONTIGUOUS",
    "COPIES",
    "FILLS",
    "MAPPINGS",
    "POOL",
    "PUT",
    "RESOLVERS",
    "RETURNED",
    "VIEWS",
    "VIRTUAL",
    "WATCHED",
    "is_function",
    "memory_of",
]

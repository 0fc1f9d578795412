"""Names of imports that matter to behaviours, and the names that drivers ask for at run time."""

from __future__ import annotations

from hvci import catalog
from hvci.binary.atoms import Atom, Kind
from hvci.binary.behaviour.scene import Scene
from hvci.binary.code import CALLS, Function

COPIES = frozenset(("memcpy", "memmove", "RtlCopyMemory", "RtlMoveMemory", "RtlCopyBytes"))
"""Destination, source, length."""
FILLS = frozenset(("memset", "RtlFillMemory", "RtlZeroMemory"))
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
_WORDS = ((POOL, "pool"), (CONTIGUOUS, "contiguous memory"), (MAPPINGS, "mapped memory"))
RETURNED = POOL | CONTIGUOUS | MAPPINGS
"""DDIs that return memory which never executes under memory integrity."""
_DATA_SYSTEM_NAMES = frozenset(("NtBuildNumber", "NtGlobalFlag", "NtBuildGUID", "NtBuildLab"))
_WINDOW = 40
"""Instructions before a request by name in which its string is set up."""


def memory_of(name: str) -> str:
    """What kind of memory a DDI returns, in words."""
    return next((word for known, word in _WORDS if name in known), "memory")


def is_function(name: str) -> bool:
    """Whether an export of the kernel is known to be code and no variable."""
    if name in _DATA_SYSTEM_NAMES:
        return False
    return catalog.prototype(name) is not None or name.startswith(("Zw", "Nt"))


def asked_for(scene: Scene, function: Function, i: int) -> str:
    """The name that a call of MmGetSystemRoutineAddress asks for; empty when it is not read."""
    held = scene.argument(function, i, 0)
    for atom in sorted(held):
        if (rva := scene.rva_of(atom)) >= 0:
            text = _static_name(scene, rva)
        elif atom.kind is Kind.STACK:
            text = _initialised_name(scene, function, i, atom)
        else:
            continue
        if text:
            return text
    return ""


def _static_name(scene: Scene, rva: int) -> str:
    """A UNICODE_STRING that the file holds: length, maximum length, buffer."""
    length = scene.image.u16(rva)
    buffer = scene.image.pointer(rva + scene.image.pointer_size) - scene.image.base
    if not length or length % 2 or not scene.image.holds(buffer, length):
        return ""
    return scene.image.wide_text(buffer)[: length // 2]


def _initialised_name(scene: Scene, function: Function, i: int, local: Atom) -> str:
    """A local UNICODE_STRING that RtlInitUnicodeString filled shortly before."""
    for j in range(i - 1, max(-1, i - _WINDOW), -1):
        if function.flows[j] not in CALLS:
            continue
        if scene.callee(function, j) != "RtlInitUnicodeString":
            continue
        if local in scene.argument(function, j, 0):
            texts = [scene.rva_of(atom) for atom in scene.argument(function, j, 1)]
            return scene.image.wide_text(texts[0]) if len(texts) == 1 and texts[0] >= 0 else ""
    return ""

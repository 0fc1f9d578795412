"""Routines that hand out memory, copy it or find routines by name: what behaviours start from."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from hvci.catalog.ddis import Gives
from hvci.catalog.prototypes import x86_bytes
from hvci.catalog.shipped import giving

COPIES = frozenset(("memcpy", "memmove", "RtlCopyMemory", "RtlMoveMemory", "RtlCopyBytes"))
"""Destination, source, length."""
FILLS = frozenset(("memset", "RtlFillMemory", "RtlZeroMemory"))
BLOCKS = COPIES | FILLS


class ByName(NamedTuple):
    """How a routine that finds others is told which."""

    position: int
    """The parameter with the name, from 0."""
    counted: bool
    """A UNICODE_STRING, else characters of one byte."""


LOOKUPS = MappingProxyType(
    {
        "MmGetSystemRoutineAddress": ByName(0, counted=True),
        "MmGetSystemRoutineAddressEx": ByName(1, counted=False),
        "NdisGetRoutineAddress": ByName(0, counted=True),
        "FltGetRoutineAddress": ByName(0, counted=False),
        "RtlFindExportedRoutineByName": ByName(1, counted=False),
    }
)
"""Routines that return others by their names, as their pages of Microsoft's reference say.

MmGetSystemRoutineAddressEx: module, then name; RtlFindExportedRoutineByName: base, then name.
"""
RESOLVERS = tuple(LOOKUPS)
_UNLISTED = {
    "MmAllocateIndependentPages": Gives.CONTIGUOUS,
    "MmGetVirtualForPhysical": Gives.MAPPING,
}
"""What no DDI of the catalogue is, and gives memory too."""


def _giving(kind: Gives) -> frozenset[str]:
    return giving(kind) | {name for name, gives in _UNLISTED.items() if gives is kind}


POOL = _giving(Gives.POOL)
CONTIGUOUS = _giving(Gives.CONTIGUOUS)
MAPPINGS = _giving(Gives.MAPPING)
RETURNED = POOL | CONTIGUOUS | MAPPINGS
"""DDIs that return memory which never executes under memory integrity."""
VIEWS = _giving(Gives.VIEW)
VIRTUAL = _giving(Gives.VIRTUAL)
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
KEPT = 4096
"""Names that are remembered: drivers import the same few hundred."""
_DATA_SYSTEM_NAMES = frozenset(("NtBuildNumber", "NtGlobalFlag", "NtBuildGUID", "NtBuildLab"))


def memory_of(name: str) -> str:
    """What kind of memory a DDI returns, in words."""
    return next((word for known, word in _WORDS if name in known), "memory")


@lru_cache(KEPT)
def is_function(name: str) -> bool:
    """Whether an export of the kernel is known to be code and no variable."""
    if name in _DATA_SYSTEM_NAMES:
        return False
    return x86_bytes(name) is not None or name.startswith(("Zw", "Nt"))

"""Routines that hand out memory, copy it or find routines by name: what behaviours start from."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from hvci.catalog.ddis import Gives
from hvci.catalog.prototypes import x86_bytes
from hvci.catalog.shipped import giving


class Block(NamedTuple):
    """The arguments, from 0, of a routine that writes a block of memory; 0 is where to."""

    length: int
    """How many bytes it writes at most."""
    source: int = -1
    """Where they come from; below 0 for one that fills."""


BLOCK_ROUTINES = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "memcpy",
                "memmove",
                "RtlCopyBytes",
                "RtlCopyMemory",
                "RtlCopyMemoryNonTemporal",
                "RtlCopyVolatileMemory",
                "RtlMoveMemory",
                "RtlMoveVolatileMemory",
            ),
            Block(length=2, source=1),
        ),
        **dict.fromkeys(("memcpy_s", "memmove_s"), Block(length=1, source=2)),
        "memset": Block(length=2),
        **dict.fromkeys(
            (
                "RtlFillMemory",
                "RtlFillMemoryNonTemporal",
                "RtlFillMemoryUlong",
                "RtlFillMemoryUlonglong",
                "RtlFillVolatileMemory",
                "RtlSecureZeroMemory",
                "RtlZeroMemory",
            ),
            Block(length=1),
        ),
    }
)
"""Routines that copy or fill, as the C standard and Microsoft's reference have them."""
COPIES = frozenset(name for name, block in BLOCK_ROUTINES.items() if block.source >= 0)
FILLS = frozenset(BLOCK_ROUTINES) - COPIES
BLOCKS = COPIES | FILLS
_CHARACTERS = ("str", "wcs")
TEXT_ROUTINES = MappingProxyType(
    {
        **{
            f"{prefix}{kind}{verb}{suffix}": 0
            for kind in _CHARACTERS
            for prefix, verb in (
                *(("", verb) for verb in ("cpy", "ncpy", "cat", "ncat")),
                *(("_", verb) for verb in ("set", "nset", "rev", "upr", "lwr")),
            )
            for suffix in ("", "_s")
        },
        **dict.fromkeys(
            (
                *("sprintf", "sprintf_s", "vsprintf", "vsprintf_s"),
                *("swprintf", "swprintf_s", "vswprintf", "vswprintf_s", "_swprintf", "_vswprintf"),
                *("_snprintf", "_snprintf_s", "_vsnprintf", "_vsnprintf_s"),
                *("_snwprintf", "_snwprintf_s", "_vsnwprintf", "_vsnwprintf_s"),
                *("mbstowcs", "wcstombs", "qsort"),
            ),
            0,
        ),
        **{
            f"_{kind}to{to}{end}": 1
            for kind in ("i", "l", "ul")
            for to in "aw"
            for end in ("", "_s")
        },
    }
)
"""Routines of the C run-time that write a text or an array -> through which argument, from 0.

As far as the text goes, which no argument surely tells.
"""


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
VIEWS = _giving(Gives.VIEW)
VIRTUAL = _giving(Gives.VIRTUAL)


class Put(NamedTuple):
    """Which argument of a routine points to where it puts the address of memory."""

    position: int
    """Among the documented ones, from 0."""
    slot: int
    """Among those of four bytes that x86 has."""

    def at(self, bits: int) -> int:
        """Where machine code passes it."""
        return self.slot if bits == _X86_BITS else self.position


_X86_BITS = 32
PUT = MappingProxyType(
    {**dict.fromkeys(VIEWS | VIRTUAL, Put(1, 1)), "MmAllocateContiguousMemoryEx": Put(9, 12)}
)
"""DDIs that put the address of such memory somewhere; they return a status."""
RETURNED = (POOL | CONTIGUOUS | MAPPINGS) - frozenset(PUT)
"""DDIs that return memory which never executes under memory integrity."""
ALLOCATIONS = RETURNED | frozenset(PUT)
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

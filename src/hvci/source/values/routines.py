"""Which routines write whole blocks of memory, or what they get, and which only read it.

Knows names of routines and their prototypes; knows no program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.catalog import memory
from hvci.catalog.prototypes import prototype

if TYPE_CHECKING:
    from tree_sitter import Node

ZEROING = frozenset(
    (b"RtlZeroMemory", b"ZeroMemory", b"RtlSecureZeroMemory", b"SecureZeroMemory", b"bzero")
)
ZEROING |= frozenset((b"NdisZeroMemory", b"RtlSecureZeroMemory2", b"StorPortZeroMemory"))
FILLING = frozenset(name.encode() for name in memory.FILLS) - ZEROING
FILLING |= frozenset((b"__stosb", b"FillMemory", b"NdisFillMemory"))
COPYING = frozenset(name.encode() for name in memory.COPIES)
COPYING |= frozenset((b"CopyMemory", b"MoveMemory", b"NdisMoveMemory"))
COPYING |= frozenset((b"StorPortCopyMemory", b"StorPortMoveMemory"))
READING = frozenset(
    (b"memcmp", b"strlen", b"wcslen", b"strcmp", b"strncmp", b"wcscmp", b"wcsncmp", b"_stricmp")
)
READING |= frozenset(
    (b"DbgPrint", b"DbgPrintEx", b"KdPrint", b"KdPrintEx", b"ASSERT", b"NT_ASSERT")
)
READING |= frozenset((b"sizeof", b"UNREFERENCED_PARAMETER", b"RtlEqualMemory"))

COUNTING = frozenset((b"ARRAYSIZE", b"RTL_NUMBER_OF", b"_countof", b"_ARRAYSIZE"))


def source_of(called: bytes, given: list[Node]) -> Node | None:
    """What a routine that copies copies from."""
    block = memory.BLOCK_ROUTINES.get(called.decode("latin-1"), memory.Block(2, source=1))
    return given[block.source] if 0 <= block.source < len(given) else None


def may_write(called: bytes, index: int) -> bool:
    """Whether a routine that is not in the sources may write through an argument."""
    name = called.decode("latin-1")
    if name in memory.TEXT_ROUTINES:
        return memory.TEXT_ROUTINES[name] == index
    shape = prototype(name)
    return shape is None or index in shape.outputs

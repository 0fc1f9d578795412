"""What makes a pointer to memory, and what only looks like a call: names, and casts.

Knows names of routines and the shape of casts; follows no pointer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.catalog import memory as known
from hvci.source.preprocess.tree import arguments, text_of
from hvci.source.program.program import Program

if TYPE_CHECKING:
    from tree_sitter import Node

_MAPPED = (
    *("MmGetSystemAddressForMdl", "MmGetSystemAddressForMdlSafe", "NdisMMapIoSpace"),
    *("MmAllocateIndependentPages", "MmAllocateIndependentPagesEx"),
)
RETURNING = frozenset((*known.RETURNED, *_MAPPED, "ExAllocatePoolQuotaZero", "operator new"))
PUTTING = {name: put.position for name, put in known.PUT.items()}
PUTTING |= {"WdfMemoryCreate": 5, "ZwMapViewOfSection": 2, "NdisAllocateMemoryWithTag": 0}
"""Routines that write the address of memory where an argument points, and its position."""


def cast_inside(call: Node, program: Program) -> Node | None:
    """What is cast where a call is no call: `static_cast<T>(p)`, and `(T)(p)` for the grammar."""
    called, given = call.child_by_field_name("function"), arguments(call)
    if called is None or len(given) != 1:
        return None
    if b"_cast<" in text_of(called) and called.type != "call_expression":
        return given[0]
    if called.type == "call_expression":  # `(T)(U)(p)`
        types = arguments(called)
        is_type = len(types) == 1 and types[0].type == "identifier" and _is_type(types[0], program)
        return given[0] if is_type and cast_inside(called, program) is not None else None
    inner = called.named_children[0] if called.type == "parenthesized_expression" else None
    if inner is None or inner.type not in ("identifier", "qualified_identifier"):
        return None
    name = text_of(inner).rpartition(b"::")[2]
    is_called = name.decode("latin-1") in RETURNING or program.functions(name)
    return None if is_called else given[0]


def _is_type(node: Node, program: Program) -> bool:
    """Whether a name that stands alone in parentheses is that of a type."""
    name = text_of(node)
    looks = name.isupper() or name.endswith(b"_t")
    return looks and name.decode("latin-1") not in RETURNING and not program.functions(name)

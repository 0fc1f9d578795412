"""Code that a pointer leads to where memory is written: of the driver itself, or of the kernel.

Knows where pointers come from; knows nothing of the statements that write.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from hvci.catalog import memory
from hvci.catalog.prototypes import x86_bytes
from hvci.model import Behaviour, Confidence
from hvci.source.pointers.places import COPIES, LOOKUP, STORE
from hvci.source.pointers.roots import Made, Root, Roots
from hvci.source.preprocess.tree import File, text_of

if TYPE_CHECKING:
    from hvci.source.program.program import Program

_HOOK = "Use the documented callbacks, filters and notifications instead of hooks."
_OWN = "Keep what changes in data; do not patch code."
_ALIAS = "Do not map code a second time; keep what changes in data."
_MAPS = re.compile(
    rb"\b(?:MmMapLockedPages\w*|MmGetSystemAddressForMdl\w*|MmMapIoSpace\w*|NdisQueryMdl)\s*\("
)
_PROTECTS = re.compile(rb"\bMmProtectMdlSystemAddress\s*\([^;]*READWRITE")
_COPIED = re.compile(rb"\b(?:" + b"|".join(sorted(name.encode() for name in COPIES)) + rb")\s*\(")


class Written(NamedTuple):
    """Whose code it is, in words."""

    what: str
    sure: Confidence
    why: str
    fix: str
    kind: Behaviour


def is_routine(root: Root) -> bool:
    """Whether a root is a routine that was found by name, not a variable of the kernel."""
    return root.made is Made.ROUTINE and (not root.name or memory.is_function(root.name))


def written(roots: Roots, program: Program, line: str) -> Written | None:
    """What a write through a pointer does to code; None where it leads to none."""
    for root in sorted(roots):
        if is_routine(root):
            what = f"writes to {root.name or 'a routine found by name'}, code of another module"
            sure = Confidence.LIKELY if root.name else Confidence.POSSIBLE
            exact = "is" if root.exact else "is computed from"
            why = f"the pointer {exact} what {LOOKUP} returns at {line}"
            return Written(what, sure, why, _HOOK, Behaviour.HOOK)
        if root.made is not Made.CODE:
            continue
        if program.functions(root.name.encode()):
            what, why = f"writes over the code of {root.name}", "the target is a function's address"
            return Written(what, Confidence.LIKELY, why, _OWN, Behaviour.STORE)
        if x86_bytes(root.name) is not None:
            what = f"writes to {root.name}, code of another module"
            why = "the target is the address of a routine of the kernel"
            return Written(what, Confidence.LIKELY, why, _HOOK, Behaviour.HOOK)
    return None


def may_be_written(file: File, offset: int) -> bool:
    """Whether the function of an MDL or physical address maps it and writes, as its words tell."""
    function = file.function_at(offset)
    text = text_of(function.node) if function is not None else b""
    if _PROTECTS.search(text) is not None:
        return True
    writes = STORE.search(text) is not None or _COPIED.search(text) is not None
    return writes and _MAPS.search(text) is not None


def mapped(roots: Roots, program: Program, line: str) -> Written | None:
    """What it means to map code that an MDL or a physical address describes, and to write there."""
    found = written(roots, program, line)
    if found is None:
        return None
    name = found.what.removeprefix("writes to ").removeprefix("writes over the code of ")
    name = name.partition(",")[0]
    what = f"maps the code of {name} a second time, writable"
    why = "memory integrity lets no mapping of code be written"
    return Written(what, found.sure, why, _ALIAS, Behaviour.ALIAS)

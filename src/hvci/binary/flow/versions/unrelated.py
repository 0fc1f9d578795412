"""What surely tells a driver nothing of the Windows version, as most routines of the kernel do.

Knows names and where values come from; knows no conditions. What is not known may tell it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from enum import IntEnum
from typing import TYPE_CHECKING

from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.flow.fates import OBJECT_REACH, Fate
from hvci.binary.flow.versions.paths import VARIABLE
from hvci.binary.flow.versions.telling import TELLING
from hvci.binary.form.code import CALLS, Flow, Function, Location
from hvci.catalog.memory import BLOCKS, LOOKUPS

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_FUNCTIONS = 24
"""Functions of the image that are looked into for what their answer may hang on."""
MOST_HOPS = 4
"""How many calls deep what the entry point gets is followed."""
_MAY_TELL = re.compile(r"Version|Routine|SystemInformation|Feature|Directory|Firmware")
_OF_KERNEL = re.compile(r"(?:Cm|Ex|Flt|Hal|Io|Ke|Mm|Ndis|Nt|Ob|Po|Ps|Se|Wdf|Zw)[A-Z]")
_OF_ARGUMENTS = re.compile(r"Rtl|Dbg|str|wcs|mem|_|v?sn?w?printf")
"""What only makes something of what it is given."""
_OF_REGISTRY = re.compile(r"Key|Registry|Configuration")
_VERSION_NAMES = ("CurrentVersion\0", "CurrentBuild", "CSDVersion\0", "ReleaseId\0")


class Tells(IntEnum):
    """What something has to do with the version of Windows."""

    NOTHING = 0
    ANYTHING = 1
    """It may tell the version, or that is not known."""
    CONSTANT = 2
    """It is a number, or makes no answer of its own."""


def of_value(flow: Dataflow, atom: Atom) -> Tells:
    """What one possible value tells."""
    if atom.kind is Kind.CONST:
        return Tells.CONSTANT
    if is_of_entry(flow, atom):
        return Tells.NOTHING
    while atom.kind is Kind.FIELD and atom.of is not None:
        atom = atom.of
    if atom.kind is Kind.IMPORT:
        return _of_name(flow, flow.image.imports[atom.value].name)
    if atom.kind not in (Kind.RESULT, Kind.LEAKED):
        return Tells.ANYTHING
    found = flow.functions.instruction_at(atom.value)
    return Tells.ANYTHING if found is None else of_call(flow, *found)


def of_call(flow: Dataflow, function: Function, i: int) -> Tells:
    """What the answer of a call tells, or what it writes."""
    name, callee = flow.interprocedural.callee(function, i, 1)
    if name is None:
        return _of_function(flow, callee) if callee is not None else Tells.ANYTHING
    return _of_name(flow, name)


def of_local(flow: Dataflow, function: Function, offset: int) -> Tells:
    """What is told by those that get the address of the object around a place in the frame."""
    taken = flow.frames.taken(function)
    last = bisect_left(taken, (offset + 1, 0)) - 1
    if last < 0 or taken[last][0] <= offset - OBJECT_REACH:
        return Tells.ANYTHING
    first = bisect_left(taken, (taken[last][0], 0))
    return _of_fates(flow, [flow.frames.fate(function, i) for _, i in taken[first : last + 1]])


def of_variable(flow: Dataflow, rva: int) -> Tells:
    """What is told by those that get the address of a variable, or of the record that keeps it."""
    fates = _fates_of(flow, rva, rva)
    kept = {each.rva for fate in fates for each in fate.kept}
    fates += [fate for each in kept for fate in _fates_of(flow, each - OBJECT_REACH, each)]
    return _of_fates(flow, [fate._replace(kept=frozenset()) for fate in fates])


def _fates_of(flow: Dataflow, low: int, high: int) -> list[Fate]:
    """What becomes of the last addresses that code makes among some."""
    made = [*flow.globals.writes.makers.in_code(low, high)]
    nearest = max((start for _, start, _ in made), default=0)
    return [fate for _, start, fate in made if start == nearest]


def _of_fates(flow: Dataflow, fates: list[Fate]) -> Tells:
    """What the routines tell that get some pointers, or an object with them."""
    if any(fate.returned or fate.kept for fate in fates):
        return Tells.ANYTHING
    told = {_of_name(flow, each.name) for fate in fates for each in fate.passed}
    told |= {of_call(flow, each.function, each.i) for fate in fates for each in fate.within}
    if Tells.ANYTHING in told or not told:
        return Tells.ANYTHING
    return min(told)


def is_of_entry(flow: Dataflow, atom: Atom) -> bool:
    """Whether a value is a field of what the loader gave to the entry point."""
    if atom.kind is not Kind.FIELD:
        return False
    while atom.of is not None:
        atom = atom.of
    for _ in range(MOST_HOPS):
        if atom.kind is not Kind.PARAMETER:
            return False
        if atom.value == flow.image.headers.entry:
            return True
        callers = flow.functions.callers(atom.value)
        if len(callers) != 1 or flow.functions.takes_address(atom.value):
            return False
        held = flow.interprocedural.passed(*callers[0], Location(atom.place))
        if len(held) != 1:
            return False
        (atom,) = held
    return False


def _of_name(flow: Dataflow, name: str) -> Tells:
    if name in BLOCKS:
        return Tells.CONSTANT
    if name in TELLING or name in LOOKUPS or name == VARIABLE or _MAY_TELL.search(name):
        return Tells.ANYTHING
    if _OF_REGISTRY.search(name):
        return Tells.ANYTHING if _names_version(flow) else Tells.NOTHING
    if _OF_ARGUMENTS.match(name):
        return Tells.CONSTANT
    is_kernel = _OF_KERNEL.match(name) or name.startswith("Kd")
    return Tells.NOTHING if is_kernel else Tells.ANYTHING


def _of_function(flow: Dataflow, start: Function) -> Tells:
    """What a function of the image can answer, by all that it calls."""
    found, work, seen = set[Tells](), [start], {start.start}
    while work:
        function = work.pop()
        for i, flow_of in enumerate(function.flows):
            if flow_of not in CALLS and (flow_of != Flow.JUMP or i in function.jumps):
                continue
            name, callee = flow.interprocedural.callee(function, i, 1)
            if callee is None:
                found.add(Tells.ANYTHING if name is None else _of_name(flow, name))
            elif callee.start not in seen:
                seen.add(callee.start)
                work.append(callee)
        if Tells.ANYTHING in found or len(seen) > MOST_FUNCTIONS:
            return Tells.ANYTHING
    return Tells.NOTHING if Tells.NOTHING in found else Tells.ANYTHING


def _names_version(flow: Dataflow) -> bool:
    """Whether the image holds the name of a registry value that tells the version."""
    return any(
        next(flow.image.find(name.encode("utf-16-le")), None) is not None for name in _VERSION_NAMES
    )

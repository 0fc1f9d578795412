"""Where a pointer to a routine goes from the function that has it first.

Tells the functions that get it as an argument or as a result, and where nobody follows it: an
argument of a routine of others, arithmetic, a structure in a frame whose address is handed on.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.fates import Passed, Place, may_read
from hvci.binary.form.code import Function, Location
from hvci.catalog.prototypes import prototype

READ_ONLY = frozenset(
    (
        "MmGetSystemRoutineAddress",
        "NdisGetRoutineAddress",
        "FltGetRoutineAddress",
        "RtlInitUnicodeString",
        "RtlInitAnsiString",
        "DbgPrint",
        "DbgPrintEx",
    )
)
"""Routines that call nothing through what they get, and read no more than a name before it."""


class HandedOn(NamedTuple):
    """What becomes of one pointer."""

    landed: frozenset[Place]
    """Where other functions store it or call through it, and what they call meanwhile."""
    lost: frozenset[int]
    """RVAs behind which it is not followed."""


def follow(analysis: Analysis, function: Function, i: int) -> HandedOn:
    """What becomes of the pointer that call `i` returns."""
    flow = analysis.flow
    result = frozenset(((Location(analysis.arch.result), 0),))
    pointees = flow.globals.writes.makers.pointees
    fate = flow.apart(lambda: pointees.from_instruction(function, i, result))
    landed = frozenset(place for place in fate.landed if place[0].start != function.start)
    lost = {each.function.rvas[each.i] for each in fate.passed if each.name not in READ_ONLY}
    if fate.is_gone:
        lost.add(function.rvas[i])
    return HandedOn(landed, frozenset(lost))


def is_lent(analysis: Analysis, function: Function, offset: int) -> bool:
    """Whether others may read a slot of the frame: they get the address of what holds it."""
    frames, size = analysis.flow.frames, analysis.image.pointer_size
    return any(
        fate.is_gone
        or bool(fate.landed or fate.kept or fate.returned)
        or any(not _only_writes(analysis, each, at) for each in fate.passed)
        or (
            any(reader is not function for reader, _ in fate.loads)
            and may_read(fate, offset - at, size)
        )
        for at, fate in frames.fates_around(function, offset)
    )


def _only_writes(analysis: Analysis, passed: Passed, at: int) -> bool:
    """Whether a routine of others reads no pointer behind an address of the frame that it gets."""
    if passed.name in READ_ONLY:
        return True
    known = prototype(passed.name)
    argument, size = analysis.flow.interprocedural.argument, analysis.image.pointer_size
    return known is not None and any(
        atom.kind is Kind.STACK and atom.value == at
        for index in known.outputs
        for atom in argument(passed.function, passed.i, index, size)
    )

"""Where a pointer to a routine goes from the function that has it first.

Tells the functions that get it as an argument or as a result, and where nobody follows it: an
argument of a routine of others, arithmetic, a structure in a frame whose address is handed on.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.fates import (
    BACK_REACH,
    CLEARS,
    COPIES,
    MOVING,
    OBJECT_REACH,
    Fate,
    Passed,
    Place,
    documented,
    may_read,
)
from hvci.binary.form.code import Function, Location

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
        (at <= offset and _goes_on(analysis, fate, offset - at))
        or bool(at <= offset and fate.kept)
        or _reads_elsewhere(function, fate, offset - at, size)
        for at, fate in frames.fates_around(function, offset)
    )


def _goes_on(analysis: Analysis, fate: Fate, behind: int) -> bool:
    """Whether a pointer gets to whom nobody follows and who may read so far behind it.

    What is in variables apart.
    """
    return (
        fate.is_gone
        or bool(fate.landed or fate.returned or fate.within)
        or any(_is_read_by(analysis, each, behind) for each in fate.passed)
    )


def _reads_elsewhere(function: Function, fate: Fate, behind: int, size: int) -> bool:
    """Whether other functions may read a pointer so far behind what one of them points to."""
    is_read = any(reader is not function for reader, _ in fate.loads)
    return is_read and may_read(fate, behind, size)


class Readers(NamedTuple):
    """Who reads a variable through pointers to it, or to what it is part of."""

    functions: frozenset[Function]
    """Those that make the pointers themselves."""
    are_others: bool
    """Whether others may read it as well."""


def readers(analysis: Analysis, rva: int) -> Readers:
    """Who reads a pointer in a variable other than by its name.

    Of what lies before it only the nearest object may hold it, and only where the address of that
    is put into memory that is no variable: most objects before a variable are others.
    """
    makers, size = analysis.flow.globals.writes.makers, analysis.image.pointer_size
    made = [*makers.in_code(rva - OBJECT_REACH + 1, rva + BACK_REACH, rva)]
    nearest = max((start for _, start, _ in made if start <= rva), default=rva)
    found: set[Function] = set()
    are_others = False
    for function, start, fate in made:
        kept = makers.through(fate)
        fates = [fate, *kept.fates]
        if any(may_read(each, rva - start, size) for each in fates):
            found.add(function)
        are_others |= any(_reads_elsewhere(function, each, rva - start, size) for each in fates)
        if start == nearest:
            are_others |= any(each.is_lost and bool(each.landed) for each in fates)
        if start == rva:
            are_others |= fate.gets_out and not kept.is_sure
            passed = [use for each in fates for use in each.passed]
            are_others |= any(_is_read_by(analysis, each, 0) for each in passed)
    for place, start in makers.in_data(rva - OBJECT_REACH + 1, rva + BACK_REACH):
        loads = makers.of_data(place)
        are_others |= start == rva and not loads.is_sure
        are_others |= any(may_read(each, rva - start, size) for each in loads.fates)
    return Readers(frozenset(found), are_others)


def _is_read_by(analysis: Analysis, passed: Passed, behind: int) -> bool:
    """Whether a routine of others may read so far behind a pointer that it gets, moved perhaps."""
    if passed.name in READ_ONLY | CLEARS:
        return False
    if passed.name in COPIES:
        return passed.argument > 0 and _is_copied(analysis, passed, behind)
    known = documented(passed.name, analysis.image.bits)
    return known is None or passed.argument not in known.only_written


def _is_copied(analysis: Analysis, passed: Passed, behind: int) -> bool:
    """Whether a routine that copies reads so far behind a pointer."""
    if passed.offset > behind:
        return passed.offset == MOVING
    interprocedural = analysis.flow.interprocedural
    analysis.flow.begin()
    count = interprocedural.passed(passed.function, passed.i, interprocedural.at_entry(2), 0)
    return any(atom.kind is not Kind.CONST or passed.offset + atom.value > behind for atom in count)

"""Where a pointer to a routine goes from the function that has it first.

Tells the functions that get it as an argument or as a result, and where nobody follows it: an
argument of a routine of others, arithmetic, a structure in a frame whose address is handed on.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.fates import (
    Fate,
    Passed,
    Place,
    documented,
    is_moving,
    is_source,
    may_read,
)
from hvci.binary.form.code import Function, Location
from hvci.catalog.memory import BLOCK_ROUTINES, COPIES, FILLS, LOOKUPS

READ_ONLY = frozenset(
    (
        *LOOKUPS,
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
    """Where it is stored or called, and what other functions call meanwhile."""
    lost: frozenset[int]
    """RVAs behind which it is not followed."""


def follow(analysis: Analysis, function: Function, i: int) -> HandedOn:
    """What becomes of the pointer that call `i` returns; its own function is looked at anyway."""
    flow = analysis.flow
    result = frozenset(((Location(analysis.arch.result), 0),))
    pointees = flow.globals.writes.makers.pointees
    fate = flow.apart(lambda: pointees.from_instruction(function, i, result))
    handed = handed_on(function, i, fate)
    landed = frozenset(place for place in handed.landed if place[0].start != function.start)
    return handed._replace(landed=landed)


def handed_on(function: Function, i: int, fate: Fate) -> HandedOn:
    """What becomes of a pointer that instruction `i` has first, by its fate."""
    passed = (use for use in fate.passed if (use.function, use.i) not in fate.called)
    lost = {use.function.rvas[use.i] for use in passed if use.name not in READ_ONLY}
    if fate.is_gone:
        lost.add(function.rvas[i])
    return HandedOn(fate.landed | fate.called, frozenset(lost))


def is_lent(analysis: Analysis, function: Function, offset: int) -> bool:
    """Whether others may read a slot of the frame: they get the address of what holds it."""
    frames, size = analysis.flow.frames, analysis.image.pointer_size
    return any(
        (at <= offset and _goes_on(analysis, fate, offset - at))
        or bool(at <= offset and fate.kept)
        or reads_elsewhere(function, fate, offset - at, size)
        for at, fate in frames.fates_around(function, offset)
    )


def _goes_on(analysis: Analysis, fate: Fate, behind: int) -> bool:
    """Whether a pointer gets to whom nobody follows and who may read so far behind it.

    What is in variables apart.
    """
    return (
        fate.is_gone
        or bool(fate.landed or fate.returned or fate.within)
        or any(is_read_by(analysis, each, behind) for each in fate.passed)
    )


def reads_elsewhere(function: Function, fate: Fate, behind: int, size: int) -> bool:
    """Whether other functions may read a pointer so far behind what one of them points to."""
    is_read = any(reader is not function for reader, _ in fate.loads)
    return is_read and may_read(fate, behind, size)


def is_read_by(analysis: Analysis, passed: Passed, behind: int) -> bool:
    """Whether a routine of others may read so far behind a pointer that it gets, moved perhaps."""
    if passed.name in READ_ONLY | FILLS:
        return False
    if passed.name in COPIES:
        return is_source(passed) and _is_copied(analysis, passed, behind)
    known = documented(passed.name, analysis.image.bits)
    return known is None or passed.argument not in known.only_written


def _is_copied(analysis: Analysis, passed: Passed, behind: int) -> bool:
    """Whether a routine that copies reads so far behind a pointer."""
    if is_moving(passed.offset) or passed.offset > behind:
        return is_moving(passed.offset)
    interprocedural = analysis.flow.interprocedural
    length = interprocedural.at_entry(BLOCK_ROUTINES[passed.name].length)
    analysis.flow.begin()
    count = interprocedural.passed(passed.function, passed.i, length, 0)
    return any(atom.kind is not Kind.CONST or passed.offset + atom.value > behind for atom in count)

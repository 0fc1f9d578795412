"""Memory that is kept in an element of a table and called through it, whatever the index is.

Starts from calls of elements; asks which tables get memory. Knows tables by where they begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.called.fields import loads_called
from hvci.binary.behaviour.called.objects import Object, ObjectsOf, is_known
from hvci.binary.behaviour.called.operands import bases
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import MASK64, signed
from hvci.binary.form.code import (
    BY_POINTER,
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Const,
    Expr,
    Function,
    Location,
    Memory,
)
from hvci.binary.form.references import Rvas

MOST_PLACES = 64
"""Stores and calls that are looked at."""
Table = tuple[Object, int]
"""An object, and how far behind its start the table begins."""


class Indexed(NamedTuple):
    """What bytes or words propose, by RVA."""

    calls: Rvas
    """Calls and jumps through an element, or what was loaded from one right before."""
    stores: Rvas
    """Stores of a register into an element, near where allocated memory comes up."""
    are_named: bool = False
    """Whether elements may get memory one by one, each by its place."""


class Kept(NamedTuple):
    """A call of an element of a table that gets memory."""

    call: Place
    store: Place


def find(
    contexts: Contexts,
    proposed: Indexed,
    others: Iterable[int],
    is_memory: Callable[[Place, Expr], bool],
) -> Iterator[Kept]:
    """Every call of an element of a table into which memory is put, as `is_memory` tells of values.

    `others`: stores that may put memory somewhere without an index, as into the next element.
    """
    of, called = ObjectsOf(contexts.scene, contexts), dict[Table, Place]()
    stores = proposed.stores.tolist() if len(proposed.calls) else ()
    filled = dict(_filled(of, stores, is_memory))
    if not filled and not proposed.are_named:
        return
    is_open = any(found[0] != "data" for found, _ in filled)
    for place in _places(of.scene, proposed.calls.tolist()):
        if place[0].flows[place[1]] not in BY_POINTER:
            continue  # bytes of another instruction
        for d, memory in loads_called(of.scene, *place):
            tables = (_tables if is_open else _named)(of, place[0], d, memory)
            called |= {table: place for table in tables if table not in called}
    filled |= _filled(of, _beside(of.scene, called, others), is_memory)
    for table in sorted(called.keys() & filled.keys(), key=str):
        yield Kept(called[table], filled[table])


def _filled(
    of: ObjectsOf, stores: Iterable[int], is_memory: Callable[[Place, Expr], bool]
) -> Iterator[tuple[Table, Place]]:
    """The tables that get memory, with the stores."""
    for place in _places(of.scene, stores):
        function, i = place
        for n, memory in enumerate(of.scene.arch.effect(function, i).stores):
            if memory.base != NO_REGISTER and is_memory(
                place, of.scene.arch.stored(function, i, n)
            ):
                yield from ((table, place) for table in _tables(of, function, i, memory))


def _beside(scene: Scene, called: Iterable[Table], others: Iterable[int]) -> list[int]:
    """The instructions that name tables, and others that store memory in the same functions."""
    at, naming = scene.analysis.functions.at, [*_naming(scene, called)]
    near = {function.start for rva in naming if (function := at(rva)) is not None}
    beside = [rva for rva in others if near and (found := at(rva)) and found.start in near]
    return [*dict.fromkeys((*naming, *beside))]


def _naming(scene: Scene, called: Iterable[Table]) -> Iterator[int]:
    """The instructions that name the first elements of tables."""
    for found, _ in called:
        match found:
            case ("data", int(rva)):
                yield from scene.analysis.references.to_data(rva)


def _places(scene: Scene, rvas: Iterable[int]) -> Iterator[Place]:
    """The instructions at some RVAs, as long as looking at them is worth it."""
    for rva in [*rvas][:MOST_PLACES]:
        found = scene.analysis.functions.instruction_at(rva)
        if found is not None and not scene.flow.exhausted:
            yield found


def _tables(of: ObjectsOf, function: Function, i: int, memory: Memory) -> set[Table]:
    """Where the tables begin that an operand may name an element of."""
    found = _named(of, function, i, memory)
    for base in bases(of.scene, function, i, memory) if not found else ():
        objects = of.behind(function, base.i, base.register)
        found |= {_whole(each, base.behind) for each in objects}
    return {table for table in found if _is_open(of.scene, table)}


def _named(of: ObjectsOf, function: Function, i: int, memory: Memory) -> set[Table]:
    """The same of tables that the operand names, or what its base gets alone: nothing is asked."""
    scene, found = of.scene, set[int]()
    behind = signed(memory.displacement & MASK64, scene.arch.bits)
    if memory.size != scene.image.pointer_size:
        return set()
    if memory.base == IMAGE_BASE:
        found.add(memory.displacement)
    elif scene.image.bits == 32 and scene.image.holds(behind - scene.image.base):
        is_counted = memory.base >= 0 and memory.index_register == NO_REGISTER
        starts = _made(scene, function, i, memory.base) if is_counted else ()
        first = [signed(each.value, 32) for each in starts if isinstance(each, Const)]
        found.add(behind - scene.image.base + sum(first[:1]))
    for base in bases(scene, function, i, memory) if not found else ():
        made = _made(scene, function, base.i, base.register)
        named = (scene.flow.globals.writes.makers.address_in(each) for each in made)
        found |= {rva + base.behind for rva in named if rva is not None}
    tables: set[Table] = {(("data", rva), 0) for rva in found}
    return {table for table in tables if _is_open(scene, table)}


def _made(scene: Scene, function: Function, i: int, register: int) -> list[Expr]:
    """What instructions put into a register."""
    return [
        scene.arch.define(function, d, register)
        for d in scene.flow.definitions(function, i, Location(register))
        if isinstance(d, int) and function.flows[d] not in CALLS
    ]


def _whole(found: Object, behind: int) -> Table:
    """Data of the image by where it lies, whatever object it is a part of."""
    match found:
        case ("data", int(rva)):
            return ("data", rva + behind), 0
    return found, behind


def _is_open(scene: Scene, table: Table) -> bool:
    """Whether a table is one that code fills."""
    match table[0]:
        case ("data", int(rva)):
            return scene.image.is_writable(rva) and not scene.image.number(rva, 4)
    return is_known(table[0])

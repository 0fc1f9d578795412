"""Memory that is kept in an element of a table and called through it, whatever the index is.

Starts from calls of elements; asks which tables get memory. Knows tables by where they begin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
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
    scene, of = contexts.scene, ObjectsOf(contexts.scene, contexts)
    stores = [*_storing(scene, proposed.stores.tolist() if len(proposed.calls) else (), is_memory)]
    if not stores and not proposed.are_named:
        return
    loads = [
        _Use((place[0], d), memory, place)
        for place in _places(scene, proposed.calls.tolist())
        if place[0].flows[place[1]] in BY_POINTER  # else bytes of another instruction
        for d, memory in loads_called(scene, *place)
    ]
    named = {table for each in loads for table in _named(scene, *each.at, each.memory)}
    stores += _storing(scene, _beside(scene, named, others), is_memory)
    called, filled = _by_table(of, loads, stores), _by_table(of, stores, loads)
    for table in sorted(called.keys() & filled.keys(), key=str):
        yield Kept(called[table], filled[table])


class _Use(NamedTuple):
    """An instruction with an operand that may be an element."""

    at: Place
    memory: Memory
    place: Place
    """The call that goes through what is loaded there; or the store."""


def _storing(
    scene: Scene, stores: Iterable[int], is_memory: Callable[[Place, Expr], bool]
) -> Iterator[_Use]:
    """The stores of memory, with their operands."""
    for place in _places(scene, stores):
        for n, memory in enumerate(scene.arch.effect(*place).stores):
            is_plain = memory.base != NO_REGISTER and memory.size == scene.image.pointer_size
            if is_plain and is_memory(place, scene.arch.stored(*place, n)):
                yield _Use(place, memory, place)


def _by_table(of: ObjectsOf, uses: list[_Use], others: list[_Use]) -> dict[Table, Place]:
    """The tables of which some operands may name elements, each with what uses it first.

    Asked is only of operands so far behind their base as one of the others is.
    """
    scene, found = of.scene, dict[Table, Place]()
    wanted = {base.behind for each in others for base in bases(scene, *each.at, each.memory)}
    for at, memory, place in uses:
        tables = _named(scene, *at, memory)
        for base in bases(scene, *at, memory) if not tables else ():
            if base.behind in wanted:
                objects = of.behind(at[0], base.i, base.register)
                tables |= {_whole(each, base.behind) for each in objects}
        for table in sorted(tables, key=str):
            if _is_open(scene, table):
                found.setdefault(table, place)
    return found


def _beside(scene: Scene, called: Collection[Table], others: Iterable[int]) -> list[int]:
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


def _named(scene: Scene, function: Function, i: int, memory: Memory) -> set[Table]:
    """The tables that an operand names, or that its base gets: nothing is asked."""
    found = set[int]()
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

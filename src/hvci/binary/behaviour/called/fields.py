"""Memory that is kept in a field of an object and called through it.

Starts from fields that are called; asks which of them get memory, and whether it is one object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.called.candidates import NO_VARIABLE
from hvci.binary.behaviour.called.contexts import Contexts
from hvci.binary.behaviour.called.fieldbytes import EXTENSION, Bases, Fields
from hvci.binary.behaviour.called.objects import OPEN, Object, Objects, ObjectsOf, is_known
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import MASK64, signed
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Expr,
    Function,
    Load,
    Location,
    Memory,
    Reg,
    is_slot,
    slot,
)
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import distinct

MAX_USERS = 32
"""Places that name a variable."""
MAX_COPIES = 4
"""Copies between a call and the store of what it returns."""


class Kept(NamedTuple):
    """A call through a field that gets memory."""

    place: Place
    store: Place
    is_sure: bool
    """Whether the field is of the same object for sure."""


class Reader(Protocol):
    """What tells the instructions of one architecture that name fields."""

    def calls(self, wanted: Rvas) -> Fields:
        """Those that call or jump through one, with a displacement among sorted ones."""

    def stores(self) -> Fields:
        """Those that may put memory into one."""

    def bases(self, fields: Fields) -> Bases:
        """What is known of the objects of some fields."""

    def named_before(self, places: Rvas) -> Rvas:
        """The RVAs that code before some places may name, a row for each."""


def find(
    contexts: Contexts, reader: Reader, stored: Fields, is_memory: Callable[[Place], bool]
) -> Iterator[Kept]:
    """Every call through a field that gets memory, as `is_memory` tells of calls.

    `stored`: what may put memory into a field.
    """
    scene = contexts.scene
    if not len(stored.places):
        return
    called = reader.calls(distinct(stored.displacements))
    stored = stored.of(distinct(called.displacements))
    if not len(stored.places):
        return
    of, around = ObjectsOf(scene, contexts), contexts.around
    stores: dict[int, _Use | None] = {}
    for call, displacement, rows in _pairs(around, reader, called, stored):
        into = None
        for store in rows:
            if store not in stores:
                stores[store] = _stored(of, store, displacement, is_memory)
            use = stores[store]
            if use is None or not any(_tells(scene, each) for each in use.objects):
                continue
            into = into or _called(of, call, displacement)
            common = into.objects & use.objects if into is not None else ()
            is_sure = any(map(is_known, common))
            if into is not None and (is_sure or any(_tells(scene, each) for each in common)):
                yield Kept(into.place, use.place, is_sure)
                break


def _pairs(
    around: Around, reader: Reader, called: Fields, stored: Fields
) -> Iterator[tuple[int, int, list[int]]]:
    """(RVA, displacement, stores) of the calls, with the stores that may be into the same field."""
    stores = [*_uses(around, reader, stored, _callees)]
    by_mark: dict[_Mark, list[int]] = {}
    for n, store in enumerate(stores):
        for mark in store.marks:
            by_mark.setdefault(mark, []).append(n)
    for call in _uses(around, reader, called, _users):
        rows = {n for mark in call.marks for n in by_mark.get(mark, ())}
        if rows:
            yield call.place, call.displacement, [stores[n].place for n in sorted(rows)]


_Mark = tuple[int, str, int]
"""A displacement, and one thing that fields of one object may have in common besides."""


class _Site(NamedTuple):
    """One instruction that names a field."""

    place: int
    displacement: int
    marks: list[_Mark]


def _uses(around: Around, reader: Reader, fields: Fields, more: _More) -> Iterator[_Site]:
    """Each field with its marks: two fields with a common one may be of one object.

    A variable that both objects are loaded from; that they extend a device; or functions that may
    share a pointer, `more` of them.
    """
    places, _, displacements = fields
    of = (places, displacements, *reader.bases(fields), around.rows(places))
    for place, at, variable, extends, row in zip(*(each.tolist() for each in of), strict=True):
        functions = around.sharing(row) | more(around, row, variable)
        marks = [(at, "function", each) for each in sorted(functions)]
        if variable != NO_VARIABLE:
            marks.append((at, "variable", variable))
        if extends:
            marks.append((at, "extension", 0))
        yield _Site(place, at, marks)


_More = Callable[[Around, int, int], frozenset[int]]
"""Further functions for a field: of the one that holds it, and its variable."""


def _callees(around: Around, row: int, variable: int) -> frozenset[int]:
    """The functions that may hand on what they get from the one that sets a field."""
    return around.called_from(row)


def _users(around: Around, row: int, variable: int) -> frozenset[int]:
    """The functions that name the variable which the object is loaded from."""
    if variable == NO_VARIABLE:
        return frozenset()
    places = around.scene.analysis.references.to_data(variable)
    return frozenset(around.rows(np.array(places[:MAX_USERS], np.int64)).tolist())


class _Use(NamedTuple):
    """An instruction that names a field, and the objects that it may be of."""

    place: Place
    objects: Objects


def _tells(scene: Scene, found: Object) -> bool:
    """Whether two pointers to an object lead to the same, or to the extension of a device."""
    return is_known(found) or found == ("field", EXTENSION[scene.image.bits], OPEN)


def _stored(
    of: ObjectsOf, place: int, displacement: int, is_memory: Callable[[Place], bool]
) -> _Use | None:
    """The store of memory at a place, and the objects that it may store it into."""
    scene = of.scene
    found = scene.analysis.functions.instruction_at(place)
    if found is None or scene.flow.exhausted:
        return None
    function, i = found
    for n, memory in enumerate(scene.arch.effect(function, i).stores):
        local = _local(scene, found, memory, displacement)
        if (local or _is_field(scene, found, memory, displacement)) and any(
            map(is_memory, _calls(scene, found, scene.arch.stored(function, i, n)))
        ):
            return _Use(found, local or of.behind(function, i, memory.base))
    return None


def _local(scene: Scene, place: Place, memory: Memory, displacement: int) -> Objects:
    """The local structure, whose address is taken, that an operand is a field of."""
    at = scene.flow.frames.offset(*place, memory)
    if at is None or memory.index_register != NO_REGISTER:
        return frozenset()
    start = at - displacement
    taken = any(each == start for each, _ in scene.flow.frames.taken(place[0]))
    return frozenset((("local", place[0].start, start),)) if taken else frozenset()


def memory_stored(
    scene: Scene, fields: Fields, is_memory: Callable[[Place], bool]
) -> Iterator[tuple[Place, int]]:
    """The stores of memory into some fields, each with the register that the object is in."""
    columns = (fields.places.tolist(), fields.displacements.tolist())
    for place, displacement in zip(*columns, strict=True):
        found = scene.analysis.functions.instruction_at(place)
        if found is None or scene.flow.exhausted:
            continue
        for n, memory in enumerate(scene.arch.effect(*found).stores):
            if _is_field(scene, found, memory, displacement) and any(
                map(is_memory, _calls(scene, found, scene.arch.stored(*found, n)))
            ):
                yield found, memory.base


def _calls(scene: Scene, place: Place, expr: Expr, deep: int = 0) -> Iterator[Place]:
    """The calls whose result a value is, through copies and slots of the frame."""
    function, i = place
    if isinstance(expr, Reg):
        location = Location(expr.number)
    elif isinstance(expr, Load) and expr.memory.base >= 0:
        offset = scene.flow.frames.offset(function, i, expr.memory)
        if offset is None:
            return
        location = slot(offset)
    else:
        return
    for d in scene.flow.definitions(function, i, location):
        if not isinstance(d, int):
            continue
        if function.flows[d] in CALLS:
            yield function, d
        elif deep < MAX_COPIES:
            stored = scene.arch.stored if is_slot(location) else None
            value = stored(function, d) if stored else scene.arch.define(function, d, location)
            yield from _calls(scene, (function, d), value, deep + 1)


def _called(of: ObjectsOf, place: int, displacement: int) -> _Use | None:
    """The call at a place, and the objects through whose field it may go."""
    scene = of.scene
    found = scene.analysis.functions.instruction_at(place)
    if found is None or scene.flow.exhausted:
        return None
    function, i = found
    out: Objects = frozenset()
    for d, memory in loads_called(scene, function, i):
        if _is_field(scene, (function, d), memory, displacement):
            out |= of.behind(function, d, memory.base)
    return _Use(found, out)


def fields_called(scene: Scene, function: Function, i: int) -> Iterator[tuple[int, Memory]]:
    """Where a pointer that is called is loaded from a field, with the operand."""
    for d, memory in loads_called(scene, function, i):
        if _is_field(
            scene, (function, d), memory, signed(memory.displacement & MASK64, scene.arch.bits)
        ):
            yield d, memory


def loads_called(scene: Scene, function: Function, i: int) -> Iterator[tuple[int, Memory]]:
    """Where a pointer that is called is loaded, and from what."""
    operand = scene.target(function, i)
    if isinstance(operand, Load):
        yield i, operand.memory
    elif isinstance(operand, Reg):
        for d in scene.flow.definitions(function, i, Location(operand.number)):
            if isinstance(d, int) and function.flows[d] not in CALLS:
                expr = scene.arch.define(function, d, operand.number)
                if isinstance(expr, Load):
                    yield d, expr.memory


def _is_field(scene: Scene, place: Place, memory: Memory, displacement: int) -> bool:
    """Whether an operand is a pointer so far behind a register, and none in the frame."""
    arch = scene.arch
    if (
        memory.base in (NO_REGISTER, IMAGE_BASE, arch.stack_pointer)
        or memory.size != arch.bits // 8
    ):
        return False
    if memory.index_register != NO_REGISTER:
        return False
    if signed(memory.displacement & MASK64, arch.bits) != displacement:
        return False
    is_frame = memory.base == arch.frame_pointer
    return not is_frame or scene.flow.frames.offset(*place, memory) is None


__all__ = [
    "Fields",
    "Kept",
    "fields_called",
    "find",
    "loads_called",
    "memory_stored",
]

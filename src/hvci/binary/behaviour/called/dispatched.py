"""Memory that is put into the fields of the driver object that Windows calls.

Knows where they lie; the memory and the stores are told by others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hvci.binary.behaviour.called.fields import Fields, memory_stored
from hvci.binary.behaviour.called.operands import bases
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import Atoms, Kind
from hvci.binary.form.code import Expr, Function, Location, Memory

MAX_CALLERS, MAX_DEEP = 8, 3
"""Callers of a function that are asked, and functions one behind the other."""
MAX_STORES = 64
"""Stores that are looked at."""
CALLED = {32: (0x30, 0xA8), 64: (0x60, 0x150)}
"""From DriverStartIo over DriverUnload to the end of MajorFunction, by the bits of the machine."""


def find(scene: Scene, stored: Fields, is_memory: Callable[[Place], bool]) -> Iterator[Place]:
    """Every store of memory into such a field, as `is_memory` tells of calls."""
    low, high = CALLED[scene.image.bits]
    wanted = np.arange(low, high, scene.image.pointer_size)
    for place, base in memory_stored(scene, stored.of(wanted), is_memory):
        if _is_driver_object(scene, *place, base):
            yield place


def by_index(
    scene: Scene, places: Iterable[int], is_memory: Callable[[Place, Expr], bool]
) -> Iterator[Place]:
    """Every store of memory into one of these fields that a loop or an index chooses.

    As `is_memory` tells of values.
    """
    for rva in [*places][:MAX_STORES]:
        found = scene.analysis.functions.instruction_at(rva)
        if found is None or scene.flow.exhausted:
            continue
        for n, memory in enumerate(scene.arch.effect(*found).stores):
            if _may_be_called(scene, *found, memory) and is_memory(
                found, scene.arch.stored(*found, n)
            ):
                yield found


def _may_be_called(scene: Scene, function: Function, i: int, memory: Memory) -> bool:
    """Whether an operand may name one of the fields, by an index or by a base that is moved on."""
    low, high = CALLED[scene.image.bits]
    for base in bases(scene, function, i, memory):
        scene.flow.begin()
        held = scene.flow.value(function, base.i, Location(base.register))
        for atom in held if base.is_indexed or len(held) > 1 else ():
            behind = base.behind + sum(each.constant for each in atom.ops)
            is_within = (base.is_indexed or low <= behind) and behind < high
            is_sum = is_within and all(each.name == "add" for each in atom.ops)
            if is_sum and _is_first(scene, frozenset((atom._replace(ops=()),)), 0):
                return True
    return False


def _is_driver_object(scene: Scene, function: Function, i: int, register: int) -> bool:
    """Whether a register may hold the first argument of the entry point."""
    scene.flow.begin()
    held = scene.flow.value(function, i, Location(register))
    return _is_first(scene, held, 0)


def _is_first(scene: Scene, held: Atoms, deep: int) -> bool:
    """The same of a value: callers are asked for what they pass."""
    flow, entry = scene.flow, scene.image.headers.entry
    for atom in held:
        if atom.kind is not Kind.PARAMETER or atom.ops:
            continue
        if atom.value == entry:
            return atom.place == flow.interprocedural.at_entry(0)
        callers = flow.functions.callers(atom.value) if deep < MAX_DEEP else []
        for caller, k in callers[:MAX_CALLERS]:
            passed = flow.interprocedural.passed(caller, k, Location(atom.place))
            if _is_first(scene, passed, deep + 1):
                return True
    return False

"""Which functions of the image write through their arguments, and where.

Knows one function at a time; knows nothing of what its callers pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.behaviour import names
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.trace import roots
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.flow.fates import Fate, Write, is_moving
from hvci.binary.form.code import NO_REGISTER, Function, Location, Memory, Reg

MAX_CALLEE = 1000
"""Instructions of a callee that is looked into."""


def written_through(scene: Scene, target: int, position: int) -> list[int]:
    """How far behind an argument a function writes, for each store."""
    function = scene.analysis.functions.starting_at(target)
    if function is None or len(function.flows) > MAX_CALLEE:
        return []
    place = scene.flow.interprocedural.at_entry(position)
    known: dict[Location, list[int]] = function.cache.setdefault("written through", {})
    if place not in known:
        argument = Atom(Kind.PARAMETER, function.start, place)
        known[place] = [
            memory.displacement
            for i in scene.arch.storing(function)
            for memory in scene.arch.effect(function, i).stores
            if memory.base >= 0
            and memory.base not in (scene.arch.stack_pointer, scene.arch.frame_pointer)
            if _is_through(scene, function, i, memory, argument)
        ]
    return known[place]


def _is_through(scene: Scene, function: Function, i: int, memory: Memory, pointer: Atom) -> bool:
    """Whether a store goes to where a parameter leads, or to an element behind it.

    `[to - from + from]`, as MSVC copies text, is no such store through `from`.
    """
    found = _pointers(scene, function, i, memory.base)
    if memory.index_register != NO_REGISTER:
        found |= _pointers(scene, function, i, memory.index_register)
    return found == {pointer}


def _pointers(scene: Scene, function: Function, i: int, register: int) -> set[Atom]:
    made = {root.atom for root in roots(scene, function, i, Reg(register))}
    return {atom for atom in made if atom.kind is not Kind.CONST}


def is_beside(scene: Scene, function: Function, i: int, memory: Memory) -> bool:
    """Whether a store goes as far from one pointer as another one lies away, by an index."""
    if memory.index_register == NO_REGISTER:
        return False
    base = _pointers(scene, function, i, memory.base)
    return not base.isdisjoint(_pointers(scene, function, i, memory.index_register))


def writes(scene: Scene, fate: Fate) -> Iterator[tuple[Place, int, bool]]:
    """(place, bytes behind the pointer, exact?) of all writes; of a callee's, its call."""
    for write in fate.writes:
        if _is_beyond(scene, write):
            place = write.calls[-1] if write.calls else (write.function, write.i)
            yield place, write.offset, write.size > 0
    for passed in fate.passed:
        if passed.name in names.BLOCKS and passed.argument == 0:
            is_exact = not is_moving(passed.offset)
            yield (passed.function, passed.i), passed.offset if is_exact else 0, is_exact


def _is_beyond(scene: Scene, write: Write) -> bool:
    """Whether a store goes to where the pointer leads, or to an element behind it."""
    memory = scene.arch.effect(write.function, write.i).stores[write.n]
    return not is_beside(scene, write.function, write.i, memory)

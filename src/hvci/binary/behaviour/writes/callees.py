"""Which functions of the image write through their arguments, and where.

Knows one function at a time; knows nothing of what its callers pass.
"""

from __future__ import annotations

from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.trace import roots
from hvci.binary.flow.atoms import Atom, Kind
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

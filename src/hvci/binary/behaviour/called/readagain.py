"""Where a field of an object is read that a store wrote, through whatever pointer to the object.

An object is a local structure whose address goes on, what a register points to, or data of the
image. Only proposes: another store may come between, and of a pointer that is lost nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.shallow import Shallow
from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.fates import OBJECT_REACH, Fate, Held, Kept, Read, loaded
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Function,
    Load,
    Location,
    Memory,
    Reg,
    is_slot,
    slot,
)
from hvci.binary.pe.sets import members

ANY = 1 << 20
"""As how far a field lies behind its object: it is not known."""
MAX_PLACES = 32
"""Places that make a pointer to an object in data, or load one from a variable."""
MAX_CALLERS = 8
"""Callers of a function that gets the object, which are asked for it."""
IsWorth = Callable[[int, int], bool]
"""Whether a field so far behind its object, which code at an RVA sets, is worth a walk."""


def readers(shallow: Shallow, place: Place, is_worth: IsWorth) -> list[Place]:
    """The instructions that may load what one at a place left in an object, in order."""
    function, i = place
    found: set[Place] = set()
    for memory in shallow.scene.arch.effect(function, i).stores:
        if memory.index_register == NO_REGISTER:
            for fate, behind in _objects(shallow, function, i, memory, is_worth):
                found |= {*_reads(shallow.scene, fate, behind)}
    return sorted(found, key=lambda each: (each[0].start, each[1]))


def held_after(scene: Scene, place: Place) -> Held:
    """What holds the pointer that an instruction loads, a slot that it pushes it to too."""
    function, i = place
    effect, arch, size = scene.arch.effect(function, i), scene.arch, scene.image.pointer_size
    held: set[tuple[Location, int]] = set()
    for register in members(effect.registers):
        match arch.define(function, i, register):
            case Load(memory) if memory.size == size:
                held.add((Location(register), 0))
    for k, memory in enumerate(effect.stores):
        at = scene.flow.frames.offset(function, i, memory)
        if at is not None and isinstance(arch.stored(function, i, k), Load):
            held.add((slot(at), 0))
    return frozenset(held)


def _objects(
    shallow: Shallow, function: Function, i: int, memory: Memory, is_worth: IsWorth
) -> Iterator[tuple[Fate, int]]:
    """What becomes of pointers to the object of an operand, and how far behind them that is."""
    scene, rva = shallow.scene, function.rvas[i]
    at = scene.flow.frames.offset(function, i, memory)
    if at is not None:
        yield from _local(shallow, function, at, lambda behind: is_worth(rva, behind))
    elif memory.base == IMAGE_BASE:
        yield from _global(shallow, memory.displacement, lambda behind: is_worth(rva, behind))
    elif memory.base >= 0 and is_worth(rva, memory.displacement):
        for fate in _pointers(shallow, function, i, memory.base):
            yield fate, memory.displacement
            for each in fate.kept:
                yield from ((one, memory.displacement) for one in _loaded(shallow, each))
        yield from _by_callers(shallow, function, i, memory)


def _local(
    shallow: Shallow, function: Function, at: int, is_worth: Callable[[int], bool]
) -> Iterator[tuple[Fate, int]]:
    """The same for a slot of the frame."""
    for start, i in shallow.scene.flow.frames.taken(function):
        if 0 <= at - start < OBJECT_REACH and is_worth(at - start):
            yield shallow.made(function, i), at - start


def _global(
    shallow: Shallow, rva: int, is_worth: Callable[[int], bool]
) -> Iterator[tuple[Fate, int]]:
    """The same for a place in data."""
    scene = shallow.scene
    references, makers = scene.analysis.references, scene.flow.globals.writes.makers
    for place in references.to_data(rva - OBJECT_REACH, OBJECT_REACH + 1)[:MAX_PLACES]:
        made = scene.analysis.functions.instruction_at(place)
        if made is None or made[0].flows[made[1]] in CALLS or not references.may_make(place):
            continue
        for start in makers.made(*made):
            if 0 <= rva - start < OBJECT_REACH and is_worth(rva - start):
                yield shallow.made(*made), rva - start


def _pointers(shallow: Shallow, function: Function, i: int, register: int) -> Iterator[Fate]:
    """What becomes of what a register holds, from there on or from the call that returned it."""
    yield _fate(shallow, function, i, _sources(shallow.scene, function, i, register))
    for d in shallow.scene.flow.definitions(function, i, Location(register)):
        if isinstance(d, int) and function.flows[d] in CALLS:
            yield shallow.from_instruction(function, d, frozenset(((Location(register), 0),)))


def _loaded(shallow: Shallow, kept: Kept) -> Iterator[Fate]:
    """What becomes of a pointer where it is loaded from a variable."""
    scene = shallow.scene
    for place in (
        scene.analysis.references.to_data(kept.rva)[:MAX_PLACES] if not kept.offset else ()
    ):
        load = scene.analysis.functions.instruction_at(place)
        if load is not None and (held := held_after(scene, load)):
            yield shallow.from_instruction(*load, held)


def _by_callers(
    shallow: Shallow, function: Function, i: int, memory: Memory
) -> Iterator[tuple[Fate, int]]:
    """The same where callers pass the pointer to the object, of what they do with it."""
    flow, behind = shallow.scene.flow, memory.displacement
    flow.begin()
    for atom in flow.value(function, i, Location(memory.base)):
        if atom.kind is not Kind.PARAMETER or atom.ops or atom.value != function.start:
            continue
        place = Location(atom.place)
        for caller, k in flow.functions.callers(function.start)[:MAX_CALLERS]:
            for each in flow.interprocedural.passed(caller, k, place):
                if each.kind is Kind.STACK and not each.ops:
                    yield from _local(shallow, caller, each.value + behind, lambda _: True)
            if not is_slot(place):
                held = _sources(shallow.scene, caller, k, atom.place)
                yield _fate(shallow, caller, k, held), behind


def _fate(shallow: Shallow, function: Function, i: int, held: Held) -> Fate:
    """What becomes of a pointer behind an instruction that leaves it where it is."""
    left = shallow.scene.arch.effect(function, i).registers
    if function.flows[i] in CALLS:
        left = shallow.scene.arch.volatile
    kept = frozenset(each for each in held if is_slot(each[0]) or not left >> each[0] & 1)
    return shallow.from_instruction(function, i, kept)


def _sources(scene: Scene, function: Function, i: int, register: int) -> Held:
    """What holds the same pointer as a register: what that was copied or loaded from, too."""
    held = {(Location(register), 0)}
    for d in scene.flow.definitions(function, i, Location(register)):
        if not isinstance(d, int) or function.flows[d] in CALLS:
            continue
        match scene.arch.define(function, d, register):
            case Reg(number, _, 0):
                held.add((Location(number), 0))
            case Load(memory):
                at = scene.flow.frames.offset(function, d, memory)
                if at is not None:
                    held.add((slot(at), 0))
    return frozenset(held)


def _reads(scene: Scene, fate: Fate, behind: int) -> Iterator[Place]:
    """The loads through a pointer of what lies so far behind it."""
    if Read(behind, scene.image.pointer_size) not in fate.reads:
        return
    for place in fate.loads:
        if any(_is_at(scene, memory, behind) for memory in _operands(scene, place)):
            yield place


def _operands(scene: Scene, place: Place) -> Iterator[Memory]:
    """The memory that an instruction reads."""
    function, i = place
    if function.flows[i] in CALLS:
        yield from loaded(scene.target(function, i))
    for register in members(scene.arch.effect(function, i).registers):
        yield from loaded(scene.arch.define(function, i, register))
    yield from scene.arch.other_operands(function, i)


def _is_at(scene: Scene, memory: Memory, behind: int) -> bool:
    is_pointer = memory.size == scene.image.pointer_size and memory.base >= 0
    return is_pointer and memory.displacement == behind and memory.index_register == NO_REGISTER

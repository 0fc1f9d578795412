"""Pointers inside one function: where one goes from here, and what one was made of.

`follow` walks forward in code order and only proposes; `roots` walks back along the flow of
control and decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from hvci.binary.behaviour.scene import Scene
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.flow.reaching import Reached
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Either,
    Expr,
    Flow,
    Function,
    ImageAddress,
    Load,
    Location,
    Memory,
    Reg,
    is_slot,
    slot,
)
from hvci.binary.pe.sets import members

MAX_FOLLOWED = 64
"""Instructions that a pointer is followed for."""
MAX_DEPTH = 12
MAX_STEPS = 4000
"""Instructions looked at for one pointer."""
MAX_REGISTERS = 32
_JUMPS = frozenset((Flow.JUMP, Flow.INDIRECT_JUMP))


class Use(Enum):
    """What happens to a followed pointer."""

    STORE = auto()
    """Something is written through it."""
    CALL = auto()
    """A call is made while a register holds it."""
    GLOBAL = auto()
    """It is kept in a global variable."""


class Step(NamedTuple):
    """One use of a followed pointer."""

    i: int
    use: Use
    memory: Memory | None = None
    registers: int = 0
    """Mask of the registers that hold it."""


def follow(
    scene: Scene, function: Function, i: int, registers: int, slots: set[tuple[int, int]]
) -> Iterator[Step]:
    """Uses of a pointer that instruction `i` leaves in registers (a mask) or frame slots."""
    arch = scene.arch
    frame = (arch.stack_pointer, arch.frame_pointer)
    bases = 1 << arch.stack_pointer | 1 << arch.frame_pointer
    for j in range(i + 1, min(len(function.flows), i + MAX_FOLLOWED)):
        if not registers and not slots:
            return
        if function.flows[j] in CALLS:
            yield Step(j, Use.CALL, None, registers)
            registers &= ~arch.volatile
            continue
        if function.flows[j] in _JUMPS and scene.is_within(function, j):
            yield Step(j, Use.CALL, None, registers)
        if not arch.names(function, j, registers | bases if slots else registers):
            continue
        effect = arch.effect(function, j)
        for n, memory in enumerate(effect.stores):
            if memory.base >= 0 and registers >> memory.base & 1:
                yield Step(j, Use.STORE, memory)
            elif _derives(arch.stored(function, j, n), registers, slots):
                if memory.base in frame:
                    slots.add((memory.base, memory.displacement))
                elif memory.base == IMAGE_BASE and memory.index_register == NO_REGISTER:
                    yield Step(j, Use.GLOBAL, memory)
            elif memory.base in frame:
                slots.discard((memory.base, memory.displacement))
        if effect.registers:
            registers = _moved(scene, function, j, effect.registers, registers, slots)


def _moved(
    scene: Scene,
    function: Function,
    j: int,
    written: int,
    registers: int,
    slots: set[tuple[int, int]],
) -> int:
    """Mask of the registers that hold the pointer after an instruction."""
    result = registers & ~written
    for register in members(written):
        if _derives(scene.arch.define(function, j, register), registers, slots):
            result |= 1 << register
    return result


def _derives(expr: Expr, registers: int, slots: set[tuple[int, int]]) -> bool:
    """Whether an expression is the followed pointer, or a place near it."""
    match expr:
        case Reg(number, size, shift):
            return size >= 4 and not shift and bool(registers >> number & 1)
        case Address(memory):
            return any(
                register >= 0 and bool(registers >> register & 1)
                for register in (memory.base, memory.index_register)
            )
        case Binary(name, left, right, _) if name in ("add", "sub"):
            return _derives(left, registers, slots) or _derives(right, registers, slots)
        case Load(memory) if memory.index_register == NO_REGISTER:
            return (memory.base, memory.displacement) in slots
    return False


class Root(NamedTuple):
    """Something that a value was made of."""

    atom: Atom
    exact: bool
    """Nothing but constants was added on the way."""


def roots(scene: Scene, function: Function, i: int, expr: Expr) -> set[Root]:
    """What an expression was made of: addresses, results of calls, imports, parameters."""
    return traced(scene, function, i, expr)[0]


def traced(
    scene: Scene, function: Function, i: int, expr: Expr
) -> tuple[set[Root], dict[tuple[int, Location], Reached]]:
    """The same, with the registers and slots that it came through: before which instruction."""
    found: set[Root] = set()
    seen: dict[tuple[int, Location], Reached] = {}
    scene.flow.begin(MAX_STEPS)
    _collect(scene, (function, i), expr, True, found, seen)
    return found, seen


def _collect(
    scene: Scene,
    place: tuple[Function, int],
    expr: Expr,
    exact: bool,
    found: set[Root],
    seen: dict[tuple[int, Location], Reached],
) -> None:
    function, i = place
    match expr:
        case Reg(number, size, shift) if size >= 4 and not shift:
            _from_location(scene, place, Location(number), exact, found, seen)
        case Binary(name, left, right, _) if name in ("add", "sub", "and", "or"):
            still = exact and isinstance(right, Const)
            _collect(scene, place, left, still, found, seen)
            _collect(scene, place, right, still and isinstance(left, Const), found, seen)
        case Either(left, right):
            _collect(scene, place, left, exact, found, seen)
            _collect(scene, place, right, exact, found, seen)
        case Address(memory):
            alone = memory.index_register == NO_REGISTER
            if memory.base == IMAGE_BASE:
                found.add(Root(Atom(Kind.ADDRESS, memory.displacement), exact and alone))
            for register in (memory.base, memory.index_register):
                if register >= 0:
                    _collect(scene, place, Reg(register), exact and alone, found, seen)
        case Load(memory) if memory.index_register == NO_REGISTER:
            offset = scene.flow.frames.offset(function, i, memory)
            if offset is not None:
                _from_location(scene, place, slot(offset), exact, found, seen)
            else:
                held = scene.flow.evaluate(function, i, expr, 0)
                found.update(Root(atom, exact) for atom in held)
        case ImageAddress(rva):
            found.add(Root(Atom(Kind.ADDRESS, rva), exact))
        case Const(value):
            found.add(Root(Atom(Kind.CONST, value), exact))


def _from_location(
    scene: Scene,
    place: tuple[Function, int],
    location: Location,
    exact: bool,
    found: set[Root],
    seen: dict[tuple[int, Location], Reached],
) -> None:
    """Go on from every instruction that defines a register or slot."""
    function, i = place
    if (i, location) in seen or len(seen) > MAX_DEPTH * 4:
        return
    if location == scene.arch.stack_pointer:
        found.update(Root(atom, exact) for atom in scene.flow.value(function, i, location))
        return
    reached = seen[i, location] = scene.flow.reaching.definitions(function, i, location, 0)
    for definition in reached.definitions:
        if not isinstance(definition, int):
            found.update(Root(atom, exact) for atom in definition)
        elif function.flows[definition] in CALLS:
            if location == scene.arch.result:
                held = scene.flow.interprocedural.returned(function, definition, 0)
                found.update(Root(atom, exact) for atom in held)
            elif (
                not is_slot(location)
                and not scene.flow.interprocedural.clobbered(function, definition) >> location & 1
            ):
                _from_location(scene, (function, definition), location, exact, found, seen)
        else:
            expr = _definition(scene, function, definition, location)
            _collect(scene, (function, definition), expr, exact, found, seen)


def _definition(scene: Scene, function: Function, d: int, location: Location) -> Expr:
    """What an instruction puts into a register, or into the slot that it writes."""
    stores = scene.arch.effect(function, d).stores
    if location > MAX_REGISTERS and stores:
        return scene.arch.stored(function, d, 0)
    return scene.arch.define(function, d, int(location))


def argument_of(scene: Scene, position: int) -> Expr:
    """Where a call's argument is: in a register, or on the x86 stack."""
    registers = scene.arch.parameter_registers
    if position < len(registers):
        return Reg(registers[position])
    size = scene.image.pointer_size
    return Load(Memory(scene.arch.stack_pointer, NO_REGISTER, 1, position * size, size))

"""Pointers inside one function: where one goes from here, and what one was made of.

`follow` walks forward in code order and only proposes; `roots` walks back along the flow of
control and decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.flow.atoms import NOTHING, Atom, Atoms, Kind
from hvci.binary.flow.reaching import Reached
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Choose,
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
    RETURN = auto()
    """The function returns it."""


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
        if function.flows[j] == Flow.RETURN and registers >> arch.result & 1:
            yield Step(j, Use.RETURN)
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
        case Either(left, right) | Choose(_, left, right):
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
    scene.flow.begin(MAX_STEPS)
    trace = _Trace(scene)
    trace.collect((function, i), expr, True)
    return trace.found, trace.seen


def shallow(scene: Scene, function: Function, i: int, expr: Expr) -> set[Root]:
    """The same as `roots`, but of what is loaded from elsewhere only imports and variables.

    A variable is `Kind.UNKNOWN` with its RVA: nothing is asked about what it holds.
    """
    scene.flow.begin(MAX_STEPS)
    trace = _Trace(scene, is_shallow=True)
    trace.collect((function, i), expr, True)
    return trace.found


@dataclass(slots=True)
class _Trace:
    """One way back along the flow of control."""

    scene: Scene
    is_shallow: bool = False
    found: set[Root] = field(default_factory=set)
    seen: dict[tuple[int, Location], Reached] = field(default_factory=dict)

    def collect(self, place: Place, expr: Expr, exact: bool) -> None:
        """Go on from an expression that the instruction at a place has."""
        function, i = place
        match expr:
            case Reg(number, size, shift) if size >= 4 and not shift:
                self._from_location(place, Location(number), exact)
            case Binary(name, left, right, _) if name in ("add", "sub", "and", "or"):
                still = exact and isinstance(right, Const)
                self.collect(place, left, still)
                self.collect(place, right, still and isinstance(left, Const))
            case Either(left, right) | Choose(_, left, right):
                self.collect(place, left, exact)
                self.collect(place, right, exact)
            case Address(memory):
                alone = memory.index_register == NO_REGISTER
                if memory.base == IMAGE_BASE:
                    self.found.add(Root(Atom(Kind.ADDRESS, memory.displacement), exact and alone))
                for register in (memory.base, memory.index_register):
                    if register >= 0:
                        self.collect(place, Reg(register), exact and alone)
            case Load(memory) if memory.index_register == NO_REGISTER:
                offset = self.scene.flow.frames.offset(function, i, memory)
                if offset is not None:
                    self._from_location(place, slot(offset), exact)
                else:
                    self.found.update(Root(atom, exact) for atom in self._loaded(place, expr))
            case ImageAddress(rva):
                self.found.add(Root(Atom(Kind.ADDRESS, rva), exact))
            case Const(value):
                self.found.add(Root(Atom(Kind.CONST, value), exact))

    def _loaded(self, place: Place, load: Load) -> Atoms:
        """What an instruction loads that is not in the frame."""
        if not self.is_shallow:
            return self.scene.flow.evaluate(*place, load, 0)
        if load.memory.base != IMAGE_BASE:
            return NOTHING
        rva = load.memory.displacement
        kind = Kind.IMPORT if rva in self.scene.image.imports else Kind.UNKNOWN
        return frozenset((Atom(kind, rva),))

    def _from_location(self, place: Place, location: Location, exact: bool) -> None:
        """Go on from every instruction that defines a register or slot."""
        scene, (function, i) = self.scene, place
        if (i, location) in self.seen or len(self.seen) > MAX_DEPTH * 4:
            return
        if location == scene.arch.stack_pointer:
            held = scene.flow.value(function, i, location)
            self.found.update(Root(atom, exact) for atom in held)
            return
        reached = scene.flow.reaching.definitions(function, i, location, 0)
        self.seen[i, location] = reached
        for definition in reached.definitions:
            if not isinstance(definition, int):
                self.found.update(Root(atom, exact) for atom in definition)
            elif function.flows[definition] in CALLS:
                self._from_call((function, definition), location, exact)
            else:
                expr = _definition(scene, function, definition, location)
                self.collect((function, definition), expr, exact)

    def _from_call(self, call: Place, location: Location, exact: bool) -> None:
        """Go on from what a call returns, or from before it where it keeps a register."""
        interprocedural = self.scene.flow.interprocedural
        if location == self.scene.arch.result:
            self.found.update(Root(atom, exact) for atom in interprocedural.returned(*call, 0))
        elif not is_slot(location) and not interprocedural.clobbered(*call) >> location & 1:
            self._from_location(call, location, exact)


def _definition(scene: Scene, function: Function, d: int, location: Location) -> Expr:
    """What an instruction puts into a register, or into the slot that it writes."""
    stores = scene.arch.effect(function, d).stores
    if location > MAX_REGISTERS and stores:
        return scene.arch.stored(function, d, 0)
    return scene.arch.define(function, d, int(location))


def argument_of(scene: Scene, position: int, is_call: bool = True) -> Expr:
    """Where an argument is at a call, or at a jump: in a register, or on the x86 stack."""
    arch, size = scene.arch, scene.image.pointer_size
    if position < len(arch.parameter_registers):
        return Reg(arch.parameter_registers[position])
    above = position * size + (0 if is_call else arch.return_address_size)
    return Load(Memory(arch.stack_pointer, NO_REGISTER, 1, above, size))

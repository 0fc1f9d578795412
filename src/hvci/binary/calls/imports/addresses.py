"""What becomes of the address of a slot that code makes and keeps: is it only read through?

What is read through it are references of their own, which the scan for slots finds. Anything else
that is done with such an address can lead to a call that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from enum import Enum, auto
from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.flow.made_addresses import made
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
    Insert,
    Load,
    Memory,
    Reg,
)
from hvci.binary.pe.sets import members

_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
MAX_STEPS = 0x4000
"""Instructions that an address is followed for."""
_REGISTERS = (1 << 64) - 1
"""Mask of all registers; the bits above stand for slots of the frame."""


class Use(Enum):
    """What an indirect call or jump does with the address of a slot."""

    NONE = auto()
    """It goes elsewhere."""
    ITSELF = auto()
    """It goes through the slot: who lists the calls finds it."""
    OTHER = auto()
    """It goes through memory that the address may lead to."""


class Arithmetic(NamedTuple):
    """For addresses to which offsets are added before something is read."""

    through: Container[int]
    """Indices of the calls that may get one, or go by one."""
    is_called: Callable[[int, Expr], bool]
    """Whether what an instruction reads by one goes to calls that are known, or to nobody."""


class KeptAddresses:
    """The addresses of slots that one image makes, or of tables to which offsets are added."""

    def __init__(self, analysis: Analysis, arithmetic: Arithmetic | None = None) -> None:
        self.arithmetic = arithmetic
        self.analysis = analysis
        self.arch = analysis.arch
        self._made = ImageAddress(-1)
        self._slots: dict[int, int] = {}
        """Bits that stand for slots of the frame, by their offsets."""
        self._bases = 0
        """The registers (a mask) by which such slots are named."""
        self._parameters = sum(1 << each for each in self.arch.parameter_registers)

    def is_made(self, function: Function, i: int, slot: int) -> bool:
        """Whether an instruction puts the address of a slot into a register."""
        flow = self.analysis.flow
        for register in members(self.arch.effect(function, i).registers):
            expr = self.arch.define(function, i, register)
            if isinstance(expr, Address | Binary | ImageAddress):
                flow.begin()
                if slot in made(flow, function, i, expr).rvas:
                    return True
        return False

    def loads_by(self, function: Function, k: int, bases: int) -> bool:
        """Whether an instruction loads through one of some registers (a mask)."""
        if function.flows[k] != Flow.NEXT:
            return False
        for register in members(
            self.arch.effect(function, k).registers & ~(1 << self.arch.stack_pointer)
        ):
            expr = self.arch.define(function, k, register)
            if isinstance(expr, Load) and expr.memory.base >= 0 and bases >> expr.memory.base & 1:
                return True
        return False

    def is_only_read(self, function: Function, i: int, rva: int = -1) -> bool:
        """Whether the address of an RVA that instruction `i` makes stays here, and is only read by.

        Follows it along every way, through copies and slots of the frame.
        """
        is_plain = self.arithmetic is None and self.arch.loads_call_targets
        if is_plain and not self.arch.hands_on(function, i):
            return True  # quickly told
        self._slots.clear()
        self._bases = 1 << self.arch.stack_pointer | 1 << self.arch.frame_pointer
        self._made = ImageAddress(rva)
        held = {k: self.arch.effect(function, i).registers for k in _next(function, i)}
        work, steps = list(held), 0
        while work and steps < MAX_STEPS:
            k = work.pop()
            left: int | None = held[k]
            while left and steps < MAX_STEPS:
                steps += 1
                left = self._behind(function, k, left)
                if left is None:
                    return False
                if k in function.jumps or not function.falls_through(k):
                    for n in _next(function, k) if left else ():
                        if left & ~held.get(n, 0):
                            held[n] = held.get(n, 0) | left
                            work.append(n)
                    break
                k += 1
                if not left & ~held.get(k, 0) or k >= len(function.flows):
                    break
        self.analysis.flow.charge(steps)
        return not work and steps < MAX_STEPS

    def _behind(self, function: Function, k: int, held: int) -> int | None:
        """The registers and slots (a mask) that hold an address behind instruction `k`.

        None when the instruction does something with it that is not seen through.
        """
        flow = function.flows[k]
        if flow == Flow.NEXT or k in function.jumps:
            named = held & _REGISTERS | (self._bases if held > _REGISTERS else 0)
            return self._moved(function, k, held) if self.arch.names(function, k, named) else held
        is_known = self.arithmetic is not None and k in self.arithmetic.through
        if flow in _INDIRECT:
            uses = self._uses_at(function, k, held)
            if uses is Use.OTHER:
                return None
            is_known |= uses is Use.ITSELF  # a register of an argument that the routine has not
        if flow in CALLS:
            is_passed = held & self._parameters and not is_known
            return None if is_passed else held & ~self.arch.volatile
        if flow == Flow.RETURN:
            return None if held >> self.arch.result & 1 else 0
        if flow in (Flow.JUMP, Flow.INDIRECT_JUMP) and not any(_next(function, k)):
            return None if held & self._parameters and not is_known else 0
        return held

    def _uses_at(self, function: Function, k: int, held: int) -> Use:
        """What an indirect call or jump does with the address."""
        operand = self.arch.indirect_operand(function, k)
        if not isinstance(operand, Load) or not _may_read(operand, held):
            return Use.NONE
        if self.arithmetic is not None:
            return Use.NONE if k in self.arithmetic.through else Use.OTHER
        self.analysis.flow.begin()
        target = self.analysis.flow.evaluate(function, k, operand, 0)
        return Use.ITSELF if target == {Atom(Kind.IMPORT, self._made.rva)} else Use.OTHER

    def _may_read(self, function: Function, k: int, expr: Expr, held: int) -> bool:
        """Whether what instruction `k` makes may be made of the address."""
        return _may_read(expr, held) and self.arch.may_read(function, k, held & _REGISTERS)

    def _moved(self, function: Function, k: int, held: int) -> int | None:
        """The same for an instruction that changes no flow and names what holds it."""
        effect = self.arch.effect(function, k)
        gets = 0
        for each in members(effect.registers & ~(1 << self.arch.stack_pointer)):
            expr = self.arch.define(function, k, each)
            if self._is_held(function, k, expr, held):
                gets |= 1 << each
            elif self._reads_through(expr):
                if _may_read(expr, held) and not self._is_known(k, expr):
                    return None
            elif self._may_read(function, k, expr, held):
                if not isinstance(expr, Address | Binary):
                    return None
                if self.arithmetic is not None:
                    gets |= 1 << each
                elif function.rvas[k] not in self.analysis.import_place_set:
                    return None
        left = held & ~effect.registers | gets
        for n, memory in enumerate(effect.stores):
            expr = self.arch.stored(function, k, n)
            is_held = self._is_held(function, k, expr, held)
            slot = self._slot(function, k, memory) if is_held or held > _REGISTERS else 0
            if is_held and slot:
                left |= slot
                self._bases |= 1 << memory.base
            elif is_held or self._may_read(function, k, expr, held):
                return None
            else:
                left &= ~slot
        return left

    def _is_held(self, function: Function, k: int, expr: Expr, held: int) -> bool:
        """Whether an expression is the address: a register or a slot of the frame with it."""
        if isinstance(expr, Load):
            return held > _REGISTERS and bool(held & self._slot(function, k, expr.memory))
        if isinstance(expr, Either):
            sides = expr.left, expr.right
            return any(self._is_held(function, k, side, held) for side in sides)
        is_copy = isinstance(expr, Reg) and bool(held >> expr.number & 1)
        if expr == self._made:
            return self.arch.may_read(function, k, held & _REGISTERS)
        return is_copy

    def _slot(self, function: Function, k: int, memory: Memory) -> int:
        """The bit that stands for a slot of the frame; 0 for other memory."""
        if memory.base < 0 or memory.index_register != NO_REGISTER:
            return 0
        self.analysis.flow.begin()
        offset = self.analysis.flow.frames.offset(function, k, memory)
        if offset is None:
            return 0
        return self._slots.setdefault(offset, (_REGISTERS + 1) << len(self._slots))

    def _is_known(self, k: int, expr: Expr) -> bool:
        """Whether somebody looks at what instruction `k` reads by an address."""
        return self.arithmetic is None or self.arithmetic.is_called(k, expr)

    def _reads_through(self, expr: Expr) -> bool:
        """Whether an expression is what lies at a constant offset, or one that is looked at."""
        if not isinstance(expr, Load):
            return False
        return self.arithmetic is not None or expr.memory.index_register == NO_REGISTER


def _next(function: Function, k: int) -> Iterator[int]:
    """Where control can go from instruction `k` in its function."""
    if function.falls_through(k) and k + 1 < len(function.flows):
        yield k + 1
    if k in function.jumps:
        yield function.jumps[k]
    elif function.flows[k] == Flow.INDIRECT_JUMP:
        yield from (target for target, froms in function.sources.items() if k in froms)


def _may_read(expr: Expr, registers: int) -> bool:
    """Whether an expression may read one of some registers (a mask)."""
    match expr:
        case Reg(number):
            return bool(registers >> number & 1)
        case Load(memory) | Address(memory):
            both = memory.base, memory.index_register
            if memory.base == IMAGE_BASE and memory.index_register != NO_REGISTER:
                return True  # the address was seen through
            return any(each >= 0 and registers >> each & 1 for each in both)
        case (
            Binary(_, left, right)
            | Either(left, right)
            | Choose(_, left, right)
            | Insert(left, right)
        ):
            return _may_read(left, registers) or _may_read(right, registers)
        case Const() | ImageAddress():
            return False
    return True

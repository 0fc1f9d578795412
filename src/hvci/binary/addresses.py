"""What becomes of the address of a slot that code makes and keeps: is it only read through?

What is read through it are references of their own, which the scan for slots finds. Anything else
that is done with such an address can lead to a call that nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvci.binary.analysis import Analysis
from hvci.binary.code import (
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
    Memory,
    Reg,
)
from hvci.binary.made_addresses import made
from hvci.binary.sets import members

MAX_STEPS = 0x4000
"""Instructions that an address is followed for."""
_REGISTERS = (1 << 64) - 1
"""Mask of all registers; the bits above stand for slots of the frame."""


class KeptAddresses:
    """The addresses of slots that one image makes."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.arch = analysis.arch
        self._frame = 1 << self.arch.stack_pointer | 1 << self.arch.frame_pointer
        self._made = ImageAddress(-1)
        self._slots: dict[tuple[int, ...], int] = {}
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

    def is_only_read(self, function: Function, i: int, rva: int) -> bool:
        """Whether the address of an RVA that instruction `i` makes stays here, and is only read by.

        Follows it along every way, through copies and slots of the frame.
        """
        if self.arch.loads_call_targets:
            return not self.arch.hands_on(function, i)
        self._slots.clear()
        self._made = ImageAddress(rva)
        held = {k: self.arch.effect(function, i).registers for k in _next(function, i)}
        work = list(held)
        for steps in range(MAX_STEPS):
            if not work:
                self.analysis.flow.charge(steps)
                return True
            k = work.pop()
            left = self._behind(function, k, held[k])
            if left is None:
                break
            for n in _next(function, k) if left else ():
                if left & ~held.get(n, 0):
                    held[n] = held.get(n, 0) | left
                    work.append(n)
        return False

    def _behind(self, function: Function, k: int, held: int) -> int | None:
        """The registers and slots (a mask) that hold an address behind instruction `k`.

        None when the instruction does something with it that is not seen through.
        """
        flow = function.flows[k]
        if flow in CALLS:
            return None if held & self._parameters else held & ~self.arch.volatile
        if flow == Flow.RETURN:
            return None if held >> self.arch.result & 1 else 0
        if flow in (Flow.JUMP, Flow.INDIRECT_JUMP) and not any(_next(function, k)):
            return None if held & self._parameters else 0
        named = held & _REGISTERS | (self._frame if held > _REGISTERS else 0)
        return self._moved(function, k, held) if self.arch.names(function, k, named) else held

    def _moved(self, function: Function, k: int, held: int) -> int | None:
        """The same for an instruction that changes no flow and names what holds it."""
        effect = self.arch.effect(function, k)
        gets = 0
        for each in members(effect.registers & ~(1 << self.arch.stack_pointer)):
            expr = self.arch.define(function, k, each)
            if self._is_held(expr, held):
                gets |= 1 << each
            elif not self._reads_through(expr) and _may_read(expr, held):
                is_sum = isinstance(expr, Address | Binary)
                if not is_sum or function.rvas[k] not in self.analysis.import_place_set:
                    return None
        left = held & ~effect.registers | gets
        for n, memory in enumerate(effect.stores):
            expr, slot = self.arch.stored(function, k, n), self._slot(memory)
            if self._is_held(expr, held) and slot:
                left |= slot
            elif _may_read(expr, held):
                return None
            else:
                left &= ~slot
        return left

    def _is_held(self, expr: Expr, held: int) -> bool:
        """Whether an expression is the address: a register or a slot of the frame with it."""
        if isinstance(expr, Load):
            return bool(held & self._slot(expr.memory))
        if isinstance(expr, Either):
            return self._is_held(expr.left, held) or self._is_held(expr.right, held)
        is_copy = isinstance(expr, Reg) and bool(held >> expr.number & 1)
        return is_copy or expr == self._made

    def _slot(self, memory: Memory) -> int:
        """The bit that stands for a slot of the frame; 0 for other memory."""
        if memory.base < 0 or not self._frame >> memory.base & 1:
            return 0
        if memory.index_register != NO_REGISTER:
            return 0
        return self._slots.setdefault(memory[:4], (_REGISTERS + 1) << len(self._slots))

    @staticmethod
    def _reads_through(expr: Expr) -> bool:
        """Whether an expression is what lies at a constant offset from a register."""
        return isinstance(expr, Load) and expr.memory.index_register == NO_REGISTER


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
        case Binary(_, left, right) | Either(left, right) | Choose(_, left, right):
            return _may_read(left, registers) or _may_read(right, registers)
        case Const() | ImageAddress():
            return False
    return True

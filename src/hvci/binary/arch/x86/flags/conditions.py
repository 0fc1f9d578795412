"""What conditional jumps, moves and sets of x64 and x86 depend on: the comparison before them.

Knows how instructions set flags; evaluates nothing.
"""

from __future__ import annotations

from typing import Any

from iced_x86 import ConditionCode, Instruction, MemorySizeExt, Mnemonic, OpKind

from hvci.binary.arch.x86.lift import REGISTERS, X86Lift, is_same_register
from hvci.binary.form.code import Binary, Condition, Const, Expr, Flow, Function

WINDOW = 16
"""Instructions that may stand between a comparison and what depends on it."""
_RELATIONS: dict[Any, str] = {
    ConditionCode.E: "eq",
    ConditionCode.NE: "ne",
    ConditionCode.B: "ult",
    ConditionCode.AE: "uge",
    ConditionCode.BE: "ule",
    ConditionCode.A: "ugt",
    ConditionCode.L: "slt",
    ConditionCode.GE: "sge",
    ConditionCode.LE: "sle",
    ConditionCode.G: "sgt",
    ConditionCode.S: "neg",
    ConditionCode.NS: "pos",
}
_BITWISE = {Mnemonic.AND: "and", Mnemonic.OR: "or", Mnemonic.XOR: "xor", Mnemonic.TEST: "and"}
_STEPS = {Mnemonic.INC: "add", Mnemonic.DEC: "sub"}
_OF_RESULT = frozenset(("eq", "ne", "neg", "pos"))
_ZERO = Const(0)


def condition(lift: X86Lift, function: Function, i: int) -> Condition | None:
    """What makes a jump jump, CMOVcc move, SETcc set, or SBB of a register with itself borrow."""
    instruction = function.instructions[i]
    name = _RELATIONS.get(instruction.condition_code)
    if instruction.mnemonic == Mnemonic.SBB and is_same_register(instruction):
        name = "ult"
    if name is None:
        return None
    for q in range(i - 1, max(-1, i - 1 - WINDOW), -1):
        if q + 1 in function.sources or not function.follows(q + 1):
            return None
        if function.flows[q] not in (Flow.NEXT, Flow.BRANCH):
            return None
        if function.instructions[q].rflags_modified:
            return _compared(lift, function, q, name)
    return None


def _compared(lift: X86Lift, function: Function, q: int, name: str) -> Condition | None:
    """The comparison that an instruction makes which sets flags."""
    instruction = function.instructions[q]
    mnemonic, size = instruction.mnemonic, _size(instruction)
    if not size or instruction.op_count not in (1, 2):
        return None
    left = lift.operand(function, q, 0)
    if mnemonic in _STEPS:
        made = Binary(_STEPS[mnemonic], left, Const(1), size)
        return Condition(name, made, _ZERO, size, q) if name in _OF_RESULT else None
    if mnemonic == Mnemonic.NEG:  # the carry tells whether there was something
        name = {"ult": "ne", "uge": "eq"}.get(name, name)
        return Condition(name, left, _ZERO, size, q) if name in ("eq", "ne") else None
    if instruction.op_count != 2:
        return None
    right = _cut(lift.operand(function, q, 1), size)
    if mnemonic in (Mnemonic.CMP, Mnemonic.SUB):
        return Condition(name, left, right, size, q)
    if mnemonic == Mnemonic.ADD and name in _OF_RESULT:
        return Condition(name, Binary("add", left, right, size), _ZERO, size, q)
    if mnemonic in _BITWISE:
        return Condition(name, _bits(instruction, left, right, size), _ZERO, size, q)
    return None


def _bits(instruction: Instruction, left: Expr, right: Expr, size: int) -> Expr:
    """What AND, OR, XOR and TEST leave; carry and overflow are clear, as when 0 is compared."""
    if is_same_register(instruction):
        return _ZERO if instruction.mnemonic == Mnemonic.XOR else left
    return Binary(_BITWISE[instruction.mnemonic], left, right, size)


def _cut(expr: Expr, size: int) -> Expr:
    return Const(expr.value & (1 << 8 * size) - 1) if isinstance(expr, Const) else expr


def _size(instruction: Instruction) -> int:
    """Bytes of the first operand; 0 where it is no general register and not in memory."""
    if not instruction.op_count:
        return 0
    if instruction.op0_kind == OpKind.MEMORY:
        return MemorySizeExt.size(instruction.memory_size)
    known = REGISTERS.get(instruction.op0_register)
    return known[1] if instruction.op0_kind == OpKind.REGISTER and known else 0

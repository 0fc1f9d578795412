"""What conditional branches and selects of ARM64 depend on: a register, or the comparison before.

Knows how words set flags; evaluates nothing.
"""

from __future__ import annotations

from hvci.binary.arch.arm64.encoding import SP
from hvci.binary.arch.arm64.lift import sets_flags
from hvci.binary.arch.arm64.values import (
    logical_immediate,
    register,
    register_form,
    signed_immediate,
)
from hvci.binary.form.code import Binary, Condition, Const, Expr, Flow, Function

WINDOW = 16
"""Instructions that may stand between a comparison and what depends on it."""
_RELATIONS = (
    *("eq", "ne", "uge", "ult", "neg", "pos", "", ""),
    *("ugt", "ule", "sge", "slt", "sgt", "sle", "", ""),
)
"""By the number of a condition."""
_OF_BITS = {"eq": "eq", "ne": "ne", "neg": "neg", "pos": "pos", "sge": "pos", "slt": "neg"}
"""What a condition says of the result of ANDS, which clears carry and overflow."""
_ZERO = Const(0)


def condition(function: Function, i: int) -> Condition | None:
    """What makes a branch jump, or CSEL and its like take the second of two."""
    word = function.instructions[i]
    size = 8 if word >> 31 else 4
    if word & 0x7E000000 == 0x34000000:  # CBZ, CBNZ
        name = "ne" if word >> 24 & 1 else "eq"
        return Condition(name, register(word & 31, size), _ZERO, size, i)
    if word & 0x7E000000 == 0x36000000:  # TBZ, TBNZ
        bit = (word >> 31 << 5) | (word >> 19 & 31)
        tested = Binary("and", register(word & 31, 8), Const(1 << bit), 8)
        return Condition("ne" if word >> 24 & 1 else "eq", tested, _ZERO, 8, i)
    if word >> 24 == 0x54:
        return _flags(function, i, word & 15)
    if word & 0x1FE00000 == 0x1A800000:
        return _flags(function, i, word >> 12 & 15 ^ 1)
    return None


def _flags(function: Function, i: int, number: int) -> Condition | None:
    """The comparison behind a condition."""
    name = _RELATIONS[number]
    for q in range(i - 1, max(-1, i - 1 - WINDOW), -1):
        if not name or q + 1 in function.sources or not function.follows(q + 1):
            return None
        before = function.instructions[q]
        if function.flows[q] not in (Flow.NEXT, Flow.BRANCH):
            return None
        if before >> 25 & 7 == 7 or before >> 22 == 0x354:  # vectors and system registers
            return None
        if sets_flags(before):
            return _compared(function, q, before, name)
    return None


def _compared(function: Function, q: int, word: int, name: str) -> Condition | None:
    """The comparison that a word makes which sets flags."""
    size, left = 8 if word >> 31 else 4, word >> 5 & 31
    if word & 0x1FE00000 == 0x1A400000:
        return _when(function, q, word, name)
    if word & 0x1F800000 == 0x12000000:  # ANDS
        return _of_bits(name, logical_immediate(word, size), size, q)
    if word & 0x1F000000 == 0x0A000000:
        return _of_bits(name, register_form(word), size, q)
    if word & 0x1F000000 == 0x11000000:  # ADDS and SUBS of a constant
        amount = -signed_immediate(word)
        if left == SP or (not amount and not word >> 30 & 1):
            return None
        return Condition(name, register(left, size), _cut(amount, size), size, q)
    if word & 0x7FE0FC00 == 0x6B000000:  # SUBS
        return Condition(name, register(left, size), register(word >> 16 & 31, size), size, q)
    return None


def _of_bits(name: str, made: Expr, size: int, q: int) -> Condition | None:
    return Condition(_OF_BITS[name], made, _ZERO, size, q) if name in _OF_BITS else None


def _when(function: Function, q: int, word: int, name: str) -> Condition | None:
    """CCMP: a comparison that is made when another one holds; else the flags are given."""
    guard = _flags(function, q, word >> 12 & 15)
    if guard is None or not word >> 30 & 1:
        return None
    size, other = 8 if word >> 31 else 4, word >> 16 & 31
    right = Const(other) if word >> 11 & 1 else register(other, size)
    otherwise = _given(name, word & 15)
    return Condition(name, register(word >> 5 & 31, size), right, size, q, guard, otherwise)


def _given(name: str, flags: int) -> bool:
    """Whether a condition holds for some flags: negative, zero, carry, overflow."""
    negative, zero, carry, overflow = (bool(flags >> bit & 1) for bit in (3, 2, 1, 0))
    less = negative is not overflow
    return {
        "eq": zero,
        "ne": not zero,
        "uge": carry,
        "ult": not carry,
        "neg": negative,
        "pos": not negative,
        "ugt": carry and not zero,
        "ule": not carry or zero,
        "sge": not less,
        "slt": less,
        "sgt": not zero and not less,
        "sle": zero or less,
    }[name]


def _cut(value: int, size: int) -> Const:
    return Const(value & (1 << 8 * size) - 1)

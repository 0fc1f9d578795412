"""What may be another value each time that a loop comes back to it.

A value that comes back to its own definition as it was adds nothing, so that one round tells all;
one that is changed on the way does not.
"""

from __future__ import annotations

from collections.abc import Callable

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atoms
from hvci.binary.form.code import (
    NO_REGISTER,
    Address,
    Binary,
    Choose,
    Either,
    Expr,
    Insert,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
)


def first_written(memory: Memory, value: Callable[[Location], Atoms]) -> int:
    """Where, from its base, a loop that writes elements of an array starts to write.

    `value` tells what a register can hold.
    """
    register = memory.index_register
    if register == NO_REGISTER:
        register = memory.base
    return atoms.first_index(value(Location(register))) * memory.scale


def changes(expr: Expr, frame_offset: Callable[[Memory], int | None]) -> bool:
    """Whether an expression can be something else than the values that it reads.

    `frame_offset` tells which memory is a local variable: reading one is a copy. What is read
    through any other register is another value for every pointer.
    """
    match expr:
        case Binary() | Insert() | SignExtend():
            return True
        case Reg(_, _, shift):
            return shift > 0
        case Address(memory):
            return memory.displacement != 0 or memory.index_register != NO_REGISTER
        case Load(memory):
            if memory.index_register != NO_REGISTER:
                return True
            return memory.base >= 0 and frame_offset(memory) is None
        case Either(left, right) | Choose(_, left, right):
            return changes(left, frame_offset) or changes(right, frame_offset)
    return False

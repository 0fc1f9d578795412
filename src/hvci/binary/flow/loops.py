"""What may be another value each time that a loop comes back to it.

A value that comes back to its own definition as it was adds nothing, so that one round tells all;
one that is changed on the way does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.flow.fates import ANY_SIZE, DOWNWARDS
from hvci.binary.form.code import (
    CALLS,
    NO_REGISTER,
    Address,
    Binary,
    Choose,
    Const,
    Either,
    Expr,
    Function,
    Insert,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

_FIRST = Atom(Kind.CONST)


def elements(
    flow: Dataflow, function: Function, i: int, memory: Memory, nesting: int
) -> Iterator[tuple[int, int]]:
    """How far from its base a loop may write elements of an array: where from, and which way.

    Downwards as well where the index is taken away from the base, or counted down from 0.
    """
    register = memory.index_register
    if register == NO_REGISTER:
        register = memory.base
    index = flow.value(function, i, Location(register), nesting)
    yield min(0, atoms.first_index(index) * memory.scale), ANY_SIZE
    is_below = any(map(atoms.is_below, index))
    if is_below or (_FIRST in index and steps_down(flow, function, i, register, nesting)):
        yield 0, DOWNWARDS


def takes_away(flow: Dataflow, function: Function, i: int, expr: Expr, nesting: int) -> bool:
    """Whether a sum of which only one part is known may lie below that."""
    match expr:
        case Address(memory):
            parts = [memory.base, memory.index_register]
        case Binary("add", Reg(left), Reg(right)):
            parts = [left, right]
        case _:
            return False
    held = (flow.value(function, i, Location(part), nesting) for part in parts if part >= 0)
    return any(atoms.is_below(atom) for each in held for atom in each)


def steps_down(
    flow: Dataflow,
    function: Function,
    i: int,
    register: int,
    nesting: int,
    *,
    unclear: bool = False,
) -> bool:
    """Whether a loop takes what a register holds towards lower addresses.

    The answer is `unclear` where that cannot be told.
    """
    reached = flow.reaching.definitions(function, i, Location(register), nesting)
    for d in reached.definitions:
        if not isinstance(d, int) or function.flows[d] in CALLS:
            continue
        match flow.arch.define(function, d, register):
            case Binary("add", Reg(), Const(step), size):
                is_down = step >> (8 * size - 1) != 0
            case Binary("sub", Reg(), Const(step), size):
                is_down = step >> (8 * size - 1) == 0
            case Address(memory):
                is_down = memory.displacement < 0
            case Reg(number) if number == flow.arch.stack_pointer:
                is_down = False
            case _:
                is_down = unclear
        if is_down:
            return True
    return False


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

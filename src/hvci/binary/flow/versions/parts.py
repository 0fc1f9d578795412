"""What a compared or stored value was made of, by bits, sums and copies.

Knows expressions and definitions; knows nothing of what the parts mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.form.code import (
    CALLS,
    Address,
    Binary,
    Choose,
    Condition,
    Either,
    Expr,
    Function,
    Insert,
    Load,
    Location,
    Reg,
    SignExtend,
    low_byte,
    slot,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_STEPS = 6
"""How many instructions make a compared value of what was read."""
MOST_PARTS = 24


class Part(NamedTuple):
    """Something that was read."""

    i: int
    """The instruction that reads it, or that makes a number."""
    expr: Expr
    call: int | None = None
    """The call whose result it is."""


def compared(flow: Dataflow, function: Function, condition: Condition) -> list[Part]:
    """What the sides of a comparison were made of."""
    found: dict[Part, None] = {}
    for side in (condition.left, condition.right):
        found |= dict.fromkeys(made_of(flow, function, condition.since, side))
    return [*found][:MOST_PARTS]


def made_of(
    flow: Dataflow, function: Function, i: int, expr: Expr, steps: int = 0
) -> Iterator[Part]:
    """What an expression before an instruction was made of."""
    if isinstance(expr, Choose | Either):
        yield Part(i, expr)
    match expr:
        case Binary(_, left, right, _) | Either(left, right) | Insert(left, right, _, _):
            parts: tuple[Expr, ...] = (left, right)
        case Choose(_, left, right):
            parts = (left, right)
        case SignExtend(operand, _, _):
            parts = (operand,)
        case Address(memory):
            parts = tuple(Reg(each) for each in memory[:2] if each >= 0)
        case Reg() | Load():
            yield from _read(flow, function, i, expr, steps)
            return
        case _:
            yield Part(i, expr)
            return
    for part in parts:
        yield from made_of(flow, function, i, part, steps)


def _read(
    flow: Dataflow, function: Function, i: int, expr: Reg | Load, steps: int
) -> Iterator[Part]:
    place = _place(flow, function, i, expr)
    if place is None or steps >= MOST_STEPS:
        yield Part(i, expr)
        return
    for d in flow.definitions(function, i, place):
        if not isinstance(d, int):
            yield Part(i, expr)
        elif function.flows[d] in CALLS:
            yield Part(i, expr, d)
        elif isinstance(expr, Reg):
            made = flow.arch.define(function, d, expr.number)
            yield from made_of(flow, function, d, made, steps + 1)
        else:
            yield from made_of(flow, function, d, flow.arch.stored(function, d), steps + 1)


def _place(flow: Dataflow, function: Function, i: int, expr: Reg | Load) -> Location | None:
    """The register or slot of the frame that is read."""
    if isinstance(expr, Reg):
        is_low = expr.size == 1 and not expr.shift
        return low_byte(expr.number) if is_low else Location(expr.number)
    offset = flow.frames.offset(function, i, expr.memory) if expr.memory.base >= 0 else None
    return None if offset is None else slot(offset)

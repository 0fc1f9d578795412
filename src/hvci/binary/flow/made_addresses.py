"""Which addresses of the image a register can hold where it is made of ADRPs, sums and copies.

A scan proposes places at which a register may hold an address; this tells whether a way leads there
from an instruction that makes it. Far cheaper than asking for all that the register can hold, which
is of no interest. Knows nothing of what lies at an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow.reaching import BUDGET
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
    Function,
    ImageAddress,
    Load,
    Location,
    Memory,
    Reg,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST = 64
"""Definitions looked at for one question."""
LOST = "a register that a call does not preserve"


class Made(NamedTuple):
    """What was found."""

    rvas: frozenset[int]
    why_open: str = ""
    """Why there may be others, where that is so."""


def made(flow: Dataflow, function: Function, i: int, expr: Expr) -> Made:
    """The addresses that an expression can be in the state before instruction `i`."""
    found: set[int] = set()
    why_open = ""
    work: list[tuple[int, Expr, int]] = [(i, expr, 0)]
    seen: dict[tuple[int, int], set[int]] = {}
    while work and len(seen) < MOST:
        at, part, more = work.pop()
        match part:
            case ImageAddress(rva):
                found.add(rva + more)
            case Address(memory) if memory.index_register == NO_REGISTER:
                if memory.base == IMAGE_BASE:
                    found.add(memory.displacement + more)
                elif memory.base >= 0:
                    work.append((at, Reg(memory.base), more + memory.displacement))
            case Binary("add", left, Const(value), 8):
                work.append((at, left, more + (value if value < 1 << 63 else value - (1 << 64))))
            case Binary("sub", left, Const(value), 8):
                work.append((at, left, more - value))
            case Either(left, right) | Choose(_, left, right):
                work += [(at, left, more), (at, right, more)]
            case Load(memory) if flow.frames.is_plain(function, at, memory):
                work += [(d, stored, more) for d, stored in _saved(flow, function, at, memory)]
            case Reg(number, 8, 0):
                offsets = seen.setdefault((at, number), set())
                if more in offsets or len(offsets) > 1:  # more, where a loop changes it
                    continue
                offsets.add(more)
                for d in flow.definitions(function, at, Location(number)):
                    if not isinstance(d, int):
                        continue
                    if function.flows[d] in CALLS:
                        why_open = why_open if number == flow.arch.result else LOST
                    else:
                        work.append((d, flow.arch.define(function, d, number), more))
    return Made(frozenset(found), BUDGET if work or flow.is_spent else why_open)


def _saved(
    flow: Dataflow, function: Function, i: int, memory: Memory
) -> Iterator[tuple[int, Expr]]:
    """(instruction, expression) of what was stored last into a slot of the frame, on any way."""
    stores = _stores(flow, function)
    work, seen = [i], {i}
    while work:
        for p in function.predecessors(work.pop()):
            if p in seen:
                continue
            seen.add(p)
            flow.steps += 1
            near = [
                (n, each)
                for n, each in enumerate(stores.get(p, ()))
                if each.base == memory.base
                and each.displacement < memory.displacement + memory.size
                and memory.displacement < each.displacement + each.size
            ]
            for n, each in near:
                if each.displacement == memory.displacement:
                    yield p, flow.arch.stored(function, p, n)
            if not near:
                work.append(p)


def _stores(flow: Dataflow, function: Function) -> dict[int, tuple[Memory, ...]]:
    """What the instructions of a function store into, by their index."""
    known: dict[int, tuple[Memory, ...]] | None = function.cache.get("stores")
    if known is None:
        effect = flow.arch.effect
        known = {d: effect(function, d).stores for d in flow.arch.storing(function)}
        function.cache["stores"] = known
    return known

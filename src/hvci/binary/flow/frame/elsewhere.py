"""What surely is no address in the frame, told by the instructions that make it.

Most registers through which code reads and writes point to objects. Asking the data flow for the
whole value would follow those into globals and callers, only to learn that they are no frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    Opaque,
    Reg,
    SignExtend,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

ELSEWHERE = -3
"""As a register that something is made of: surely no address in the frame."""
_KEY = "frame addresses"


def is_elsewhere(flow: Dataflow, function: Function, i: int, register: int) -> bool:
    """Whether something that a register can hold before an instruction is no frame address.

    No memory but the frame holds an address in it: code that outlives its frame must not.
    """
    seen, work = set[tuple[int, int]](), [(i, register)]
    while work:
        place = work.pop()
        if place in seen:
            continue
        seen.add(place)
        for d in flow.reaching.made(function, *place):
            if not isinstance(d, int):
                return True
            source = _source(flow, function, d, place[1])
            if source == ELSEWHERE:
                return True
            if source != NO_REGISTER:
                work.append((d, source))
    return False


def _source(flow: Dataflow, function: Function, d: int, register: int) -> int:
    """The register that an instruction copies, or moves by a number, into another one.

    `ELSEWHERE` where what it makes is no frame address, `NO_REGISTER` where neither is seen.
    """
    arch = flow.arch
    if function.flows[d] in CALLS:
        return (
            ELSEWHERE if register == arch.result and _is_others(flow, function, d) else NO_REGISTER
        )
    match arch.define(function, d, register):
        case Const() | ImageAddress() | Opaque():
            return ELSEWHERE
        case Load(memory):
            return ELSEWHERE if _is_other_memory(flow, function, d, memory) else NO_REGISTER
        case Reg(number, _, 0) | Binary("add" | "sub", Reg(number, _, 0), Const()):
            source = number
        case Address(memory) if memory.index_register == NO_REGISTER:
            source = memory.base
        case _:
            return NO_REGISTER
    return source if source not in (IMAGE_BASE, arch.stack_pointer) else NO_REGISTER


def _is_others(flow: Dataflow, function: Function, d: int) -> bool:
    """Whether a call plainly goes to a routine of others, which returns no place in the frame."""
    if function.flows[d] == Flow.CALL:
        return flow.arch.direct_target(function, d) in flow.interprocedural.thunks
    match flow.arch.indirect_operand(function, d):
        case Load(Memory(base, index, _, rva, _)) if base == IMAGE_BASE and index == NO_REGISTER:
            return rva in flow.image.imports
    return False


def _is_other_memory(flow: Dataflow, function: Function, d: int, memory: Memory) -> bool:
    """Whether no frame address was ever put where an instruction loads from."""
    base, arch = memory.base, flow.arch
    if memory.index_register != NO_REGISTER or base == NO_REGISTER:
        return False
    if base == IMAGE_BASE:
        return True
    if base not in (arch.stack_pointer, arch.frame_pointer):
        return not arch.may_hold_stack_address(function, base)
    at, places = flow.frames.offset(function, d, memory), _places(flow, function)
    return at is not None and places is not None and at not in places


def _places(flow: Dataflow, function: Function) -> frozenset[int] | None:
    """Where in the frame a function may put addresses of it; None where that is not seen."""
    if _KEY not in function.cache:
        function.cache[_KEY] = None  # while it is asked for
        function.cache[_KEY] = _find_places(flow, function)
    known: frozenset[int] | None = function.cache[_KEY]
    return known


def _find_places(flow: Dataflow, function: Function) -> frozenset[int] | None:
    arch, found = flow.arch, set[int]()
    frame = (arch.stack_pointer, arch.frame_pointer)
    for p in arch.storing(function):
        effect = arch.effect(function, p)
        for n, memory in enumerate(effect.stores):
            if not any(each >= 0 and _may_hold(flow, function, each) for each in memory[:2]):
                continue
            if effect.fills or not _may_be(flow, function, arch.stored(function, p, n)):
                continue
            is_plain = memory.base in frame and memory.index_register == NO_REGISTER
            at = flow.frames.offset(function, p, memory) if is_plain else None
            if at is None:
                return None
            found.add(at)
    return frozenset(found)


def _may_hold(flow: Dataflow, function: Function, register: int) -> bool:
    arch = flow.arch
    return register == arch.frame_pointer or arch.may_hold_stack_address(function, register)


def _may_be(flow: Dataflow, function: Function, expr: Expr) -> bool:
    """Whether an expression may be, or come to hold, an address in the frame."""
    match expr:
        case Reg(number):
            return _may_hold(flow, function, number)
        case Load(memory) | Address(memory):
            return any(each >= 0 and _may_hold(flow, function, each) for each in memory[:2])
        case Binary(_, left, right, _) | Either(left, right) | Choose(_, left, right):
            return _may_be(flow, function, left) or _may_be(flow, function, right)
        case Insert(old, new, _, _):
            return _may_be(flow, function, old) or _may_be(flow, function, new)
        case SignExtend(operand, _, _):
            return _may_be(flow, function, operand)
    return False

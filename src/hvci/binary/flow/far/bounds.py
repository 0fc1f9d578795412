"""How far code that writes one element after the other goes: as the constants say that end it.

Knows loops, block instructions and the routines that fill; knows nothing of what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.flow.fates import ANY_SIZE, OBJECT_REACH, Fate, Passed, Place, Write, extent
from hvci.binary.form.code import (
    CALLS,
    NO_REGISTER,
    Address,
    Binary,
    Condition,
    Const,
    Expr,
    Flow,
    Function,
    Location,
    Memory,
    Reg,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

FARTHEST = 1 << 13
"""Bytes from the start of data that is filled as a whole to something in it."""
NESTING = 8
"""How deep the questions may nest already."""

_WRITERS = "writers in loops"
_ZERO = Const(0)
_INCLUSIVE = ("le", "gt")
"""Relations of a number with the last one that counts."""


class Span(NamedTuple):
    """What is surely filled, in bytes behind a pointer: from the first to before the end."""

    first: int
    end: int
    by: Place
    """The call or store of the function that has the pointer first."""


def spans(flow: Dataflow, fate: Fate, start: int, kind: Kind) -> Iterator[Span]:
    """What is filled through a pointer, to `start` in the frame or image as `kind` says."""
    for write in fate.writes:
        if write.size == ANY_SIZE and (size := bound(flow, write, start, kind)):
            memory = flow.arch.effect(write.function, write.i).stores[write.n]
            is_moved = memory.index_register == NO_REGISTER and not write.offset
            is_far = is_moved and OBJECT_REACH <= memory.displacement < FARTHEST
            first = memory.displacement if is_far else write.offset
            by = write.calls[0] if write.calls else (write.function, write.i)
            yield Span(first, first + size, by)
    for passed in fate.passed:
        written = extent(passed.name, passed.argument, flow.image.bits)
        if written < 0:
            written = _largest(count_of(flow, passed, NESTING))
        if written:
            by = passed.calls[0] if passed.calls else (passed.function, passed.i)
            yield Span(passed.offset, passed.offset + written, by)


def count_of(flow: Dataflow, passed: Passed, nesting: int) -> Atoms:
    """How many bytes a routine is told to fill, for the calls that lead there."""
    argument = -extent(passed.name, passed.argument, flow.image.bits)
    place = flow.interprocedural.at_entry(argument)
    count = flow.interprocedural.passed(passed.function, passed.i, place, nesting + 1)
    return of_callers(flow, count, passed.function, passed.calls, nesting)


def of_callers(
    flow: Dataflow, values: Atoms, function: Function, calls: tuple[Place, ...], nesting: int
) -> Atoms:
    """What values that a callee makes of its parameters are, for the calls that lead there."""
    for caller, k in reversed(calls):
        out = set[Atom]()
        for atom in values:
            if atoms.is_handed(atom, function.start):
                place = Location(atom.place)
                held = flow.interprocedural.passed(caller, k, place, nesting + 1)
                out |= atoms.apply(held, atom.ops)
            else:
                out.add(atom)
        values, function = atoms.bounded(out), caller
    return values


def _largest(values: Atoms) -> int:
    """The largest of some numbers that are no more than anything that is filled."""
    known = (atom.value for atom in values if atom.kind is Kind.CONST)
    return max((value for value in known if value <= FARTHEST), default=0)


def bound(flow: Dataflow, write: Write, start: int, kind: Kind) -> int:
    """The bytes that a loop, or a block instruction, writes from its pointer on; 0: not known.

    The pointer is to `start` in the frame or image, as `kind` says.
    """
    function, i = write.function, write.i
    effect = flow.arch.effect(function, i)
    memory = effect.stores[write.n]
    if effect.fills:
        if flow.arch.count_register < 0:
            return 0
        held = flow.value(function, i, Location(flow.arch.count_register), NESTING)
        count = _largest(of_callers(flow, held, function, write.calls, NESTING))
        return count * memory.size
    loop = _around(function, i)
    if loop is None:
        return 0
    ends = (_end(flow, write, q, memory, loop, start, kind) for q in _branches(function, loop))
    return max((end for end in ends if end <= FARTHEST), default=0)


def _around(function: Function, i: int) -> range | None:
    """The instructions of the innermost loop around one."""
    loops = (range(t, j + 1) for j, t in function.jumps.items() if t <= i <= j)
    return min(loops, key=len, default=None)


def _branches(function: Function, loop: range) -> Iterator[int]:
    yield from (q for q in loop if function.flows[q] == Flow.BRANCH)


def _end(
    flow: Dataflow, write: Write, q: int, memory: Memory, loop: range, start: int, kind: Kind
) -> int:
    """Bytes behind the pointer at which a branch may end the loop."""
    function = write.function
    condition = flow.arch.condition(function, q)
    if condition is None:
        return 0
    best, more = 0, condition.name[1:] in _INCLUSIVE
    for counter, bound in _sides(condition):
        step, at = _step(flow, function, loop, counter, condition.since)
        if condition.right == _ZERO and at is not None:
            since, bound = at, Reg(counter, condition.size)  # what it counts down from
        else:
            since = condition.since
        scale = {memory.base: 1, memory.index_register: memory.scale}.get(counter, 0)
        for atom in _held(flow, write, since, bound):
            rva = atom.value - flow.image.base
            count = abs(atoms.signed(atom.value, 8 * condition.size))
            if atom.kind is kind:
                best = max(best, atom.value - start)
            elif atom.kind is not Kind.CONST:
                continue
            elif kind is Kind.ADDRESS and flow.image.bits == 32 and flow.image.holds(rva):
                best = max(best, rva - start)
            elif count <= FARTHEST:
                best = max(best, count * scale, (count // step + more) * memory.size)
    return best


def _held(flow: Dataflow, write: Write, i: int, bound: Expr) -> Iterator[Atom]:
    """What ends a loop: of a sum that is made before it, each part."""
    function, parts = write.function, [(i, bound)]
    register = _register(bound)
    if register >= 0:
        for d in flow.definitions(function, i, Location(register)):
            if isinstance(d, int) and function.flows[d] not in CALLS:
                parts += ((d, part) for part in _summed(flow.arch.define(function, d, register)))
    for at, part in parts:
        held = flow.evaluate(function, at, part, NESTING)
        yield from of_callers(flow, held, function, write.calls, NESTING)


def _summed(expr: Expr) -> tuple[Expr, ...]:
    """The registers of which an expression is the sum."""
    match expr:
        case Binary("add", Reg() as left, Reg() as right, _):
            return left, right
        case Address(Memory(base, index, 1, 0, _)) if base >= 0 and index >= 0:
            return Reg(base), Reg(index)
    return ()


def _sides(condition: Condition) -> Iterator[tuple[int, Expr]]:
    """(register that counts, what tells how often) for each way to read a comparison."""
    left, right = condition.left, condition.right
    left = left.left if isinstance(left, Binary) else left
    if right != _ZERO:
        yield _register(right), left
        yield _register(left), right
    else:
        yield _register(left), left  # it counts down


def _register(expr: Expr) -> int:
    return expr.number if isinstance(expr, Reg) else NO_REGISTER


def _step(
    flow: Dataflow, function: Function, loop: range, register: int, since: int
) -> tuple[int, int | None]:
    """How far a loop counts each time, and where; 1 where that is not seen.

    A comparison may take a number away from the register as well.
    """
    known: dict[tuple[range, int], list[int]] = function.cache.setdefault(_WRITERS, {})
    if register >= 0 and (loop, register) not in known:
        effect, mask = flow.arch.effect, 1 << register
        known[loop, register] = [k for k in loop if effect(function, k).registers & mask]
    for k in sorted(known.get((loop, register), ()), key=lambda k: k == since):
        match flow.arch.define(function, k, register):
            case Binary("add" | "sub", Reg(number), Const(step), size) if number == register:
                return abs(atoms.signed(step, 8 * size)) or 1, k
            case Address(memory) if memory.base == register:
                return abs(memory.displacement) or 1, k
    return 1, None

"""Whether code that opts in to NX runs for another reason than the version of Windows.

Knows what conditions compare: what the loader gave to the entry point, and variables that nothing
sets or only for such reasons, tell nothing of Windows. What is not known counts as an opt-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NUMERIC, Atom, Kind
from hvci.binary.flow.fates import Place
from hvci.binary.flow.ways import ahead, behind
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Condition,
    Expr,
    Flow,
    Function,
    Load,
    Location,
    Memory,
    Reg,
    SignExtend,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_CALLS = 4
"""How many calls deep what the entry point gets is followed."""
MOST_VARIABLES = 3
"""How many variables one after the other may decide."""
MOST_STEPS = 6
"""How many instructions make a compared value of what was read."""


def runs_by_chance(flow: Dataflow, function: Function, i: int, nesting: int = 0) -> bool:
    """Whether something that surely is no version of Windows decides about an instruction."""
    before, after = ahead(function, [i]), behind(function, [i])
    for q in sorted(before - {i}):
        if function.flows[q] != Flow.BRANCH:
            continue
        onward = {function.jumps.get(q, -1), q + 1 if function.follows(q + 1) else -1}
        others = onward - before - {-1}
        shared = behind(function, others) & after
        if not others & after and not any(function.flows[k] in CALLS for k in shared):
            continue  # it leads there either way, or the other one leaves: something failed
        condition = flow.arch.condition(function, q)
        if condition is not None and _is_other(flow, function, condition, nesting):
            return True
    return False


def by_chance(flow: Dataflow, way: Iterable[Place], nesting: int = 0) -> bool:
    """Whether such a thing decides about one of the calls that lead to a store, or about that."""
    return any(runs_by_chance(flow, function, i, nesting) for function, i in way)


def _is_other(flow: Dataflow, function: Function, condition: Condition, nesting: int) -> bool:
    """Whether a comparison is of something that surely is no version of Windows."""
    if condition.guard is not None and _is_other(flow, function, condition.guard, nesting):
        return True
    sides = (condition.left, condition.right)
    parts = (part for side in sides for part in _parts(function, condition.since, side, flow))
    return any(_is_unrelated(flow, function, i, part, nesting) for i, part in parts)


def _parts(
    function: Function, i: int, expr: Expr, flow: Dataflow, nesting: int = 0
) -> Iterator[tuple[int, Expr]]:
    """What a compared value was made of, by bits and sums, with the instructions that read it."""
    match expr:
        case Binary(_, left, right, _):
            yield from _parts(function, i, left, flow, nesting)
            yield from _parts(function, i, right, flow, nesting)
        case SignExtend(operand, _, _):
            yield from _parts(function, i, operand, flow, nesting)
        case Reg(number, _, _) if nesting < MOST_STEPS:
            for d in flow.definitions(function, i, Location(number)):
                if isinstance(d, int) and function.flows[d] not in CALLS:
                    made = flow.arch.define(function, d, number)
                    yield from _parts(function, d, made, flow, nesting + 1)
                else:
                    yield i, expr
        case Load() | Reg():
            yield i, expr


def _is_of_entry(flow: Dataflow, atom: Atom) -> bool:
    """Whether a value is a field of what the loader gave to the entry point."""
    if atom.kind is not Kind.FIELD:
        return False
    while atom.of is not None:
        atom = atom.of
    for _ in range(MOST_CALLS):
        if atom.kind is not Kind.PARAMETER:
            return False
        if atom.value == flow.image.headers.entry:
            return True
        callers = flow.functions.callers(atom.value)
        if len(callers) != 1 or flow.functions.takes_address(atom.value):
            return False
        held = flow.interprocedural.passed(*callers[0], Location(atom.place))
        if len(held) != 1:
            return False
        (atom,) = held
    return False


def _is_unrelated(flow: Dataflow, function: Function, i: int, expr: Expr, nesting: int) -> bool:
    """Whether what an instruction reads surely tells nothing of the version of Windows."""
    held = flow.evaluate(function, i, expr, 1)
    if any(_is_of_entry(flow, atom) for atom in held):
        return True
    if not isinstance(expr, Load) or any(atom.kind not in NUMERIC for atom in held):
        return False
    rva = _variable(flow, function, i, expr.memory)
    return rva is not None and _is_set_by_chance(flow, rva, expr.memory.size, nesting)


def _variable(flow: Dataflow, function: Function, i: int, memory: Memory) -> int | None:
    """The RVA of the variable of the image that an operand names."""
    if memory.index_register != NO_REGISTER:
        return None
    if memory.base == IMAGE_BASE:
        return memory.displacement
    held = flow.evaluate(function, i, Address(memory._replace(size=8)), 1)
    address = atoms.single(held)
    is_known = address is not None and address.kind is Kind.ADDRESS
    return address.value if address is not None and is_known else None


def _is_set_by_chance(flow: Dataflow, rva: int, size: int, nesting: int) -> bool:
    """Whether a variable is set for no version of Windows: never, or only by chance."""
    if nesting >= MOST_VARIABLES or rva in flow.image.imports or not flow.image.is_writable(rva):
        return False
    held = flow.globals.value(rva, size, 1)
    if any(atom.kind not in NUMERIC for atom in held):
        return False
    values = {atom.value for atom in held} - {flow.image.number(rva, size)}
    setting = flow.globals.setting(rva, size, values)
    if values and not setting:
        return False  # by what nobody followed
    return all(by_chance(flow, way, nesting + 1) for way in setting)

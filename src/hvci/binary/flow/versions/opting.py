"""Whether code that opts in to NX runs for another reason than the version of Windows.

Knows what conditions compare: what the loader gave to the entry point, answers of routines that
tell nothing of Windows, and variables that nothing sets or only for such reasons. What is not known
counts as an opt-in, and so does what is only skipped where the driver does not load.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import NUMERIC, Atoms, Kind
from hvci.binary.flow.fates import Place
from hvci.binary.flow.versions.loading import may_load
from hvci.binary.flow.versions.parts import Part, compared, made_of
from hvci.binary.flow.versions.unrelated import Tells, of_call, of_local, of_value, of_variable
from hvci.binary.flow.ways import ahead, behind, onward
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Choose,
    Condition,
    Const,
    Either,
    Flow,
    Function,
    Load,
    Memory,
)

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_VARIABLES = 3
"""How many variables and functions one after the other may decide."""
MOST_CALLERS = 16
"""Callers that are asked for a parameter that is compared."""
_WRITTEN_BY_OTHERS = frozenset((Kind.UNKNOWN, Kind.LEAKED, Kind.CONST))


def runs_by_chance(flow: Dataflow, function: Function, i: int, nesting: int = 0) -> bool:
    """Whether something that surely is no version of Windows decides about an instruction."""
    before, after = ahead(function, [i]), behind(function, [i])
    for q in sorted(before - {i}):
        if function.flows[q] != Flow.BRANCH:
            continue
        others = {*onward(function, q)} - before
        shared = behind(function, others) & after
        leaves = not others & after and not any(function.flows[k] in CALLS for k in shared)
        if not others or (leaves and _is_start(flow, function)):
            continue  # it leads there either way, or the driver has nothing else to do
        condition = flow.arch.condition(function, q)
        if condition is None or not _is_other(flow, function, condition, nesting):
            continue
        if any(may_load(flow, function, q, first) for first in others):
            return True
    return False


def _is_start(flow: Dataflow, function: Function) -> bool:
    """Whether a function is the entry point, or where that goes on to."""
    entry = flow.functions.at(int(flow.image.headers.entry))
    if entry is None or entry.start == function.start:
        return True
    callers = flow.functions.callers(function.start)
    return any(each.start == entry.start and each.flows[k] not in CALLS for each, k in callers)


def by_chance(flow: Dataflow, way: Iterable[Place], nesting: int = 0) -> bool:
    """Whether such a thing decides about one of the calls that lead to a store, or about that."""
    way = [*way]
    return any(
        runs_by_chance(flow, function, i, nesting) for function, i in way
    ) or _is_made_by_chance(flow, *way[-1], nesting)


def _is_made_by_chance(flow: Dataflow, function: Function, i: int, nesting: int) -> bool:
    """Whether a value is stored that such a thing decides about."""
    if function.flows[i] != Flow.NEXT:
        return False
    parts = [*made_of(flow, function, i, flow.arch.stored(function, i))]
    return any(
        _is_unrelated(flow, function, part, nesting)
        for part in parts
        if len(parts) > 1 or not isinstance(part.expr, Const)
    )


def _is_other(flow: Dataflow, function: Function, condition: Condition, nesting: int) -> bool:
    """Whether a comparison is of something that surely is no version of Windows."""
    if condition.guard is not None and _is_other(flow, function, condition.guard, nesting):
        return True
    return any(
        _is_unrelated(flow, function, part, nesting)
        for part in compared(flow, function, condition)
        if part.i != condition.since or not isinstance(part.expr, Const)
    )


def _is_unrelated(flow: Dataflow, function: Function, part: Part, nesting: int) -> bool:
    """Whether what an instruction reads, or chooses, surely tells nothing of the version."""
    if isinstance(part.expr, Const | Choose | Either):
        return nesting < MOST_VARIABLES and _is_chosen(flow, function, part, nesting + 1)
    held = flow.interprocedural.resolve(
        flow.evaluate(function, part.i, part.expr, 1), most=MOST_CALLERS
    )
    if _tells_nothing(flow, held):
        return True
    if part.call is not None:
        return _is_answer_by_chance(flow, function, part.call, held, nesting)
    if not isinstance(part.expr, Load):
        return False
    offset = flow.frames.offset(function, part.i, part.expr.memory)
    if offset is not None:
        is_given = all(atom.kind in _WRITTEN_BY_OTHERS for atom in held)
        return is_given and of_local(flow, function, offset) is Tells.NOTHING
    rva = _variable(flow, function, part.i, part.expr.memory)
    return rva is not None and _is_set_by_chance(flow, rva, part.expr.memory.size, nesting)


def _is_chosen(flow: Dataflow, function: Function, part: Part, nesting: int) -> bool:
    """Whether a number is made, or one of two values chosen, for another reason."""
    if isinstance(part.expr, Const):
        return runs_by_chance(flow, function, part.i, nesting)
    condition = flow.arch.condition(function, part.i)
    return condition is not None and _is_other(flow, function, condition, nesting)


def _tells_nothing(flow: Dataflow, held: Atoms) -> bool:
    """Whether what something can be hangs on what tells nothing, and on nothing else."""
    told = {of_value(flow, atom) for atom in held}
    return Tells.NOTHING in told and Tells.ANYTHING not in told


def _is_answer_by_chance(
    flow: Dataflow, function: Function, call: int, held: Atoms, nesting: int
) -> bool:
    """Whether a function of the image makes its answer of what tells nothing."""
    _, callee = flow.interprocedural.callee(function, call, 1)
    if nesting >= MOST_VARIABLES or callee is None or len(held) < 2:
        return False
    if any(atom.kind not in _WRITTEN_BY_OTHERS for atom in held):
        return False
    return of_call(flow, function, call) is Tells.NOTHING


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
    held, writers = flow.globals.value(rva, size, 1), flow.globals.writers(rva, size)
    first = atoms.const(flow.image.number(rva, size))
    numbers = {atom.value for atom in held if atom.kind in NUMERIC}
    written = first.union(*(writer.values for writer in writers))
    is_open = any(atom.kind not in NUMERIC for atom in held)
    if numbers - {atom.value for atom in written if atom.kind is Kind.CONST}:
        return False  # by what nobody followed
    if is_open and all(atom.kind in NUMERIC for atom in written):
        return of_variable(flow, rva) is Tells.NOTHING
    return all(
        _is_output(flow, *writer.way[-1]) or by_chance(flow, writer.way, nesting + 1)
        for writer in writers
        if writer.values != first
    )


def _is_output(flow: Dataflow, function: Function, i: int) -> bool:
    """Whether something is written by a routine that tells nothing."""
    return function.flows[i] in CALLS and of_call(flow, function, i) is Tells.NOTHING

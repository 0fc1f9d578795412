"""Whether the driver loads though control does not come to a place: what DriverEntry returns.

Knows flow of control and results; knows nothing of what decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.flow.versions.deciding import Deciding
from hvci.binary.flow.versions.parts import compared
from hvci.binary.flow.versions.paths import Dead
from hvci.binary.flow.ways import ahead, behind
from hvci.binary.form.code import CALLS, Condition, Flow, Function

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_HOPS = 5
"""Functions between a place and the entry point."""
MOST_DECIDED = 40
"""Branches behind a call that may hang on what it returned."""
_ANSWERS = (0xC000_0001, 0, 1)
"""What a routine may answer: a failure, nothing, or something."""
_FAILURE = 0x8000_0000


def may_load(flow: Dataflow, function: Function, q: int, first: int) -> bool:
    """Whether the driver surely may load where branch `q` goes on at an instruction."""
    ways = _through(function, ahead(function, [q]) - {q}, q)
    ways[q] = first == function.jumps.get(q)
    results = _answered(flow, function, q, ways)
    ends = _returned(flow, function, {first} | behind(function, [first]), ways, results)
    return _is_loaded(flow, function, ends, MOST_HOPS)


def _through(function: Function, before: set[int], goal: int) -> dict[int, bool]:
    """Which ways branches take so that control comes to a place."""
    ways = {}
    for p in before:
        if function.flows[p] == Flow.BRANCH:
            is_jump = function.jumps.get(p) in before | {goal}
            is_next = p + 1 in before | {goal}
            if is_jump is not is_next:
                ways[p] = is_jump
    return ways


def _answered(
    flow: Dataflow, function: Function, q: int, ways: dict[int, bool]
) -> dict[int, Atoms]:
    """What calls answered that a branch asks about, by their RVAs, so that it goes its way."""
    condition = flow.arch.condition(function, q)
    if condition is None:
        return {}
    calls = {part.call for part in compared(flow, function, condition)} - {None}
    for answer in _ANSWERS if calls else ():
        results = {function.rvas[d]: atoms.const(answer) for d in calls if d is not None}
        if _truth(flow, function, condition, ways, results) is ways[q]:
            return results
    return {}


def _truth(
    flow: Dataflow,
    function: Function,
    condition: Condition,
    ways: dict[int, bool],
    results: dict[int, Atoms],
) -> bool | None:
    """Whether a comparison holds where branches go some ways and calls answer something."""
    deciding = Deciding(flow, lambda _: False)
    return flow.supposing(
        function, Dead(function, ways), results, lambda: deciding.holds(function, condition)
    )


def _returned(
    flow: Dataflow,
    function: Function,
    region: set[int],
    ways: dict[int, bool],
    results: dict[int, Atoms],
) -> Atoms:
    """What a function returns where branches go some ways and calls answer something."""
    branches = [b for b in sorted(region) if function.flows[b] == Flow.BRANCH and b not in ways]
    for b in branches[:MOST_DECIDED] if results else ():
        condition = flow.arch.condition(function, b)
        if condition is None:
            continue
        calls = {part.call for part in compared(flow, function, condition)}
        if not any(d is not None and function.rvas[d] in results for d in calls):
            continue
        truth = _truth(flow, function, condition, ways, results)
        if truth is not None:
            ways[b] = truth
        elif any(atom.kind is not Kind.CONST for held in results.values() for atom in held):
            return atoms.unknown("what hangs on an answer that is not known")
    held = flow.supposing(
        function,
        Dead(function, ways),
        results,
        lambda: flow.interprocedural.returned_by(function, 1),
    )
    return atoms.unknown("more than a function may return") if held is None else held


def _is_loaded(flow: Dataflow, function: Function, ends: Atoms, hops: int) -> bool:
    """Whether the entry point surely may succeed where a function returns something."""
    entry = flow.functions.at(int(flow.image.headers.entry))
    if entry is None or entry.start == function.start:
        return any(map(_succeeds, ends))
    for caller, k in flow.functions.callers(function.start) if hops else ():
        held = ends
        if caller.flows[k] in CALLS:
            ways = _through(caller, ahead(caller, [k]) - {k}, k)
            held = _returned(flow, caller, behind(caller, [k]), ways, {caller.rvas[k]: ends})
        if _is_loaded(flow, caller, held, hops - 1):
            return True
    return False


def _succeeds(atom: Atom) -> bool:
    """Whether a status is or may be that of success."""
    if atom.kind is Kind.CONST:
        return not atom.value & _FAILURE
    return atom.kind is Kind.RESULT

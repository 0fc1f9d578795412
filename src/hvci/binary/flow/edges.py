"""What a conditional branch says about a register on the way to its target.

After `test eax, eax; jne` the fall-through has eax = 0, and compilers build constants from that.
"""

from __future__ import annotations

from hvci.binary.form.code import (
    Architecture,
    Edge,
    Function,
    Location,
    Reg,
    is_low_byte,
    register_of,
)
from hvci.binary.pe.sets import members

COPY_WINDOW = 5
"""Instructions before a comparison in which a copy of the compared register is looked for."""


def edge_between(arch: Architecture, function: Function, p: int, j: int) -> Edge | None:
    """What holds on the edge from branch `p` to `j`; None for nothing."""
    taken = function.jumps.get(p) == j
    if taken and j == p + 1 and function.follows(j):
        return None  # both edges lead here
    key = 2 * p + taken
    if key not in function.edges:
        function.edges[key] = _edge(arch, function, p, taken)
    return function.edges[key]


def fixes(edge: Edge, location: Location) -> bool:
    """Whether an edge says what a register holds."""
    is_wide = edge.size >= 4 or is_low_byte(location)
    return is_wide and register_of(location) in edge.registers


def _edge(arch: Architecture, function: Function, p: int, taken: bool) -> Edge | None:
    """What holds on one edge of branch `p`."""
    equal = arch.equality(function, p, taken)
    if equal is None:
        return None
    same = {equal.register}
    if not arch.effect(function, equal.since).registers >> equal.register & 1:
        # what changes the register, as AND does, leaves the copies made before as they were
        _copied_before(arch, function, equal.since, equal.register, same)
    for q in range(equal.since + 1, p):
        _follow_copies(arch, function, q, same)
    return Edge(frozenset(same), equal.constant, equal.size)


def _copied_before(
    arch: Architecture, function: Function, since: int, register: int, same: set[int]
) -> None:
    """Registers that a move just before a comparison made equal to the compared one."""
    changed = 0
    for q in range(since - 1, max(-1, since - COPY_WINDOW), -1):
        if q + 1 in function.sources or not function.follows(q + 1):
            return
        written = arch.effect(function, q).registers
        for target in members(written & ~changed):
            source = arch.define(function, q, target)
            if isinstance(source, Reg) and source.size >= 4 and not source.shift:
                if target == register and not changed >> source.number & 1:
                    same.add(source.number)
                elif source.number == register:
                    same.add(target)
        changed |= written
        if changed >> register & 1:
            return


def _follow_copies(arch: Architecture, function: Function, q: int, same: set[int]) -> None:
    """What instruction `q` does to the set of equal registers."""
    written = arch.effect(function, q).registers
    fresh = set()
    for target in members(written):
        source = arch.define(function, q, target)
        if isinstance(source, Reg) and source.size >= 4 and source.number in same:
            fresh.add(target)
        same.discard(target)
    same |= fresh

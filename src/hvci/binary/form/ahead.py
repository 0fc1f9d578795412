"""The next calls through a table or pointer that an instruction just loaded, without data flow.

Framework clients load the table before each call, and no compiler keeps it across one: looking a
few instructions ahead finds the call at a hundredth of the cost of asking the data flow. What is
not plain is left to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hvci.binary.form.code import Flow, Function

WINDOW = 64
"""Instructions looked at on one way."""
MAX_WAYS = 8


@dataclass(slots=True)
class Held:
    """What registers hold on one way."""

    tables: set[int] = field(default_factory=set)
    """Registers that hold the address of the table."""
    routines: dict[int, int] = field(default_factory=dict)
    """Offset in the table, in bytes, by the register that holds the routine found there."""
    lost: bool = False
    """Something went where only the data flow can follow."""

    def load(self, register: int, offset: int) -> None:
        """A register gets the routine at an offset."""
        self.tables.discard(register)
        self.drop(register)
        self.routines[register] = offset

    def copy(self, target: int, source: int) -> None:
        """A register gets what another holds."""
        offset, is_table = self.routines.get(source), source in self.tables
        self.drop(target)
        if is_table:
            self.tables.add(target)
        elif offset is not None:
            self.routines[target] = offset

    def drop(self, register: int) -> None:
        """A register gets something else."""
        self.tables.discard(register)
        offset = self.routines.pop(register, None)
        if offset is not None and offset not in self.routines.values():
            self.lost = True

    def store(self, register: int) -> None:
        """A register is kept in memory."""
        if register in self.tables or register in self.routines:
            self.lost = True


@dataclass(slots=True)
class Ahead:
    """What was met ahead."""

    calls: list[tuple[int, int]] = field(default_factory=list)
    """(instruction index, offset in the table) of each call."""
    plain: bool = True
    """Every way led to a call, and nothing was met that only the data flow can follow."""


Step = Callable[[Function, int, Held], int | None]
"""Does what one instruction does; the offset of the routine when it calls one."""


def look_ahead(function: Function, i: int, held: Held, step: Step) -> Ahead:
    """Follow what instruction `i` left in registers until it is called, on every way."""
    ahead = Ahead()
    ways = [(i + 1, held)]
    seen: set[int] = set()
    while ways and len(seen) <= MAX_WAYS:
        start, state = ways.pop()
        if start in seen:
            continue
        seen.add(start)
        ways += _follow(function, start, state, step, ahead)
    ahead.plain = ahead.plain and not ways
    return ahead


def _follow(
    function: Function, start: int, held: Held, step: Step, ahead: Ahead
) -> list[tuple[int, Held]]:
    """One way up to its call; the other ways that branch off it."""
    others: list[tuple[int, Held]] = []
    k = start
    for _ in range(WINDOW):
        if k >= len(function.flows) or held.lost:
            break
        offset = step(function, k, held)
        if offset is not None:
            ahead.calls.append((k, offset))
            return others
        flow = function.flows[k]
        target = function.jumps.get(k)
        if flow == Flow.BRANCH and target is not None:
            others.append((target, Held(set(held.tables), dict(held.routines))))
        if flow == Flow.JUMP and target is not None:
            k = target
        elif not function.falls_through(k):
            break
        else:
            k += 1
    # A way that ends in a return needs no call: the pointer was loaded for another way.
    ended = k < len(function.flows) and function.flows[k] in (Flow.RETURN, Flow.STOP)
    ahead.plain = ahead.plain and ended and not held.lost
    return others

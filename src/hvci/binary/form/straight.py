"""Straight code: what becomes of a pointer there, and what made it, for whoever asks.

A pointer that an instruction leaves in registers is followed through copies and sums, and what is
loaded through it as well: framework clients load a table before each call, and no compiler keeps
it across one, so that looking a few instructions ahead finds the call at a hundredth of the cost of
asking the data flow. What is not plain is left to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hvci.binary.form.code import CALLS, Flow, Function
from hvci.binary.form.step import Step, Steps
from hvci.binary.pe.sets import members

WINDOW = 64
"""Instructions looked at on one way."""
MAX_WAYS = 8
NOTHING: Mapping[int, int] = {}


class Held:
    """What registers hold on one way."""

    __slots__ = ("lost", "registers", "routines", "tables")

    def __init__(self, tables: Iterable[int] = (), routines: Mapping[int, int] = NOTHING) -> None:
        self.tables = dict.fromkeys(tables, 0)
        """What was added to the address of the table, by the register that holds it."""
        self.routines = dict(routines)
        """Offset in the table, in bytes, by the register that holds the routine found there."""
        self.lost = False
        """Something went where only the data flow can follow."""
        self.registers = 0
        """Mask of the registers that hold either."""
        for each in (*self.tables, *self.routines):
            self.registers |= 1 << each

    def split(self) -> Held:
        """The same on another way."""
        other = Held(routines=self.routines)
        other.tables, other.lost, other.registers = dict(self.tables), self.lost, self.registers
        return other

    def load(self, register: int, offset: int) -> None:
        """A register gets the routine at an offset."""
        self.tables.pop(register, None)
        if register in self.routines:
            self.drop(register)
        self.routines[register] = offset
        self.registers |= 1 << register

    def copy(self, target: int, source: int, amount: int = 0) -> None:
        """A register gets what another holds, and so many bytes more."""
        routine, table = self.routines.get(source), self.tables.get(source)
        self.drop(target)
        if table is not None:
            self.tables[target] = table + amount
        elif routine is not None and not amount:
            self.routines[target] = routine
        else:
            return
        self.registers |= 1 << target

    def drop(self, register: int) -> None:
        """A register gets something else."""
        self.tables.pop(register, None)
        offset = self.routines.pop(register, None)
        self.registers &= ~(1 << register)
        if offset is not None and offset not in self.routines.values():
            self.lost = True

    def store(self, register: int) -> None:
        """A register is kept in memory."""
        if register in self.tables or register in self.routines:
            self.lost = True

    def take(self, step: Step) -> int | None:
        """Do what a step does; the offset of the routine when it calls one, or jumps to it."""
        if step.flow:
            return self.routines.get(step.through)
        _, written, _, bases, sources, moves, loads, stores, _ = step
        for stored in stores:
            self.store(stored.register)
        entries = []
        for table, added in self.tables.items():
            if bases >> table & 1:
                entries = [(each[0], added + each[2]) for each in loads if each[1] == table]
                if not entries or moves or stores:
                    self.lost = True  # no entry, or not only one
            if sources >> table & 1 and (bases or not moves):
                self.lost = True  # an offset is added to it, perhaps
        if moves and not bases and self.registers >> moves[0].source & 1:
            self.copy(*moves[0])
            return None
        lost = written & self.registers
        for register, offset in entries:
            self.load(register, offset)
            lost &= ~(1 << register)
        for register in members(lost):
            self.drop(register)
        return None


# ---- back


def last_write(
    code: Sequence[Any], written: Callable[[Any], int], i: int, registers: int, first: int
) -> int:
    """The last instruction from `first` on and before `i` that changes one of some registers.

    -1 when none does, by a mask of the registers that an instruction changes, calls apart.
    """
    for q in range(i - 1, first - 1, -1):
        if written(code[q]) & registers:
            return q
    return -1


# ---- forward: a pointer and what is made of it


def uses(
    code: Iterable[Any], steps: Steps, registers: int, lost_by_calls: int = 0
) -> Iterator[tuple[int, Step, int]]:
    """(number of the instruction, step, registers that hold it) for each that names a pointer.

    And for each that changes the flow of control, the first instruction being 1. What is made of
    the pointer is one as well; it ends where no register (in masks) holds it any more.
    """
    held = registers
    touched, of = steps
    for n, instruction in enumerate(code, 1):
        if not touched(instruction) & held:
            continue
        step = of(instruction)
        yield n, step, held
        if step.flow:
            if step.flow in CALLS:
                held &= ~lost_by_calls
        else:
            made = step.written if step.sources & held and not step.bases else 0
            for target, source, _ in step.moves:
                made |= (held >> source & 1) << target
            held = held & ~step.written | made
        if not held:
            return


# ---- forward: the calls of what was loaded through one


@dataclass(slots=True)
class Ahead:
    """What was met ahead."""

    calls: list[tuple[int, int]] = field(default_factory=list)
    """(instruction index, offset in the table) of each call."""
    plain: bool = True
    """Every way led to a call, and nothing was met that only the data flow can follow."""


Take = Callable[[Function, int, Held], int | None]
"""Does what one instruction does; the offset of the routine when it calls one."""


def look_ahead(function: Function, i: int, held: Held, take: Take) -> Ahead:
    """Follow what instruction `i` left in registers until it is called, on every way."""
    ahead = Ahead()
    ways = [(i + 1, held)]
    seen: set[int] = set()
    while ways and len(seen) <= MAX_WAYS:
        start, state = ways.pop()
        if start in seen:
            continue
        seen.add(start)
        ways += _follow(function, start, state, take, ahead)
    ahead.plain = ahead.plain and not ways
    return ahead


def _follow(
    function: Function, start: int, held: Held, take: Take, ahead: Ahead
) -> list[tuple[int, Held]]:
    """One way up to its call; the other ways that branch off it."""
    others: list[tuple[int, Held]] = []
    k = start
    for _ in range(WINDOW):
        if k >= len(function.flows) or held.lost:
            break
        offset = take(function, k, held)
        if offset is not None:
            ahead.calls.append((k, offset))
            return others
        flow = function.flows[k]
        if not flow:
            k += 1
            continue
        target = function.jumps.get(k)
        if flow == Flow.BRANCH and target is not None:
            others.append((target, held.split()))
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


def next_call(code: Iterable[Any], steps: Steps, held: Held) -> tuple[int, int, Step, bool] | None:
    """The first call of what is loaded, in straight code: (number, offset, step, passed).

    `passed` tells of other calls before it. None where a branch or something less plain comes
    first.
    """
    passed = False
    touched, of = steps
    for n, instruction in enumerate(code, 1):
        if not touched(instruction) & held.registers:
            continue
        step = of(instruction)
        offset = held.take(step)
        if held.lost:
            return None
        if offset is not None:
            return n, offset, step, passed
        if step.flow:
            if step.flow not in CALLS:
                return None
            passed = True
        if not held.registers:
            return None
    return None

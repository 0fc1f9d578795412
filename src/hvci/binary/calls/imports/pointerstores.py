"""Whether a function hands the content of an import slot, once it is loaded, on to others.

What is put into memory or passed to a call can be called from anywhere. Knows no calls.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.calls.handedon import is_lent
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.form.code import (
    IMAGE_BASE,
    Flow,
    Function,
    Load,
    Location,
    Reg,
    any_of,
)
from hvci.binary.form.moves import Moves
from hvci.binary.pe.sets import members

NEXT_CALLS = 3
"""Calls behind a copy that may get it as an argument; what it is in dies at the first."""
_CALLS = any_of(Flow.CALL, Flow.INDIRECT_CALL, Flow.JUMP)


class Sinks(NamedTuple):
    """Where the results of a function's instructions are stored, for some registers."""

    traced: set[int]
    """The registers whose stores were looked at."""
    of: dict[int, list[int]]
    """Indices of the stores, by that of the instruction whose result they store."""
    unsure: list[int]
    """Indices of the stores where the work budget was spent: they may store anything."""


class PointerStores:
    """The stores of loaded pointers in one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.arch, self.flow = analysis.arch, analysis.flow

    def of(self, function: Function, i: int) -> list[int]:
        """The instructions that put what instruction `i` loads, or a copy of it, into memory.

        Not what was kept in the frame and read again: `leave` sees to that.
        """
        sinks = self._sinks(function)
        for register in members(self.reach(function, i)):
            if register not in sinks.traced:
                sinks.traced.add(register)
                self._trace_all(function, register, sinks)
        return sorted([*sinks.of.get(i, ()), *sinks.unsure])

    def comes_from_memory(self, function: Function, i: int) -> bool:
        """Whether a call may go through a pointer that was kept outside the frame."""
        operand = self.arch.indirect_operand(function, i)
        if not isinstance(operand, Reg):
            return True
        frame = (self.arch.stack_pointer, self.arch.frame_pointer)
        for d in self._origins(function, i, operand.number) or ():
            for register in members(self.arch.effect(function, d).registers):
                expr = self.arch.define(function, d, register)
                if isinstance(expr, Load) and expr.memory.base not in frame:
                    is_slot = expr.memory.displacement in self.flow.image.imports
                    if expr.memory.base != IMAGE_BASE or not is_slot:
                        return True
        return False

    def is_passed(self, function: Function, i: int, slot: int) -> bool:
        """Whether what instruction `i` loads from a slot, or a copy of it, is an argument.

        Those in registers at the next calls only; of arguments on the stack `StackArguments` tells.
        """
        moves = self.moves(function)
        reach = self.reach(function, i)
        wanted = sum(1 << register for register in self.arch.parameter_registers)
        loaded = self.arch.effect(function, i).registers & wanted
        found = [(i, register) for register in members(loaded)]
        for d, (sources, target) in moves.copies.items():
            if wanted >> target & 1 and any(
                reach >> source & 1 and self.is_from(function, d, source, i) for source in sources
            ):
                found.append((d, target))
        return any(self._meets_call(function, d, register, slot) for d, register in found)

    def _meets_call(self, function: Function, d: int, register: int, slot: int) -> bool:
        """Whether a call behind `d` gets what that leaves in a register of an argument."""
        calls: list[int] | None = function.cache.get("calls")
        if calls is None:
            calls = [k for k in function.where(_CALLS) if k not in function.jumps]
            function.cache["calls"] = calls
        first = bisect_right(calls, d)
        for k in calls[first : first + NEXT_CALLS]:
            self.flow.begin()
            definitions = self.flow.definitions(function, k, Location(register))
            reaches = d in definitions or self.flow.is_spent
            reaches &= not self._is_check(function, k)
            if reaches and not self._is_target(function, k, register, slot):
                return True
        return False

    def _is_check(self, function: Function, k: int) -> bool:
        """Whether a call goes to the check of a call target, which returns nothing."""
        is_indirect = function.flows[k] == Flow.INDIRECT_CALL
        return is_indirect and not self.arch.effect(function, k).registers >> self.arch.result & 1

    def _is_target(self, function: Function, k: int, register: int, slot: int) -> bool:
        """Whether a call goes through a register that holds the content of a slot."""
        if function.flows[k] != Flow.INDIRECT_CALL:
            return False
        operand = self.arch.indirect_operand(function, k)
        if isinstance(operand, Load):
            return operand.memory[::3] == (IMAGE_BASE, slot)
        return operand == Reg(register)

    def is_from(self, function: Function, k: int, register: int, i: int) -> bool:
        """Whether a register can hold before `k` what instruction `i` loads."""
        origins = self._origins(function, k, register)
        return origins is None or i in origins

    def reach(self, function: Function, i: int) -> int:
        """The registers (a mask) that may hold, anywhere, what instruction `i` loads."""
        loaded = self.arch.effect(function, i).registers & ~(1 << self.arch.stack_pointer)
        known: dict[int, int] = function.cache.setdefault("reach", {})
        if loaded not in known:
            known[loaded] = self.moves(function).reach(loaded)
        return known[loaded]

    def leave(self, function: Function, slot: int, stores: list[int]) -> bool:
        """Whether one of the stores, or one after reading a slot of the frame, leaves the frame."""
        if all(self._leaves_frame(function, k) for k in stores):
            return bool(stores)
        wanted = Atom(Kind.IMPORT, slot)
        for k, register in self.moves(function).stores:
            if self._leaves_frame(function, k):
                self.flow.begin()
                if wanted in self.flow.value(function, k, Location(register)):
                    return True
        return False

    def _sinks(self, function: Function) -> Sinks:
        sinks: Sinks | None = function.cache.get("sinks")
        if sinks is None:
            sinks = function.cache["sinks"] = Sinks(set(), {}, [])
        return sinks

    def _trace_all(self, function: Function, register: int, sinks: Sinks) -> None:
        """Note what the stores of a register store."""
        for k, stored in self.moves(function).stores:
            if stored == register:
                origins = self._origins(function, k, register)
                if origins is None:
                    sinks.unsure.append(k)
                for origin in origins or ():
                    sinks.of.setdefault(origin, []).append(k)

    def _origins(self, function: Function, k: int, register: int) -> set[int] | None:
        """The instructions whose result, or a copy of it, a register can hold before `k`.

        Definitions are looked at, not values: most registers hold something else at the store.
        None when the work budget is spent.
        """
        moves, work = self.moves(function), [(k, register)]
        seen: set[tuple[int, int]] = set()
        origins: set[int] = set()
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            self.flow.begin()
            definitions = self.flow.definitions(function, at[0], Location(at[1]))
            if self.flow.is_spent:
                return None
            for d in definitions:
                if isinstance(d, int):
                    origins.add(d)
                    if d in moves.copies:
                        work += [(d, source) for source in moves.copies[d][0]]
        return origins

    def moves(self, function: Function) -> Moves:
        """The copies and stores of registers in a function."""
        moves: Moves | None = function.cache.get("moves")
        if moves is None:
            moves = function.cache["moves"] = self.arch.moves(function)
        return moves

    def share(self, function: Function, stores: list[int]) -> bool:
        """Whether one of some stores goes to a slot of the frame that a callee gets or reads."""
        return any(
            self._is_shared(function, place)
            for k in stores
            for memory in self.arch.effect(function, k).stores
            if (place := self.flow.frames.offset(function, k, memory)) is not None
        )

    def _leaves_frame(self, function: Function, k: int) -> bool:
        """Whether a store goes to memory that is no slot of the frame, or that others read."""
        stores = self.arch.effect(function, k).stores
        places = [self.flow.frames.offset(function, k, memory) for memory in stores]
        return any(place is None or self._is_shared(function, place) for place in places)

    def _is_shared(self, function: Function, offset: int) -> bool:
        """Whether a callee gets the address of a slot, or reads it behind one that it gets."""
        known: dict[int, bool] = function.cache.setdefault("shared", {})
        if offset not in known:
            known[offset] = offset < 0 and is_lent(self.analysis, function, offset)
        return known[offset]

"""Whether a function puts the content of an import slot, once it is loaded, into memory.

Such a pointer can be called from anywhere. Knows no calls.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.analysis import Analysis
from hvci.binary.atoms import Atom, Kind
from hvci.binary.code import Function, Location
from hvci.binary.moves import Moves
from hvci.binary.sets import members


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
        self.arch, self.flow = analysis.arch, analysis.flow

    def of(self, function: Function, i: int) -> list[int]:
        """The instructions that put what instruction `i` loads, or a copy of it, into memory.

        Not what was kept in the frame and read again: `leave` sees to that.
        """
        moves, sinks = self._moves(function), self._sinks(function)
        loaded = self.arch.effect(function, i).registers & ~(1 << self.arch.stack_pointer)
        known: dict[int, int] = function.cache.setdefault("reach", {})
        if loaded not in known:
            known[loaded] = moves.reach(loaded)
        for register in members(known[loaded]):
            if register not in sinks.traced:
                sinks.traced.add(register)
                self._trace_all(function, register, sinks)
        return sorted([*sinks.of.get(i, ()), *sinks.unsure])

    def leave(self, function: Function, slot: int, stores: list[int]) -> bool:
        """Whether one of the stores, or one after reading a slot of the frame, leaves the frame."""
        if all(self._leaves_frame(function, k) for k in stores):
            return bool(stores)
        wanted = Atom(Kind.IMPORT, slot)
        for k, register in self._moves(function).stores:
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
        for k, stored in self._moves(function).stores:
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
        moves, work = self._moves(function), [(k, register)]
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

    def _moves(self, function: Function) -> Moves:
        moves: Moves | None = function.cache.get("moves")
        if moves is None:
            moves = function.cache["moves"] = self.arch.moves(function)
        return moves

    def _leaves_frame(self, function: Function, k: int) -> bool:
        """Whether a store goes to memory that is no slot of the frame."""
        stores = self.arch.effect(function, k).stores
        return any(self.flow.frames.offset(function, k, memory) is None for memory in stores)

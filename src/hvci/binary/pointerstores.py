"""Whether a function puts the content of an import slot, once it is loaded, into memory.

Such a pointer can be called from anywhere. Knows no calls.
"""

from __future__ import annotations

from hvci.binary.analysis import Analysis
from hvci.binary.atoms import Atom, Kind
from hvci.binary.code import Function, Location
from hvci.binary.moves import Moves


class PointerStores:
    """The stores of loaded pointers in one image."""

    def __init__(self, analysis: Analysis) -> None:
        self.arch, self.flow = analysis.arch, analysis.flow

    def of(self, function: Function, i: int) -> list[int]:
        """The instructions that put what instruction `i` loads, or a copy of it, into memory.

        Not what was kept in the frame and read again: `leave` sees to that.
        """
        moves = self._moves(function)
        loaded = self.arch.effect(function, i).registers & ~(1 << self.arch.stack_pointer)
        holders = moves.reach(loaded)
        return [
            k
            for k, register in moves.stores
            if holders >> register & 1 and self._holds(function, k, register, i)
        ]

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

    def _holds(self, function: Function, k: int, register: int, i: int) -> bool:
        """Whether a register can hold, before instruction `k`, what instruction `i` loads.

        Definitions are looked at, not values: most registers hold something else at the store.
        """
        moves, seen, work = self._moves(function), set(), [(k, register)]
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            self.flow.begin()
            for d in self.flow.definitions(function, at[0], Location(at[1])):
                if d == i:
                    return True
                if isinstance(d, int) and d in moves.copies:
                    work += [(d, source) for source in moves.copies[d][0]]
        return False

    def _moves(self, function: Function) -> Moves:
        moves: Moves | None = function.cache.get("moves")
        if moves is None:
            moves = function.cache["moves"] = self.arch.moves(function)
        return moves

    def _leaves_frame(self, function: Function, k: int) -> bool:
        """Whether a store goes to memory that is no slot of the frame."""
        stores = self.arch.effect(function, k).stores
        return any(self.flow.frames.offset(function, k, memory) is None for memory in stores)

"""Which bytes of an ARM64 image are functions: exception data, and what lies between.

Leaf functions and import thunks have no exception data; they start where something branches or
points to, or behind the end of another.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

import numpy as np

from hvci.binary.arch.arm64 import plain as plain_arm64
from hvci.binary.form.code import Expr, Flow, Function
from hvci.binary.form.exceptions import NO_FRAME, Exceptions, Frame
from hvci.binary.form.functions import MAX_FUNCTION, MAX_GAP, SHORT_GAP, Functions
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import distinct

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.architecture import Arm64
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64


class FunctionsArm64(Functions):
    """The functions of one ARM64 image."""

    @cached_property
    def unwind(self) -> Exceptions:
        """The exception data of the image."""
        return cast("ReferencesArm64", self.references).unwind

    def at(self, rva: int) -> Function | None:
        """The function that holds an RVA; None when no code does."""
        rva &= ~3
        if not self.image.is_code(rva):
            return None
        starts, ends = self.unwind.starts, self.unwind.ends
        i = bisect_right(starts, rva) - 1
        if i < 0 or rva >= ends[i]:
            return self._in_gap(rva)
        start = starts[i]
        function = self._unwound.get(start)
        if function is None:
            fragments = [(start, min(ends[i], start + MAX_FUNCTION))]
            function = self._unwound[start] = self._decode(start, fragments, "unwind")
            function.frames[start] = partial(_frame, self.unwind, start)
        return function

    def instruction_at(self, rva: int) -> tuple[Function, int] | None:
        """The instruction that holds an RVA, its first byte included."""
        function = self.at(rva)
        if function is None:
            return None
        rvas = function.rvas
        i = (rva - rvas[0]) >> 2 if rvas else -1
        return (function, i) if 0 <= i < len(rvas) else None

    def import_call(self, function: Function, i: int, slot: int) -> tuple[int, Flow] | None:
        """The call or jump through what instruction `i` loads from the slot of an import.

        None when that is not plain to see.
        """
        lift = cast("Arm64", self.architecture).lift
        return plain_arm64.import_call(lift, self.image, function, i, slot)

    def plain_argument(self, function: Function, i: int, register: int) -> Expr | None:
        """What plain words put into a register before instruction `i`; None when not plain."""
        lift = cast("Arm64", self.architecture).lift
        references = cast("ReferencesArm64", self.references)
        return plain_arm64.argument(lift, references, function, i, register)

    @cached_property
    def _gap_starts(self) -> Rvas:
        """Where code without exception data may start, sorted.

        A jump is a tail call where it leads from one of the pieces that calls, pointers and the
        exception data cut the code into to another; within a piece it is only a jump.
        """
        known = [int(self.image.headers.entry), *self.image.exports]
        pointed = self.references.pointers[0]
        starts = np.concatenate([self.references.call_targets, pointed, known])
        starts = starts[starts & 3 == 0]
        bounds = np.array([*self.unwind.starts, *self.unwind.ends], np.int64)
        pieces = distinct(np.concatenate([starts, bounds]))
        targets, sites = self.references.jumps
        leaves = pieces.searchsorted(targets, "right") != pieces.searchsorted(sites, "right")
        return distinct(np.concatenate([starts, targets[leaves]]))

    def _in_gap(self, rva: int) -> Function:
        low, high = self.unwind.gap(rva)
        start = self._gap_start(low, rva)
        if self.is_overworked:
            start, high = max(start, rva - SHORT_GAP), min(high, rva + SHORT_GAP)
        function = self._known.get(("gap", start))
        if function is None or function.rvas[-1] < rva:
            end = min(high, max(start + MAX_GAP, rva + 64), self._next_start(rva))
            function = self._decode(start, [(start, end)], "gap")
            function.frames = {start: NO_FRAME}
            self._known["gap", start] = function
        return function

    def _next_start(self, rva: int) -> int:
        """Where the next function without exception data may start: code of two is not mixed."""
        starts = self._gap_starts
        i = int(starts.searchsorted(rva + 1))
        return int(starts[i]) if i < len(starts) else int(self.image.size)

    def _gap_start(self, low: int, rva: int) -> int:
        first, last = np.searchsorted(self._gap_starts, [low, rva + 1])
        if last > first:
            return int(self._gap_starts[last - 1])
        return max((low + 3) & ~3, rva - MAX_GAP)


def _frame(unwind: Exceptions, start: int) -> Frame:
    """The frame of the function that starts at an RVA."""
    return unwind.frame(unwind.find(start)[0])

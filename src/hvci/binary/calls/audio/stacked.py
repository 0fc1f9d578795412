"""Calls of x64 and x86 code that may pass many arguments on the stack, found before decoding.

Looks at bytes only: around the load of a method, and at the instructions before each call. What is
left out certainly stores too little, or too far from the load.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86 import shapes
from hvci.binary.arch.x86.shapes import Chosen
from hvci.binary.form.code import ANY_POINTER_CALL, Function
from hvci.binary.form.functions import Outline
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import distinct

WINDOW = 80
"""Instructions before a call in which its stack arguments are looked for."""
BYTES_BEFORE, BYTES_BEHIND = 15 * WINDOW, 160
"""Bytes around the load of a method in which x64 code can store its stack arguments."""
ANYWHERE = (0, 1 << 32)
SIB_OF_RSP = 0x24
_MOV_FROM, _MOV_TO, _LEA = 0x8B, 0x89, 0x8D
_MOVES = 0x89
"""What the bits have in common that their opcodes share."""


class Group(NamedTuple):
    """A function and the places in it that were proposed."""

    outline: Outline
    places: list[int]

    @property
    def bounds(self) -> tuple[int, int]:
        """Where its stores are, in one stretch; anywhere when it has several."""
        spans = self.outline.spans
        return spans[0] if len(spans) == 1 else ANYWHERE


class StackedCalls:
    """Finds calls through a slot of a method table that may have some stack arguments."""

    def __init__(self, analysis: Analysis, slot: int, count: int) -> None:
        self.analysis = analysis
        self.image = analysis.image
        self.displacement = slot * analysis.image.pointer_size
        self.count = count
        self._patterns = self._find_patterns() if self.image.bits == 64 else None

    def find(self, places: list[int]) -> list[tuple[Function, list[int]]]:
        """Functions with such calls, by proposed loads of the method; indices of the calls."""
        near = np.array(places, np.int64)
        groups, functions = self._grouped(near[self._may_store_around(near)].tolist())
        found = {function.start: (function, self._all(function)) for function in functions}
        for group, calls in self._sorted_out(groups):
            function = self.analysis.functions.at(group.outline.start)
            if function is not None:
                indices = [i for call in calls if (i := function.find(call)) is not None]
                found[function.start] = (function, indices)
        return [found[start] for start in sorted(found)]

    def _all(self, function: Function) -> list[int]:
        """Every call of a function that may be one, by the bytes around it."""
        calls = function.where(ANY_POINTER_CALL)
        chosen = self._may_store_around(np.array([function.rvas[i] for i in calls], np.int64))
        return [i for i, is_near in zip(calls, chosen.tolist(), strict=True) if is_near]

    def _grouped(self, places: list[int]) -> tuple[list[Group], list[Function]]:
        """The functions around places; decoded those that only decoding tells."""
        functions = self.analysis.functions
        groups: dict[int, Group] = {}
        decoded: dict[int, Function] = {}
        group, last = Group(Outline(0, []), []), range(0)
        for place in places:
            if place in last:
                group.places.append(place)
                continue
            outline = functions.outline(place)
            if outline is not None:
                group = groups.setdefault(outline.start, Group(outline, []))
                group.places.append(place)
                last = next(range(*span) for span in outline.spans if place < span[1])
            elif self.analysis.references.may_be_called(place):
                function = functions.at(place)
                if function is not None:
                    decoded[function.start] = function
        return self._near_stores(list(groups.values())), list(decoded.values())

    def _near_stores(self, groups: list[Group]) -> list[Group]:
        """The functions that have enough stores around one of their places."""
        if self._patterns is None or not groups:
            return groups
        counts = [len(group.places) for group in groups]
        places = np.array([place for group in groups for place in group.places], np.int64)
        chosen = self._may_store_around(places, _repeated(groups, counts))
        owners = np.repeat(np.arange(len(groups)), counts)[chosen]
        return [groups[owner] for owner in distinct(owners).tolist()]

    def _sorted_out(self, groups: list[Group]) -> list[tuple[Group, list[int]]]:
        """The functions with calls that may have the arguments, and the RVAs of those calls."""
        found: list[tuple[Group, list[int]]] = []
        kept: list[tuple[Group, Rvas]] = []
        may_be_called = self.analysis.references.may_be_called
        for group in groups:
            if not any(map(may_be_called, group.places)):
                continue
            starts = self.analysis.functions.starts_within(group.outline)
            if starts is not None:
                kept.append((group, starts))
                continue
            function = self.analysis.functions.at(group.outline.start)
            if function is not None:
                found.append((group, [function.rvas[i] for i in self._all(function)]))
        found += [(kept[owner][0], calls) for owner, calls in self._chosen(kept).items()]
        return found

    def _chosen(self, kept: list[tuple[Group, Rvas]]) -> dict[int, list[int]]:
        """RVAs of the calls that may have the arguments, by the index of their function."""
        code, counts = self.image.bytes, [len(own) for _, own in kept]
        starts = np.concatenate([np.empty(0, np.int64), *(own for _, own in kept)])
        firsts = np.cumsum([0, *counts])[:-1]
        rows = shapes.forms(code, starts, self.image.bits)
        is_call = shapes.may_go_through(rows, code, self.displacement)
        is_call |= shapes.calls_jumps(rows, code)
        is_call &= shapes.stored_before(rows, firsts, WINDOW) >= self.count
        calls = is_call.nonzero()[0]
        bounds = _repeated([group for group, _ in kept], counts)[calls]
        calls = calls[self._may_store_around(starts[calls], bounds)]
        owners = np.searchsorted(firsts, calls, "right") - 1
        found: dict[int, list[int]] = {}
        for owner, rva in zip(owners.tolist(), starts[calls].tolist(), strict=True):
            found.setdefault(owner, []).append(rva)
        return found

    # ---- the slots, by name

    def _find_patterns(self) -> list[Rvas]:
        """RVAs where the bytes stand that name each slot; at last those of copies of RSP."""
        code, step = self.image.bytes, self.image.pointer_size
        inside = [(code[a:b] == SIB_OF_RSP).nonzero()[0] + a for a, b in self.image.code_ranges]
        at = np.concatenate([np.empty(0, np.int64), *inside])
        named = code[at + 1]
        registers = len(self.analysis.arch.parameter_registers)
        found = [at[named == step * (registers + n)] for n in range(self.count)]
        return [*found, self._copies()]

    def _copies(self) -> Rvas:
        """RVAs of the opcodes that may copy RSP, or make an address from it, in any register."""
        image, found = self.image.bytes, [np.empty(0, np.int64)]
        for start, end in self.image.code_ranges:
            at = (image[start:end] & 0xF9 == _MOVES).nonzero()[0] + start
            opcode, modrm, has_rex = image[at], image[at + 1], image[at - 1] & 0xF8 == 0x48
            has_sib = (modrm < 0xC0) & (modrm & 7 == 4) & (image[at + 2] == SIB_OF_RSP)
            copies = (opcode == _MOV_FROM) & (modrm & 0xC7 == 0xC4)
            copies |= (opcode == _MOV_TO) & (modrm & 0xF8 == 0xE0)
            copies |= (opcode == _LEA) & has_sib
            found.append(at[copies & has_rex])
        return np.concatenate(found)

    def _may_store_around(self, places: Rvas, bounds: Rvas | None = None) -> Chosen:
        """Whether the bytes around each place, within its bounds, can store all, on x64."""
        if self._patterns is None:
            return np.ones(len(places), bool)
        low, high = places - BYTES_BEFORE, places + BYTES_BEHIND
        if bounds is not None:
            low, high = np.maximum(low, bounds[:, 0]), np.minimum(high, bounds[:, 1])
        *slots, copies = self._patterns
        has_all = np.ones(len(places), bool)
        for slot in slots:
            has_all &= _has_any(slot, low, high - 2)
        return has_all | _has_any(copies, low, high - 2)


def _repeated(groups: list[Group], counts: list[int]) -> Rvas:
    """The bounds of some functions, each so many times."""
    bounds = np.array([group.bounds for group in groups], np.int64).reshape(-1, 2)
    return np.repeat(bounds, counts, axis=0)


def _has_any(at: Rvas, low: Rvas, high: Rvas) -> Chosen:
    """In which stretches something stands."""
    found: Chosen = np.searchsorted(at, low) < np.searchsorted(at, high, "right")
    return found

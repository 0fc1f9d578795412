"""Where a pointer to allocated memory may come up: by calls, from where it is had.

By addresses alone, for a whole image at once; nothing is decoded. Knows nothing of what is called
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour import names, nearby
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import among, distinct, order_of

DEEP = 2
"""How many calls down from where it is had a pointer is expected."""
KEPT_WINDOW = 48
"""Bytes behind a call in which its result is put into a variable."""
Mask = npt.NDArray[np.bool_]


def allocations(scene: Scene) -> tuple[Rvas, set[int]]:
    """Places where a pointer to allocated memory comes up, and the variables that keep one.

    A place is a call of a DDI, a call of a function that calls one, or a read of such a variable.
    """
    calls = nearby.call_places(scene, names.ALLOCATIONS)
    kept: set[int] = set()
    wrappers: set[int] = set()
    for place in calls.tolist():
        kept |= kept_behind(scene, place)
        function = scene.analysis.functions.at(place)
        if function is not None:
            wrappers.add(function.start)
    references = scene.analysis.references
    found = [calls.tolist()]
    found += [references.to_code(start) for start in sorted(wrappers)]
    found.append([place for place, _ in references.to_slots(kept)])
    return distinct(np.array([rva for group in found for rva in group], np.int64)), kept


def kept_behind(scene: Scene, place: int) -> set[int]:
    """Variables that get the result register shortly behind a call."""
    memory, found = scene.image.memory, set()
    opcodes = (b"\x48\x89\x05",) if scene.image.bits == 64 else (b"\xa3", b"\x89\x05")
    for opcode in opcodes:
        at = memory.find(opcode, place, place + KEPT_WINDOW)
        if at >= 0:
            end = at + len(opcode)
            value = scene.image.u32(end)
            rva = end + 4 + value if scene.image.bits == 64 else value - scene.image.base
            found.add(rva & 0xFFFF_FFFF)
    return found


def comes_up_within(sites: Rvas, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a pointer to allocated memory comes up in a function, by itself."""
    bounds = (sites.searchsorted(span) for span in spans)
    return any(first < last for first, last in bounds)


class Around:
    """The functions that have such a pointer, and those that they call."""

    def __init__(self, scene: Scene, sites: Rvas) -> None:
        """`sites`: sorted RVAs where a pointer to allocated memory comes up."""
        self.scene = scene
        self.sites = sites
        self._sharing: dict[int, frozenset[int]] = {}
        self._called: dict[int, frozenset[int]] = {}
        self._handing: dict[int, set[int]] = {}
        """The functions that have Windows call another one, by the number of that."""

    def hand_on(self, rva: int, start: int) -> None:
        """Note that a call has Windows call the function at an RVA with what it gives."""
        rows = self.rows(np.array((rva, start), np.int64)).tolist()
        self._handing.setdefault(rows[1], set()).add(rows[0])
        self._sharing.pop(rows[1], None)
        if not self._marked[rows[1]]:
            self._marked[rows[1]] = True
            self._spread(self._marked)

    def hold(self, rvas: Rvas) -> Mask:
        """Which RVAs lie in such functions."""
        if not len(self.sites):
            return np.zeros(len(rvas), bool)
        return self._marked[self.rows(rvas)]

    def call(self, rvas: Rvas) -> Mask:
        """Which RVAs lie in functions that call one in which such a pointer comes up."""
        if not len(self.sites):
            return np.zeros(len(rvas), bool)
        return self._above[self.rows(rvas)]

    def may_hand_out(self, call: int, target: int) -> bool:
        """Whether a function may give its caller such a pointer, perhaps one that it gets."""
        if not len(self.sites):
            return False
        giver, callee = self.rows(np.array((call, target), np.int64)).tolist()
        return bool(self._has_one[[giver, callee]].any() or self._above[callee])

    @cached_property
    def _bounds(self) -> Rvas:
        """Where functions start, and what lies between them, sorted."""
        functions = self.scene.analysis.functions
        unwind = functions.unwind
        return distinct(np.array([*functions.starts, *unwind.starts, *unwind.ends], np.int64))

    @cached_property
    def _owners(self) -> Rvas:
        """By row of the bounds: the row of the function that the code there belongs to."""
        owners = np.arange(len(self._bounds) + 1)
        parts, wholes = self.scene.analysis.functions.unwind.chained
        if parts:
            rows = self._bounds.searchsorted(np.array(parts, np.int64), "right")
            owners[rows] = self._bounds.searchsorted(np.array(wholes, np.int64), "right")
        return owners

    def rows(self, rvas: Rvas) -> Rvas:
        """A number for each RVA that tells the function which holds it."""
        return self._owners[self._bounds.searchsorted(rvas, "right")]

    def calling(self, rows: Rvas) -> Rvas:
        """The numbers of the functions that call some of which these are, sorted."""
        targets, sites = self._branches
        return distinct(self.rows(sites[among(self.rows(targets), rows)]))

    def near(self, rva: int) -> Mask:
        """By row: the function at an RVA, those that call it, and what they all call."""
        marked = np.zeros(len(self._bounds) + 1, bool)
        marked[self.rows(np.array((rva,), np.int64))] = True
        callees, callers = self._edges
        marked[callers[marked[callees]]] = True
        for _ in range(DEEP):
            marked[callees[marked[callers]]] = True
        return marked

    def called_by(self, start: int) -> Rvas:
        """The numbers of the function at an RVA and of those that it calls, sorted."""
        own = self.rows(np.array((start,), np.int64))
        targets, sites = self._branches
        called = self.rows(targets[self.rows(sites) == own])
        return distinct(np.concatenate((own, called)))

    def called_from(self, row: int) -> frozenset[int]:
        """The functions that the one of a number calls, by theirs."""
        if row not in self._called:
            callees, callers = self._edges
            self._called[row] = frozenset(callees[callers == row].tolist())
        return self._called[row]

    def span(self, rva: int) -> tuple[int, int]:
        """Where the function around an RVA may begin and end."""
        at = int(self._bounds.searchsorted(rva, "right"))
        ends = self._bounds[at : at + 1].tolist() or [self.scene.image.size]
        return (int(self._bounds[at - 1]) if at else 0), ends[0]

    def sharing(self, row: int) -> frozenset[int]:
        """The function of a number and those that call it, by theirs.

        Two functions may get a pointer to one object by calls where these meet: one is the other or
        calls it, or somebody calls both.
        """
        if row not in self._sharing:
            targets, sites = self._branches
            bounds = self._bounds[max(0, row - 1) : row + 1]
            first, last = targets.searchsorted(bounds) if len(bounds) == 2 else (0, 0)
            callers = self.rows(sites[first:last]).tolist()
            self._sharing[row] = frozenset((row, *callers, *self._handing.get(row, ())))
        return self._sharing[row]

    @cached_property
    def _branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every direct call and jump, short ones out of a function too.

        Sorted by target.
        """
        references = self.scene.analysis.references
        targets, sites = references.short_jumps
        away = self.rows(targets) != self.rows(sites)
        if not away.any():
            return references.branches
        known = references.branches
        targets = np.concatenate((known[0], targets[away]))
        sites = np.concatenate((known[1], sites[away]))
        order = order_of(targets)
        return targets[order], sites[order]

    @cached_property
    def _edges(self) -> tuple[Rvas, Rvas]:
        """(row of the function that is called, row of its caller) of every such branch."""
        targets, sites = self._branches
        return self.rows(targets), self.rows(sites)

    @cached_property
    def _has_one(self) -> Mask:
        """By row: whether such a pointer comes up there by itself."""
        has_one = np.zeros(len(self._bounds) + 1, bool)
        has_one[self.rows(self.sites)] = True
        return has_one

    @cached_property
    def _above(self) -> Mask:
        """By row: whether it calls one in which such a pointer comes up."""
        above = np.zeros(len(self._bounds) + 1, bool)
        targets, sites = self._branches
        above[self.rows(sites[self._has_one[self.rows(targets)]])] = True
        return above

    @cached_property
    def _marked(self) -> Mask:
        """By row: whether such a pointer may come up there."""
        marked = self._has_one.copy()
        self._spread(marked)
        return marked

    def _spread(self, marked: Mask) -> None:
        """Mark what is called from marked rows."""
        callees, callers = self._edges
        for _ in range(DEEP):
            marked[callees[marked[callers]]] = True


def of(scene: Scene) -> Around:
    """That of an image, made when it is asked for first."""
    found = scene.around
    if not isinstance(found, Around):
        found = scene.around = Around(scene, allocations(scene)[0])
    return found

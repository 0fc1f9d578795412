"""The walk back from an instruction to every definition of a location that reaches it.

Registers end at the instruction that writes them, at an edge that fixes the value by comparison,
or at the entry of the function; what lies between two joins is worked out once. Stack slots also
end at a call that was given their address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atom, Atoms, Kind
from hvci.binary.flow.edges import fixes
from hvci.binary.flow.far.locals import filling
from hvci.binary.flow.fates import is_unknown, outputs
from hvci.binary.flow.frames import SLOT, Element, Leak
from hvci.binary.flow.versions.paths import STRETCHES
from hvci.binary.flow.ways import Ways
from hvci.binary.form.code import (
    CALLS,
    Flow,
    Function,
    Location,
    is_slot,
    register_of,
    slot,
    slot_offset,
)
from hvci.catalog.memory import BLOCKS

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MAX_STEPS = 40_000
"""Instructions looked at for one call site."""
MOST_OWN_CALLS = 3
"""Calls whose target is asked for on the way to that of another."""
UNEVEN = "the stack pointer differs on the ways that meet before it"
TOLD = 4
"""Bytes of what a question for the version leaves in a slot."""
BUDGET = "the work budget was spent before its value was found"
OBJECT = "a local variable that may be part of an object whose address is passed to a call"
EVERYWHERE, NOWHERE = (-1 << 40, 1 << 40), (0, 0)
OTHERS = "a routine of others"
ARRAY = "an element of an array on the stack that is written"
PART = "a local variable of which a part is changed"

Definition = int | Atoms
"""An instruction index that defines a location, or the answer itself."""


class Reached(NamedTuple):
    """What a walk back has found."""

    definitions: list[Definition]
    passed: set[int]
    """The instructions between, before which the location holds the same."""
    doubts: set[Atom]
    """What stores between may have left in a slot."""
    calls: list[int]
    """The calls between, of which nothing is said yet (`Reaching.doubts`); of a slot only."""


_Stretch = tuple[list[Definition], list[int], int, int]
"""What straight code before a place and the ways into it settle, and where the walk goes on.

Then what tells the jumps of an unread jump table, which is followed once, and the steps taken.
"""
_SPENT = Reached([atoms.unknown(BUDGET)], set(), set(), [])


class Reaching:
    """Finds the definitions that reach an instruction; its steps count for the question asked."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.arch = flow.arch
        self.ways = Ways(flow.arch)
        self._own_calls = 0
        """How many questions where a call goes are being asked, one for the other."""

    def definitions(self, function: Function, i: int, location: Location, nesting: int) -> Reached:
        """Walk back to every definition that reaches instruction `i`."""
        if self.flow.steps > MAX_STEPS:
            return _SPENT
        if is_slot(location):
            return self._of_slot(function, i, location, nesting)
        return self._of_register(function, i, location)

    def made(self, function: Function, i: int, register: int) -> list[Definition]:
        """What defines a register before an instruction; the walk is not counted."""
        steps = self.flow.steps
        found = self._of_register(function, i, Location(register)).definitions
        self.flow.steps = steps
        return found

    # ---- registers

    def _of_register(self, function: Function, i: int, location: Location) -> Reached:
        """From join to join, over stretches that are remembered with the function."""
        nearest = self.ways.writer(function, i, 1 << register_of(location))
        if nearest >= 0:
            self.flow.steps += i - nearest
            return _SPENT if self.flow.steps > MAX_STEPS else Reached([nearest], {i}, set(), [])
        known: dict[int, _Stretch] = function.cache.setdefault((STRETCHES, location), {})
        found: dict[Definition, None] = {}
        passed: set[int] = set()
        dispatched: set[int] = set()
        work = [i]
        while work:
            j = work.pop()
            if j in passed:
                continue
            passed.add(j)
            stretch = known.get(j)
            if stretch is None:
                stretch = known[j] = self._stretch(function, j, location)
            definitions, onward, dispatches, cost = stretch
            self.flow.steps += cost
            if self.flow.steps > MAX_STEPS:
                return _SPENT
            for each in definitions:
                found[each] = None
            if dispatches:
                if dispatches in dispatched:
                    continue  # the same for all labels: once is enough
                dispatched.add(dispatches)
            work += onward
        return Reached([*found], passed, set(), [])

    def _stretch(self, function: Function, i: int, location: Location) -> _Stretch:
        """What is met right before a place, and from where to go on.

        It costs the question that meets it as much as the first one, so that no answer depends on
        what was asked before.
        """
        mask = 1 << register_of(location)
        j = self.ways.writer(function, i, mask)
        if j >= 0:
            return [j], [], 0, i - j
        join = self.ways.join(function, ~j)
        found: list[Definition] = [*join.settled]
        if ~j == function.entry:
            found.insert(0, self._at_entry(function, location))
        onward: list[int] = []
        for source, written, edge in self.ways.into(function, ~j, join):
            if edge is not None and fixes(edge, location):
                found.append(atoms.const(edge.constant))
            elif written & mask:
                found.append(source)
            else:
                onward.append(source)
        return found, onward, join.dispatches, i - ~j + join.cost

    # ---- stack slots

    def doubts(self, function: Function, location: Location, reached: Reached) -> set[Atom]:
        """What may have become of a number in a slot on the way, as far as that is known."""
        is_open = self._may_be_in_object(function, location, reached)
        return reached.doubts | (atoms.unknown(OBJECT) if is_open else atoms.NOTHING)

    def _may_be_in_object(self, function: Function, location: Location, reached: Reached) -> bool:
        """Whether a call on the way may write a slot as a part of an object that it gets."""
        frames, calls = self.flow.frames, reached.calls
        may_write = self._may_write_object
        return bool(calls) and (
            (
                frames.leak(function, location) is not Leak.NONE
                and frames.widest(function, reached.definitions) > 0
                and any(may_write(function, p, location) for p in calls)
                and frames.is_handed_on(function, location, Leak.POSSIBLE)
            )
            or (
                not all(self._callee(function, p) for p in calls)
                and frames.is_reached_back(function, location)
            )
            or any(self._is_filled(function, p, location) for p in calls)
            or not filling(self.flow, function, location).isdisjoint(calls)
        )

    def _is_filled(self, function: Function, p: int, location: Location) -> bool:
        """Whether a call surely fills or copies over a slot, however far its object begins."""
        callee, wanted = self._callee(function, p), slot_offset(location)
        return callee in BLOCKS and any(
            start < wanted + SLOT and wanted < end < EVERYWHERE[1]
            for start, end in self._filled(function, p, callee)
        )

    def _of_slot(self, function: Function, i: int, location: Location, nesting: int) -> Reached:
        """From join or call to the one before: stores and calls may change a slot."""
        found: list[Definition] = []
        seen: set[int] = set()
        work = [i]
        doubts: set[Atom] = set()
        calls: list[int] = []
        dispatched: set[int] = set()
        while work:
            k = work.pop()
            if k in seen:
                continue
            seen.add(k)
            j = self._straight_back(function, k, location, nesting, found, doubts)
            if j < 0 or (j != k and j in seen):
                continue
            seen.add(j)
            if j == function.entry:
                found.append(self._at_entry(function, location))
            join = self.ways.join(function, j)
            found += join.settled
            if j in self.flow.depth.uneven(function):
                found.append(atoms.unknown(UNEVEN))
            if join.dispatches:
                if join.dispatches in dispatched:
                    continue  # the same for all labels: once is enough
                dispatched.add(join.dispatches)
            self.flow.steps += join.cost
            if self.flow.steps > MAX_STEPS:
                return _SPENT
            work += [
                p
                for p in self.ways.unsure(function, join)
                if not self._settles_slot(function, p, location, nesting, found, doubts, calls)
            ]
            work += join.plain
        if doubts:  # bytes behind all that is stored into the slot are another variable
            width = self.flow.frames.widest(function, found)
            versions = self.flow.versions
            if versions is not None and versions.is_told(function, slot_offset(location)):
                width = max(width, TOLD)
            doubts = {
                doubt._replace(value=0, place=0)
                for doubt in doubts
                if doubt.value <= width - 1
                and not (doubt.place and self._repeats(function, doubt, location, found, nesting))
            }
        return Reached(found, seen, doubts, calls)

    def _repeats(
        self,
        function: Function,
        doubt: Atom,
        location: Location,
        found: list[Definition],
        nesting: int,
    ) -> bool:
        """Whether a wide store that begins inside a slot writes again what is there, or behind it.

        Names that code builds on the stack come in stores that overlap.
        """
        start, writer = doubt.value, doubt.place - 1
        frames, offset = self.flow.frames, slot_offset(location)
        for d in found:
            if not isinstance(d, int):
                return False
            end = min(frames.width(function, d, offset, nesting), SLOT)
            if start < end:
                old = self._bytes(function, d, offset, start, end, nesting)
                new = self._bytes(function, writer, offset + start, 0, end - start, nesting)
                if old is None or old != new:
                    return False
        return True

    def _bytes(
        self, function: Function, d: int, offset: int, first: int, end: int, nesting: int
    ) -> int | None:
        """Some bytes of the constant that an instruction leaves in a slot; None for all else."""
        held = atoms.single(self.flow.frames.stored(function, d, slot(offset), nesting + 1))
        if held is None or held.kind is not Kind.CONST:
            return None
        return held.value >> 8 * first & ((1 << 8 * (end - first)) - 1)

    def _straight_back(
        self,
        function: Function,
        j: int,
        location: Location,
        nesting: int,
        found: list[Definition],
        doubts: set[Atom],
    ) -> int:
        """Where the straight code before a place begins; -1 when something in it writes the slot.

        Calls are left to the caller.
        """
        first, stores = self.ways.stores(function, j)
        for p in stores:
            if self._writes(function, p, location, nesting, found, doubts):
                self.flow.steps += j - p
                if p not in found:
                    found.append(p)
                return -1
        self.flow.steps += j - first
        return first

    def _settles_slot(
        self,
        function: Function,
        p: int,
        location: Location,
        nesting: int,
        found: list[Definition],
        doubts: set[Atom],
        calls: list[int],
    ) -> bool:
        """Whether the instruction before a join, or a call, settles a slot."""
        if self._writes(function, p, location, nesting, found, doubts):
            found.append(p)
            return True
        versions = self.flow.versions
        if versions and (told := versions.in_frame(function, p, slot_offset(location))) is not None:
            found.append(told)
            return True
        if self._is_call_with_result(function, p):
            frames = self.flow.frames
            leak = frames.leak(function, location)
            if leak is Leak.CERTAIN and frames.is_handed_on(function, location, leak):
                found.append(self._leaked(function, p, location))
                return True
            calls.append(p)
        return False

    def _writes(
        self,
        function: Function,
        p: int,
        location: Location,
        nesting: int,
        found: list[Definition],
        doubts: set[Atom],
    ) -> bool:
        """Whether an instruction surely writes a slot; what it may change of it is doubted.

        `value` of a doubt is the first byte, `place` of one about a wide store the instruction
        behind that.
        """
        frames, wanted = self.flow.frames, slot_offset(location)
        touch = function.touches.get(p) or frames.touch(function, p, nesting)
        inside = None
        for start, end in touch.spans:
            if start <= wanted < end:
                return True
            if 0 < start - wanted < SLOT:
                inside = start, end
        element = frames.element(function, p, location, nesting) if touch.may_move else Element.NONE
        if element is Element.CHOSEN and p not in found:
            found.append(p)
        if element is Element.OPEN:
            doubts |= atoms.unknown(ARRAY)
            return False
        if inside is not None:
            start, end = inside
            writer = p + 1 if end - start >= SLOT else 0
            doubts.add(Atom(Kind.UNKNOWN, start - wanted, writer, why=PART))
        return False

    def _is_call_with_result(self, function: Function, p: int) -> bool:
        """A call proper; the check of a call target returns nothing."""
        if function.flows[p] == Flow.CALL:
            return True
        is_call = function.flows[p] in CALLS
        return is_call and bool(self.arch.effect(function, p).registers >> self.arch.result & 1)

    def _may_write_object(self, function: Function, p: int, location: Location) -> bool:
        """Whether a call may write a slot that is part of what it gets.

        Own code, routines of which it is known how far they write, and those of which nothing is
        known; others write what they are given to write.
        """
        callee, wanted = self._callee(function, p), slot_offset(location)
        if not callee or (callee != OTHERS and is_unknown(callee)):
            return True
        filled = self._filled(function, p, callee)
        return any(start < wanted + SLOT and wanted < end for start, end in filled)

    def _callee(self, function: Function, p: int) -> str:
        """The name of the routine of others that a call goes to; empty for code of the image."""
        if function.flows[p] == Flow.CALL:
            target = self.arch.direct_target(function, p)
            return self.flow.interprocedural.thunks.get(target, "")
        known: dict[int, str] = function.cache.setdefault("callees", {})
        if p not in known:
            if self._own_calls == MOST_OWN_CALLS:
                return ""
            known[p] = OTHERS  # for what asks again on the way
            operand = self.arch.indirect_operand(function, p)
            self._own_calls += 1
            held = self.flow.apart(lambda: self.flow.evaluate(function, p, operand, 0))
            self._own_calls -= 1
            if any(atom.kind is Kind.ADDRESS for atom in held):
                known[p] = ""
            elif (only := atoms.single(held)) is not None and only.kind is Kind.IMPORT:
                known[p] = self.flow.image.imports[only.value].name
            elif only is not None and only.kind is Kind.ROUTINE:
                known[p] = only.why or OTHERS
        return known[p]

    def _filled(self, function: Function, p: int, callee: str) -> list[tuple[int, int]]:
        """Where in the frame a routine may write, as far as its arguments tell."""
        arguments = [*outputs(callee, self.flow.image.bits)]
        if not arguments:
            return []
        known: dict[int, list[tuple[int, int]]] = function.cache.setdefault("filled", {})
        if p not in known:
            if self._own_calls == MOST_OWN_CALLS:
                return [EVERYWHERE]
            known[p] = [EVERYWHERE]  # for what asks again on the way
            self._own_calls += 1
            known[p] = self.flow.apart(
                lambda: [self._work_out_fill(function, p, *each) for each in arguments]
            )
            self._own_calls -= 1
        return known[p]

    def _work_out_fill(
        self, function: Function, p: int, index: int, extent: int
    ) -> tuple[int, int]:
        argument, size = self.flow.interprocedural.argument, self.flow.image.pointer_size
        target = atoms.single(argument(function, p, index, size))
        if target is None or target.kind not in (Kind.STACK, Kind.ADDRESS, Kind.IMPORT):
            return EVERYWHERE if extent else NOWHERE
        if target.kind is not Kind.STACK:
            return NOWHERE
        if not extent:
            return target.value, target.value + 1
        count = atoms.const(extent) if extent > 0 else argument(function, p, -extent, size)
        if any(atom.kind is not Kind.CONST for atom in count):
            return target.value, EVERYWHERE[1]
        return target.value, target.value + max((atom.value for atom in count), default=0)

    def _leaked(self, function: Function, call: int, location: Location) -> Atoms:
        """What a call may have put into a slot whose address was passed on."""
        return frozenset((Atom(Kind.LEAKED, function.rvas[call], slot_offset(location)),))

    def _at_entry(self, function: Function, location: Location) -> Atoms:
        """What the caller left in a location."""
        if is_slot(location):
            if slot_offset(location) >= self.arch.return_address_size:
                return frozenset((Atom(Kind.PARAMETER, function.start, location),))
            return atoms.unknown("a local variable that is not initialised on some path")
        if register_of(location) in self.arch.entry_registers:
            return frozenset((Atom(Kind.PARAMETER, function.start, location),))
        return atoms.unknown("a register that the caller must preserve")

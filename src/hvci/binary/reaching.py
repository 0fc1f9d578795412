"""The walk back from an instruction to every definition of a location that reaches it.

Registers end at the instruction that writes them, at an edge that fixes the value by comparison,
or at the entry of the function; what lies between two joins is worked out once. Stack slots also
end at a call that was given their address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hvci.binary import atoms
from hvci.binary.atoms import Atom, Atoms, Kind
from hvci.binary.code import (
    CALLS,
    NO_REGISTER,
    Flow,
    Function,
    Load,
    Location,
    is_slot,
    register_of,
    slot_offset,
)
from hvci.binary.edges import fixed_on_edge
from hvci.binary.frames import Leak
from hvci.binary.jumptables import jumps_through_tables

if TYPE_CHECKING:
    from hvci.binary.dataflow import Dataflow

_STRAIGHT = frozenset((Flow.NEXT, Flow.CALL, Flow.INDIRECT_CALL))
MAX_STEPS = 40_000
"""Instructions looked at for one call site."""
BUDGET = "the work budget was spent before its value was found"
OBJECT = "a local variable that may be part of an object whose address is passed to a call"
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
    """What calls and stores between may have left in a slot, if it is part of what they know."""


class _Stretch(NamedTuple):
    """The straight code before a place, up to a join, and what its predecessors settle."""

    definitions: list[Definition]
    onward: list[int]
    """The predecessors from which the walk goes on."""
    dispatches: int
    """What tells the jumps of one unread jump table, so that it is followed once; 0: no such."""
    cost: int
    """Steps that the walk takes."""


_SPENT = Reached([atoms.unknown(BUDGET)], set(), set())


class Reaching:
    """Finds the definitions that reach an instruction; its steps count for the question asked."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.arch = flow.arch

    def definitions(self, function: Function, i: int, location: Location, nesting: int) -> Reached:
        """Walk back to every definition that reaches instruction `i`."""
        if self.flow.steps > MAX_STEPS:
            return _SPENT
        if is_slot(location):
            return self._of_slot(function, i, location, nesting)
        return self._of_register(function, i, location)

    # ---- registers

    def _of_register(self, function: Function, i: int, location: Location) -> Reached:
        """From join to join, over stretches that are remembered with the function."""
        known: dict[int, _Stretch] = function.cache.setdefault(("stretches", location), {})
        found: list[Definition] = []
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
            self.flow.steps += stretch.cost
            if self.flow.steps > MAX_STEPS:
                return _SPENT
            found += [each for each in stretch.definitions if each not in found]
            if stretch.dispatches:
                if stretch.dispatches in dispatched:
                    continue  # the same for all labels: once is enough
                dispatched.add(stretch.dispatches)
            work += stretch.onward
        return Reached(found, passed, set())

    def _stretch(self, function: Function, i: int, location: Location) -> _Stretch:
        """What is met right before a place, and from where to go on.

        It costs the question that meets it as much as the first one, so that no answer depends on
        what was asked before.
        """
        found: list[Definition] = []
        mask = 1 << register_of(location)
        j, cost = self._straight_back(function, i, mask)
        if j < 0:
            return _Stretch([~j], [], 0, cost)
        if j == function.entry:
            found.append(self._at_entry(function, location))
        before = self._before(function, j, found)
        dispatches = id(before) if self._is_dispatch(function, before) else 0
        onward = [p for p in before if not self._ends_at(function, p, j, location, found)]
        return _Stretch(found, onward, dispatches, cost + max(1, len(before)))

    def _straight_back(self, function: Function, j: int, mask: int) -> tuple[int, int]:
        """Walk back while there is one plain predecessor, and count the steps.

        The place that was come to, or the complement of the instruction that writes the register.
        Most steps are such steps: this loop makes no call and no list for them.
        """
        sources, flows, effects = function.sources, function.flows, function.effects
        ends, entry, first = function.ends, function.entry, j
        while j not in sources and j != entry and j > 0:
            p = j - 1
            if flows[p] not in _STRAIGHT or (p in ends and not function.follows(j)):
                break
            effect = effects.get(p) or self.arch.effect(function, p)
            if effect.registers & mask:
                return ~p, first - p
            j = p
        return j, first - j

    def _ends_at(
        self, function: Function, p: int, j: int, location: Location, found: list[Definition]
    ) -> bool:
        """Whether the way from `j` to its predecessor `p` settles a register."""
        if function.flows[p] == Flow.BRANCH:
            constant = fixed_on_edge(self.arch, function, p, j, location)
            if constant is not None:
                found.append(atoms.const(constant))
                return True
        if self.arch.effect(function, p).registers >> register_of(location) & 1:
            found.append(p)
            return True
        return False

    def _is_dispatch(self, function: Function, before: list[int]) -> bool:
        """Whether predecessors are all the jumps through tables that were not read."""
        return before is function.indirect_jumps or before is function.cache["dispatches"]

    # ---- stack slots

    def _of_slot(self, function: Function, i: int, location: Location, nesting: int) -> Reached:
        """Instruction by instruction: stores and calls may change a slot."""
        found: list[Definition] = []
        seen: set[int] = set()
        work = [i]
        leak = None
        doubts: set[Atom] = set()
        dispatched: set[int] = set()
        while work:
            j = work.pop()
            j = self._straight_back_in_memory(function, j, location, nesting, seen, found, doubts)
            if j < 0 or j in seen:
                continue
            seen.add(j)
            if j == function.entry:
                found.append(self._at_entry(function, location))
            before = self._before(function, j, found)
            if self._is_dispatch(function, before):
                if id(before) in dispatched:
                    continue  # the same for all labels: once is enough
                dispatched.add(id(before))
            self.flow.steps += max(1, len(before))
            if self.flow.steps > MAX_STEPS:
                return _SPENT
            for p in before:
                if self.flow.frames.writes(function, p, location, nesting):
                    found.append(p)
                    continue
                doubts |= self._doubts(function, p, location, nesting)
                if self._is_call_with_result(function, p):
                    if leak is None:
                        leak = self.flow.frames.leak(function, location)
                    if leak is Leak.CERTAIN:
                        found.append(self._leaked(function, p, location))
                        continue
                    if leak is Leak.POSSIBLE and self._calls_own_code(function, p):
                        doubts |= atoms.unknown(OBJECT)
                work.append(p)
        if doubts:  # bytes behind all that is stored into the slot are another variable
            width = self.flow.frames.widest(function, found)
            doubts = {doubt._replace(value=0) for doubt in doubts if doubt.value <= width - 1}
        return Reached(found, seen, doubts)

    def _straight_back_in_memory(
        self,
        function: Function,
        j: int,
        location: Location,
        nesting: int,
        seen: set[int],
        found: list[Definition],
        doubts: set[Atom],
    ) -> int:
        """Walk back while there is one plain predecessor; -1 when that met the definition.

        Calls and joins are left to the caller.
        """
        sources, flows, effects = function.sources, function.flows, function.effects
        ends, entry, effect_of = function.ends, function.entry, self.arch.effect
        frames = self.flow.frames
        while j not in sources and j != entry and j > 0 and j not in seen:
            p = j - 1
            if flows[p] or (p in ends and not function.follows(j)):
                return j
            seen.add(j)
            self.flow.steps += 1
            effect = effects.get(p) or effect_of(function, p)
            if effect.stores:
                if frames.writes(function, p, location, nesting):
                    found.append(p)
                    return -1
                doubts |= self._doubts(function, p, location, nesting)
            j = p
        return j

    def _is_call_with_result(self, function: Function, p: int) -> bool:
        """A call proper; the check of a call target returns nothing."""
        if function.flows[p] == Flow.CALL:
            return True
        is_call = function.flows[p] in CALLS
        return is_call and bool(self.arch.effect(function, p).registers >> self.arch.result & 1)

    def _doubts(self, function: Function, p: int, location: Location, nesting: int) -> Atoms:
        """What a store that does not write a slot may change of it; `value` is the first byte."""
        frames = self.flow.frames
        if frames.may_write(function, p, location, nesting):
            return atoms.unknown(ARRAY)
        at = frames.part_written(function, p, location, nesting)
        return frozenset((Atom(Kind.UNKNOWN, at, why=PART),)) if at else atoms.NOTHING

    def _calls_own_code(self, function: Function, p: int) -> bool:
        """Whether a call goes to code of the image: Windows writes what it is given to write."""
        if function.flows[p] != Flow.CALL:
            return False
        return self.arch.direct_target(function, p) not in self.flow.interprocedural.thunks

    def _leaked(self, function: Function, call: int, location: Location) -> Atoms:
        """What a call may have put into a slot whose address was passed on."""
        return frozenset((Atom(Kind.LEAKED, function.rvas[call], slot_offset(location)),))

    def _before(self, function: Function, j: int, found: list[Definition]) -> list[int]:
        """Predecessors; what a jump table or nothing leads to is said in `found`."""
        before, jumps = function.predecessors(j), self._dispatches(function)
        if j in function.cache.get("entered", ()):
            found.append(atoms.unknown("code that another function jumps into"))
        if before or j == function.entry or self._only_fills(function, j):
            if jumps and before and _is_table_label(function, before):
                return function.indirect_jumps  # another table may lead there as well
            return before
        if jumps:
            return jumps
        found.append(atoms.unknown("the code is reached by an exception handler or not at all"))
        return before

    def _only_fills(self, function: Function, j: int) -> bool:
        """Whether nothing leads to an instruction and control comes in elsewhere behind it.

        Padding before a label that only an unread table leads to is part of the way there.
        """
        count = len(function.instructions)
        while j < count and self.arch.is_padding(function, j):
            j += 1
            if j in function.sources or j == function.entry:
                return True
        return False

    def _dispatches(self, function: Function) -> list[int]:
        """The indirect jumps that may go through a table that was not read."""
        known: list[int] | None = function.cache.get("dispatches")
        if known is None:
            read = jumps_through_tables(function)
            unread = [j for j in function.indirect_jumps if j not in read]
            known = [j for j in unread if not self._is_tail_call(function, j)]
            function.cache["dispatches"] = known
        return known

    def _is_tail_call(self, function: Function, j: int) -> bool:
        """Whether an indirect jump goes through one place in memory, as a table has many."""
        operand = self.arch.indirect_operand(function, j)
        return isinstance(operand, Load) and operand.memory.index_register == NO_REGISTER

    def _at_entry(self, function: Function, location: Location) -> Atoms:
        """What the caller left in a location."""
        if is_slot(location):
            if slot_offset(location) >= self.arch.return_address_size:
                return frozenset((Atom(Kind.PARAMETER, function.start, location),))
            return atoms.unknown("a local variable that is not initialised on some path")
        if register_of(location) in self.arch.entry_registers:
            return frozenset((Atom(Kind.PARAMETER, function.start, location),))
        return atoms.unknown("a register that the caller must preserve")


def _is_table_label(function: Function, before: list[int]) -> bool:
    """Whether only jump tables lead to a place.

    Direct jumps come first among the predecessors, and the instruction before it comes last.
    """
    flows = function.flows
    return flows[before[0]] == flows[before[-1]] == Flow.INDIRECT_JUMP

"""How control comes to a place of a function: the straight code before it, then a join.

The same for every location, so that each question after the first finds it worked out. Knows what
instructions change; knows nothing of values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hvci.binary.flow import atoms
from hvci.binary.flow.atoms import Atoms
from hvci.binary.flow.edges import edge_between
from hvci.binary.flow.versions.paths import DEAD, Dead
from hvci.binary.form.code import CALLS, NO_REGISTER, Architecture, Edge, Flow, Function, Load
from hvci.binary.form.jumptables import jumps_through_tables

_STRAIGHT = frozenset((Flow.NEXT, Flow.CALL, Flow.INDIRECT_CALL))


class Way(NamedTuple):
    """One way into a join."""

    source: int
    written: int
    """Mask of the registers that the instruction writes that it comes from."""
    edge: Edge | None
    """Registers that are fixed on it."""


class Join:
    """A place with several predecessors, or none, or one that goes elsewhere as well."""

    __slots__ = ("before", "cost", "dispatches", "plain", "settled", "unsure", "ways")

    def __init__(self, before: list[int], dispatches: int, settled: list[Atoms]) -> None:
        self.before = before
        """Indices of the instructions that control comes from."""
        self.settled = settled
        """What every location can hold, where a table or nothing is known to lead here."""
        self.dispatches = dispatches
        """What tells the jumps of an unread jump table, which is followed once; 0: no such."""
        self.cost = max(1, len(before))
        """Steps of a walk that goes on from here."""
        self.ways: list[Way] | None = None
        self.plain: list[int] = []
        """Those of the predecessors that leave every slot of the frame as it is."""
        self.unsure: list[int] | None = None
        """The others, once they are sorted out."""


class Ways:
    """Answers for the functions of one image, and keeps them with the function."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch

    # ---- straight code

    def writer(self, function: Function, place: int, mask: int) -> int:
        """The last instruction of the straight code before a place that writes some registers.

        The complement of where that code begins when none does.
        """
        walked = function.walked_back
        j, written = walked.get(place, (place, 0))
        effects, effect_of = function.effects, self.arch.changes
        if written & mask:
            p = place - 1
            while not (effects.get(p) or effect_of(function, p)).registers & mask:
                p -= 1
            return p
        sources, flows, ends, entry = (
            function.sources,
            function.flows,
            function.ends,
            function.entry,
        )
        while j not in sources and j != entry and j > 0:
            p = j - 1
            if flows[p] not in _STRAIGHT or (p in ends and not function.follows(j)):
                break
            changed = (effects.get(p) or effect_of(function, p)).registers
            written |= changed
            j = p
            if changed & mask:
                walked[place] = j, written
                return p
        walked[place] = j, written
        return ~j

    def stores(self, function: Function, place: int) -> tuple[int, list[int]]:
        """What may store to the frame before a place and behind a join or call, the last first.

        And before it where that is.
        """
        answer = function.stores_back.get(place)
        if answer is None:
            answer = function.stores_back[place] = self._stores(function, place)
        return answer

    def _stores(self, function: Function, j: int) -> tuple[int, list[int]]:
        sources, flows, effects = function.sources, function.flows, function.effects
        ends, entry, effect_of = function.ends, function.entry, self.arch.effect
        found: list[int] = []
        while j not in sources and j != entry and j > 0:
            p = j - 1
            if flows[p] or (p in ends and not function.follows(j)):
                break
            effect = effects.get(p) or effect_of(function, p)
            if effect.stores and self._may_reach_frame(function, p):
                found.append(p)
            j = p
        return j, found

    def _may_reach_frame(self, function: Function, p: int) -> bool:
        """Whether an instruction may store to the frame."""
        arch = self.arch
        return any(
            base == arch.frame_pointer
            or (base >= 0 and arch.may_hold_stack_address(function, base))
            for memory in arch.effect(function, p).stores
            for base in memory[:2]
        )

    # ---- joins

    def join(self, function: Function, j: int) -> Join:
        """How control comes to an instruction behind which straight code begins."""
        join: Join | None = function.joins.get(j)
        if join is None:
            settled: list[Atoms] = []
            before = self._before(function, j, settled)
            is_dispatch = before is function.indirect_jumps or before is self._dispatches(function)
            join = function.joins[j] = Join(before, id(before) if is_dispatch else 0, settled)
        return join

    def into(self, function: Function, j: int, join: Join) -> list[Way]:
        """What each way into a join says of registers."""
        if join.ways is None:
            join.ways = [
                Way(
                    p,
                    self.arch.changes(function, p).registers,
                    edge_between(self.arch, function, p, j)
                    if function.flows[p] == Flow.BRANCH
                    else None,
                )
                for p in join.before
            ]
        return join.ways

    def unsure(self, function: Function, join: Join) -> list[int]:
        """The predecessors that may store to the frame, or call what does."""
        if join.unsure is None:
            join.unsure = [p for p in join.before if self._may_change_slots(function, p)]
            join.plain = [p for p in join.before if p not in join.unsure]
        return join.unsure

    def _may_change_slots(self, function: Function, p: int) -> bool:
        if function.flows[p] in CALLS:
            return True
        return bool(self.arch.effect(function, p).stores) and self._may_reach_frame(function, p)

    def _before(self, function: Function, j: int, found: list[Atoms]) -> list[int]:
        """Predecessors; what a jump table or nothing leads to is said in `found`."""
        before, jumps = function.predecessors(j), self._dispatches(function)
        if len(before) > 1 and function.flows[before[-1]] in CALLS:
            # only what stands right before goes on here; alone, it stands for code that is dead
            before = before[:-1] if self.arch.never_returns(function, before[-1]) else before
        if j in function.cache.get("entered", ()):
            found.append(atoms.unknown("code that another function jumps into"))
        dead: Dead | None = function.cache.get(DEAD)
        if dead is not None and any(not dead.is_way(p, j) for p in before):
            return [p for p in before if dead.is_way(p, j)]
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
        """Whether an indirect jump goes through one place in memory, or leaves the frame before.

        A table has many places, and its labels the frame of the jump. On x86 code gives up the
        arguments of a call too.
        """
        if self.arch.bits == 64 and j and j not in function.sources and function.follows(j):
            is_plain = function.flows[j - 1] == Flow.NEXT
            written = self.arch.effect(function, j - 1).registers
            if is_plain and written >> self.arch.stack_pointer & 1:
                return True
        operand = self.arch.indirect_operand(function, j)
        return isinstance(operand, Load) and operand.memory.index_register == NO_REGISTER


def _is_table_label(function: Function, before: list[int]) -> bool:
    """Whether only jump tables lead to a place.

    Direct jumps come first among the predecessors, and the instruction before it comes last.
    """
    flows = function.flows
    return flows[before[0]] == flows[before[-1]] == Flow.INDIRECT_JUMP


def is_straight(function: Function, i: int) -> bool:
    """Whether control goes on to the next instruction only, and comes to it from here only."""
    j = i + 1
    return (
        not function.flows[i]
        and j not in function.sources
        and j < len(function.flows)
        and (i not in function.ends or function.follows(j))
    )


def onward(function: Function, i: int) -> list[int]:
    """The instructions that control may come to next behind another one."""
    found = [function.jumps[i]] if i in function.jumps else []
    if function.flows[i] == Flow.INDIRECT_JUMP:
        found += [j for j, before in function.sources.items() if i in before]
    if i + 1 < len(function.flows) and function.follows(i + 1):
        found.append(i + 1)
    return found


def behind(function: Function, places: Iterable[int]) -> set[int]:
    """The instructions that control may come to behind some others."""
    seen: set[int] = set()
    work = [*places]
    while work:
        found = onward(function, work.pop())
        work += [j for j in found if j not in seen]
        seen.update(found)
    return seen


def ahead(function: Function, places: Iterable[int]) -> set[int]:
    """The instructions from which control may come to some others, and those."""
    seen: set[int] = set()
    work = [*places]
    while work:
        i = work.pop()
        if i not in seen:
            seen.add(i)
            work += function.predecessors(i)
    return seen


def handlers(arch: Architecture, function: Function) -> list[int]:
    """Where code begins that nothing leads to, as exception handlers do."""
    known: list[int] | None = function.cache.get("handlers")
    if known is None:
        known = function.cache["handlers"] = [
            k
            for k in range(len(function.flows))
            if k not in function.sources
            and k != function.entry
            and not function.follows(k)
            and not arch.is_padding(function, k)
        ]
    return known

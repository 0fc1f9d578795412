"""What becomes of what a variable holds, as far as everything that reads it is known.

Answers only where each place that names the variable, or what lies before it, is known to write it,
to call what it holds, or to load it into a register that can be followed. Knows no values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow.fates import LOST, NOTHING, OBJECT_REACH, Fate, Place, may_read
from hvci.binary.flow.made_addresses import made as made_addresses
from hvci.binary.flow.makers import MAX_POINTERS, WIDEST
from hvci.binary.form.code import (
    ANY_POINTER_CALL,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Const,
    Flow,
    Function,
    ImageAddress,
    Load,
    Location,
    Memory,
    Reg,
    slot,
)
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_USES = 64
"""Places that name a table of functions, or what lies before it."""
MOST_WALKED = 20_000
"""Instructions looked at for the content of one slot."""
_BY_POINTER = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))


class Named(NamedTuple):
    """A place that an instruction names."""

    rva: int
    is_start: bool
    """Whether something is added to it: it is where a table starts."""
    is_made: bool
    """Whether its address is made, and nothing read there."""


class Readers:
    """The reads of variables in one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self._known: dict[int, list[Fate] | None] = {}
        self._callers: dict[int, list[Place] | None] = {}

    def goes_elsewhere(self, function: Function, i: int) -> bool:
        """Whether what instruction `i` loads surely goes where it is not followed.

        What is put into variables apart, and what is too long to walk along.
        """
        loaded = self.flow.arch.effect(function, i).registers
        held = frozenset((Location(register), 0) for register in members(loaded))
        pointees = self.flow.globals.writes.makers.pointees
        fate = pointees.from_instruction(function, i, held, MOST_WALKED)
        return fate.is_lost or bool(fate.returned or fate.passed)

    def only_call_loaded(self, function: Function, i: int, found: bool) -> bool:
        """Whether what instruction `i` loads is only called, from variables as well.

        `found` says whether calls in its function were found: there is none else where it is not.
        """
        loaded = self.flow.arch.effect(function, i).registers
        loaded &= ~(1 << self.flow.arch.stack_pointer)  # what a push changes holds nothing of it
        held = frozenset((Location(register), 0) for register in members(loaded))
        if not held or self.flow.exhausted:
            return False
        pointees = self.flow.globals.writes.makers.pointees
        fate = pointees.from_instruction(function, i, held)
        return (found or not fate.called) and self.only_call(fate)

    def never_read_thunk(self, thunk: int) -> bool:
        """Whether the address of a thunk is kept only in variables that nobody reads."""
        makers = self.flow.globals.writes.makers
        if any(makers.in_data(thunk, thunk)) or self.flow.exhausted:
            return False
        made = [fate for _, _, fate in makers.in_code(thunk, thunk)]
        return bool(made) and all(map(self.is_never_read, made))

    def calls_of_thunk(self, thunk: int) -> list[Place]:
        """The calls through the address of a thunk in the functions that make it, in order."""
        made = self.flow.globals.writes.makers.in_code(thunk, thunk)
        found = {place for _, _, fate in made for place in fate.called}
        return sorted(found, key=lambda place: place[0].rvas[place[1]])

    def calls_from_tables(self, start: int) -> list[Place] | None:
        """The calls through tables that may lead to a function; None where not all are known.

        All are where its address stands in tables only, of which each use is a load that is called.
        """
        if start not in self._callers:
            self._callers[start] = None  # while it is asked for
            self._callers[start] = self._find_callers(start)
        return self._callers[start]

    def _find_callers(self, start: int) -> list[Place] | None:
        makers, references = self.flow.globals.writes.makers, self.flow.functions.references
        if self.flow.exhausted or any(map(references.may_make, references.to_data(start, 1))):
            return None
        found: set[Place] = set()
        for place, _ in makers.in_data(start, start):
            calls = self._calls_by(place)
            if not calls:
                return None
            found |= calls
        return sorted(found, key=lambda each: each[0].rvas[each[1]]) or None

    def _calls_by(self, place: int) -> set[Place] | None:
        """The calls of what a table holds at a place; None where not all are known."""
        makers, references = self.flow.globals.writes.makers, self.flow.functions.references
        low, size = place - OBJECT_REACH + 1, self.image.pointer_size
        named = references.to_data(low, OBJECT_REACH - 1 + size)
        uses: list[tuple[Named, Function, int]] = []
        for operand in named if len(named) <= MOST_USES else ():
            at = self.flow.functions.instruction_at(operand)
            if at is not None:
                each_named = [*self._named(*at)]
                uses += [(each, *at) for each in each_named if low <= each.rva <= place]
                if not each_named and self._reads_otherwise(*at, place):
                    return None
        if not uses:
            return None
        first = max((each.rva for each, _, _ in uses if each.is_start), default=place)
        is_shared = any(first <= rva <= place for rva in self.image.exports)
        if is_shared or any(makers.in_data(first, place)):
            return None
        found: set[Place] = set()
        for each, function, i in uses:
            is_used = each.rva == (first if each.is_start else place)
            calls = self._calls_of_use(function, i, each) if is_used else set()
            if calls is None:
                return None
            found |= calls
        return found

    def _named(self, function: Function, i: int) -> Iterator[Named]:
        """What an instruction names: places and tables that it reads, addresses that it makes."""
        arch = self.flow.arch
        changed = arch.effect(function, i).registers
        exprs = [arch.define(function, i, each) for each in members(changed)]
        if function.flows[i] in _BY_POINTER:
            exprs = [arch.indirect_operand(function, i)]
        for expr in exprs:
            if isinstance(expr, Load):
                base, index, _, displacement, _ = expr.memory
                if base == IMAGE_BASE:
                    yield Named(displacement, index != NO_REGISTER, is_made=False)
                elif self.image.bits == 32:
                    yield Named(displacement - self.image.base, is_start=True, is_made=False)
        if function.flows[i] not in _BY_POINTER:
            for rva in self.flow.globals.writes.makers.all_made(function, i):
                yield Named(rva, is_start=True, is_made=True)

    def _reads_otherwise(self, function: Function, i: int, place: int) -> bool:
        """Whether an instruction reads what lies at a place into no general register."""
        size = self.image.pointer_size
        return any(
            memory.base == IMAGE_BASE and memory.size and not _is_apart(memory, place, size)
            for memory in self.flow.arch.other_operands(function, i)
        )

    def _calls_of_use(self, function: Function, i: int, used: Named) -> set[Place] | None:
        """The calls of what an instruction reads from a table, or by the address that it makes."""
        if not used.is_made:
            return self._calls_of_load(function, i)
        fate = self.flow.globals.writes.makers.fate(function, i, used.rva)
        if fate.gets_out or fate.passed or not fate.loads:
            return None
        found: set[Place] = set()
        for load in fate.loads:
            calls = self._calls_of_load(*load)
            if calls is None:
                return None
            found |= calls
        return found

    def _calls_of_load(self, function: Function, i: int) -> set[Place] | None:
        """The calls of what an instruction loads, and does nothing else with."""
        arch = self.flow.arch
        if function.flows[i] in _BY_POINTER:
            return {(function, i)}
        effect = arch.effect(function, i)
        if effect.stores:
            return None
        held = frozenset((Location(each), 0) for each in members(effect.registers))
        pointees = self.flow.globals.writes.makers.pointees
        fate = pointees.from_instruction(function, i, held)
        is_known = bool(held) and not fate.gets_out and not fate.passed
        return set(fate.called) if is_known else None

    def only_call(self, fate: Fate) -> bool:
        """Whether a pointer is only called, also out of the variables that it is put into."""
        seen: set[int] = set()
        work = [fate]
        while work:
            each = work.pop()
            if each.is_lost or each.returned or each.passed:
                return False
            for rva in {variable.rva for variable in each.kept} - seen:
                seen.add(rva)
                loads = self.loads(rva)
                if loads is None:
                    return False
                work += loads
        return True

    def is_never_read(self, fate: Fate) -> bool:
        """Whether a pointer is put only into variables that nobody reads."""
        is_open = fate.is_lost or fate.returned or fate.passed
        return not is_open and all(self.loads(each.rva) == [] for each in fate.kept)

    def loads(self, rva: int) -> list[Fate] | None:
        """What becomes of the pointer in a variable, for each read; None where not known."""
        if rva not in self._known:
            self._known[rva] = None
            self._known[rva] = self._find(rva, self.image.pointer_size)
        return self._known[rva]

    def _find(self, rva: int, size: int) -> list[Fate] | None:
        low = rva - OBJECT_REACH
        makers, references = self.flow.globals.writes.makers, self.flow.functions.references
        if not self.image.is_writable(rva) or self.image.is_code(rva):
            return None
        if any(low <= exported < rva + size for exported in self.image.exports):
            return None
        named = references.to_data(rva - WIDEST + 1, WIDEST - 1 + size)
        around = references.to_data(low, OBJECT_REACH + size)
        if len(around) > MAX_POINTERS[self.image.bits] or any(makers.in_data(low, rva + size - 1)):
            return None
        found = [fate for place in named for fate in self.at(place, rva, size)]
        if any(fate.is_lost for fate in found):
            return None
        for _, start, fate in makers.in_code(low, rva + size - 1):
            if fate.gets_out or fate.passed or may_read(fate, rva - start, size):
                return None
        return found

    def at(self, place: int, rva: int, size: int) -> list[Fate]:
        """What the instruction around a place does with what a variable holds."""
        at = self.flow.functions.instruction_at(place)
        if at is None:
            return [LOST]
        function, i = at
        arch, makers = self.flow.arch, self.flow.globals.writes.makers
        if function.flows[i] in _BY_POINTER:
            operand = arch.indirect_operand(function, i)
            if isinstance(operand, Load) and self._is_elsewhere(*at, operand.memory, rva, size):
                return []
            return [NOTHING if makers.is_load_of(*at, operand, rva) else LOST]
        is_call = ANY_POINTER_CALL[function.flows[i]]
        if is_call or self.is_plain_store(function, i) or arch.only_compares(function, i):
            return []
        effect = arch.effect(function, i)
        loads = [
            (Location(each), arch.define(function, i, each)) for each in members(effect.registers)
        ]
        held = {(each, 0) for each, expr in loads if makers.is_load_of(*at, expr, rva)}
        for n, memory in enumerate(effect.stores):
            offset = self.flow.frames.offset(function, i, memory)
            if offset is not None and makers.is_load_of(*at, arch.stored(function, i, n), rva):
                held.add((slot(offset), 0))
        if held:
            return [makers.pointees.from_instruction(*at, frozenset(held), MOST_WALKED)]
        if makers.all_made(function, i):
            return []  # what becomes of the address is asked for elsewhere
        memories = [expr.memory for _, expr in loads if isinstance(expr, Load)]
        memories += [*arch.other_operands(function, i), *effect.stores]
        are_apart = all(self._is_elsewhere(*at, each, rva, size) for each in memories)
        return [] if memories and are_apart else [LOST]

    def _is_elsewhere(
        self, function: Function, i: int, memory: Memory, rva: int, size: int
    ) -> bool:
        """Whether an operand surely names other bytes than those of a variable."""
        if memory.base >= 0 and memory.index_register == NO_REGISTER:
            held = made_addresses(self.flow, function, i, Address(memory))
            named = [memory._replace(base=IMAGE_BASE, displacement=each) for each in held.rvas]
            return not held.why_open and all(_is_apart(each, rva, size) for each in named)
        return _is_apart(memory, rva, size)

    def is_plain_store(self, function: Function, i: int) -> bool:
        """Whether an instruction stores, and makes nothing of what was there before."""
        arch = self.flow.arch
        effect = arch.effect(function, i)
        if not effect.stores or effect.registers or effect.fills:
            return False
        stored = [arch.stored(function, i, n) for n in range(len(effect.stores))]
        return all(isinstance(expr, Reg | Const | ImageAddress) for expr in stored)


def _is_apart(memory: Memory, rva: int, size: int) -> bool:
    """Whether an operand surely names other bytes than those of a variable."""
    first = memory.displacement
    if memory.base != IMAGE_BASE or memory.index_register != NO_REGISTER:
        return False
    return first >= rva + size or rva >= first + max(memory.size, 1)

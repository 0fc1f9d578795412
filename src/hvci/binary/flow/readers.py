"""What becomes of what a variable holds, as far as everything that reads it is known.

Answers only where each place that names the variable, or what lies before it, is known to write it,
to call what it holds, or to load it into a register that can be followed. Knows no values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvci.binary.flow.fates import LOST, NOTHING, OBJECT_REACH, Fate, Place, may_read
from hvci.binary.flow.makers import MAX_POINTERS, WIDEST
from hvci.binary.form.code import (
    ANY_POINTER_CALL,
    IMAGE_BASE,
    NO_REGISTER,
    Const,
    Flow,
    Function,
    ImageAddress,
    Load,
    Location,
    Memory,
    Reg,
)
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

MOST_WALKED = 20_000
"""Instructions looked at for the content of one slot."""
_BY_POINTER = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))


class Readers:
    """The reads of variables in one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.image = flow.image
        self._known: dict[int, list[Fate] | None] = {}

    def goes_elsewhere(self, function: Function, i: int) -> bool:
        """Whether what instruction `i` loads surely goes where it is not followed.

        What is put into variables apart, and what is too long to walk along.
        """
        loaded = self.flow.arch.effect(function, i).registers
        held = frozenset((Location(register), 0) for register in members(loaded))
        pointees = self.flow.globals.writes.makers.pointees
        fate = pointees.from_instruction(function, i, held, MOST_WALKED)
        return fate.is_lost or bool(fate.returned or fate.passed)

    def only_call_loaded(self, function: Function, i: int) -> bool:
        """Whether what instruction `i` loads is only called, from variables as well."""
        loaded = self.flow.arch.effect(function, i).registers
        held = frozenset((Location(register), 0) for register in members(loaded))
        if not held or self.flow.exhausted:
            return False
        pointees = self.flow.globals.writes.makers.pointees
        return self.only_call(pointees.from_instruction(function, i, held))

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

    def only_call(self, fate: Fate) -> bool:
        """Whether a pointer is only called, also out of the variables that it is put into."""
        seen: set[int] = set()
        work = [fate]
        while work:
            each = work.pop()
            if each.is_lost or each.returned or each.passed:
                return False
            for rva in each.kept - seen:
                seen.add(rva)
                loads = self.loads(rva)
                if loads is None:
                    return False
                work += loads
        return True

    def is_never_read(self, fate: Fate) -> bool:
        """Whether a pointer is put only into variables that nobody reads."""
        is_open = fate.is_lost or fate.returned or fate.passed
        return not is_open and all(self.loads(rva) == [] for rva in fate.kept)

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
        found = [fate for place in named for fate in self._at(place, rva, size)]
        if any(fate.is_lost for fate in found):
            return None
        for _, start, fate in makers.in_code(low, rva + size - 1):
            if fate.gets_out or fate.passed or may_read(fate, rva - start, size):
                return None
        return found

    def _at(self, place: int, rva: int, size: int) -> list[Fate]:
        """What the instruction around a place does with what a variable holds."""
        at = self.flow.functions.instruction_at(place)
        if at is None:
            return [LOST]
        function, i = at
        arch = self.flow.arch
        wanted = Load(Memory(IMAGE_BASE, NO_REGISTER, 1, rva, size))
        if function.flows[i] in _BY_POINTER:
            return [NOTHING if arch.indirect_operand(function, i) == wanted else LOST]
        if ANY_POINTER_CALL[function.flows[i]] or self._is_plain_store(function, i):
            return []
        for register in members(arch.effect(function, i).registers):
            expr = arch.define(function, i, register)
            if expr == wanted:
                held = frozenset(((Location(register), 0),))
                return [
                    self.flow.globals.writes.makers.pointees.from_instruction(function, i, held)
                ]
            if isinstance(expr, Load) and _is_apart(expr.memory, rva, size):
                return []
        if self.flow.globals.writes.makers.made(function, i):
            return []  # what becomes of the address is asked for elsewhere
        others = [*arch.other_operands(function, i)]
        return [] if others and all(_is_apart(each, rva, size) for each in others) else [LOST]

    def _is_plain_store(self, function: Function, i: int) -> bool:
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

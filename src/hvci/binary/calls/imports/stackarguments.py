"""Whether a call may get, as an argument on the stack, what an import slot holds.

What is pushed or stored for a callee looks like what is put aside in the frame: what the callee is
known to take tells them apart. Knows nothing of what the callee does with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, count
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from iced_x86 import Mnemonic

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86.lift import REGISTERS
from hvci.binary.calls.imports.pointerstores import PointerStores
from hvci.binary.flow.atoms import Atom, Kind
from hvci.binary.form.code import CALLS, Expr, Flow, Function, Load, any_of, slot
from hvci.binary.pe.sets import members
from hvci.catalog.prototypes import x86_bytes

_MNEMONIC = attrgetter("mnemonic")
MOST = 8
"""Words on the stack that an unknown callee may take."""
if TYPE_CHECKING:
    from hvci.binary.arch.x86.stack.depth import StackDepth32

STRAIGHT = 24
"""Instructions behind a push in which its call stands."""
_WORD_32 = 4
_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))
_PLAIN = frozenset((Flow.NEXT, Flow.BRANCH, *CALLS))
_ALL_CALLS = any_of(Flow.CALL, Flow.INDIRECT_CALL)


class StackArguments:
    """Looks at the calls of one x64 or x86 image."""

    def __init__(self, analysis: Analysis, stores: PointerStores) -> None:
        self.arch, self.flow = analysis.arch, analysis.flow
        self.functions, self.image = analysis.functions, analysis.image
        self._stores = stores
        self._read: dict[int, frozenset[int] | None] = {}

    def get(self, function: Function, i: int, wanted: int, stores: list[int]) -> bool:
        """Whether a call finds the content of a slot, that instruction `i` loads, on the stack."""
        return self._is_pushed(function, i) or self._is_stored(function, wanted, stores)

    def _is_pushed(self, function: Function, i: int) -> bool:
        """Whether what instruction `i` loads is pushed for the next call; on x86."""
        if self.image.bits == 64:
            return False
        reach = self._stores.reach(function, i)
        earliest = min((k for p, k in function.jumps.items() if p >= i), default=i)
        for k, register in _pushes(function):
            if k < earliest or not reach >> register & 1:
                continue
            call = self._call_behind(function, k)
            if call is None or not self._is_from(function, k, register, i):
                continue
            if self._takes(function, *call):
                return True
        return False

    def _is_from(self, function: Function, k: int, register: int, i: int) -> bool:
        """Whether instruction `k` can push what instruction `i` loads: mostly plain to see."""
        for p in range(k - 1, -1, -1):
            if p + 1 in function.sources or function.flows[p] not in _PLAIN:
                break
            if self.arch.effect(function, p).registers >> register & 1:
                if p == i or p not in self._stores.moves(function).copies:
                    return p == i
                break
        return self._stores.is_from(function, k, register, i)

    def _call_behind(self, function: Function, k: int) -> tuple[int, int] | None:
        """The call in the straight code behind a push, and the words pushed between."""
        pushed = 0
        for c in range(k + 1, min(k + 1 + STRAIGHT, len(function.flows))):
            if function.flows[c] in CALLS:
                return c, pushed
            if function.flows[c] != Flow.NEXT:
                return None
            stores = self.arch.effect(function, c).stores
            pushed += any(
                each.base == self.arch.stack_pointer and each.displacement < 0 for each in stores
            )
        return None

    def _is_stored(self, function: Function, wanted: int, stores: list[int]) -> bool:
        """Whether one of some stores puts the content of a slot where a call finds arguments."""
        word, first = self.image.pointer_size, len(self.arch.parameter_registers)
        places = {
            place
            for k in stores
            for memory in self.arch.effect(function, k).stores
            if (place := self.flow.frames.offset(function, k, memory)) is not None
        }
        for c in function.where(_ALL_CALLS) if places else ():
            depth = self.flow.depth.before(function, c)
            for place in sorted(places) if depth is not None else ():
                position, rest = divmod(place - (depth or 0), word)
                is_argument = not rest and first <= position < first + MOST
                is_argument = is_argument and self._takes(function, c, position)
                if is_argument and self._holds(function, c, place, wanted):
                    return True
        return False

    def _holds(self, function: Function, c: int, place: int, wanted: int) -> bool:
        """Whether a place in the frame can hold the content of a slot at a call."""
        self.flow.begin()
        held = self.flow.value(function, c, slot(place))
        return Atom(Kind.IMPORT, wanted) in held or self.flow.is_spent

    def _takes(self, function: Function, c: int, position: int) -> bool:
        """Whether the callee of a call takes a word on the stack; an unknown one takes a few."""
        if function.flows[c] == Flow.CALL:
            callee = self.arch.direct_target(function, c)
            name = self.flow.interprocedural.thunks.get(callee)
            if name is None:
                popped = self._popped(function, c)
                if popped:
                    return position < popped // _WORD_32
                read = self._reads(callee)
                return read is None or position in read
        else:
            self.flow.begin()
            held = self.flow.evaluate(function, c, self.arch.indirect_operand(function, c), 0)
            slots = [atom.value for atom in held if atom.kind is Kind.IMPORT]
            name = self.image.imports[min(slots)].name if slots else None
        count = x86_bytes(name) if name is not None else None
        return count is None or position < count // _WORD_32

    def _popped(self, function: Function, c: int) -> int:
        """The bytes that the callee of an x86 call removes; 0 where that says nothing."""
        if self.image.bits == 64:
            return 0
        popped = cast("StackDepth32", self.flow.depth).pops.popped(function, c)
        return popped if isinstance(popped, int) else 0

    def _reads(self, start: int) -> frozenset[int] | None:
        """The words of its caller's stack that a function reads; None when that is not known."""
        if start not in self._read:
            callee = self.functions.starting_at(start)
            self._read[start] = None if callee is None else frozenset(self._words(callee))
        return self._read[start]

    def _words(self, callee: Function) -> Iterator[int]:
        """The words above the return address that the instructions of a function read."""
        word, above = self.image.pointer_size, self.arch.return_address_size
        frame = (self.arch.stack_pointer, self.arch.frame_pointer)
        for k in range(len(callee.instructions)):
            for expr in self._read_by(callee, k):
                if isinstance(expr, Load) and expr.memory.base in frame:
                    place = self.flow.frames.offset(callee, k, expr.memory)
                    if place is not None and place >= above:
                        yield (place - above) // word

    def _read_by(self, callee: Function, k: int) -> Iterator[Expr]:
        """What an instruction reads."""
        if callee.flows[k] in _INDIRECT:
            yield self.arch.indirect_operand(callee, k)
        elif callee.flows[k] != Flow.CALL:
            effect = self.arch.effect(callee, k)
            for each in members(effect.registers):
                yield self.arch.define(callee, k, each)
            for n in range(len(effect.stores)):
                yield self.arch.stored(callee, k, n)


def _pushes(function: Function) -> list[tuple[int, int]]:
    """The instructions that push a register, with the register."""
    known: list[tuple[int, int]] | None = function.cache.get("pushes")
    if known is None:
        pushes = compress(count(), map(Mnemonic.PUSH.__eq__, map(_MNEMONIC, function.instructions)))
        pushed = [(i, function.instructions[i].op0_register) for i in pushes]
        known = [(i, REGISTERS[each][0]) for i, each in pushed if each in REGISTERS]
        function.cache["pushes"] = known
    return known

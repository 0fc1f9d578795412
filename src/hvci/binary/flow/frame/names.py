"""What single instructions name, of which a walk with a pointer asks each time that it comes by.

Registers, and slots of the frame; knows nothing of what they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hvci.binary.flow.fates import OBJECT_REACH, loaded
from hvci.binary.form.code import NO_REGISTER, Function, Location, Memory, slot
from hvci.binary.pe.sets import members

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

_USES, _NAMED = "uses", "named"
"""Keys of a function's cache, the second one before a kind of walk."""


class Use(NamedTuple):
    """What an instruction names."""

    registers: int
    """Mask of the registers that it reads or changes."""
    names_memory: bool
    """Whether it reads or writes memory, or moves the stack pointer."""


class Named(NamedTuple):
    """The slots of the frame that an instruction names."""

    slots: frozenset[Location]
    """Those that it reads whole, perhaps as elements, and those that it writes."""
    locals: frozenset[Location]
    """Those that it writes by the frame pointer."""


class Names:
    """What the instructions of one function name, for one kind of walk."""

    def __init__(self, flow: Dataflow, function: Function) -> None:
        self.flow, self.arch, self.function = flow, flow.arch, function
        self.locals: set[Location] = set()
        """Slots by the frame pointer, as no x86 compiler names an argument."""
        self._uses: dict[int, Use] = function.cache.setdefault(_USES, {})
        self._named: dict[int, Named] = function.cache.setdefault((_NAMED, type(self)), {})

    def use(self, i: int) -> Use:
        """What an instruction names."""
        use = self._uses.get(i)
        if use is None:
            changed, stores, _ = self.arch.effect(self.function, i)
            bases, others = self.arch.reads(self.function, i)
            is_memory = bases or stores or changed >> self.arch.stack_pointer & 1
            use = self._uses[i] = Use(bases | others | changed, bool(is_memory))
        return use

    def is_untouched(self, i: int, registers: int, slots: frozenset[Location]) -> bool:
        """Whether an instruction surely neither reads nor changes registers (a mask) or slots."""
        use = self._uses.get(i)
        if use is None:
            if not slots and not self.arch.names(self.function, i, registers):
                return True
            use = self.use(i)
        if use.registers & registers:
            return False
        if not slots or not use.names_memory:
            return True
        named = self._named.get(i) or self._name(i)
        if named is None:
            return False
        self.locals |= named.locals
        return named.slots.isdisjoint(slots)

    def _name(self, i: int) -> Named | None:
        """The slots that an instruction names, by an operand each; None while one is not settled.

        Not those that a block instruction fills.
        """
        arch, function, size = self.arch, self.function, self.arch.bits // 8
        effect = arch.effect(function, i)
        stores = () if effect.fills else effect.stores
        made = [arch.stored(function, i, n) for n in range(len(stores))]
        made += [arch.define(function, i, each) for each in members(effect.registers)]
        operands = [(memory, 1) for memory in stores]
        for memory in (each for expr in made for each in loaded(expr) if each.size == size):
            reach = 1 if memory.index_register == NO_REGISTER else OBJECT_REACH
            operands.append((memory._replace(index_register=NO_REGISTER), reach))
        slots, locals_ = set[Location](), set[Location]()
        for n, (memory, reach) in enumerate(operands):
            at = self._slot(i, memory)
            if at is not None:
                slots.update(Location(at + by) for by in range(0, reach, size))
                if n < len(stores) and memory.base == arch.frame_pointer:
                    locals_.add(at)
            elif not self._is_settled(i, memory):
                return None
        named = self._named[i] = Named(frozenset(slots), frozenset(locals_))
        return named

    def _slot(self, i: int, memory: Memory) -> Location | None:
        """The slot that an operand names."""
        at = self.flow.frames.offset(self.function, i, memory)
        return None if at is None else slot(at)

    def _is_settled(self, i: int, memory: Memory) -> bool:
        """Whether an operand that names no slot never will."""
        return self.flow.frames.is_settled(self.function, i, memory)

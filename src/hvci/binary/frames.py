"""Stack slots of one function: which instruction writes them, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.binary import atoms
from hvci.binary.atoms import Atoms, Kind
from hvci.binary.code import NO_REGISTER, Function, Location, Memory, slot_offset

if TYPE_CHECKING:
    from hvci.binary.dataflow import Dataflow

MAX_KEPT = 12
"""Questions nested deeper may have gone without an answer for their depth alone."""
OBJECT_REACH = 0x100
"""How far upwards a block fill is taken to write, in bytes."""


class Frames:
    """Answers about stack slots, for one image."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow

    def writes(self, function: Function, p: int, location: Location, nesting: int) -> bool:
        """Whether instruction `p` writes a slot."""
        effect = self.flow.arch.effect(function, p)
        wanted = slot_offset(location)
        for memory in effect.stores:
            place = self.offset(function, p, memory, nesting)
            if place is None:
                continue
            if place <= wanted < place + max(memory.size, 1):
                return True
            if effect.fills and place <= wanted < place + OBJECT_REACH:
                return True
        return False

    def offset(self, function: Function, i: int, memory: Memory, nesting: int = 0) -> int | None:
        """The frame offset that a memory operand names; None when it is not in the frame."""
        if memory.index_register != NO_REGISTER or memory.base < 0:
            return None
        if memory.base == self.flow.arch.stack_pointer:
            depth = self.flow.depth.before(function, i)
            return None if depth is None else depth + memory.displacement
        is_frame = memory.base == self.flow.arch.frame_pointer
        frame = self.flow.depth.frame_pointer(function, i) if is_frame else None
        if frame is not None:
            return frame + memory.displacement
        if not self.flow.arch.may_hold_stack_address(function, memory.base):
            return None
        held = self._base(function, i, memory.base, nesting)
        return None if held is None else held + memory.displacement

    def is_plain(self, function: Function, i: int, memory: Memory) -> bool:
        """Whether the frame offset of an operand takes no question to the data flow."""
        if memory.base == self.flow.arch.frame_pointer:
            return self.flow.depth.frame_pointer(function, i) is not None
        return memory.base == self.flow.arch.stack_pointer

    def _base(self, function: Function, i: int, register: int, nesting: int) -> int | None:
        """The frame offset that a register holds; None for anything else, or while it is asked."""
        known: dict[tuple[int, int], int | None] = function.cache.setdefault("bases", {})
        key = i, register
        if key in known:
            return known[key]
        asked: set[tuple[int, int]] = function.cache.setdefault("asked bases", set())
        if key in asked:
            self.flow.note_cycle()
            return None
        asked.add(key)
        base = atoms.single(self.flow.value(function, i, Location(register), nesting + 1))
        asked.discard(key)
        answer = base.value if base is not None and base.kind is Kind.STACK else None
        if answer is not None or (nesting <= MAX_KEPT and not self.flow.is_spent):
            known[key] = answer
        return answer

    def is_leaked(self, function: Function, location: Location) -> bool:
        """Whether the function passes the address of the object that holds a slot."""
        offsets = function.cache.get("leaked")
        if offsets is None:
            offsets = sorted(self._addressed(function))
            function.cache["leaked"] = offsets
        return slot_offset(location) in offsets

    def _addressed(self, function: Function) -> Iterator[int]:
        """Frame offsets whose address some instruction takes."""
        for i, memory in self.flow.arch.taken_addresses(function):
            offset = self.offset(function, i, memory, 3)
            if offset is not None:
                yield offset

    def stored(self, function: Function, d: int, location: Location, nesting: int) -> Atoms:
        """What instruction `d`, which writes a slot, leaves in it."""
        effect = self.flow.arch.effect(function, d)
        wanted = slot_offset(location)
        for n, memory in enumerate(effect.stores):
            place = self.offset(function, d, memory, nesting)
            if place is None or not (place <= wanted < place + memory.size or effect.fills):
                continue
            if effect.fills:
                return atoms.unknown("a local variable that a block copy or fill writes")
            value = self.flow.evaluate(function, d, self.flow.arch.stored(function, d, n), nesting)
            shift = 8 * (wanted - place)
            if shift and any(atom.kind not in atoms.NUMERIC for atom in value):
                return atoms.unknown("part of a wider value")
            return atoms.truncate(value, 8, shift) if shift or memory.size > 8 else value
        return atoms.unknown("a store that is not followed")

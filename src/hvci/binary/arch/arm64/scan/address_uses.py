"""Whether an address that an ARM64 instruction makes stays in the operands of loads and stores.

Compilers make the address of an import slot, or of one of several globals that lie side by side,
and load and store at constant offsets from it: that hands the address to nobody. Walks forward over
words, along branches and through the frame; what it cannot follow hands the address on.
"""

from __future__ import annotations

from collections.abc import Callable

from hvci.binary.arch.arm64.encoding import SP, ZERO, named_registers, written_registers
from hvci.binary.arch.arm64.words import FP, access, is_access
from hvci.binary.form.code import CALLS, NO_REGISTER, Flow, Function
from hvci.binary.form.jumptables import jumps_through_tables

MOST = 4096
"""Instructions looked at for one address."""
_RESULT = 1
OBJECT_REACH = 0x100
"""How far upwards from its start an object of the frame may reach, in bytes."""
POINTER = 8
"""Bytes of an address."""
_COPY_MASK, _COPY = 0xFFE0FFE0, 0xAA0003E0
_CHOICE_MASK, _CHOICE = 0xFFE00C00, 0x9A800000
_SUM_MASK, _SUM = 0xBF800000, 0x91000000
_COMPARE_MASK, _COMPARE = 0x7FE0001F, 0x6B00001F
_COMPARED_MASK, _COMPARED = 0x7F80001F, 0x7100001F
"""SUBS of two registers, or of one and a constant, whose result is lost."""
_INDEXED_MASK, _INDEXED, _STEPPED = 0xFFE00C00, 0xF8600800, 0xF8400400
"""Loads of a pointer at an index, and behind which their base moves on."""

Calls = Callable[[Function, int], tuple[int, int]]
"""What tells of a call which registers (masks) it changes and may read; -1 for any at all."""
State = tuple[int, int]
"""An instruction, and the registers (a mask) that hold the address before it.

Slots of the frame are further bits.
"""
Slot = tuple[int, int]
"""The stack or frame pointer, and an offset."""
_FIRST_SLOT, _MOST_SLOTS = 32, 16


class Walk:
    """One walk from the instruction that makes an address; `leaves` says what came of it."""

    def __init__(self, function: Function, calls: Calls, alone: bool) -> None:
        """`alone`: sums of the address and a constant are addresses of something else."""
        self.function = function
        self._calls = calls
        self._alone = alone
        self.leaves = False
        self._states: list[State] = []
        self._seen: dict[int, int] = {}
        self._slots: dict[Slot, int] = {}
        """Slots of the frame that the address is kept in, with their bits in the masks."""
        self._loaded = 0
        """The registers (a mask) that the last word loaded from such slots."""

    def run(self, i: int, registers: int) -> bool:
        """Whether what instruction `i` puts into some registers is handed on."""
        flows, words, sources = (
            self.function.flows,
            self.function.instructions,
            self.function.sources,
        )
        self._states.append((i + 1, registers))
        steps = 0
        while self._states:
            k, held = self._states.pop()
            while held and k < len(flows):
                steps += 1
                if steps > MOST:
                    return True
                if k in sources and not self._is_new(k, held):
                    break
                if flows[k] or held >> _FIRST_SLOT or named_registers(words[k]) & held:
                    held = self._step(k, held)
                    if self.leaves:
                        return True
                k += 1
        return False

    def _is_new(self, k: int, held: int) -> bool:
        """Whether a place at which ways meet was not come to with all of this."""
        known = self._seen.get(k, 0)
        self._seen[k] = known | held
        return bool(held & ~known)

    def _step(self, k: int, held: int) -> int:
        """The registers that hold the address behind instruction `k`, on the straight way."""
        flow, word = self.function.flows[k], self.function.instructions[k]
        if flow == Flow.NEXT:
            self.leaves = self._alone and self._steps(k, word, held)
            return self._pass(word, held)
        if flow in CALLS:
            changed, read = self._calls(self.function, k)
            is_called = flow == Flow.INDIRECT_CALL and held >> (word >> 5 & 31) & 1
            is_within = held >> _FIRST_SLOT and self._is_within_object(held)
            self.leaves = bool(held & read or is_called or is_within)
            return held & ~changed
        if flow == Flow.BRANCH:
            self._states.append((self.function.jumps.get(k, len(self.function.flows)), held))
            return held
        if flow in (Flow.JUMP, Flow.INDIRECT_JUMP):
            self._jump(k, held)
        elif flow == Flow.RETURN:
            self.leaves = bool(held & _RESULT)
        return 0

    def _is_within_object(self, held: int) -> bool:
        """Whether one of the slots that hold the address may lie in an object that others get."""
        taken = self._taken()
        return any(
            held & bit and other == base and amount <= offset < amount + OBJECT_REACH
            for (other, offset), bit in self._slots.items()
            for base, amount in taken
        )

    def _is_element(self, slot: Slot) -> bool:
        """Whether a slot may be read as an element of an array."""
        reads: bool | None = self.function.cache.get("reads elements")
        if reads is None:
            reads = any(
                word & _INDEXED_MASK in (_INDEXED, _STEPPED) and word >> 5 & 31 not in (SP, FP)
                for word in self.function.instructions
            )
            self.function.cache["reads elements"] = reads
        return reads and any(
            slot[0] == base and amount <= slot[1] < amount + OBJECT_REACH
            for base, amount in self._taken()
        )

    def _taken(self) -> set[Slot]:
        """The places of the frame of which the function makes the address."""
        taken: set[Slot] | None = self.function.cache.get("taken in frame")
        if taken is None:
            sums = (word for word in self.function.instructions if word & _SUM_MASK == _SUM)
            taken = {
                (word >> 5 & 31, (word >> 10 & 0xFFF) * (-1 if word >> 30 & 1 else 1))
                for word in sums
                if word >> 5 & 31 in (SP, FP) and word & 31 not in (SP, FP)
            }
            self.function.cache["taken in frame"] = taken
        return taken

    def _jump(self, k: int, held: int) -> None:
        """To the target, or the labels of the table; out of the function with the arguments."""
        function = self.function
        if k in function.jumps:
            self._states.append((function.jumps[k], held))
        elif k in jumps_through_tables(function):
            for label, before in function.sources.items():
                if k in before:
                    self._states.append((label, held))
        else:
            _, read = self._calls(function, k)
            is_through = function.flows[k] == Flow.INDIRECT_JUMP
            target = 1 << (function.instructions[k] >> 5 & 31) if is_through else 0
            self.leaves = bool(held & read or held & target)

    def _steps(self, k: int, word: int, held: int) -> bool:
        """Whether a loop moves the address on, to what lies behind or before it."""
        source = word >> 5 & 31
        if not held >> source & 1:
            return False
        is_step = word & _SUM_MASK == _SUM and word & 31 == source
        if not is_step and not (is_access(word) and access(word).step is not None):
            return False
        return any(label <= k <= jump for jump, label in self.function.jumps.items())

    def _pass(self, word: int, held: int) -> int:
        """What a word that changes no flow does."""
        if held >> _FIRST_SLOT and word >> 5 & 31 in (SP, FP):
            self._loaded = 0
            held = self._frame(word, held)
            return self._loaded | self._pass_registers(word, held)
        return self._pass_registers(word, held)

    def _pass_registers(self, word: int, held: int) -> int:
        """What it does to the registers."""
        if not named_registers(word) & held:
            return held & ~written_registers(word)
        target, source = 1 << (word & 31), 1 << (word >> 5 & 31)
        second = 1 << (word >> 16 & 31)
        if is_access(word):
            kept = self._access(word, held)
            is_moved = access(word).step is not None and not self._alone
            return kept & ~(written_registers(word) & ~(source if is_moved else 0))
        if word & _COPY_MASK == _COPY:
            return held | target if held & second else held & ~target
        if word & _CHOICE_MASK == _CHOICE:
            return held | target if held & (source | second) else held & ~target
        if word & _SUM_MASK == _SUM:
            is_same = not self._alone or not word >> 10 & 0xFFF
            return held | target if is_same and held & source else held & ~target
        compares = (word & _COMPARE_MASK, word & _COMPARED_MASK)
        if compares[0] != _COMPARE and compares[1] != _COMPARED and self._reads(word, held):
            self.leaves = True
        return held & ~written_registers(word)

    @staticmethod
    def _reads(word: int, held: int) -> bool:
        """Whether a word that is no load or store may read one of the registers."""
        kind = word >> 23 & 63
        if kind >> 1 == 0b10000 or (kind == 0b100101 and word >> 29 & 3 != 3):
            return False  # ADR, ADRP; MOVN, MOVZ
        fields = [word & 31, word >> 5 & 31]
        if word >> 25 & 7 == 5:  # of registers, three of them read at most
            third = word & 0x1F000000 == 0x1B000000
            fields = [word >> 5 & 31, word >> 16 & 31, word >> 10 & 31 if third else ZERO]
        elif word >> 26 & 7 == 4:  # with a constant, which only parts of a register keep
            fields = fields if word >> 29 & 3 in (1, 3) else fields[1:]
        return any(field != ZERO and held >> field & 1 for field in fields)

    def _access(self, word: int, held: int) -> int:
        """A load or store: the address may be its base, and kept in the frame."""
        moved = access(word)
        if any(
            memory.index_register != NO_REGISTER and held >> register & 1
            for memory in moved.memories
            for register in (memory.base, memory.index_register)
        ):
            self.leaves = True
        if moved.is_vector or not moved.is_store:
            return held
        kept = held
        for register, memory in zip(moved.registers, moved.memories, strict=False):
            if register != ZERO and held >> register & 1:
                kept |= self._keep((memory.base, memory.displacement), moved.step is not None)
        fields = (word & 31, word >> 10 & 31, word >> 16 & 31)
        is_plain = bool(moved.registers) and not moved.others and not moved.swapped
        if not is_plain and any(held >> field & 1 for field in fields if field != ZERO):
            self.leaves = True
        return kept

    def _keep(self, slot: Slot, moves: bool) -> int:
        """The bit of the slot in which the address is stored; elsewhere it is handed on."""
        known = self._slots.get(slot)
        if known is None:
            known = 1 << _FIRST_SLOT + len(self._slots)
            self._slots[slot] = known
        is_many = len(self._slots) > _MOST_SLOTS
        if slot[0] not in (SP, FP) or moves or is_many or self._is_element(slot):
            self.leaves = True
        return known

    def _frame(self, word: int, held: int) -> int:
        """What a word that names the stack or frame pointer does to the slots."""
        base = word >> 5 & 31
        if word & _SUM_MASK == _SUM:
            amount = (word >> 10 & 0xFFF) * (-1 if word >> 30 & 1 else 1)
            if word & 31 not in (SP, FP):
                self.leaves |= bool(held & self._slots.get((base, amount), 0))
            return self._moved(word & 31, amount, held)
        if not is_access(word):
            return held
        moved = access(word)
        for register, memory in zip(moved.registers, moved.memories, strict=False):
            for (other, offset), bit in self._slots.items():
                inside = offset - memory.size < memory.displacement < offset + POINTER
                if not held & bit or other != memory.base or not inside:
                    continue
                if moved.is_store:
                    held &= ~bit
                elif not moved.is_vector and memory.displacement == offset and register != ZERO:
                    self._loaded |= 1 << register
        return self._moved(base, moved.step, held) if moved.step else held

    def _moved(self, base: int, amount: int, held: int) -> int:
        """A pointer moves: its slots are found no more; behind the end of a frame they are lost."""
        slots = sum(bit for (other, _), bit in self._slots.items() if other == base)
        self.leaves |= bool(held & slots) and amount < 0
        return held & ~slots

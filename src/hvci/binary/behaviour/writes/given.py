"""Which functions of the image may write through an argument, or go on with it, by bytes alone.

In the order of the code from where one begins, into the functions that it hands the argument to.
Only sorts out; x64 and x86 only, the counterpart for ARM64 is in `arm64/near.py`.
"""

from __future__ import annotations

from bisect import bisect_left

from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

from hvci.binary.arch.x86.lift import FRAME_BASES, R8, R9, RAX, RCX, RDI, RDX
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.nearby import NUMBERS
from hvci.binary.behaviour.scene import HOT_PATCHED, PROLOGUE, Scene
from hvci.binary.behaviour.shallow import DEEP

CALLEE = {32: 0x100, 64: 0x180}
"""Bytes of a function that are looked at, by the bits of the machine."""
POSITIONS = 8
"""Arguments on the x86 stack."""
_REGISTERS = {32: (RAX, RCX, RDX), 64: (RCX, RDX, R8, R9)}
_CALLS = frozenset((FlowControl.CALL, FlowControl.INDIRECT_CALL))
_GNU_PROLOGUE = b"\x55\x89\xe5"
_STRING_WRITES = frozenset((OpKind.MEMORY_ESEDI, OpKind.MEMORY_ESRDI))
_ENDS = frozenset((FlowControl.RETURN, FlowControl.INTERRUPT, FlowControl.EXCEPTION))


class Given:
    """The functions of one image."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.bits = scene, scene.image.bits
        self.thunks = scene.flow.interprocedural.thunks
        self._known: dict[tuple[int, int], bool] = {}

    def may_write(self, start: int, argument: int, deep: int = 0) -> bool:
        """Whether a function may write through an argument, or return it.

        Through that in a register, or, below 0, the complement of the position of one on the stack.
        """
        key = start, argument
        if key not in self._known:
            self._known[key] = False  # while it is asked for
            self._known[key] = self._may_write(start, argument, deep)
        return self._known[key]

    def _may_write(self, start: int, argument: int, deep: int) -> bool:
        if start in self.thunks or not self.scene.image.is_code(start):
            return False
        code = bytes(self.scene.image.memory[start : start + CALLEE[self.bits]])
        if argument < 0 and not _reads(code, argument):
            return False
        held = _Held(self.bits, argument)
        for instruction in Decoder(self.bits, code, ip=start):
            flow = instruction.flow_control
            if flow == FlowControl.NEXT:
                if held.writes(instruction):
                    return True
            elif flow in _CALLS:
                if self._gives(instruction, held, deep):
                    return True
                held.registers.difference_update(nearby.VOLATILE)
            elif flow == FlowControl.UNCONDITIONAL_BRANCH:
                if self._leaves(instruction, start) and self._gives(instruction, held, deep):
                    return True
            elif flow == FlowControl.CONDITIONAL_BRANCH:
                held.branch()
            elif flow in _ENDS:
                if RAX in held.registers:
                    return True
                held.back()
            if not held.registers and not held.slots:
                return False
        return False

    def _leaves(self, jump: Instruction, start: int) -> bool:
        """Whether a jump seems to go to another function."""
        target = jump.near_branch_target
        starts = self.scene.analysis.functions.starts
        at = bisect_left(starts, target)
        is_start = at < len(starts) and starts[at] == target
        return is_start or not start < target < start + CALLEE[self.bits]

    def _gives(self, call: Instruction, held: _Held, deep: int) -> bool:
        """Whether a call gives the pointer to what may write through it."""
        arguments = [each for each in _REGISTERS[self.bits] if each in held.registers]
        if self.bits == 32:
            arguments += [~position for position in held.positions()]
        if not arguments:
            return False
        if call.ip in self.scene.copy_sites:
            return arguments[0] == RCX or -1 in arguments
        if call.flow_control not in (FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH):
            return False
        target = call.near_branch_target
        return deep < DEEP and any(self.may_write(target, each, deep + 1) for each in arguments)


class _Held:
    """What holds the pointer, in the order of the code."""

    def __init__(self, bits: int, argument: int) -> None:
        self.word = bits // 8
        self.stack: int = Register.RSP if bits == 64 else Register.ESP
        self.registers: set[int] = {argument} if argument >= 0 else set()
        self.slots: set[tuple[bool, int]] = set()
        """Offsets from the frame pointer, or from where the stack pointer was at first."""
        self.depth = 0
        """How far the stack pointer came down."""
        if argument < 0:
            self.slots = {(False, -4 * argument), (True, 4 - 4 * argument)}

        self._branched = set(self.registers), 0

    def branch(self) -> None:
        """Note a branch to what may stand behind the next return."""
        self._branched = set(self.registers), self.depth

    def back(self) -> None:
        """Go on behind a return: a branch before that leads there."""
        registers, self.depth = self._branched
        self.registers |= registers

    def positions(self) -> list[int]:
        """The arguments of an x86 call that are the pointer."""
        above = (at + self.depth for is_frame, at in self.slots if not is_frame)
        return [at // 4 for at in above if 0 <= at < 4 * POSITIONS]

    def writes(self, instruction: Instruction) -> bool:
        """Follow the pointer over one instruction; whether that writes through it."""
        base, first, registers = instruction.memory_base, instruction.op0_register, self.registers
        slot = self._slot(instruction, base) if base in FRAME_BASES else None
        if instruction.mnemonic == Mnemonic.PUSH:
            self._push(NUMBERS[first] in registers if first else slot in self.slots)
        elif instruction.mnemonic == Mnemonic.POP:
            self.depth -= self.word  # what it restores is of use behind a return only
        elif first == self.stack:
            self.depth += self._room(instruction)
        elif first:
            self._load(instruction, NUMBERS[first], slot)
        elif instruction.is_string_instruction:
            return RDI in registers and instruction.op0_kind in _STRING_WRITES
        elif instruction.mnemonic not in nearby.KEEPS_OPERAND:
            if slot is None:
                return base > 0 and NUMBERS[base] in registers
            if instruction.op_count == 2 and NUMBERS[instruction.op1_register] in registers:
                self.slots.add(slot)
            else:
                self.slots.discard(slot)
        return False

    def _slot(self, instruction: Instruction, base: int) -> tuple[bool, int]:
        at = instruction.memory_displacement & 0xFFFF_FFFF
        at -= (at & 0x8000_0000) << 1
        return (False, at - self.depth) if base == self.stack else (True, at)

    def _push(self, is_held: bool) -> None:
        self.depth += self.word
        slot = (False, -self.depth)
        if is_held:
            self.slots.add(slot)
        else:
            self.slots.discard(slot)

    def _load(self, instruction: Instruction, to: int, slot: tuple[bool, int] | None) -> None:
        """Note whether an instruction puts the pointer into a register."""
        mnemonic, source = instruction.mnemonic, instruction.op1_register
        if mnemonic in nearby.KEEPS_REGISTER or (
            mnemonic in nearby.CHOOSES and to in self.registers
        ):
            return
        if source:
            is_moved = mnemonic == Mnemonic.MOV or mnemonic in nearby.CHOOSES
            is_held = is_moved and NUMBERS[source] in self.registers
        elif mnemonic == Mnemonic.LEA:
            is_held = NUMBERS[instruction.memory_base] in self.registers
        else:
            is_held = slot in self.slots
        if is_held:
            self.registers.add(to)
        else:
            self.registers.discard(to)

    def _room(self, instruction: Instruction) -> int:
        """How far an instruction that changes the stack pointer moves it down."""
        is_sum = instruction.mnemonic in (Mnemonic.SUB, Mnemonic.ADD)
        if not is_sum or instruction.op1_kind in (OpKind.REGISTER, OpKind.MEMORY):
            return 0
        amount = int(instruction.immediate(1)) & 0xFFFF_FFFF
        amount -= (amount & 0x8000_0000) << 1
        return amount if instruction.mnemonic == Mnemonic.SUB else -amount


def _reads(code: bytes, argument: int) -> bool:
    """Whether x86 code may read an argument: with a frame pointer the bytes tell."""
    framed = code.startswith((PROLOGUE, HOT_PATCHED, _GNU_PROLOGUE))
    return not framed or bytes((4 - 4 * argument,)) in code

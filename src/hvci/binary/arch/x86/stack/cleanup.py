"""How much of the stack an unknown callee of x86 code removes, by the code around its call.

Compilers push the arguments, or store them into room that they make once; what a callee removed of
that room they make again, soon behind the call. Knows one function; where the stack pointer is, is
the affair of stack.py.
"""

from __future__ import annotations

from functools import cached_property

from iced_x86 import Instruction, Mnemonic, OpKind, Register

from hvci.binary.arch.x86.lift import IMMEDIATES, NONE
from hvci.binary.arch.x86.stack.pops import PopsX86
from hvci.binary.form.code import CALLS, Flow, Function

WORD = 4
MOST_PASSED = 64
"""Instructions before a call in which its arguments are pushed."""
SOON = 16
"""Instructions behind a call in which the room for arguments is made again."""
_MASK = 0xFFFF_FFFF
_FRAME = (Register.RBP, Register.EBP)
_LOST = (Register.ECX, Register.EDX)
"""Registers in which a call leaves nothing: pushing them only makes room."""
_ENDS = (Mnemonic.POP, Mnemonic.RET, Mnemonic.LEAVE)
_SAVED: tuple[int, ...] = (Register.EBX, Register.ESI, Register.EDI, Register.EBP)


class Cleanup:
    """Guesses for the calls of one function."""

    def __init__(self, pops: PopsX86, function: Function) -> None:
        self.pops = pops
        self.function = function

    def after(self, i: int) -> int:
        """The bytes that the unknown callee of call `i` removes."""
        kept = self.pops.popped_through(self.function, i)
        if kept is not None and self._may_get(i, kept):
            return kept
        return self._guess(i, self._pushed_before(i))

    def _guess(self, i: int, pushed: int) -> int:
        """The caller cleans up, or the last pushes or stores were the arguments."""
        function = self.function
        behind = i + 1
        if behind in function.jumps and function.flows[behind] == Flow.JUMP:
            behind = function.jumps[behind]
        if behind < len(function.instructions):
            after = function.instructions[behind]
            if after.mnemonic == Mnemonic.ADD and _changes_esp(after):
                return 0
            if after.mnemonic == Mnemonic.POP and after.op0_register == Register.ECX:
                return 0
        if pushed and self._cleans_soon(behind, pushed):
            return 0
        return pushed or self._room_made(behind)

    def _cleans_soon(self, behind: int, pushed: int) -> bool:
        """Whether straight code behind a call takes just what was pushed, no end of a function."""
        function = self.function
        for k in range(behind, min(behind + SOON, len(function.instructions) - 1)):
            instruction = function.instructions[k]
            if instruction.mnemonic == Mnemonic.ADD and _changes_esp(instruction):
                is_it = instruction.op1_kind in IMMEDIATES and instruction.immediate(1) == pushed
                return is_it and function.instructions[k + 1].mnemonic not in _ENDS
            is_plain = function.flows[k] == Flow.NEXT and not instruction.stack_pointer_increment
            if not is_plain or _changes_esp(instruction):
                return False
        return False

    def _room_made(self, behind: int) -> int:
        """Bytes of room for arguments that are made again in the straight code behind a call."""
        function, room, written = self.function, 0, set[int]()
        for k in range(behind, min(behind + SOON, len(function.instructions))):
            instruction = function.instructions[k]
            first = instruction.op0_register if instruction.op_count else NONE
            makes_room = instruction.mnemonic == Mnemonic.SUB and _changes_esp(instruction)
            if makes_room and instruction.op1_kind in IMMEDIATES:
                return room + int(instruction.immediate(1))
            if instruction.mnemonic == Mnemonic.PUSH and first in _LOST and first not in written:
                room += WORD
            elif (
                function.flows[k] != Flow.NEXT
                or instruction.stack_pointer_increment
                or _changes_esp(instruction)
            ):
                break
            written.add(first)
        return room

    def _may_get(self, i: int, most: int) -> bool:
        """Whether so many bytes were pushed or stored for a call since the call before.

        On one of the ways that lead to it.
        """
        function, pushed, k = self.function, 0, i - 1
        for _ in range(MOST_PASSED):
            if pushed >= most or k < 0 or function.flows[k] in CALLS:
                break
            if not function.falls_through(k):
                before = function.sources.get(k + 1)
                if not before:
                    break
                k = before[0]
            instruction = function.instructions[k]
            if _stores_first_argument(instruction):
                return True
            pushed -= instruction.stack_pointer_increment
            k -= 1
        return pushed >= most

    def _pushed_before(self, i: int) -> int:
        """Bytes pushed in the straight line of code before a call, as its arguments.

        Not what the start of a function saves, nor constants on their way to a register. Compilers
        push before or after Control Flow Guard's check of the target, never both.
        """
        function, pushed, popped, k = self.function, 0, 0, i - 1
        saved: dict[int, int] = {}
        while k >= 0 and k + 1 not in function.sources:
            instruction = function.instructions[k]
            is_check = not pushed and self.pops.is_guard_check(instruction)
            if function.flows[k] != Flow.NEXT and not is_check:
                break
            first = instruction.op0_register if instruction.op_count else NONE
            if instruction.mnemonic == Mnemonic.PUSH:
                if popped:
                    popped -= WORD
                elif first in _SAVED:
                    saved[first] = saved.get(first, 0) + WORD
                else:
                    pushed += WORD
            elif instruction.mnemonic == Mnemonic.POP:
                popped += WORD
            elif _makes_frame(instruction):
                # what was pushed before that is saved
                return max(0, pushed - (self._room_pushed(k) if pushed else 0))
            elif first in saved:
                pushed += saved.pop(first)
            k -= 1
        return pushed if k < function.entry else pushed + sum(saved.values())

    def _room_pushed(self, i: int) -> int:
        """Bytes of locals that `push ecx` makes right behind `mov ebp, esp`.

        Told from an argument by code that names the place.
        """
        instructions, room, depth = self.function.instructions, 0, 0
        if instructions[i].mnemonic != Mnemonic.MOV:
            return 0
        for instruction in instructions[i + 1 :]:
            if instruction.mnemonic != Mnemonic.PUSH or instruction.op0_register not in _LOST:
                break
            depth += WORD
            room += WORD if -depth & _MASK in self._named else 0
        return room

    @cached_property
    def _named(self) -> frozenset[int]:
        """The displacements at which code names its frame by EBP."""
        return frozenset(
            instruction.memory_displacement & _MASK
            for instruction in self.function.instructions
            if instruction.memory_base == Register.EBP
        )


def _changes_esp(instruction: Instruction) -> bool:
    """Whether the first operand is the stack pointer."""
    return bool(instruction.op_count and instruction.op0_register == Register.ESP)


def _makes_frame(instruction: Instruction) -> bool:
    """`sub esp, size`, `and esp, mask` and `mov ebp, esp`."""
    if instruction.mnemonic in (Mnemonic.SUB, Mnemonic.AND):
        return _changes_esp(instruction)
    is_move = instruction.mnemonic == Mnemonic.MOV and instruction.op0_register in _FRAME
    return is_move and instruction.op1_register == Register.ESP


def _stores_first_argument(instruction: Instruction) -> bool:
    """`mov [esp], value`."""
    if instruction.mnemonic != Mnemonic.MOV or instruction.op0_kind != OpKind.MEMORY:
        return False
    is_bottom = not instruction.memory_displacement and instruction.memory_index == NONE
    return bool(is_bottom and instruction.memory_base == Register.ESP)

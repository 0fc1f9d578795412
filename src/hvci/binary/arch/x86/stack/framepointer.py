"""Which registers of x64 and x86 code hold addresses of the frame, and which is its pointer.

clang points RBP into the middle of a frame, where a local variable may lie; that is not handed to
anybody by this. Knows single instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, count
from operator import attrgetter

from iced_x86 import Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register

from hvci.binary.arch.x86.lift import RAX, RBP, REGISTERS, RSP
from hvci.binary.form.code import Function

_STACK_POINTERS = frozenset((Register.RSP, Register.ESP))
_FRAME_POINTERS = frozenset((Register.RBP, Register.EBP))
_MAKES = frozenset((Mnemonic.POP, Mnemonic.MOV, Mnemonic.LEA))
_COPIES = frozenset(
    (
        Mnemonic.LEA,
        Mnemonic.MOV,
        Mnemonic.CALL,
        *(Mnemonic.ADD, Mnemonic.SUB, Mnemonic.OR, Mnemonic.AND, Mnemonic.XOR, Mnemonic.XCHG),
        *(value for name, value in vars(Mnemonic).items() if name.startswith("CMOV")),
    )
)
"""What puts an address into another register, or what is computed from one."""
_DIRECT = frozenset((OpKind.NEAR_BRANCH64, OpKind.NEAR_BRANCH32))
_POINTERS = 1 << RSP | 1 << RBP
"""The registers that hold addresses of the frame though nobody asks for one."""
_MNEMONIC = attrgetter("mnemonic")
_PLACE = attrgetter("memory_base", "memory_displacement")
_OPERANDS = tuple(attrgetter(f"op{n}_register") for n in range(4))
_PARTS = _FRAME_POINTERS | {Register.BP, Register.BPL}
_IS_PART = bytes(n in _PARTS for n in range(256))
_WRITES = frozenset(
    (OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
)
_FACTORY = InstructionInfoFactory()
_IS_FRAME_POINTER = bytes(n in _FRAME_POINTERS for n in range(256))
"""By iced's number of a register."""
MASKS = [1 << REGISTERS[n][0] if n in REGISTERS else 0 for n in range(256)]
"""By iced's number of a register: the bit of the register that holds it, 0 for other kinds."""


def frame_registers(function: Function) -> int:
    """The registers (a mask) into which a function ever puts an address of its frame.

    One pass in code order: LEA from, copies of and sums with the stack pointer, also out of places
    in the frame that such an address was put into, and what a function of the image returns.
    """
    mask, kept = 1 << RSP, set[tuple[int, int]]()
    instructions = function.instructions
    copies = bytes(map(_COPIES.__contains__, map(_MNEMONIC, instructions)))
    for instruction in compress(instructions, copies):
        is_lea = instruction.mnemonic == Mnemonic.LEA
        source = instruction.memory_base if is_lea else instruction.op1_register
        index = MASKS[instruction.memory_index] if is_lea else 0
        if instruction.mnemonic == Mnemonic.CALL:
            if mask & ~_POINTERS and instruction.op0_kind in _DIRECT:
                mask |= 1 << RAX  # it may have got the address that it returns
        elif mask & (MASKS[source] | index):
            made = MASKS[instruction.op0_register]
            if made:
                mask |= made
            elif mask & MASKS[instruction.memory_base]:
                kept.add(_PLACE(instruction))
        elif kept and not source and _PLACE(instruction) in kept:
            mask |= MASKS[instruction.op0_register]
    return mask


def points_frame(function: Function, i: int) -> bool:
    """Whether `lea rbp, [rsp+n]` or `mov rbp, rsp` makes the frame pointer, and nothing else.

    So it is where RBP only names memory from then on, is restored or gives back the stack pointer.
    """
    instruction = function.instructions[i]
    if instruction.op0_register not in _FRAME_POINTERS:
        return False
    if instruction.mnemonic == Mnemonic.LEA and instruction.memory_base not in _STACK_POINTERS:
        return False
    known: bool | None = function.cache.get("frame pointer")
    if known is None:
        instructions = function.instructions
        known = all(_keeps_frame(instructions[k], k - i) for k in _naming_frame(function))
        function.cache["frame pointer"] = known
    return known


def is_used_again(function: Function) -> bool:
    """Whether RBP, once it has pointed to the frame, becomes something else in x86 code.

    It is a register like any other there, whose value depends on the way. Giving the caller's back
    does not count.
    """
    known: bool | None = function.cache.get("frame pointer used again")
    if known is None:
        known = function.cache["frame pointer used again"] = _becomes_another(function)
    return known


def _becomes_another(function: Function) -> bool:
    is_made = False
    instructions = function.instructions
    named = [bytes(map(operand, instructions)).translate(_IS_PART) for operand in _OPERANDS[:2]]
    for i in sorted({*compress(count(), named[0]), *compress(count(), named[1])}):
        instruction = instructions[i]
        if not _writes_frame_pointer(instruction):
            continue
        mnemonic = instruction.mnemonic
        source = instruction.memory_base if mnemonic == Mnemonic.LEA else instruction.op1_register
        if mnemonic == Mnemonic.POP:
            if is_made and instructions[i - 1].mnemonic == Mnemonic.PUSH:
                return True
        elif is_made:
            return True
        else:
            is_made = mnemonic in _MAKES and source in _STACK_POINTERS
    return False


def _writes_frame_pointer(instruction: Instruction) -> bool:
    info = _FACTORY.info(instruction)
    return any(
        instruction.op_register(n) in _PARTS and info.op_access(n) in _WRITES
        for n in range(min(instruction.op_count, 2))
        if instruction.op_kind(n) == OpKind.REGISTER
    )


def _naming_frame(function: Function) -> Iterator[int]:
    """The instructions with RBP as an operand that is no memory, some of them twice."""
    for operand in _OPERANDS:
        named = bytes(map(operand, function.instructions)).translate(_IS_FRAME_POINTER)
        yield from compress(count(), named)


def _keeps_frame(instruction: Instruction, behind: int) -> bool:
    """Whether an instruction hands RBP to nobody; `behind` says how far behind its LEA it is."""
    mnemonic = instruction.mnemonic
    if mnemonic == Mnemonic.PUSH:
        return behind < 0 or instruction.op0_register not in _FRAME_POINTERS
    for n in range(instruction.op_count):
        is_named = instruction.op_kind(n) == OpKind.REGISTER
        if is_named and instruction.op_register(n) in _FRAME_POINTERS:
            is_made = not n and mnemonic in _MAKES
            is_given_back = n and instruction.op0_register in _STACK_POINTERS
            if not is_made and not is_given_back:
                return False
    return True

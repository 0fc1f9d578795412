"""Which registers an x64 or x86 instruction reads: as the base of memory, or for anything else."""

from __future__ import annotations

from typing import Any

from iced_x86 import (
    Instruction,
    InstructionInfoFactory,
    Mnemonic,
    OpAccess,
    OpKind,
    Register,
    RegisterExt,
)

from hvci.binary.arch.x86.lift import REGISTERS

_FACTORY = InstructionInfoFactory()
IcedRegister = Any
"""A number for iced: its module of registers is no type."""
_READS = frozenset(
    (
        *(OpAccess.READ, OpAccess.COND_READ, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE),
        OpAccess.COND_WRITE,  # CMOVcc may leave what was there
    )
)


def _mask(register: int) -> int:
    known = REGISTERS.get(register)
    return 1 << known[0] if known else 0


_READ: dict[tuple[int, bool], tuple[tuple[bool, ...], int]] = {}
"""Which operands are read where they are registers, and registers read besides.

By encoding, and whether the first two operands are the same: `xor eax, eax` reads nothing.
"""


_SPARE = {
    8: (Register.R10, Register.R11, Register.R12, Register.R13, Register.R14, Register.R15),
    4: (Register.R10D, Register.R11D, Register.R12D, Register.R13D, Register.R14D, Register.R15D),
    2: (Register.R10W, Register.R11W, Register.R12W, Register.R13W, Register.R14W, Register.R15W),
    1: (Register.R10L, Register.R11L, Register.R12L, Register.R13L, Register.R14L, Register.R15L),
}
"""By bytes: registers that no instruction reads unless an operand names them."""


def _renamed(instruction: Instruction) -> tuple[Instruction, int]:
    """The same encoding with operands that are read by no name, and the mask of these.

    `mul rax` reads RAX twice, and only one of them is the operand's.
    """
    copy, new = instruction.copy(), dict[int, int]()

    def spare(register: IcedRegister) -> IcedRegister:
        if register not in REGISTERS:
            return register
        place = new.setdefault(RegisterExt.full_register(register), len(new))
        return _SPARE[RegisterExt.size(register)][place]

    for n in range(copy.op_count):
        if copy.op_kind(n) == OpKind.REGISTER:
            copy.set_op_register(n, spare(copy.op_register(n)))
    copy.memory_base = spare(copy.memory_base)
    copy.memory_index = spare(copy.memory_index)
    named = 0
    for register in _SPARE[8][: len(new)]:
        named |= _mask(register)
    return copy, named


def _learn(instruction: Instruction) -> tuple[tuple[bool, ...], int]:
    """Ask iced once per encoding; what it says must not depend on the operands met first."""
    copy, named = _renamed(instruction)
    info = _FACTORY.info(copy)
    others = 0
    for used in info.used_registers():
        if used.access in _READS:
            others |= _mask(used.register) & ~named
    return tuple(info.op_access(n) in _READS for n in range(copy.op_count)), others


def reads(instruction: Instruction) -> tuple[int, int]:
    """Masks of the registers that are the base of a memory operand, and that are read otherwise."""
    first = instruction.op0_register
    key = instruction.code, bool(first) and first == instruction.op1_register
    known = _READ.get(key)
    if known is None:
        known = _READ[key] = _learn(instruction)
    operands, others = known
    bases = 0
    for n, is_read in enumerate(operands):
        kind = instruction.op_kind(n)
        if kind == OpKind.REGISTER:
            if is_read:
                others |= _mask(instruction.op_register(n))
        elif kind == OpKind.MEMORY:
            if instruction.mnemonic == Mnemonic.LEA:
                others |= _mask(instruction.memory_base)
            else:
                bases |= _mask(instruction.memory_base)
            others |= _mask(instruction.memory_index)
    return bases, others

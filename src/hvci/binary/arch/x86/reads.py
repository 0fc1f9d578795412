"""Which registers an x64 or x86 instruction reads: as the base of memory, or for anything else."""

from __future__ import annotations

from iced_x86 import Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind

from hvci.binary.arch.x86.lift import REGISTERS

_FACTORY = InstructionInfoFactory()
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


def _learn(instruction: Instruction) -> tuple[tuple[bool, ...], int]:
    """Ask iced once per encoding."""
    info = _FACTORY.info(instruction)
    count = instruction.op_count
    named = _mask(instruction.memory_base) | _mask(instruction.memory_index)
    for n in range(count):
        if instruction.op_kind(n) == OpKind.REGISTER:
            named |= _mask(instruction.op_register(n))
    others = 0
    for used in info.used_registers():
        if used.access in _READS:
            others |= _mask(used.register) & ~named
    return tuple(info.op_access(n) in _READS for n in range(count)), others


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

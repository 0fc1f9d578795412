"""Reads and writes what an x86 instruction names in the emulated machine: registers and memory."""

from __future__ import annotations

from typing import Any

from iced_x86 import Instruction, MemorySizeInfo, OpKind, Register, RegisterInfo
from unicorn import x86_const as reg

from hvci.verifier.arch.base import Processor

_GENERAL = (
    *("AL", "CL", "DL", "BL", "AH", "CH", "DH", "BH", "SPL", "BPL", "SIL", "DIL"),
    *("AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI"),
    *("EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI", "EIP"),
    *("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "RIP"),
    *(f"R{number}{size}" for number in range(8, 16) for size in ("", "D", "W", "B")),
    *(f"{kind}MM{number}" for kind in "XY" for number in range(16)),
)
_ICED_BYTES = {f"R{number}B": f"R{number}L" for number in range(8, 16)}
_ENGINE: dict[int, int] = {
    getattr(Register, _ICED_BYTES.get(name, name)): getattr(reg, f"UC_X86_REG_{name}")
    for name in _GENERAL
}
_BASES: dict[int, int] = {Register.FS: reg.UC_X86_REG_FS_BASE, Register.GS: reg.UC_X86_REG_GS_BASE}
IMMEDIATES = frozenset(
    (
        *(OpKind.IMMEDIATE8, OpKind.IMMEDIATE8_2ND, OpKind.IMMEDIATE8TO16),
        *(OpKind.IMMEDIATE8TO32, OpKind.IMMEDIATE8TO64, OpKind.IMMEDIATE16, OpKind.IMMEDIATE32),
    )
)


def _info(number: int) -> RegisterInfo:
    make: Any = RegisterInfo
    made: RegisterInfo = make(number)
    return made


class Operands:
    """The registers and memory of one processor, by iced's names."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.mask = (1 << 8 * processor.pointer_size) - 1

    def register(self, number: int) -> int:
        """A register; 256 bits of a YMM, 128 of an XMM."""
        return self._get(_ENGINE[number])

    def _get(self, number: int) -> int:
        value: int = self._processor.engine.reg_read(number)
        return value

    def put(self, number: int, value: int) -> None:
        """Set a register as 64-bit code does: 32 bits clear the upper half."""
        info = _info(number)
        if info.size == 4 and self.mask >> 32:
            number, value = info.full_register, value & 0xFFFF_FFFF
        value &= (1 << 8 * _info(number).size) - 1
        self._processor.engine.reg_write(_ENGINE[number], value)

    def width(self, number: int) -> int:
        """Bytes of a register."""
        return _info(number).size

    def whole(self, number: int) -> int:
        """The value of the general register that a register is part of."""
        info = _info(number)
        return self.register(info.full_register if self.mask >> 32 else info.full_register32)

    def put_vector(self, number: int, value: int) -> None:
        """Set a vector register whole: what VEX does not write becomes zero."""
        index = _info(number).number
        self._processor.engine.reg_write(reg.UC_X86_REG_YMM0 + index, value)

    def address(self, instruction: Instruction) -> int:
        """Where a memory operand lies."""
        if instruction.is_ip_rel_memory_operand:
            return int(instruction.ip_rel_memory_address)
        base: int = instruction.memory_base
        index: int = instruction.memory_index
        found = instruction.memory_displacement + self._segment(instruction.memory_segment)
        if base != Register.NONE:
            found += self.register(base)
        if index != Register.NONE:
            found += self.register(index) * instruction.memory_index_scale
        return found & self.mask

    def _segment(self, number: int) -> int:
        """Where a segment starts."""
        if not self.mask >> 32:
            return self._processor.control_region if number == Register.FS else 0
        base = _BASES.get(number)
        return self._get(base) if base is not None else 0

    def size(self, instruction: Instruction) -> int:
        """Bytes of the memory operand."""
        return int(MemorySizeInfo(instruction.memory_size).size)

    def memory(self, instruction: Instruction) -> bytes:
        """The bytes of a memory operand."""
        address, size = self.address(instruction), self.size(instruction)
        return self._processor.memory.read(address, size)

    def store(self, instruction: Instruction, data: bytes) -> None:
        """Store a memory operand, as the page allows."""
        self._processor.memory.write(self.address(instruction), data)

    def value(self, instruction: Instruction, operand: int) -> int:
        """An operand of any kind as a number."""
        kind = instruction.op_kind(operand)
        if kind == OpKind.REGISTER:
            return self.register(instruction.op_register(operand))
        if kind == OpKind.MEMORY:
            return int.from_bytes(self.memory(instruction), "little")
        return int(instruction.immediate(operand))

    @property
    def flags(self) -> int:
        """EFLAGS."""
        return self._get(reg.UC_X86_REG_EFLAGS)

    @flags.setter
    def flags(self, value: int) -> None:
        self._processor.engine.reg_write(reg.UC_X86_REG_EFLAGS, value)

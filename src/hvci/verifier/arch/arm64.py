"""The ARM64 processor: eight register arguments and a link register.

Reads block endings with bit masks: instructions are four bytes wide. Knows nothing of DDIs.
"""

from __future__ import annotations

from collections.abc import Sequence

from unicorn import UC_ARCH_ARM64, UC_MODE_ARM
from unicorn import arm64_const as reg
from unicorn.unicorn_py3.unicorn import Uc

from hvci.verifier.arch.base import Block, Convention, Ending, Processor

_FLOATING_POINT_ON = 0x30_0000
_LINK = 2 + 8
"""Where the link register stands behind program counter, stack pointer and arguments."""


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def classify(word: int, address: int) -> tuple[Ending, int]:
    """How an instruction ends a block, and its direct target (0 when there is none)."""
    if word & 0x7C00_0000 == 0x1400_0000:
        ending = Ending.CALL if word >> 31 else Ending.JUMP
        return ending, address + 4 * _signed(word & 0x3FF_FFFF, 26)
    if word & 0xFF00_0010 == 0x5400_0000 or word & 0x7E00_0000 == 0x3400_0000:
        return Ending.BRANCH, address + 4 * _signed(word >> 5 & 0x7_FFFF, 19)
    if word & 0x7E00_0000 == 0x3600_0000:
        return Ending.BRANCH, address + 4 * _signed(word >> 5 & 0x3FFF, 14)
    if word & 0xFFFF_FC1F == 0xD61F_0000:
        return Ending.JUMP, 0
    if word & 0xFFFF_FC1F == 0xD63F_0000:
        return Ending.CALL, 0
    if word & 0xFFFF_FC1F == 0xD65F_0000:
        return Ending.RETURN, 0
    return Ending.FALL, 0


def _only_loads(words: Sequence[int]) -> bool:
    """ADRP, ADD immediate and LDR unsigned: what an import thunk does before its jump."""
    return all(
        word & 0x9F00_0000 == 0x9000_0000
        or word & 0xFF80_0000 == 0x9100_0000
        or word & 0xFFC0_0000 == 0xF940_0000
        for word in words
    )


class Arm64(Processor):
    """ARM64: x0 to x7, then the stack; x18 points at the processor control region."""

    name = "arm64"
    pointer_size = 8
    stub_code = b"\x00\x00\x40\xd4" * 4
    pc_register = reg.UC_ARM64_REG_PC
    sp_register = reg.UC_ARM64_REG_SP
    result_register = reg.UC_ARM64_REG_X0
    argument_registers = (*(reg.UC_ARM64_REG_X0 + n for n in range(8)), reg.UC_ARM64_REG_LR)

    def __init__(self) -> None:
        engine = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        engine.ctl_set_cpu_model(reg.UC_CPU_ARM64_MAX)
        self.attach(engine)

    def prepare(self, control_region: int) -> None:
        """x18 points at the processor control region; floating point is on."""
        self.engine.reg_write(reg.UC_ARM64_REG_CPACR_EL1, _FLOATING_POINT_ON)
        self.engine.reg_write(reg.UC_ARM64_REG_X18, control_region)

    def argument(self, slot: int, convention: Convention) -> int:
        """A register or stack slot of the function that was just entered."""
        if slot < 8:
            return self.seen[2 + slot] if self.seen else self.get(self.argument_registers[slot])
        return self.memory.u64(self.sp + 8 * (slot - 8))

    def return_address(self) -> int:
        """Where the function that was just entered will return to."""
        return self.seen[_LINK] if self.seen else self.get(reg.UC_ARM64_REG_LR)

    def left(self, convention: Convention) -> tuple[int, int]:
        """(stack pointer, return address) when the function that was just entered is left."""
        return self.sp, self.return_address()

    def enter(self, arguments: Sequence[int], return_to: int, top: int) -> None:
        """Build a call frame below stack address `top`, as if called from `return_to`."""
        sp = (top - 0x40 - 8 * len(arguments)) & ~15
        for register, value in zip(self.argument_registers[:8], arguments, strict=False):
            self.set(register, value)
        for index, value in enumerate(arguments[8:]):
            self.memory.put(sp + 8 * index, value, 8)
        self.set(reg.UC_ARM64_REG_LR, return_to)
        self.sp = sp

    def block(self, start: int, size: int) -> Block:
        """Read how a block ends."""
        last = start + max(size - 4, 0)
        code = self.memory.read(start, size)
        words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, size - 3, 4)]
        ending, target = classify(words[-1], last) if words else (Ending.FALL, 0)
        is_thunk = ending is Ending.JUMP and not target and _only_loads(words[:-1])
        return Block(start, start + size, ending, last, target, is_thunk)

    def length(self, address: int) -> int:
        """Every instruction has four bytes."""
        return 4

    def text(self, address: int) -> str:
        """The instruction there as assembly text."""
        import capstone

        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        for _, _, mnemonic, operands in engine.disasm_lite(self.memory.read(address, 4), address):
            return f"{mnemonic} {operands}".rstrip()
        return ""

"""The two Intel processors: x64 with four register arguments, x86 with stdcall and fastcall.

Knows registers and instruction endings; knows nothing of Windows DDIs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from iced_x86 import Decoder, FlowControl, Formatter, FormatterSyntax
from unicorn import UC_ARCH_X86, UC_MODE_32, UC_MODE_64
from unicorn import x86_const as reg
from unicorn.unicorn_py3.unicorn import Uc

from hvci.verifier.arch.base import Block, Convention, Ending, Processor

_ENDINGS = {
    FlowControl.CALL: Ending.CALL,
    FlowControl.INDIRECT_CALL: Ending.CALL,
    FlowControl.UNCONDITIONAL_BRANCH: Ending.JUMP,
    FlowControl.INDIRECT_BRANCH: Ending.JUMP,
    FlowControl.CONDITIONAL_BRANCH: Ending.BRANCH,
    FlowControl.RETURN: Ending.RETURN,
}
_DIRECT = frozenset(
    (FlowControl.CALL, FlowControl.UNCONDITIONAL_BRANCH, FlowControl.CONDITIONAL_BRANCH)
)
LONGEST = 15


EXTENSIONS = 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18 | 1 << 20
"""CR4: OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE and SMEP, as Windows sets them."""
INTERRUPTS_ON = 1 << 9 | 1 << 1
"""EFLAGS as a driver finds them: IF, and the bit that is always set."""


def _engine(mode: int) -> Uc:
    """The Intel processor of which the engine can do most, with what Windows turns on."""
    engine = Uc(UC_ARCH_X86, mode)
    engine.ctl_set_cpu_model(reg.UC_CPU_X86_ICELAKE_SERVER)
    engine.reg_write(reg.UC_X86_REG_CR4, engine.reg_read(reg.UC_X86_REG_CR4) | EXTENSIONS)
    engine.reg_write(reg.UC_X86_REG_EFLAGS, INTERRUPTS_ON)
    return engine


class _Intel(Processor):
    """What both have in common."""

    bits: int
    stub_code = b"\xf4" * 16

    def block(self, start: int, size: int) -> Block:
        """Read how a block ends.

        The engine may take the last instruction for shorter than it is: a branch with prefix 66.
        """
        code = self.memory.read(start, size)
        decoder = Decoder(self.bits, code, ip=start)
        instructions = list(decoder)
        if instructions and instructions[-1].is_invalid:
            rest = instructions[-1].ip
            again = Decoder(self.bits, self.memory.read(rest, LONGEST), ip=rest).decode()
            if not again.is_invalid:
                instructions[-1] = again
        if not instructions:
            return Block(start, start + size, Ending.FALL, start, 0, False)
        last = instructions[-1]
        flow = last.flow_control
        return Block(
            start,
            max(start + size, 0 if last.is_invalid else last.next_ip),
            _ENDINGS.get(flow, Ending.FALL),
            last.ip,
            last.near_branch_target if flow in _DIRECT else 0,
            len(instructions) == 1 and flow == FlowControl.INDIRECT_BRANCH,
        )

    def length(self, address: int) -> int:
        """Length of the instruction there in bytes; 0 when it is none."""
        for instruction in Decoder(self.bits, self.memory.read(address, LONGEST), ip=address):
            return 0 if instruction.is_invalid else instruction.len
        return 0

    def text(self, address: int) -> str:
        """The instruction there as assembly text."""
        formatter = Formatter(FormatterSyntax.MASM)
        for instruction in Decoder(self.bits, self.memory.read(address, LONGEST), ip=address):
            return str(formatter.format(instruction))
        return ""


class X64(_Intel):
    """x64: rcx, rdx, r8, r9, then the stack behind 32 bytes of home space."""

    name = "x64"
    bits = 64
    pointer_size = 8
    pc_register = reg.UC_X86_REG_RIP
    sp_register = reg.UC_X86_REG_RSP
    result_register = reg.UC_X86_REG_RAX
    argument_registers = (
        reg.UC_X86_REG_RCX,
        reg.UC_X86_REG_RDX,
        reg.UC_X86_REG_R8,
        reg.UC_X86_REG_R9,
    )
    _kept = (
        reg.UC_X86_REG_RBX,
        reg.UC_X86_REG_RSI,
        reg.UC_X86_REG_RDI,
        reg.UC_X86_REG_RBP,
        reg.UC_X86_REG_R12,
        reg.UC_X86_REG_R13,
        reg.UC_X86_REG_R14,
        reg.UC_X86_REG_R15,
    )

    def __init__(self) -> None:
        self.attach(_engine(UC_MODE_64))

    def prepare(self, control_region: int) -> None:
        """GS points at the processor control region, whose own address it holds at 0x18."""
        self.control_region = control_region
        self.engine.reg_write(reg.UC_X86_REG_GS_BASE, control_region)

    def argument(self, slot: int, convention: Convention) -> int:
        """A register or stack slot of the function that was just entered."""
        if slot < 4:
            return self.seen[2 + slot] if self.seen else self.get(self.argument_registers[slot])
        return self.memory.u64(self.sp + 8 + 8 * slot)

    def return_address(self) -> int:
        """Where the function that was just entered will return to."""
        return self.memory.u64(self.sp)

    def left(self, convention: Convention) -> tuple[int, int]:
        """(stack pointer, return address) when the function that was just entered is left."""
        sp = self.sp
        return sp + 8, self.memory.u64(sp)

    def enter(self, arguments: Sequence[int], return_to: int, top: int) -> None:
        """Build a call frame below stack address `top`, as if called from `return_to`."""
        sp = ((top - 0x40 - 8 * len(arguments)) & ~15) - 8
        for register, value in zip(self.argument_registers, arguments, strict=False):
            self.set(register, value)
        for index, value in enumerate(arguments[4:], 4):
            self.memory.put(sp + 8 + 8 * index, value, 8)
        self.memory.put(sp, return_to, 8)
        self.sp = sp

    def clear(self) -> None:
        """Zero the registers that a callee keeps."""
        for register in self._kept:
            self.engine.reg_write(register, 0)


class X86(_Intel):
    """x86: stdcall; the callee removes its arguments; fastcall puts two into ecx and edx."""

    name = "x86"
    bits = 32
    pointer_size = 4
    pc_register = reg.UC_X86_REG_EIP
    sp_register = reg.UC_X86_REG_ESP
    result_register = reg.UC_X86_REG_EAX
    high_result_register = reg.UC_X86_REG_EDX
    argument_registers = (reg.UC_X86_REG_ECX, reg.UC_X86_REG_EDX)
    _SELECTORS = (
        (reg.UC_X86_REG_CS, 0x08, 0x9B),
        (reg.UC_X86_REG_DS, 0x10, 0x93),
        (reg.UC_X86_REG_ES, 0x10, 0x93),
        (reg.UC_X86_REG_SS, 0x10, 0x93),
        (reg.UC_X86_REG_FS, 0x30, 0x93),
    )
    """Segment registers with selector and access byte; loading one makes the engine look at all."""

    def __init__(self) -> None:
        self.attach(_engine(UC_MODE_32))

    def prepare(self, control_region: int) -> None:
        """Flat segments, but for FS: its base is the processor control region."""
        self.control_region = control_region
        table = control_region + 0x800
        for _, selector, access in self._SELECTORS:
            base = control_region if selector == 0x30 else 0
            low = 0xFFFF | (base & 0xFFFFFF) << 16 | access << 40
            high = 0xCF << 48 | (base >> 24) << 56
            self.memory.poke(table + selector, struct.pack("<Q", low | high))
        self.engine.reg_write(reg.UC_X86_REG_GDTR, (0, table, 0xFF, 0))
        for register, selector, _ in self._SELECTORS:
            self.engine.reg_write(register, selector)

    def argument(self, slot: int, convention: Convention) -> int:
        """A register or stack slot of the function that was just entered."""
        if convention.fastcall:
            if slot < 2:
                return self.seen[2 + slot] if self.seen else self.get(self.argument_registers[slot])
            slot -= 2
        return self.memory.u32(self.sp + 4 + 4 * slot)

    def return_address(self) -> int:
        """Where the function that was just entered will return to."""
        return self.memory.u32(self.sp)

    def left(self, convention: Convention) -> tuple[int, int]:
        """(stack pointer, return address) when the function that was just entered is left."""
        sp = self.sp
        return sp + 4 + convention.stack_bytes, self.memory.u32(sp)

    def enter(self, arguments: Sequence[int], return_to: int, top: int) -> None:
        """Build a call frame below stack address `top`, as if called from `return_to`."""
        sp = ((top - 0x40 - 4 * len(arguments)) & ~15) - 4
        for register, value in zip(self.argument_registers, arguments, strict=False):
            self.set(register, value)
        for index, value in enumerate(arguments):
            self.memory.put(sp + 4 + 4 * index, value, 4)
        self.memory.put(sp, return_to, 4)
        self.sp = sp

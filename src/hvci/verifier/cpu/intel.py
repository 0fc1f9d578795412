"""x64 and x86 instructions that the engine computes wrongly, skips or refuses, executed here.

Which they are was measured (bench/instructions): every form that iced knows, in unicorn 2.1.4 with
the model that `arch/x86.py` chooses, against a processor. What cannot be executed here either is
named, and the path that meets it is no longer natural. Knows nothing of DDIs or of paths.
"""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import (
    Code,
    ConditionCode,
    Decoder,
    EncodingKind,
    Formatter,
    FormatterSyntax,
    Instruction,
    Mnemonic,
    Register,
)

from hvci.verifier.arch.base import Processor
from hvci.verifier.cpu.avx import Vectors
from hvci.verifier.cpu.bits import MODELS
from hvci.verifier.cpu.operands import Operands

LONGEST = 15
_PRIORITY: int = Register.CR8


def _named(*names: str) -> frozenset[int]:
    return frozenset(getattr(Mnemonic, name) for name in names)


RIGHT_WITH_VEX = _named(
    *("ANDN", "BEXTR", "BLSMSK", "BLSR", "MULX", "PEXT", "RORX", "SARX", "SHLX", "SHRX"),
    *("VLDMXCSR", "VSTMXCSR"),
)
"""General registers only: the engine knows most of BMI."""
WRONG = _named(
    *("EXTRQ", "INSERTQ", "FCOMI", "FCOMIP", "FUCOMI", "FUCOMIP", "FCOS", "FSIN", "FSINCOS"),
    *("FPTAN", "FPATAN", "F2XM1", "FYL2X", "FYL2XP1", "LSL", "LAR", "VERR", "VERW", "UMONITOR"),
    *("INCSSPD", "INCSSPQ", "ERETS", "ERETU", "RSM", "MOVDIRI", "MOVDIR64B", "ENQCMD", "ENQCMDS"),
    *("LKGS", "INVEPT", "INVVPID", "CVTPI2PS", "CVTPI2PD"),
)
"""What the engine computes otherwise than the processor, and nobody executes here."""
NOTHING = _named(
    *("MONITOR", "MWAIT", "SERIALIZE", "INVPCID", "RESERVEDNOP", "CLDEMOTE", "HLT"),
)
"""What changes nothing that a driver can see on one processor without caches; HLT and MWAIT wait
for an interrupt that comes at once."""
RANDOM = _named("RDRAND", "RDSEED")
_WITHHELD = frozenset((Code.PCMPESTRI64_XMM_XMMM128_IMM8, Code.PCMPESTRM64_XMM_XMMM128_IMM8))
"""String comparisons of 64-bit lengths: the engine is not given them."""
_SHUFFLES = _named("PSHUFB", "MPSADBW")
_CONDITIONS: dict[int, Callable[[int], int]] = {
    ConditionCode.O: lambda flags: flags >> 11 & 1,
    ConditionCode.B: lambda flags: flags & 1,
    ConditionCode.E: lambda flags: flags >> 6 & 1,
    ConditionCode.BE: lambda flags: flags & 1 | flags >> 6 & 1,
    ConditionCode.S: lambda flags: flags >> 7 & 1,
    ConditionCode.P: lambda flags: flags >> 2 & 1,
    ConditionCode.L: lambda flags: (flags >> 7 ^ flags >> 11) & 1,
    ConditionCode.LE: lambda flags: (flags >> 7 ^ flags >> 11) & 1 | flags >> 6 & 1,
}
_OPPOSITES: dict[int, int] = {
    ConditionCode.NO: ConditionCode.O,
    ConditionCode.AE: ConditionCode.B,
    ConditionCode.NE: ConditionCode.E,
    ConditionCode.A: ConditionCode.BE,
    ConditionCode.NS: ConditionCode.S,
    ConditionCode.NP: ConditionCode.P,
    ConditionCode.GE: ConditionCode.L,
    ConditionCode.G: ConditionCode.LE,
}


_ALL = WRONG | RANDOM | NOTHING | _named("RDPID", "RDPMC")


def holds(condition: int, flags: int) -> bool:
    """Whether a condition code holds."""
    opposite = _OPPOSITES.get(condition)
    if opposite is not None:
        return not _CONDITIONS[opposite](flags)
    return bool(_CONDITIONS[condition](flags))


def is_special(instruction: Instruction) -> bool:
    """Whether the engine must not execute it."""
    encoding = instruction.encoding
    if encoding != EncodingKind.LEGACY:
        return not (encoding == EncodingKind.VEX and instruction.mnemonic in RIGHT_WITH_VEX)
    mnemonic = instruction.mnemonic
    if mnemonic == Mnemonic.MOV:
        return _touches_cr8(instruction)
    if mnemonic in _SHUFFLES:
        return instruction.op0_register not in range(Register.MM0, Register.MM7 + 1)
    if mnemonic in _ALL:
        return True
    return instruction.code in _WITHHELD


def _touches_cr8(instruction: Instruction) -> bool:
    return _PRIORITY in (instruction.op0_register, instruction.op1_register)


class Intel:
    """Executes what the engine cannot, on one processor."""

    def __init__(self, processor: Processor, bits: int) -> None:
        self._processor = processor
        self._bits = bits
        self._operands = Operands(processor)
        self._vectors = Vectors(self._operands)
        self._drawn = 0
        self.state = 0
        """CR8: the interrupt request level."""

    # ---- finding

    def special(self, start: int, end: int) -> list[int]:
        """Addresses of the instructions in a block that the engine must not execute."""
        code = self._processor.memory.read(start, end - start + LONGEST)
        decoder = Decoder(self._bits, code, ip=start)
        found = []
        for instruction in decoder:
            if instruction.ip >= end:
                break
            if not instruction.is_invalid and self._is_special(instruction, code, start):
                found.append(instruction.ip)
        return found

    def _is_special(self, instruction: Instruction, code: bytes, start: int) -> bool:
        if is_special(instruction):
            return True
        at = instruction.ip - start
        return _is_narrow(instruction, code[at : at + instruction.len], self._bits)

    def name(self, address: int) -> str:
        """The instruction as a person reads it, without operands."""
        code = self._processor.memory.read(address, LONGEST)
        instruction = Decoder(self._bits, code, ip=address).decode()
        if instruction.is_invalid:
            return f"bytes {code[:4].hex(' ')}"
        return Formatter(FormatterSyntax.MASM).format_mnemonic(instruction)

    # ---- executing

    def step(self, address: int) -> int | None:
        """Execute the instruction there; where to go on, or None when it is not executed here."""
        raw = self._processor.memory.read(address, LONGEST)
        instruction = Decoder(self._bits, raw, ip=address).decode()
        raw = raw[: instruction.len]
        if instruction.is_invalid:
            return None
        if _is_narrow(instruction, raw, self._bits):
            return self._branch(instruction)
        try:
            done = self._execute(instruction, raw)
        except (KeyError, ValueError):
            return None
        return instruction.next_ip if done else None

    def _execute(self, instruction: Instruction, raw: bytes) -> bool:
        mnemonic = instruction.mnemonic
        if mnemonic in WRONG or instruction.code in _WITHHELD:
            return False
        if mnemonic in NOTHING or raw[-3:-1] == b"\x0f\x18":
            return True
        if mnemonic in RANDOM:
            return self._random(instruction)
        if mnemonic == Mnemonic.RDPID:
            self._operands.put(instruction.op0_register, 0)
            return True
        if mnemonic == Mnemonic.RDPMC:
            return self._counter()
        if mnemonic == Mnemonic.MOV:
            return self._priority(instruction)
        if mnemonic in MODELS:
            return self._bits_of(instruction)
        is_vector = instruction.encoding == EncodingKind.VEX or mnemonic in _SHUFFLES
        return is_vector and self._vectors.execute(instruction, raw)

    def _bits_of(self, instruction: Instruction) -> bool:
        """BMI: the sources are what stands behind the target."""
        operands = self._operands
        sources = [operands.value(instruction, at) for at in range(1, instruction.op_count)]
        target, bits = instruction.op0_register, 8 * operands.width(instruction.op0_register)
        result, status = MODELS[instruction.mnemonic](sources[0], sources[-1], bits)
        operands.put(target, result)
        if status is not None:
            operands.flags = operands.flags & ~0x8D5 | status
        return True

    def _priority(self, instruction: Instruction) -> bool:
        if instruction.op0_register == _PRIORITY:
            self.state = self._operands.value(instruction, 1) & 15
        elif instruction.op1_register == _PRIORITY:
            self._operands.put(instruction.op0_register, self.state)
        else:
            return False
        return True

    def _random(self, instruction: Instruction) -> bool:
        """The same numbers in every run, and success."""
        self._drawn += 1
        number = self._drawn * 0x9E37_79B9_7F4A_7C15 & (1 << 64) - 1
        self._operands.put(instruction.op0_register, number)
        self._operands.flags = self._operands.flags & ~0x8D5 | 1
        return True

    def _counter(self) -> bool:
        """A performance counter that nobody started."""
        for register in (Register.EAX, Register.EDX):
            self._operands.put(register, 0)
        return True

    def _branch(self, instruction: Instruction) -> int | None:
        """A near branch whose prefix 66 counts for nothing."""
        processor = self._processor
        if instruction.is_jmp_near or instruction.is_jmp_short:
            return int(instruction.near_branch_target)
        if instruction.is_jcc_short_or_near:
            taken = holds(instruction.condition_code, self._operands.flags)
            return int(instruction.near_branch_target if taken else instruction.next_ip)
        if instruction.mnemonic == Mnemonic.RET:
            sp = processor.sp
            extra = instruction.immediate(0) if instruction.op_count else 0
            processor.sp = sp + 8 + extra
            return processor.memory.u64(sp)
        target = (
            instruction.near_branch_target
            if instruction.is_call_near
            else self._operands.value(instruction, 0)
        )
        if instruction.mnemonic == Mnemonic.CALL:
            processor.memory.put(processor.sp - 8, instruction.next_ip, 8)
            processor.sp -= 8
        return int(target)


def _is_narrow(instruction: Instruction, raw: bytes, bits: int) -> bool:
    """Whether a prefix 66 stands before a near branch: Intel ignores it, AMD and the engine not."""
    if bits == 32 or b"\x66" not in raw[:4]:
        return False
    is_near = (
        instruction.is_call_near
        or instruction.is_jmp_near
        or instruction.is_jcc_short_or_near
        or instruction.is_call_near_indirect
        or instruction.is_jmp_near_indirect
        or instruction.is_jmp_short
        or instruction.mnemonic == Mnemonic.RET
    )
    return is_near and b"\x66" in _prefixes(raw)


def _prefixes(raw: bytes) -> bytes:
    """The prefixes of an instruction."""
    at = 0
    while at < len(raw) and raw[at] in b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3":
        at += 1
    return raw[:at]

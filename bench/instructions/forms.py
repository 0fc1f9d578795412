"""Every form of an x86 or x64 instruction, as bytes: opcodes with each prefix, register and memory.

A form is what iced names by a `Code` (opcode, operand size, prefix), once with registers only and
once with memory. Memory operands are at the source index register and a displacement of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from iced_x86 import (
    Code,
    Decoder,
    EncodingKind,
    Instruction,
    Mnemonic,
    OpCodeInfo,
    OpKind,
    Register,
)

MAPS = (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
WHOLE_MODRM = {
    *(b"\x0f\x01", b"\x0f\xae", b"\x0f\xc7", b"\x0f\x1e"),
    *(bytes([escape]) for escape in range(0xD8, 0xE0)),
}
"""Opcodes of which each register form is an instruction of its own."""
IMMEDIATE = bytes((0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0))
"""Behind the operands: a shift count, a lane, and (four bytes) a branch over five bytes."""
KEPT = 2
EXIT = 128
"""Where branches lead, from the start of the code."""
BRANCHES = frozenset((OpKind.NEAR_BRANCH16, OpKind.NEAR_BRANCH32, OpKind.NEAR_BRANCH64))
NAMES = {value: name for name in dir(Code) if isinstance(value := getattr(Code, name), int)}
ENCODINGS = {
    getattr(EncodingKind, name): name for name in ("LEGACY", "VEX", "EVEX", "XOP", "D3NOW")
}


@dataclass(frozen=True)
class Form:
    """One way to write one instruction."""

    code: int
    name: str
    memory: bool
    encoding: str
    raw: bytes
    bits: int

    @property
    def key(self) -> tuple[str, bool]:
        """What the tables count."""
        return self.name, self.memory


def key_of(instruction: Instruction) -> tuple[str, bool]:
    """The form of an instruction that some compiler wrote."""
    return NAMES.get(instruction.code, "?"), has_memory(instruction)


def has_memory(instruction: Instruction) -> bool:
    """Whether an operand is memory behind a ModRM byte."""
    return any(instruction.op_kind(index) == OpKind.MEMORY for index in range(instruction.op_count))


def _modrms(opcode: bytes) -> list[bytes]:
    registers = range(8) if opcode not in WHOLE_MODRM else range(64)
    if opcode in WHOLE_MODRM:
        return [bytes([0xC0 | each]) for each in registers] + [
            bytes([0x46 | each << 3, 0x40]) for each in range(8)
        ]
    return [bytes([0xC3 | each << 3]) for each in registers] + [
        bytes([0x46 | each << 3, 0x40]) for each in range(8)
    ]


def _legacy(bits: int) -> Iterator[bytes]:
    wide = (b"", b"\x48") if bits == 64 else (b"",)
    for prefix, rex, table, opcode in product(
        (b"", b"\x66", b"\xf3", b"\xf2"), wide, MAPS, range(256)
    ):
        head = table + bytes([opcode])
        yield prefix + rex + head + IMMEDIATE
        for modrm in _modrms(head):
            yield prefix + rex + head + modrm + IMMEDIATE


def _vex() -> Iterator[bytes]:
    for table, opcode, w, long, pp in product((1, 2, 3), range(256), (0, 1), (0, 1), range(4)):
        for vvvv in (2, 0):
            second = 0xE0 | table
            third = w << 7 | (~vvvv & 15) << 3 | long << 2 | pp
            for modrm in _modrms(b""):
                yield bytes([0xC4, second, third, opcode]) + modrm + b"\x41" + bytes(8)
                yield bytes([0xC4, second, third, opcode]) + modrm + b"\x02" + bytes(8)
        yield bytes([0xC4, 0xE0 | table, w << 7 | 0x78 | long << 2 | pp, opcode]) + bytes(10)


def _evex(bits: int) -> Iterator[bytes]:
    for table, opcode, w, pp, long in product(
        (1, 2, 3, 5, 6), range(256), (0, 1), range(4), range(3)
    ):
        first = 0xF0 | table
        second = w << 7 | (~2 & 15) << 3 | 4 | pp
        for mask in (0, 1):
            third = long << 5 | 8 | mask
            for modrm in (b"\xcb", b"\x4e\x01"):
                yield bytes([0x62, first, second, third, opcode]) + modrm + b"\x41" + bytes(8)


_LEAVES = frozenset(
    getattr(Mnemonic, name)
    for name in (
        *("INT", "INT1", "IRET", "IRETD", "IRETQ", "SYSCALL", "SYSENTER", "SYSEXIT", "SYSRET"),
        *("WRFSBASE", "WRGSBASE", "LDS", "LES", "LFS", "LGS", "LSS", "XRSTOR", "XRSTOR64", "ENCLU"),
        *("UMWAIT", "TPAUSE", "MWAITX", "RSM", "XRSTORS", "XRSTORS64", "SWAPGS", "MONITORX"),
    )
)
_SEGMENTS = range(Register.ES, Register.GS + 1)


def runs_on_the_host(form: Form) -> bool:
    """Whether a user program can execute it and come back."""
    instruction = Decoder(64 if form.bits == 64 else 32, form.raw).decode()
    if instruction.mnemonic in _LEAVES or instruction.is_call_far or instruction.is_jmp_far:
        return False
    if instruction.is_call_far_indirect or instruction.is_jmp_far_indirect:
        return False
    if instruction.mnemonic in (Mnemonic.RETF, Mnemonic.XBEGIN):
        return False
    loads = instruction.mnemonic in (Mnemonic.MOV, Mnemonic.POP)
    return not (loads and instruction.op_count and instruction.op0_register in _SEGMENTS)


def forms(bits: int) -> list[Form]:
    """All forms, some ways to write each, in order of their names."""
    found: dict[tuple[str, bool], list[Form]] = {}
    for stream in (_legacy(bits), _vex(), _evex(bits)):
        for raw in stream:
            form = _form(bits, raw)
            if form is None:
                continue
            kept = found.setdefault(form.key, [])
            if len(kept) < KEPT and all(form.raw != other.raw for other in kept):
                kept.append(form)
    return [form for key in sorted(found) for form in found[key]]


def _form(bits: int, raw: bytes) -> Form | None:
    decoder = Decoder(bits, raw, ip=0x1002_0000)
    instruction = decoder.decode()
    if instruction.is_invalid or not _is_simple(instruction, bits):
        return None
    raw = raw[: instruction.len]
    if instruction.op_count and instruction.op0_kind in BRANCHES:
        offsets = decoder.get_constant_offsets(instruction)
        size = offsets.immediate_size
        raw = raw[:-size] + (EXIT - len(raw)).to_bytes(size, "little")
    info = OpCodeInfo(instruction.code)
    name = NAMES.get(instruction.code, "?")
    encoding = ENCODINGS.get(info.encoding, "?")
    return Form(instruction.code, name, has_memory(instruction), encoding, raw, bits)


def _is_simple(instruction: Instruction, bits: int) -> bool:
    """Memory, if any, is where the data are."""
    if not has_memory(instruction):
        return True
    base = Register.RSI if bits == 64 else Register.ESI
    return instruction.memory_base == base and not instruction.is_vsib

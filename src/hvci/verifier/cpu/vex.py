"""Executes AVX and AVX2, which the engine does not know, by way of their SSE forms, which it does.

Theory of operation. The engine reads a VEX prefix and computes as if it were not there: with two
operands instead of three, and with 128 bits instead of 256.

1. VEX carries the fields of a legacy instruction: mandatory prefix, opcode map, W. Put back as a
   prefix they name the SSE instruction that computes the same on 128 bits, with the second operand
   in the register that is overwritten.
2. That instruction runs on an engine of its own: operands go into fixed registers, memory into a
   page, and results come back. 256 bits are two lanes of 128; what crosses lanes is in `wide.py`.
3. An instruction that fits neither is not executed: the caller names it.

Blind spots: alignment faults of VEX moves; the high half of what is not a lane. Knows no memory
of the driver: operands are given and returned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import unicorn
from iced_x86 import Instruction, Mnemonic, Register
from unicorn import x86_const as reg
from unicorn.unicorn_py3.unicorn import Uc, UcError

CODE, DATA = 0x1000, 0x2000
LANE = 1 << 128
LOW = LANE - 1
_PREFIXES = (b"", b"\x66", b"\xf3", b"\xf2")
_MAPS = {1: b"\x0f", 2: b"\x0f\x38", 3: b"\x0f\x3a"}
_FIRST, _SECOND = reg.UC_X86_REG_XMM0, reg.UC_X86_REG_XMM1
STATUS = 0x8D5
NOT_BY_LANES = frozenset(
    getattr(Mnemonic, name)
    for name in (
        *(f"VPMOV{sign}X{size}" for sign in "SZ" for size in ("BW", "BD", "BQ", "WD", "WQ", "DQ")),
        *("VCVTDQ2PD", "VCVTPD2DQ", "VCVTTPD2DQ", "VCVTPS2PD", "VCVTPD2PS", "VMPSADBW"),
        *("VBLENDPD", "VBLENDPS", "VSHUFPD", "VTESTPS", "VTESTPD", "VMOVMSKPS", "VMOVMSKPD"),
        *("VPMOVMSKB", "VPTEST"),
    )
)
"""Instructions whose halves of 256 bits are not the instruction on 128 bits, twice."""
NEVER = frozenset(
    getattr(Mnemonic, name)
    for name in (
        *(f"VPCMP{kind}" for kind in ("ESTRI", "ESTRI64", "ESTRM", "ESTRM64", "ISTRI", "ISTRM")),
        *("VMASKMOVDQU", "VLDMXCSR", "VSTMXCSR", "VPSHUFB", "VMPSADBW", "VBLENDVPS", "VBLENDVPD"),
        *("VPBLENDVB", "VRCPPS", "VRCPSS", "VRSQRTPS", "VRSQRTSS"),
    )
)
"""Those with operands that the prefix does not name, and those of which the SSE form is no help."""


class Fields(NamedTuple):
    """A VEX prefix and what follows it."""

    table: int
    wide: int
    vvvv: int
    long: int
    prefix: int
    opcode: int
    modrm: int


def fields(raw: bytes) -> Fields | None:
    """Take an instruction apart; None when there is no VEX prefix behind segment prefixes."""
    at = 0
    while at < len(raw) and raw[at] in (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x67):
        at += 1
    head = raw[at : at + 5]
    if len(head) >= 4 and head[0] == 0xC5:
        second = head[1]
        return Fields(1, 0, ~second >> 3 & 15, second >> 2 & 1, second & 3, head[2], head[3])
    if len(head) == 5 and head[0] == 0xC4:
        second = head[2]
        table, wide = head[1] & 31, second >> 7
        return Fields(table, wide, ~second >> 3 & 15, second >> 2 & 1, second & 3, head[3], head[4])
    return None


class Operands(NamedTuple):
    """What goes in and comes out: 128 bits of vectors, 64 of general registers."""

    first: int
    """The register that the SSE form overwrites."""
    second: int
    """The register or the memory that it reads."""
    general: tuple[int, int]
    """For fields of ModRM that name general registers."""


class Result(NamedTuple):
    """What an SSE form left."""

    first: int
    second: int
    memory: bytes
    general: tuple[int, int]
    flags: int


class Twin:
    """The second engine."""

    def __init__(self) -> None:
        engine: Any = Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        engine.ctl_set_cpu_model(reg.UC_CPU_X86_ICELAKE_SERVER)
        engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        engine.mem_map(CODE, 0x1000)
        engine.mem_map(DATA, 0x1000)
        self._engine = engine
        self._next = CODE
        self._places: dict[bytes, int] = {}

    def run(self, code: bytes, given: Operands, memory: bytes, flags: int) -> Result | None:
        """Execute one instruction; None when the engine refuses it."""
        engine = self._engine
        engine.reg_write(_FIRST, given.first)
        engine.reg_write(_SECOND, given.second)
        engine.reg_write(reg.UC_X86_REG_RAX, given.general[0])
        engine.reg_write(reg.UC_X86_REG_RCX, given.general[1])
        engine.reg_write(reg.UC_X86_REG_RSI, DATA)
        engine.reg_write(reg.UC_X86_REG_EFLAGS, flags & STATUS | 2)
        engine.mem_write(DATA, memory.ljust(32, b"\0"))
        place = self._place(code)
        try:
            engine.emu_start(place, place + len(code))
        except UcError:
            return None
        general = engine.reg_read(reg.UC_X86_REG_RAX), engine.reg_read(reg.UC_X86_REG_RCX)
        return Result(
            engine.reg_read(_FIRST),
            engine.reg_read(_SECOND),
            bytes(engine.mem_read(DATA, max(1, len(memory)))),
            general,
            engine.reg_read(reg.UC_X86_REG_EFLAGS) & STATUS,
        )

    def _place(self, code: bytes) -> int:
        """Where the instruction stands; each is written once."""
        place = self._places.get(code)
        if place is None:
            if self._next + 32 > CODE + 0x1000:
                self._places.clear()
                self._next = CODE
                self._engine.ctl_remove_cache(CODE, CODE + 0x1000)
            place = self._places[code] = self._next
            self._next += 32
            self._engine.mem_write(place, code)
        return place


def legacy(found: Fields, immediate: bytes, group: bool) -> bytes | None:
    """The SSE form: XMM0 (or RAX) in the register field, XMM1 (RCX) or [RSI] in the other.

    In a `group` the register field is part of the opcode.
    """
    if found.table not in _MAPS:
        return None
    is_memory = found.modrm >> 6 != 3
    middle = found.modrm & 0x38 if group else 0
    modrm = middle | (0x06 if is_memory else 0xC1)
    rex = b"\x48" if found.wide else b""
    table = _MAPS[found.table]
    return _PREFIXES[found.prefix] + rex + table + bytes([found.opcode, modrm]) + immediate


def is_vector(register: int) -> bool:
    """Whether it is XMM0 to YMM15."""
    small = Register.XMM0 <= register <= Register.XMM15
    return small or Register.YMM0 <= register <= Register.YMM15


def is_lanewise(instruction: Instruction, wide: bool) -> bool:
    """Whether the SSE form, once or on each half, gives the result."""
    if instruction.mnemonic in NEVER or instruction.is_vsib:
        return False
    return not (wide and instruction.mnemonic in NOT_BY_LANES)

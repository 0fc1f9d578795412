"""Whether a reference that no finder took can still be a use, or is certainly none.

The scan proposes wherever bytes fit, so that most of what is left lies inside other instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hvci.binary.analysis.ledger import Fate, Reference
from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK
from hvci.binary.flow.made_addresses import made
from hvci.binary.form.code import Function, Reg
from hvci.model import Machine

if TYPE_CHECKING:
    from hvci.binary.arch.x86.architecture import X86

_IMMEDIATE = frozenset((0x68, 0xA1, *range(0xB8, 0xC0)))
"""PUSH and MOV of a constant, and the short load of EAX."""
_LIKELY = frozenset((0x03, 0x10, 0x28, 0x33, 0x6F, 0x6E, 0x7E, 0x87, 0x8B, 0x8D, 0xA1, 0xFF))
"""Opcodes with which compilers read a pointer, in general registers and others, or take it."""


def sort_out(analysis: Analysis, used: Reference, function: Function, i: int) -> Fate | None:
    """What the instruction around a reference certainly is; None where it may hand it on."""
    if analysis.image.machine is Machine.ARM64:
        return None if _may_name_arm64(analysis, used, function, i) else Fate.NOTHING
    arch = cast("X86", analysis.arch)
    if used.place in arch.operand_places(function, i):
        if arch.only_compares(function, i):
            return Fate.COMPARED
        return None if arch.named_by(function, i, used.place) == used.target else Fate.NOTHING
    if function.kind == "unwind" or not analysis.is_reached(function):
        return Fate.NOTHING  # inside an instruction that is surely one, or data among code
    return None if _looks_named(analysis, used.place) else Fate.NOTHING


def _looks_named(analysis: Analysis, place: int) -> bool:
    """Whether the bytes before a displacement or immediate fit one, where decoding is not sure."""
    image = analysis.image
    if image.bits == 32 and len(image.relocations.rvas):
        return True  # a relocation proves it
    opcode, modrm = image.memory[place - 2], image.memory[place - 1]
    if image.bits == 32 and modrm in _IMMEDIATE:
        return True
    return modrm & DIRECT_MASK == DIRECT and opcode in _LIKELY


def _may_name_arm64(analysis: Analysis, used: Reference, function: Function, i: int) -> bool:
    """By what the base register can hold: the scan follows code order, not the flow of control."""
    # they cost start-up time where they are not needed
    from hvci.binary.arch.arm64.encoding import ZERO, written_registers
    from hvci.binary.arch.arm64.words import access, is_access

    word = function.instructions[i]
    moved = access(word) if is_access(word) else None
    if moved is not None and not moved.is_load and not moved.swapped:
        return False  # a write hands nothing on
    if moved is not None and not written_registers(word) and not moved.is_vector:
        return False  # read into the zero register
    if word & 0x1F000000 == 0x10000000 or word & 0x3B000000 == 0x18000000:
        return True  # ADR and literals name it themselves
    analysis.flow.begin()
    rvas, why_open = made(analysis.flow, function, i, Reg(word >> 5 & 31))
    gets = (
        [
            register
            for register, memory in zip(moved.registers, moved.memories, strict=False)
            if any(rva + memory.displacement == used.target for rva in rvas)
        ]
        if moved is not None
        else []
    )
    if gets and not why_open and all(register == ZERO for register in gets):
        return False  # the half of a pair that nobody gets
    steps = [memory.displacement for memory in moved.memories] if moved else [_added(word)]
    return any(used.target - step in rvas for step in steps) or bool(why_open and not rvas)


def _added(word: int) -> int:
    """The constant of an ADD."""
    return (word >> 10 & 0xFFF) << 12 * (word >> 22 & 1)

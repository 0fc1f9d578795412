"""What ARM64 words do to a table or pointer that was just loaded."""

from __future__ import annotations

from collections.abc import Container

from hvci.binary.form.ahead import Held
from hvci.binary.form.code import NO_REGISTER, Flow, Function
from hvci.binary.pe.sets import members

POINTER = 8
"""Bytes of a pointer of 64 bits."""
_INDIRECT = frozenset((Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP))


def step_arm64(function: Function, k: int, held: Held) -> int | None:
    """ARM64; the check of Control Flow Guard keeps the registers."""
    word, flow = function.instructions[k], function.flows[k]
    if flow in _INDIRECT:
        return held.routines.get(word >> 5 & 31)
    if flow == Flow.NEXT:
        plain_arm64(word, held)
    return None


def plain_arm64(word: int, held: Held) -> None:
    """What an ARM64 word that changes no flow does to what is held."""
    target, source = word & 31, word >> 5 & 31
    if word & 0xFFC00000 == 0xF9400000 and source in held.tables:  # ldr xt, [xn, #offset]
        held.load(target, (word >> 10 & 0xFFF) * 8)
    elif word & 0xFFE0FFE0 == 0xAA0003E0:  # mov xd, xm
        held.copy(target, word >> 16 & 31)
    elif word >> 25 & 0b0101 == 0b0100:
        _access_arm64(word, held)
    elif reads_table(word, held.tables):  # an offset added to it, perhaps
        held.lost = True
    else:
        held.drop(target)


def _access_arm64(word: int, held: Held) -> None:
    """Any other load or store of ARM64: acquiring, of pairs, or with a base that moves."""
    # they cost start-up time where they are not needed
    from hvci.binary.arch.arm64.encoding import written_registers
    from hvci.binary.arch.arm64.words import access

    moved = access(word)
    if any(held.tables & {each.base, each.index_register} for each in moved.memories):
        held.lost = held.lost or moved.step is not None or bool(moved.others or moved.swapped)
        is_loaded = moved.is_load and not moved.is_vector
        for register, memory in zip(moved.registers, moved.memories, strict=False):
            if is_loaded and memory.index_register == NO_REGISTER and memory.size == POINTER:
                held.load(register, memory.displacement)
            else:
                held.lost = True
        return
    if not moved.is_load:
        for register in (*moved.registers, *moved.swapped):
            held.store(register)
    for register in members(written_registers(word)):
        held.drop(register)


def reads_table(word: int, tables: Container[int]) -> bool:
    """Whether an ARM64 word that moves no memory may read one of some registers."""
    if names_no_register(word):
        return False
    has_second = word >> 26 & 7 != 0b100  # no immediate stands there
    return word >> 5 & 31 in tables or (has_second and word >> 16 & 31 in tables)


def names_no_register(word: int) -> bool:
    """ADR, ADRP, MOVN and MOVZ: a constant stands where others name their source."""
    is_move = word & 0x1F800000 == 0x12800000 and word >> 29 & 3 != 3
    return word & 0x1F000000 == 0x10000000 or is_move

"""Which registers an ARM64 word reads: as the base of memory, or for anything else."""

from __future__ import annotations

from hvci.binary.arch.arm64.encoding import remembered
from hvci.binary.arch.arm64.words import access, is_access

_FIELDS = 31
_NO_SP = (1 << 31) - 1


def _bit(word: int, low: int) -> int:
    return 1 << (word >> low & _FIELDS)


@remembered
def reads(word: int) -> tuple[int, int]:
    """Masks of the registers that are the base of a memory operand, and that are read otherwise."""
    if is_access(word):
        return _by_access(word)
    return 0, _by_others(word) & _NO_SP


def _by_access(word: int) -> tuple[int, int]:
    moved = access(word)
    bases = others = 0
    for memory in moved.memories:
        bases |= 1 << memory.base if memory.base >= 0 else 0
        others |= 1 << memory.index_register if memory.index_register >= 0 else 0
    if moved.is_store and not moved.is_vector:
        for register in moved.registers:
            others |= 1 << register
        if not moved.registers:  # what it stores or compares stands in one of these
            others |= _bit(word, 0) | _bit(word, 10) | _bit(word, 16)
    return bases, others & _NO_SP


def _by_others(word: int) -> int:
    kind = word >> 23 & 63
    if kind >> 1 == 0b10000:  # ADR, ADRP
        return 0
    if kind == 0b100101:  # MOVK keeps the rest of its register
        return _bit(word, 0) if word >> 29 & 3 == 3 else 0
    if kind >> 1 == 0b10001 or kind == 0b100100:  # ADD, AND of an immediate
        return _bit(word, 5)
    if word & 0x0E000000 == 0x0A000000 and not word >> 28 & 1:  # ADD, AND of registers
        return _bit(word, 5) | _bit(word, 16)
    if word & 0x1FE00000 == 0x1A800000:  # CSEL
        return _bit(word, 5) | _bit(word, 16)
    if word & 0x7C000000 == 0x34000000:  # CBZ, TBZ
        return _bit(word, 0)
    if word >> 24 == 0x54 or word & 0x7C000000 == 0x14000000:  # B
        return 0
    return _bit(word, 0) | _bit(word, 5) | _bit(word, 10) | _bit(word, 16)


@remembered
def only_compares(word: int) -> bool:
    """Whether a word makes nothing of what it reads but flags or a branch."""
    if word & 0x7C000000 == 0x34000000:
        return True
    is_sum = word & 0x1F000000 in (0x11000000, 0x0B000000) and word >> 29 & 1
    is_test = word & 0x1F800000 == 0x12000000 or word & 0x1F000000 == 0x0A000000
    return bool(word & 31 == 31 and (is_sum or (is_test and word >> 29 & 3 == 3)))

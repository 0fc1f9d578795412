"""Which registers an ARM64 word reads: as the base of memory, or for anything else."""

from __future__ import annotations

from hvci.binary.arch.arm64.encoding import FIELDS, SP, registers_in, remembered, row_of
from hvci.binary.arch.arm64.words import is_access

_BASE = "n+"


@remembered
def reads(word: int) -> tuple[int, int]:
    """Masks of the registers that are the base of a memory operand, and that are read otherwise."""
    row = row_of(word)
    if not is_access(word) or _BASE not in row.reads:
        return 0, registers_in(row.reads, word) & ~(1 << SP)
    base = 1 << (word >> FIELDS["n"] & 31)
    return base, registers_in(row.reads.replace(_BASE, ""), word) & ~(1 << SP)


@remembered
def only_compares(word: int) -> bool:
    """Whether a word makes nothing of what it reads but flags or a branch."""
    if word & 0x7C000000 == 0x34000000:
        return True
    is_sum = word & 0x1F000000 in (0x11000000, 0x0B000000) and word >> 29 & 1
    is_test = word & 0x1F800000 == 0x12000000 or word & 0x1F000000 == 0x0A000000
    return bool(word & 31 == 31 and (is_sum or (is_test and word >> 29 & 3 == 3)))

"""Which table an indirect jump of ARM64 code goes through, in the shapes of compilers.

An entry of one, two or four bytes is loaded and added to the address of a label, most often four
times; or an address of eight bytes is loaded and jumped to. Words are looked at in code order.
"""

from __future__ import annotations

from collections.abc import Sequence

from hvci.binary.arch.arm64.encoding import written_registers
from hvci.binary.arch.arm64.words import literal_target
from hvci.binary.form.jumptables import Table
from hvci.binary.form.straight import last_write

WINDOW = 16
"""Words before a jump, and before what it needs, in which an entry is loaded and added."""
FAR = 64
"""Words before a use in which an address may be made."""
LOOK = 2 * WINDOW + FAR
"""Words before a jump in which nearly every table is named."""
MAX_PARTS = 4
"""Words that make an address."""
_BR_MASK, _BR = 0xFFFFFC1F, 0xD61F0000
_LOAD_MASK, _LOAD = 0x3B200C00, 0x38200800
"""Loads and stores at a base and an index."""
_SHIFTED_MASK, _SHIFTED = 0xFFE08000, 0x8B000000
_EXTENDED_MASK, _EXTENDED = 0xFFE00000, 0x8B200000
"""ADD of 64-bit registers, the second one shifted left or extended."""
_EXTEND_MASK, _EXTEND = 0x7FBF0000, 0x13000000
"""SXTB, SXTH, SXTW."""
_COPY_MASK, _COPY = 0xFFE0FFE0, 0xAA0003E0
_SUM_MASK, _SUM = 0xFF800000, 0x91000000
"""ADD of an immediate."""


def find_table(words: Sequence[int], start: int, j: int, image_base: int) -> Table | None:
    """The table of the jump that is word `j` of some words from an RVA on; None without one."""
    if words[j] & _BR_MASK != _BR:
        return None
    made = _made(words, j, words[j] >> 5 & 31, WINDOW)
    if made is None:
        return None
    word = words[made]
    if word & _LOAD_MASK == _LOAD and word >> 30 == 3:
        at = _address(words, start, made, word >> 5 & 31)
        return None if at is None else Table(at, 8, 8, -image_base, is_signed=False)
    is_signed = False
    if word & _SHIFTED_MASK == _SHIFTED:
        shift = word >> 10 & 63
    elif word & _EXTENDED_MASK == _EXTENDED:
        shift, is_signed = word >> 10 & 7, bool(word >> 15 & 1)
    else:
        return None
    registers = [(word >> 5 & 31, word >> 16 & 31)]
    if not shift:
        registers.append((word >> 16 & 31, word >> 5 & 31))
    for added, entry in registers:
        load = _made(words, made, entry, WINDOW)
        if load is not None and words[load] & _EXTEND_MASK == _EXTEND:
            is_signed = True
            load = _made(words, load, words[load] >> 5 & 31, WINDOW)
        base = _address(words, start, made, added)
        if load is not None and base is not None and words[load] & _LOAD_MASK == _LOAD:
            at = _address(words, start, load, words[load] >> 5 & 31)
            if at is not None:
                size, extends = 1 << (words[load] >> 30), words[load] >> 23 & 1 == 1
                is_signed = is_signed or extends or size == 8
                return Table(at, size, size, base, 1 << shift, is_signed)
    return None


def _made(words: Sequence[int], i: int, register: int, window: int) -> int | None:
    """Index of the last word before word `i` that changes a register."""
    made = last_write(words, written_registers, i, 1 << register, max(0, i - window))
    return made if made >= 0 else None


def _address(words: Sequence[int], start: int, i: int, register: int) -> int | None:
    """The RVA that words before word `i` put into a register."""
    more = 0
    for _ in range(MAX_PARTS):
        made = _made(words, i, register, FAR)
        if made is None:
            return None
        i, word = made, words[made]
        if word & 0x1F000000 == 0x10000000:
            return literal_target(word, start + 4 * i) + more
        if word & _SUM_MASK == _SUM:
            more += (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
            register = word >> 5 & 31
        elif word & _COPY_MASK == _COPY:
            register = word >> 16 & 31
        else:
            return None
    return None

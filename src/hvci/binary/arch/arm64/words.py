"""ARM64 instruction words taken apart: branch targets and memory operands.

What a word reads, writes and does is told by encoding.py; here are the numbers in its fields. Knows
nothing of values.
"""

from __future__ import annotations

from typing import NamedTuple

from hvci.binary.arch.arm64.encoding import SP, ZERO, remembered, written_registers
from hvci.binary.form.code import NO_REGISTER, Memory

FP = 29
NOP = 0xD503201F
_UNKNOWN_LENGTH = 64


def is_address_of_page(word: int) -> bool:
    """ADRP."""
    return word & 0x9F000000 == 0x90000000


def signed_field(word: int, low: int, width: int) -> int:
    """A bit field as a signed number."""
    value = word >> low & (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


# ---- flow of control


@remembered
def branch_offset(word: int) -> int:
    """Bytes from a direct branch, jump or call to its target."""
    if word & 0x7C000000 == 0x14000000:
        offset = word << 2 & 0xFFFFFFC
        sign = 0x8000000
    elif word & 0x7E000000 == 0x36000000:
        offset = word >> 3 & 0xFFFC
        sign = 0x8000
    else:
        offset = word >> 3 & 0x1FFFFC
        sign = 0x100000
    return offset - (offset & sign) * 2


def branch_target(word: int, rva: int) -> int:
    """Target RVA of a direct branch, jump or call."""
    return (rva + branch_offset(word)) & 0xFFFFFFFF


def literal_target(word: int, rva: int) -> int:
    """RVA that ADR, ADRP or a literal load names."""
    if word & 0x3B000000 == 0x18000000:
        return (rva + 4 * signed_field(word, 5, 19)) & 0xFFFFFFFF
    offset = signed_field(word, 5, 19) << 2 | word >> 29 & 3
    if word >> 31:
        return ((rva & ~0xFFF) + (offset << 12)) & 0xFFFFFFFF
    return (rva + offset) & 0xFFFFFFFF


# ---- memory operands


class Access(NamedTuple):
    """What a load or store moves; one memory operand for each register moved."""

    memories: tuple[Memory, ...]
    registers: tuple[int, ...]
    """Empty when what is stored is not followed."""
    is_load: bool
    is_store: bool
    is_vector: bool = False
    extends_to: int = 0
    """Bytes that a loaded value is sign-extended to."""
    step: int | None = None
    """What is added to the base register."""
    others: int = 0
    """Mask of registers that get something that is not followed."""
    fills: bool = False
    swapped: tuple[int, ...] = ()
    """Registers that get what memory held before a store."""


def _bit(register: int) -> int:
    """Mask of a register; the zero register changes nothing."""
    return 0 if register == ZERO else 1 << register


def is_access(word: int) -> bool:
    """Whether a word is a load or store."""
    return word & 0x0A000000 == 0x08000000


def is_restore(word: int) -> bool:
    """Whether a word loads registers from the stack, as epilogues do."""
    return is_access(word) and word >> 5 & 31 in (SP, FP) and bool(word >> 22 & 1)


@remembered
def access(word: int) -> Access:
    """What a load or store moves; literal loads have no memory operand here."""
    match word >> 28 & 3:
        case 0:
            return _vector_structure(word) if word >> 26 & 1 else _exclusive(word)
        case 1:
            return _literal(word) if not word >> 24 & 1 else _ordered(word)
        case 2:
            return _pair(word)
    return _single(word)


def _literal(word: int) -> Access:
    kind, is_vector = word >> 30, bool(word >> 26 & 1)
    if kind == 3:
        return Access((), (), is_load=False, is_store=False)
    size = 4 << kind if is_vector else 8 if kind == 1 else 4
    memory = Memory(NO_REGISTER, NO_REGISTER, 1, 0, size)
    extends = 8 if kind == 2 and not is_vector else 0
    return Access((memory,), (word & 31,), True, False, is_vector, extends)


def _pair(word: int) -> Access:
    kind, is_vector, is_load = word >> 30, bool(word >> 26 & 1), bool(word >> 22 & 1)
    size = 4 << kind if is_vector else 8 if kind >= 2 else 4
    if kind == 1 and not is_vector and not is_load:  # STGP: tags in units of 16 bytes
        offset, size = 16 * signed_field(word, 15, 7), 8
    else:
        offset = size * signed_field(word, 15, 7)
    mode, base = word >> 23 & 3, word >> 5 & 31
    step = offset if mode & 1 else None
    at = 0 if mode == 1 else offset
    memories = tuple(Memory(base, NO_REGISTER, 1, at + n * size, size) for n in range(2))
    extends = 8 if kind == 1 and not is_vector and is_load else 0
    registers = (word & 31, word >> 10 & 31)
    return Access(memories, registers, is_load, not is_load, is_vector, extends, step)


def _single(word: int) -> Access:
    base, is_vector = word >> 5 & 31, bool(word >> 26 & 1)
    kind, size = word >> 22 & 3, 1 << (word >> 30)
    if is_vector and kind >> 1:
        size = 16
    if word >> 24 & 1:
        return _moved(word, Memory(base, NO_REGISTER, 1, (word >> 10 & 0xFFF) * size, size))
    mode = word >> 10 & 3
    if word >> 21 & 1:
        return _register_offset(word, size) if mode == 2 else _atomic(word, size)
    offset = signed_field(word, 12, 9)
    at = 0 if mode == 1 else offset
    step = offset if mode & 1 else None
    return _moved(word, Memory(base, NO_REGISTER, 1, at, size))._replace(step=step)


def _moved(word: int, memory: Memory) -> Access:
    """The direction and extension that the opc field gives."""
    kind, is_vector = word >> 22 & 3, bool(word >> 26 & 1)
    if not is_vector and kind >= 2 and word >> 30 == 3:  # PRFM
        return Access((memory,), (), False, False)
    is_load = bool(kind & 1) if is_vector else kind != 0
    extends = 0 if is_vector or kind < 2 else 8 if kind == 2 else 4
    return Access((memory,), (word & 31,), is_load, not is_load, is_vector, extends)


def _register_offset(word: int, size: int) -> Access:
    index = word >> 16 & 31
    scale = size if word >> 12 & 1 else 1
    number = NO_REGISTER if index == ZERO else index
    return _moved(word, Memory(word >> 5 & 31, number, scale, 0, size))


def _atomic(word: int, size: int) -> Access:
    """LDADD and its like, SWP, LDAPR, and loads of signed pointers."""
    base, target, source = word >> 5 & 31, word & 31, word >> 16 & 31
    memory = Memory(base, NO_REGISTER, 1, 0, size)
    if word >> 10 & 3:  # LDRAA, LDRAB
        offset = 8 * signed_field((word >> 12 & 0x1FF) | (word >> 13 & 0x200), 0, 10)
        step = offset if word >> 11 & 1 else None
        return Access((memory._replace(displacement=offset),), (target,), True, False, step=step)
    if word & 0x0020FC00 == 0x0020C000:  # LDAPR
        return Access((memory,), (target,), True, False)
    if word & 0xF000 == 0x8000:  # SWP
        return Access((memory,), (source,), False, True, swapped=(target,))
    others = _bit(target) | (_bit(source) if word >> 12 & 14 == 10 else 0)
    return Access((memory,), (), False, True, others=others)


def _exclusive(word: int) -> Access:
    """Exclusive, acquire-release and compare-and-swap accesses."""
    size, base, target = 1 << (word >> 30), word >> 5 & 31, word & 31
    status, second = word >> 16 & 31, word >> 10 & 31
    memory = Memory(base, NO_REGISTER, 1, 0, size)
    is_ordered, is_load, is_pair = word >> 23 & 1, word >> 22 & 1, word >> 21 & 1
    if is_ordered and not is_pair:
        return Access((memory,), (target,), bool(is_load), not is_load)
    if is_ordered:  # CAS
        return Access((memory,), (target,), False, True, swapped=(status,))
    if not is_pair:
        others = 0 if is_load else _bit(status)
        return Access((memory,), (target,), bool(is_load), not is_load, others=others)
    if word >> 31:
        both = (memory, memory._replace(displacement=size))
        others = 0 if is_load else _bit(status)
        return Access(both, (target, second), bool(is_load), not is_load, others=others)
    wide = memory._replace(size=8 << (word >> 30))
    return Access((wide,), (), False, True, others=_bit(status) | _bit(status | 1))


def _ordered(word: int) -> Access:
    """Unscaled acquire-release accesses, memory tags, and copies and fills of blocks."""
    base, target, mode = word >> 5 & 31, word & 31, word >> 10 & 3
    memory = Memory(base, NO_REGISTER, 1, 0, 1 << (word >> 30))
    if not word >> 21 & 1 and mode == 0 and not word >> 26 & 1:
        return _moved(word, memory._replace(displacement=signed_field(word, 12, 9)))
    if not word >> 21 & 1 and mode == 1:
        others = _bit(target) | _bit(base) | _bit(word >> 16 & 31)
        block = Memory(target, NO_REGISTER, 1, 0, 1)
        return Access((block,), (), False, True, others=others, fills=True)
    if not word >> 21 & 1 and mode == 2:  # LDIAPP, STILP and the like
        others = _bit(target) | _bit(word >> 16 & 31) | 1 << base
        return Access((memory._replace(size=16),), (), False, True, others=others)
    others = _bit(target) if mode != 2 else 0
    wide = memory._replace(size=32, displacement=0)
    step = 0 if mode & 1 else None
    return Access((wide,), (), False, False, False, 0, step, others)


def _vector_structure(word: int) -> Access:
    base, is_load = word >> 5 & 31, bool(word >> 22 & 1)
    memory = Memory(base, NO_REGISTER, 1, 0, _UNKNOWN_LENGTH)
    step = 0 if word >> 23 & 1 else None
    return Access((memory,), (), False, not is_load, True, 0, step)


# ---- vector registers


def written_vector(word: int) -> int:
    """The vector register that a word may change, -1 when none; a pair gives its first."""
    if word >> 25 & 7 == 7 and not written_registers(word):
        return word & 31
    if is_access(word) and word >> 26 & 1 and word >> 22 & 1:
        return word & 31
    return -1


def clears_vector(word: int) -> bool:
    """MOVI #0 in its common forms, and EOR of a register with itself."""
    if word & 0xBFF8FC00 in (0x0F00E400, 0x2F00E400, 0x0F000400) and not word >> 5 & 31:
        return not word >> 16 & 7
    same = word >> 5 & 31 == word >> 16 & 31
    return word & 0xFFE0FC00 == 0x6E201C00 and same

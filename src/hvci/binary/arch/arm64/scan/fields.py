"""ARM64 words taken apart many at once: what they write, what they use, what they add.

The counterpart of arm64_words.py for arrays of words. Less exact: each function says what is sure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.words import FLOW_BY_TOP

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]


def signed(fields: npt.NDArray[np.integer[Any]], width: int) -> Numbers:
    """Bit fields as signed numbers."""
    wide = fields.astype(np.int64)
    return np.asarray(wide - ((wide >> (width - 1)) << width))


def writes_lowest(words: Words) -> npt.NDArray[np.bool_]:
    """Which words surely write the register in their lowest field."""
    top = words >> 24
    compares = words & 0x1FE00000 == 0x1A400000
    computes = (top & 0x1C == 0x10) | ((top & 0x0E == 0x0A) & ~compares)
    prefetches = words & 0xFE800000 == 0xF8800000
    loads = (top & 0x3E == 0x38) & (words & 0x00C00000 != 0) & ~prefetches
    pairs = (top & 0x3E == 0x28) & (words & 0x00400000 != 0)
    literals = (top & 0x3F == 0x18) & (top != 0xD8)  # the last prefetches as well
    is_single = (words & 0x00200000 == 0) | (words & 0x80800000 == 0x80000000)  # no CAS, no CASP
    ordered = (words & 0x3F400000 == 0x08400000) & is_single
    ordered |= words & 0x3F600400 == 0x19400000  # LDAPUR
    return np.asarray(computes | loads | pairs | literals | ordered)


def loads_pair(words: Words) -> npt.NDArray[np.bool_]:
    """Which words surely load a second register."""
    return np.asarray(words & 0x3E400000 == 0x28400000)


def changes_little(words: Words) -> npt.NDArray[np.bool_]:
    """Which words surely change no register but that in their lowest field, and call nothing.

    And the second one of a pair, where they load one.
    """
    top = words >> 24
    computes = (top & 0x1C == 0x10) | (top & 0x0E == 0x0A) | (top & 0x0E == 0x0E)
    scaled, literal = top & 0x3B == 0x39, top & 0x3B == 0x18
    unscaled, pairs = words & 0x3B200400 == 0x38000000, words & 0x3A800000 == 0x28000000
    branches = (top == 0x54) | (top & 0x7C == 0x34)
    return np.asarray(computes | scaled | literal | unscaled | pairs | branches)


def changes_nothing(words: Words) -> npt.NDArray[np.bool_]:
    """Which words surely change no general register: branches on a condition, plain stores."""
    top = words >> 24
    branches = (top == 0x54) | (top & 0x7C == 0x34)
    is_vector = top & 0x04 != 0
    singles = (top & 0x3B == 0x39) | (words & 0x3B200400 == 0x38000000)
    stores = singles & (is_vector | (words & 0x00C00000 == 0))
    pairs = (words & 0x3A800000 == 0x28000000) & (is_vector | (words & 0x00400000 == 0))
    return np.asarray(branches | stores | pairs)


def is_call(words: Words) -> npt.NDArray[np.bool_]:
    """Which words are calls, as far as their bits 31 to 21 say: BL, and BLR in all its forms."""
    return np.asarray((words & 0xFC000000 == 0x94000000) | (words & 0xFEE00000 == 0xD6200000))


class Named:
    """The registers that words can read, store or change, calls apart, and perhaps more.

    In forms that are not common an immediate may look like a register.
    """

    def __init__(self, words: Words) -> None:
        kind, top = words >> 23 & 63, words >> 24
        has_one = (kind >> 1 == 0b10000) | (kind == 0b100101)  # ADR, ADRP; MOVZ and its like
        has_two = (kind >> 1 == 0b10001) | (kind == 0b100100) | (kind == 0b100110)
        has_two |= top & 0x3B == 0x39  # loads and stores at an offset
        has_four = ~(has_one | has_two)
        self._lowest, self._base = words & 31, words >> 5 & 31
        self._others = words >> 10 & 31, words >> 16 & 31
        self._has_four, self._has_more = has_four, ~has_one
        # system words change registers that none of their fields names; exclusive pairs as well
        self._is_any = (top == 0xD5) | (top & 0x3E == 0x08)

    def which(self, registers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which words can name some registers, given as an array that fits the words."""
        first, second = self._others
        others = (first == registers) | (second == registers)
        named = (self._lowest == registers) | self._is_any
        named |= (self._base == registers) & self._has_more
        return np.asarray(named | others & self._has_four)


def page_steps(words: Words) -> Numbers:
    """Bytes from the page of each ADRP to the page that it makes."""
    return (signed(words >> 5 & 0x7FFFF, 19) << 2 | (words >> 29 & 3)) << 12


def is_sum(words: Words) -> npt.NDArray[np.bool_]:
    """Which words add a constant to a whole register, or subtract it."""
    return np.asarray(words & 0xBF800000 == 0x91000000)


def uses_base(words: Words) -> npt.NDArray[np.bool_]:
    """Which words add a constant to, or load or store at a constant from, their base field."""
    accesses = (words & 0x0A000000 == 0x08000000) & (words & 0x3B000000 != 0x18000000)
    return np.asarray(is_sum(words) | accesses & ~is_indexed(words))


def is_indexed(words: Words) -> npt.NDArray[np.bool_]:
    """Which words load or store at their base and a register."""
    return np.asarray(words & 0x3B200C00 == 0x38200800)


def moves_base(words: Words) -> npt.NDArray[np.bool_]:
    """Which words load or store and add a constant to their base field as well."""
    pairs = (words & 0x3A000000 == 0x28000000) & (words & 0x00800000 != 0)
    singles = words & 0x3B200400 == 0x38000400
    signed_pointers = words & 0xFF200C00 == 0xF8200C00
    structures = words & 0xBE800000 == 0x0C800000
    return np.asarray(pairs | singles | signed_pointers | structures)


def steps(words: Words) -> Numbers:
    """What each word that moves its base adds to it."""
    paired = signed(words >> 15 & 0x7F, 7) * pair_size(words)
    is_structure = words & 0xBE000000 == 0x0C000000  # how long depends on the registers
    found = np.where(words & 0x3A000000 == 0x28000000, paired, _unscaled(words))
    return np.asarray(np.where(is_structure, 0, found))


def _unscaled(words: Words) -> Numbers:
    """The constant of nine bits that is not scaled; ten bits and scaled for signed pointers."""
    is_signed_pointer = words & 0xFF200400 == 0xF8200400
    wide = signed((words >> 12 & 0x1FF) | (words >> 13 & 0x200), 10) << 3
    return np.asarray(np.where(is_signed_pointer, wide, signed(words >> 12 & 0x1FF, 9)))


def copies(words: Words) -> npt.NDArray[np.bool_]:
    """Which words copy a whole register, the zero register apart."""
    return np.asarray((words & 0xFFE0FFE0 == 0xAA0003E0) & (words >> 16 & 31 != 31))


def chooses(words: Words) -> npt.NDArray[np.bool_]:
    """CSEL: which words copy one of two whole registers."""
    return np.asarray(words & 0xFFE00C00 == 0x9A800000)


def is_pair(words: Words) -> npt.NDArray[np.bool_]:
    """Which words load or store two registers, exclusive ones among them."""
    return np.asarray((words & 0x3A000000 == 0x28000000) | is_exclusive_pair(words))


def is_exclusive_pair(words: Words) -> npt.NDArray[np.bool_]:
    """LDXP, STXP and their like."""
    return np.asarray(words & 0xBFA00000 == 0x88200000)


def pair_size(words: Words) -> Numbers:
    """Bytes of one register of a pair."""
    kind = (words >> 30).astype(np.int64)
    is_vector = words >> 26 & 1 == 1
    is_wide = np.where(is_exclusive_pair(words), kind == 3, kind >= 2)
    return np.asarray(np.where(is_vector, 4 << kind, np.where(is_wide, 8, 4)))


def addends(words: Words) -> Numbers:
    """The constant of each ADD; negative for SUB."""
    amounts = (words >> 10 & 0xFFF).astype(np.int64) << (words >> 22 & 1) * 12
    return np.asarray(np.where(words >> 30 & 1, -amounts, amounts))


def offsets(words: Words) -> Numbers:
    """The constant that each word adds to its base for what it makes, loads or stores."""
    kind, form = (words >> 30).astype(np.int64), words >> 24 & 0x3B
    wide_vector = (words >> 26 & 1 == 1) & (words >> 23 & 1 == 1)
    immediate = (words >> 10 & 0xFFF).astype(np.int64)
    scaled = immediate << np.where(wide_vector, 4, kind)
    paired = signed(words >> 15 & 0x7F, 7) * pair_size(words)
    pairs = words & 0x3A000000 == 0x28000000
    # where the constant is added behind the access, and where there is none
    is_plain = np.where(pairs, words >> 23 & 3 == 1, words & 0x3B200C00 == 0x38000400)
    is_plain |= (form & 0x3A == 0x08) | (words & 0x3B200400 == 0x38200000)
    constants = np.where(pairs, paired, np.where(form == 0x39, scaled, _unscaled(words)))
    return np.asarray(np.where(is_sum(words), addends(words), np.where(is_plain, 0, constants)))


# ---- all of it from one table

LITTLE, CALL, PAIR, WRITES, NOTHING, BRANCHES = (1 << n for n in range(6))
"""`changes_little`, `is_call`, `loads_pair`, `writes_lowest`, `changes_nothing`; and whether a word
may go elsewhere than to the next one."""
SUM, MOVES, CHOICE, BASED, INDEXED, COPY, TWO = (1 << n for n in range(6, 13))
"""`is_sum`, `moves_base`, `chooses`, `uses_base`, `is_indexed`; `copies` and `is_pair`, where only
`all_kinds` tells the first for certain."""
MAKES = SUM | MOVES | CHOICE | COPY
"""What makes an address of an address."""
_BY_KIND = (
    changes_little,
    is_call,
    loads_pair,
    writes_lowest,
    changes_nothing,
    lambda words: FLOW_BY_TOP[words >> 24] != 0,
    is_sum,
    moves_base,
    chooses,
    uses_base,
    is_indexed,
    lambda words: words & 0xFFE00C00 == 0xAA000000,
    is_pair,
)


def _kinds() -> npt.NDArray[np.uint16]:
    """What a word may do, as bits, by its bits 31 to 21, 11 and 10."""
    number = np.arange(1 << 13)
    words: Words = (number >> 2 << 21 | (number & 3) << 10).astype(np.uint32)
    found = np.zeros(len(words), np.uint16)
    for n, kind in enumerate(_BY_KIND):
        found |= kind(words).astype(np.uint16) << n
    return found


_KINDS = _kinds()


def kinds(words: Words) -> npt.NDArray[np.uint16]:
    """What each word surely does, or may do, as bits."""
    return np.asarray(_KINDS[words >> 19 & 0x1FFC | words >> 10 & 3])


def all_kinds(words: Words) -> npt.NDArray[np.uint16]:
    """The bits of all words of an image, those of copies as well."""
    found = kinds(words)
    places = (found & COPY != 0).nonzero()[0]
    found[places[~copies(words[places])]] &= 0xFFFF ^ COPY
    return found

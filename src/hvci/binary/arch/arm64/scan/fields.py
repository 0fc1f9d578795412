"""ARM64 words taken apart many at once: the numbers in their fields.

The counterpart of words.py for arrays of words; what they do is told by `kinds` of encoding.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]


def signed(fields: npt.NDArray[np.integer[Any]], width: int) -> Numbers:
    """Bit fields as signed numbers."""
    wide = fields.astype(np.int64)
    return np.asarray(wide - ((wide >> (width - 1)) << width))


def page_steps(words: Words) -> Numbers:
    """Bytes from the page of each ADRP to the page that it makes."""
    return (signed(words >> 5 & 0x7FFFF, 19) << 2 | (words >> 29 & 3)) << 12


def is_sum(words: Words) -> npt.NDArray[np.bool_]:
    """Which words add a constant to a whole register, or subtract it."""
    return np.asarray(words & 0xBF800000 == 0x91000000)


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

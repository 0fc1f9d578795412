"""What compilers and assemblers fill space with between functions and before labels, by its bytes.

NOP and INT3 are one byte and need nobody's help; here are the longer instructions that do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hvci.binary.pe.sets import among

LONGEST = 8
"""Bytes at the end of a filler that tell."""
_SELF_MOVES = np.array((0x87, 0x89, 0x8B), np.uint8)
_ESCAPED = (b"\x00", b"\x40\x00", b"\x44\x00\x00", b"\x80" + bytes(4), b"\x84" + bytes(5))
"""Behind 0F 1F."""
_HAS_SIB = 4
_NO_INDEX = 0x20
_LEA = 0x8D
Bytes = npt.NDArray[np.uint8]
Chosen = npt.NDArray[np.bool_]


def ends_with_filler(back: Sequence[Bytes]) -> Chosen:
    """Which places have a filler right before them; `back[n]` is the byte `n + 1` before each."""
    found = (back[1] == 0x66) & (back[0] == 0x90)
    for form in _ESCAPED:
        count = len(form)
        escaped = (back[count] == 0x1F) & (back[count + 1] == 0x0F)
        for n, byte in enumerate(reversed(form)):
            escaped = escaped & (back[n] == byte)
        found = found | escaped
    found = found | among(back[1], _SELF_MOVES) & _names_one(back[0], 3)
    narrow = back[0] == 0
    wide = narrow & (back[1] == 0) & (back[2] == 0) & (back[3] == 0)
    return np.asarray(found | narrow & _leas(back[1:4], 1) | wide & _leas(back[4:7], 2))


def _leas(back: Sequence[Bytes], mode: int) -> Chosen:
    """Which end, but for a displacement of zero, in `lea reg, [reg+0]`."""
    plain = (back[1] == _LEA) & _names_one(back[0], mode) & (back[0] & 7 != _HAS_SIB)
    same = (back[1] >> 3 & 7) == (back[0] & 7)
    based = (back[2] == _LEA) & (back[1] >> 6 == mode) & (back[1] & 7 == _HAS_SIB)
    return np.asarray(plain | based & same & (back[0] & 0x38 == _NO_INDEX))


def _names_one(modrm: Bytes, mode: int) -> Chosen:
    """Which ModRM bytes of a mode name the same register twice."""
    return np.asarray((modrm >> 6 == mode) & ((modrm >> 3 & 7) == (modrm & 7)))

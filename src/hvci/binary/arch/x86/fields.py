"""Places of x64 and x86 code that may load a field of 32 bits from behind a register."""

from __future__ import annotations

import numpy as np

from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import distinct

_LOADS = np.zeros(0x100, bool)
_LOADS[[0x8B, 0x63, 0x03]] = True
"""By opcode: `mov r32, [...]`, `movsxd r64, [...]` and `add r32, [...]`."""
_STORES, _WIDE_STORES = np.zeros((2, 0x100), bool)
_STORES[[0x88, 0x89, 0xC6, 0xC7, 0x80, 0x81, 0x83, 0xFE, 0xFF, 0x8D, 0x0F]] = True
_STORES[[*range(0x00, 0x40, 8), *range(0x01, 0x40, 8)]] = True
"""By opcode: whether it may store, or add to an address as LEA does."""
_WIDE_STORES[[0x11, 0x13, 0x17, 0x29, 0x7F, 0xD6, 0xE7, 0xB1, 0xC1, 0xAB]] = True
"""The same behind 0F."""
_ESCAPE, _ADD_EAX, _ADD = 0x0F, 0x05, 0x81
_VEX = 0xC5, 0xC4
"""Stand two and three bytes before the opcode in place of the escape."""
BEHIND_OPCODE = 4
_WITH_INDEX = 4
"""The low bits of a ModRM behind which another byte names base and index."""
_SHORT = 0x80
"""Offsets below are one byte."""


def field_loads(image: PeImage, offset: int) -> Rvas:
    """RVAs of the first opcode byte of what may load from an offset below 256, sorted."""
    code, mode = image.bytes, 1 if offset < _SHORT else 2
    found = [NO_RVAS]
    for start, end in image.code_ranges:
        at = start + 3 + (code[start + 3 : end] == offset).nonzero()[0]
        if mode == 2:
            at = at[at + 3 < end]
            at = at[(code[at + 1] | code[at + 2] | code[at + 3]) == 0]
        for back in (1, 2):
            modrm = code[at - back]
            is_load = _LOADS[code[at - back - 1]] & (modrm >> 6 == mode)
            is_load &= (modrm & 7 == _WITH_INDEX) == (back == 2)
            found.append(at[is_load] - back - 1)
    return np.sort(np.concatenate(found))


def numbers(image: PeImage, low: int, high: int) -> Rvas:
    """Every number from one to before another at which code may store, or that it adds; sorted.

    Of a store of sixteen bytes both halves.
    """
    code, found = image.bytes, [NO_RVAS]
    for start, end in image.code_ranges:
        words = np.ndarray((max(0, end - start - 3),), "<u4", image.memory, start, (1,))
        at = ((words >= low) & (words < high)).nonzero()[0]
        at = at[at >= BEHIND_OPCODE]
        values, at = words[at].astype(np.int64), at + start
        for back in (1, 2):  # the last with another byte that names base and index
            modrm, opcode = code[at - back], code[at - back - 1]
            is_wide = code[at - back - 2] == _ESCAPE
            is_wide |= (code[at - back - 3] == _VEX[0]) | (code[at - back - 4] == _VEX[1])
            is_based = (modrm >> 6 == 2) & ((modrm & 7 == _WITH_INDEX) == (back == 2))
            found.append(values[is_based & (_STORES[opcode] | is_wide & _WIDE_STORES[opcode])])
            found.append(values[is_based & is_wide & _WIDE_STORES[opcode]] + 8)
        is_sum = (code[at - 1] == _ADD_EAX) | (code[at - 2] == _ADD) & (code[at - 1] >> 3 == 0x18)
        found.append(values[is_sum])
    return distinct(np.concatenate(found))

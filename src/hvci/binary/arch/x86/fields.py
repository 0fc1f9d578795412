"""Places of x64 and x86 code that may load a field of 32 bits from behind a register."""

from __future__ import annotations

import numpy as np

from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.image import PeImage

_LOADS = np.zeros(0x100, bool)
_LOADS[[0x8B, 0x63, 0x03]] = True
"""By opcode: `mov r32, [...]`, `movsxd r64, [...]` and `add r32, [...]`."""
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

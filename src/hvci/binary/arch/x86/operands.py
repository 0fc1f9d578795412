"""Which x64 and x86 opcodes write the memory operand that they name, by their bytes.

A table of the last opcode byte and the register field of ModRM, over all opcode maps but those of
EVEX and XOP: what is not in it certainly only reads. A test derives the table from the decoder.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.image import Bytes

DIRECT_MASK, DIRECT = 0xC7, 0x05
"""ModRM of an operand that is a displacement alone: RIP-relative on x64, absolute on x86."""
LEA = 0x8D
_ALL_FORMS = (
    "000108091011131415161718191d202128292b2e2f30313963787e7f868788899091929394959697989"
    "99a9b9c9d9e9fa4a5abacadb0b1b3bbc0c1c3d0d1d2d3d6e0e1e2e3e4e5e6e7e8e9eaebecedeeeff1f5f6f9fc"
)
_SOME_FORMS = {
    0x49: 0x01,
    0x80: 0x7F,
    0x81: 0x7F,
    0x82: 0x7F,
    0x83: 0x7F,
    0x8C: 0x3F,
    0x8E: 0xFF,
    0x8F: 0x01,
    0xAE: 0x59,
    0xBA: 0xE0,
    0xC6: 0x01,
    0xC7: 0xB3,
    0xD9: 0xCC,
    0xDB: 0x8E,
    0xDD: 0xCE,
    0xDF: 0xCE,
    0xF7: 0x0C,
    0xF8: 0xEF,
    0xFE: 0x03,
    0xFF: 0x03,
}
"""Opcodes of which some forms write, with one bit for each value of the register field."""


def _table() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    forms = np.zeros(256, np.uint8)
    forms[list(bytes.fromhex(_ALL_FORMS))] = 0xFF
    for opcode, bits in _SOME_FORMS.items():
        forms[opcode] = bits
    return forms


WRITING_FORMS = _table()
"""By last opcode byte: the values of ModRM's register field with which it may write."""


_ONE_BYTE_MAP = bytes.fromhex(
    "00010809101118192021282930316380818283868788898c8e8fc0c1c6c7d0d1d2d3d9dbdddff6f7feff"
)
NEEDS_ESCAPE = WRITING_FORMS != 0
"""By last opcode byte: whether it writes only behind an escape byte or a VEX prefix."""
NEEDS_ESCAPE[list(_ONE_BYTE_MAP)] = False
ESCAPES = np.array((0x0F, 0x38, 0x3A), np.uint8)
VEX2, VEX3 = 0xC5, 0xC4

USES = np.zeros(0x100, bool)
USES[list(bytes.fromhex("0103090b2123292b31333839"))] = True
USES[list(bytes.fromhex("3a3b80818384858688898a8bc6c7d9dbddf6f7feff"))] = True
"""By opcode of one byte: whether x86 code uses direct memory by it often: what looks so is that."""


def may_write(opcode: int, modrm: int) -> bool:
    """Whether an instruction may write its direct memory operand."""
    return bool(WRITING_FORMS[opcode] >> (modrm >> 3 & 7) & 1)


def short_jumps(code: Bytes, ranges: Iterable[tuple[int, int]]) -> tuple[Rvas, Rvas]:
    """(target, site) of what looks like jumps of two bytes in some ranges of an image."""
    found = [(code[low : end - 1] == _SHORT_JUMP).nonzero()[0] + low for low, end in ranges]
    sites = np.concatenate((NO_RVAS, *found))
    return sites + 2 + code[sites + 1].view(np.int8), sites


_SHORT_JUMP = 0xEB

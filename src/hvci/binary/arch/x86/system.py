"""Instructions that change what an x64 or x86 processor protects, by their bytes.

Both readers of a driver ask: the one of its code, and the emulator. Judges nothing.
"""

from __future__ import annotations

import re

from iced_x86 import Mnemonic

CANDIDATES = re.compile(
    rb"\x0f(?=\x30"
    rb"|\x22[\x00-\x07\x20-\x27\x40-\x47\x60-\x67\x80-\x87\xa0-\xa7\xc0-\xc7\xe0-\xe7]"
    rb"|\x23[\xc0-\xff]"
    rb"|\x01[\x10-\x1f\x50-\x5f\x90-\x9f])",
    re.DOTALL,
)
"""WRMSR, moves to CR0 and CR4 and to debug registers, LGDT and LIDT, from the escape byte on.

The processor ignores the mod field of ModRM in those moves: it always names a register. Of moves
to debug registers only the usual form counts: bytes that are no code look like the others."""
MNEMONICS = frozenset((Mnemonic.MOV, Mnemonic.WRMSR, Mnemonic.LIDT, Mnemonic.LGDT))
WRITE_PROTECT, SMEP = 16, 20
"""Bits of CR0 and CR4."""
MSRS = {
    0x174: "IA32_SYSENTER_CS",
    0x175: "IA32_SYSENTER_ESP",
    0x176: "IA32_SYSENTER_EIP",
    0xC000_0081: "IA32_STAR",
    0xC000_0082: "IA32_LSTAR",
    0xC000_0083: "IA32_CSTAR",
}
"""Model-specific registers that say where a system call goes."""

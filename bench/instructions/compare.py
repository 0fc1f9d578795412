"""What differs between two states, as far as the manual defines it."""

from __future__ import annotations

import struct

from host import STATUS, State
from iced_x86 import Decoder, Mnemonic, RflagsBits

_FLAGS = {
    RflagsBits.CF: 1,
    RflagsBits.PF: 4,
    RflagsBits.AF: 0x10,
    RflagsBits.ZF: 0x40,
    RflagsBits.SF: 0x80,
    RflagsBits.OF: 0x800,
}
_NO_RESULT_OF_ZERO = frozenset((Mnemonic.BSF, Mnemonic.BSR))


def undefined_flags(raw: bytes, bits: int) -> int:
    """Status flags that an instruction leaves undefined, as iced knows them."""
    instruction = Decoder(bits, raw).decode()
    gone = instruction.rflags_undefined
    found = sum(bit for flag, bit in _FLAGS.items() if gone & flag)
    if instruction.mnemonic in _SHIFTS:
        found |= 0x810  # OF is defined for counts of one, AF never
    return found


_SHIFTS = frozenset(
    getattr(Mnemonic, name)
    for name in ("SHL", "SHR", "SAR", "ROL", "ROR", "RCL", "RCR", "SHLD", "SHRD", "SAL")
)


_ESCAPES = {bytes([escape]) for escape in range(0xD8, 0xE0)}


def _compares(raw: bytes, bits: int) -> bool:
    """Whether an instruction is there to set the condition codes of the status word."""
    mnemonic = Decoder(bits, raw).decode().mnemonic
    return any(mnemonic == getattr(Mnemonic, name, -1) for name in _CONDITION_NAMES)


_CONDITION_NAMES = (
    "FCOM",
    "FCOMP",
    "FCOMPP",
    "FUCOM",
    "FUCOMP",
    "FUCOMPP",
    "FICOM",
    "FICOMP",
    "FTST",
    "FXAM",
)


def differences(raw: bytes, bits: int, one: State, other: State) -> list[str]:
    """Names of what differs; empty when the two agree."""
    if one.fault or other.fault:
        return [] if bool(one.fault) == bool(other.fault) else [f"fault {one.fault}/{other.fault}"]
    found = [
        f"r{index} {one.general[index]:x}/{other.general[index]:x}"
        for index in range(16 if bits == 64 else 8)
        if one.general[index] != other.general[index]
    ]
    mask = STATUS & ~undefined_flags(raw, bits) | 0x400
    if (one.flags ^ other.flags) & mask:
        found.append(f"flags {(one.flags ^ other.flags) & mask:#x}")
    for index, (left, right) in enumerate(zip(one.vectors, other.vectors, strict=True)):
        if left != right:
            found.append(f"v{index} {left:x}/{right:x}")
    found += [
        name for name in ("data", "stack", "exit") if getattr(one, name) != getattr(other, name)
    ]
    return found + _x87(one.x87, other.x87, raw[:1] in _ESCAPES and _compares(raw, bits))


def _x87(one: bytes, other: bytes, compares: bool) -> list[str]:
    found = []
    if one[:2] != other[:2]:
        found.append("fcw")
    left, right = (struct.unpack_from("<H", image, 2)[0] for image in (one, other))
    if (left ^ right) & 0x7F00 & ~0x4700:
        found.append("top")
    if compares and (left ^ right) & 0x4500:
        found.append(f"fcc {left:x}/{right:x}")
    if one[4] != other[4]:
        found.append(f"tags {one[4]:x}/{other[4]:x}")
    if (struct.unpack_from("<I", one, 24)[0] ^ struct.unpack_from("<I", other, 24)[0]) & 0xFFC0:
        found.append("mxcsr")
    used = [index for index in range(8) if one[4] >> ((left >> 11) + index & 7) & 1]
    for index in used:
        at = 32 + 16 * index
        if one[at : at + 10] != other[at : at + 10]:
            found.append(
                f"st{index} {one[at : at + 10][::-1].hex()}/{other[at : at + 10][::-1].hex()}"
            )
    return found

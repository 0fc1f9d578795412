"""Writes addresses into code and data, as the relocations of objects ask for them.

Knows the machines' relocation types; what asks for anything else stays as it is.
"""

from __future__ import annotations

_X64 = {1: "64", 2: "32", 3: "rva", **{4 + n: f"relative{n}" for n in range(6)}}
_X86 = {6: "32", 7: "rva", 20: "relative0"}
_ARM64 = {
    1: "32",
    2: "rva",
    3: "branch26",
    4: "page",
    5: "near",
    6: "low12",
    7: "scaled12",
    14: "64",
    15: "branch19",
    16: "branch14",
    17: "relative0",
}
KINDS = {"x64": _X64, "x86": _X86, "arm64": _ARM64}


def apply(
    machine: str, kind: int, held: bytearray, at: int, place: int, target: int, base: int
) -> bool:
    """Write one address at an offset; whether a pointer was written, which loading would move."""
    how = KINDS[machine].get(kind, "")
    if how == "64":
        _add(held, at, 8, base + target)
    elif how == "32":
        _add(held, at, 4, base + target)
    elif how == "rva":
        _add(held, at, 4, target)
    elif how.startswith("relative"):
        _add(held, at, 4, target - (place + 4 + int(how[8:])))
    elif how:
        _word(held, at, how, place, target)
    return how == ("32" if machine == "x86" else "64")


def _add(held: bytearray, at: int, size: int, value: int) -> None:
    """Add to what stands there: the offset that the compiler put."""
    old = int.from_bytes(held[at : at + size], "little")
    mask = (1 << 8 * size) - 1
    held[at : at + size] = ((old + value) & mask).to_bytes(size, "little")


def _word(held: bytearray, at: int, how: str, place: int, target: int) -> None:
    """An instruction of ARM64."""
    word = int.from_bytes(held[at : at + 4], "little")
    if how in ("branch26", "branch19", "branch14"):
        bits, shift = {"branch26": (26, 0), "branch19": (19, 5), "branch14": (14, 5)}[how]
        mask = (1 << bits) - 1
        word |= ((target - place) >> 2 & mask) << shift
    elif how in ("page", "near"):
        addend = (word >> 29 & 3) | (word >> 5 & 0x7FFFF) << 2
        addend -= (addend & 0x100000) << 1
        pages = target + addend - place
        if how == "page":
            pages = ((target + addend) >> 12) - (place >> 12)
        word &= 0x9F00001F
        word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    else:
        scale = word >> 30 if how == "scaled12" else 0
        scale = 4 if how == "scaled12" and word & 0x0480_0000 == 0x0480_0000 else scale
        addend = (word >> 10 & 0xFFF) << scale
        low = ((target + addend) & 0xFFF) >> scale
        word = word & ~(0xFFF << 10) | low << 10
    held[at : at + 4] = word.to_bytes(4, "little")

"""Shows the instructions that lead to a place, for a person to read. Decides nothing.

x86 code can be read wrongly from a wrong start. The start of the function is used where its name
tells it; else decoding begins well before the place, where x86 falls into step by itself.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from hvci.model import Image, ImageSite, Machine

if TYPE_CHECKING:
    from capstone import Cs
    from iced_x86 import Formatter, Instruction

SHOWN = 6
"""Instructions in a listing, the one at the place included."""
_RUN_UP = 96
"""Bytes before the place at which decoding starts when nothing better is known."""
_LONGEST_FUNCTION = 1 << 16
_LONGEST = 15
"""Bytes of the longest x86 instruction."""
_WORD = 4
"""Bytes of an ARM64 instruction."""
_NAMED_BY_START = re.compile(r"sub_([0-9a-f]+)")


def listing(data: bytes, image: Image, site: ImageSite, note: str = "") -> tuple[str, ...]:
    """The last instructions up to a place, one a line, with a note behind the last.

    Empty where no code can be shown: the place is no instruction, or its bytes are not in the file.
    """
    section = image.section_at(site.rva)
    if section is None or not section.executable or site.rva - section.rva >= section.raw_size:
        return ()
    start = _start(site, section.rva)
    first = section.raw_offset + start - section.rva
    code = data[first : first + site.rva - start + _LONGEST]
    if image.machine is Machine.ARM64:
        lines = _arm64(code, start, site.rva)
    else:
        lines = _x86(code, start, site.rva, 32 if image.machine is Machine.X86 else 64)
    if not lines or lines[-1][0] != site.rva:
        return ()
    shown = [f"{rva:#x}: {text}" for rva, text in lines]
    if note:
        shown[-1] += f"  ; {note}"
    return tuple(shown)


def _start(site: ImageSite, floor: int) -> int:
    named = _NAMED_BY_START.fullmatch(site.function or "")
    start = int(named[1], 16) if named else 0
    if floor <= start <= site.rva < start + _LONGEST_FUNCTION:
        return start
    run_up = site.rva - _RUN_UP
    return max(floor, run_up + (site.rva - run_up) % 4)


def _x86(code: bytes, start: int, last: int, bits: int) -> list[tuple[int, str]]:
    """The last instructions that start up to an RVA, with their text: only those are formatted."""
    from iced_x86 import Decoder

    found: list[Instruction] = []
    for instruction in reversed(list(Decoder(bits, code, ip=start))):
        if instruction.ip <= last and not instruction.is_invalid:
            found.append(instruction)
            if len(found) == SHOWN:
                break
    return [(each.ip, _formatter().format(each)) for each in reversed(found)]


@cache
def _formatter() -> Formatter:
    from iced_x86 import Formatter, FormatterSyntax

    formatter = Formatter(FormatterSyntax.INTEL)
    formatter.hex_prefix, formatter.hex_suffix = "0x", ""
    formatter.space_after_operand_separator = True
    formatter.rip_relative_addresses = False
    formatter.branch_leading_zeros = False
    return formatter


def _arm64(code: bytes, start: int, last: int) -> list[tuple[int, str]]:
    """The same; each word is an instruction, or data."""
    first = max(start, last - _WORD * (SHOWN - 1) - (last - start) % _WORD)
    words = code[first - start : last + _WORD - start]
    return [
        (address, f"{mnemonic} {operands}".strip())
        for address, _, mnemonic, operands in _capstone().disasm_lite(words, first)
    ]


@cache
def _capstone() -> Cs:
    from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs

    decoder = Cs(CS_ARCH_ARM64, CS_MODE_ARM)
    decoder.skipdata = True
    return decoder

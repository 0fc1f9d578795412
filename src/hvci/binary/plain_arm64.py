"""What the words right around a place of ARM64 code prove, without taking their function apart.

The call of an import that was just loaded; a constant that was just put into a register. Everything
less plain is answered None, and left to the data flow, which gives the same answers.
"""

from __future__ import annotations

import struct

from hvci.binary.arm64_lift import CALLEE_SAVED, PLAIN_LOAD, PLAIN_LOAD_MASK, Arm64Lift
from hvci.binary.arm64_values import logical_immediate, move_wide
from hvci.binary.arm64_words import (
    FLOW_BY_TOP,
    VOLATILE,
    indirect_flow,
    is_address_of_page,
    literal_target,
    named_registers,
    written_registers,
)
from hvci.binary.code import Const, Flow, Function
from hvci.binary.image import PeImage
from hvci.binary.references_arm64 import ReferencesArm64

BACK = 16
"""Words looked at before a place."""
AHEAD = 32
"""Words looked at behind a load."""
_CLEARED_MASK, _CLEARED = 0x7FFFFFE0, 0x2A1F03E0
"""MOV from the zero register."""
_MOVK_MASK, _MOVK = 0x7F800000, 0x72800000
_CALL_OR_JUMP_MASK, _CALL_OR_JUMP = 0xFFDFFC1F, 0xD61F0000
"""BLR and BR."""
_FLOWS = FLOW_BY_TOP.tolist()


def words_before(image: PeImage, function: Function, i: int) -> tuple[int, ...]:
    """The words before instruction `i`, its own last."""
    first = max(0, i - BACK)
    count = i - first + 1
    return struct.unpack_from(f"<{count}I", image.memory, function.rvas[first])


def import_call(
    lift: Arm64Lift, image: PeImage, function: Function, i: int, slot: int
) -> tuple[int, Flow] | None:
    """The index of the call or jump through what instruction `i` loads from the slot of an import.

    Between the two the register is neither changed nor named, and no other call or branch stands.
    The page comes from the last word before that changes its register: control can come that way,
    whatever else leads to the load. Or it is what a saved register holds all through the function.
    """
    before = words_before(image, function, i)
    load, target = before[-1], before[-1] & 31
    if load & PLAIN_LOAD_MASK != PLAIN_LOAD or not VOLATILE >> target & 1:
        return None
    base = load >> 5 & 31
    page = _page_of(before, function.rvas[i], base)
    if page is None and CALLEE_SAVED >> base & 1:
        page = lift.saved_page(function, base)
    if page is None or page + (load >> 7 & 0x7FF8) != slot:
        return None
    count = min(AHEAD, len(function.rvas) - i - 1)
    words = struct.unpack_from(f"<{count}I", image.memory, function.rvas[i] + 4)
    for n, word in enumerate(words, 1):
        if _FLOWS[word >> 24]:
            is_called = word & _CALL_OR_JUMP_MASK == _CALL_OR_JUMP and word >> 5 & 31 == target
            return (i + n, indirect_flow(word)) if is_called else None
        if named_registers(word) >> target & 1:
            return None
    return None


def _page_of(words: tuple[int, ...], rva: int, register: int) -> int | None:
    """The page that a register holds before the last of some words, which stands at an RVA."""
    for n in range(1, len(words)):
        word = words[-1 - n]
        if _FLOWS[word >> 24]:
            return None
        if written_registers(word) >> register & 1:
            return literal_target(word, rva - 4 * n) if is_address_of_page(word) else None
    return None


def constant(references: ReferencesArm64, function: Function, i: int, register: int) -> int | None:
    """The constant that plain words before instruction `i` put into a register.

    Nothing branches between them and the instruction, and nothing leads in between.
    """
    image = references.image
    words = words_before(image, function, i)
    parts: list[tuple[int, int, int]] = []
    for n in range(1, len(words)):
        word = words[-1 - n]
        if _FLOWS[word >> 24]:
            return None
        if not written_registers(word) >> register & 1:
            continue
        if word & _MOVK_MASK == _MOVK:
            kept = (1 << 64 if word >> 31 else 1 << 32) - 1
            parts.append((word >> 5 & 0xFFFF, 16 * (word >> 21 & 3), kept))
            continue
        value = _moved(word)
        rva = function.rvas[i]
        if value is None or not _is_entered_once(references, function, rva - 4 * n + 4, rva):
            return None
        for part, shift, kept in reversed(parts):
            value = value & kept & ~(0xFFFF << shift) | part << shift
        return value
    return None


def _moved(word: int) -> int | None:
    """The constant that a word puts into its lowest register."""
    if word & _CLEARED_MASK == _CLEARED:
        return 0
    size = 8 if word >> 31 else 4
    match word >> 23 & 63:
        case 0b100100:
            found = logical_immediate(word, size)
        case 0b100101:
            found = move_wide(word, size)
        case _:
            return None
    return found.value if isinstance(found, Const) else None


def _is_entered_once(
    references: ReferencesArm64, function: Function, first: int, last: int
) -> bool:
    """Whether no branch leads to an RVA from `first` to `last`, in code that was all looked at."""
    start, end = function.fragments[0]
    ranges = references.image.code_ranges
    is_known = any(low <= start and end <= high for low, high in ranges)
    return is_known and not references.are_branched_to(first, last)

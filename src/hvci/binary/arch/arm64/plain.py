"""What the words right around a place of ARM64 code prove, without taking their function apart.

The call of an import that was just loaded; a constant, a global or an address in a register.
Everything less plain is answered None, and left to the data flow, which gives the same answers.
"""

from __future__ import annotations

import struct

from hvci.binary.arch.arm64.encoding import (
    FLOW_BY_TOP,
    SP,
    VOLATILE,
    ZERO,
    flow_of,
    named_registers,
    written_registers,
)
from hvci.binary.arch.arm64.lift import CALLEE_SAVED, PLAIN_LOAD, PLAIN_LOAD_MASK, Arm64Lift
from hvci.binary.arch.arm64.scan.references import ADD, ADD_MASK, ReferencesArm64
from hvci.binary.arch.arm64.steps import STEPS
from hvci.binary.arch.arm64.values import logical_immediate, move_wide, signed_immediate
from hvci.binary.arch.arm64.words import is_address_of_page, literal_target
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Binary,
    Const,
    Expr,
    Flow,
    Function,
    ImageAddress,
    Load,
    Memory,
    Reg,
)
from hvci.binary.form.straight import last_write, uses
from hvci.binary.pe.image import PeImage

BACK = 16
"""Words looked at before a place."""
LONG_BACK = 64
"""Words looked at before a call for its argument."""
AHEAD = 32
"""Words looked at behind a load."""
_CLEARED_MASK, _CLEARED = 0x7FFFFFE0, 0x2A1F03E0
"""MOV from the zero register."""
_MOVK_MASK, _MOVK = 0x7F800000, 0x72800000
_CALL_OR_JUMP_MASK, _CALL_OR_JUMP = 0xFFDFFC1F, 0xD61F0000
"""BLR and BR."""
_COPY_MASK, _COPY = 0x7FE0FFE0, 0x2A0003E0
"""MOV of a register."""
_LOAD_32 = 0xB9400000
"""LDR of 32 bits at an offset from a register, under the mask of that of 64."""
_LITERAL_MASK, _LITERAL_32 = 0xFF000000, 0x18000000
"""LDR of 32 bits from a constant among the code."""
_WORDS = [struct.Struct(f"<{count}I").unpack_from for count in range(LONG_BACK + 2)]
"""What reads so many words."""
_FLOWS = FLOW_BY_TOP.tolist()
_BY_WORD = 0xFF
"""In place of a flow that the whole word decides."""


def words_before(image: PeImage, function: Function, i: int, most: int = BACK) -> tuple[int, ...]:
    """The words before instruction `i`, its own last."""
    first = max(0, i - most)
    return _WORDS[i - first + 1](image.memory, function.rvas[first])


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
    words = _WORDS[count](image.memory, function.rvas[i] + 4)
    for n, used, _ in uses(words, STEPS, 1 << target):
        return (i + n, used.flow) if used.through == target else None
    return None


def _page_of(words: tuple[int, ...], rva: int, register: int) -> int | None:
    """The page that a register holds before the last of some words, which stands at an RVA."""
    made = _made_by(words, register)
    if made is None or not is_address_of_page(words[made]):
        return None
    return literal_target(words[made], rva - 4 * (len(words) - 1 - made))


def _made_by(words: tuple[int, ...], register: int) -> int | None:
    """Index of what makes a register for the last of some words, no branch or call between."""
    last = len(words) - 1
    made = last_write(words, written_registers, last, 1 << register, 0)
    passed = words[made + 1 : last]
    return None if made < 0 or any(_FLOWS[each >> 24] for each in passed) else made


def argument(
    lift: Arm64Lift, references: ReferencesArm64, function: Function, i: int, register: int
) -> Expr | None:
    """What plain words before instruction `i` put into a register.

    That is a constant, a global or an address. It may be copied from a saved register, which calls
    do not change. Nothing leads in between, and no branch on the way compares the register.
    """
    words = words_before(references.image, function, i, LONG_BACK)
    parts: list[tuple[int, int, int]] = []
    held, is_narrow, passed = register, False, False
    for n in range(1, len(words)):
        word = words[-1 - n]
        flow = _FLOWS[word >> 24]
        if flow:
            flow = flow_of(word) if flow == _BY_WORD else flow
            if flow in CALLS and CALLEE_SAVED >> held & 1:
                continue
            if flow != Flow.BRANCH or named_registers(word) >> held & 1:
                return None
            passed = True
        elif written_registers(word) >> held & 1:
            if word & _MOVK_MASK == _MOVK:
                kept = (1 << 64 if word >> 31 else 1 << 32) - 1
                parts.append((word >> 5 & 0xFFFF, 16 * (word >> 21 & 3), kept))
            elif word & _COPY_MASK == _COPY and word >> 16 & 31 != ZERO and not parts:
                held, is_narrow = word >> 16 & 31, is_narrow or not word >> 31
            elif not _is_entered_once(references, function, i - n + 1, i):
                return None
            else:
                made = _made(parts, word, is_narrow)
                if made is not None or parts:
                    return made
                before = words[: len(words) - n]
                if word & ADD_MASK != ADD:
                    return _global(lift, references, function, i - n, before)
                behind = words[len(words) - n :]
                return (
                    None if is_narrow else _sum(lift, references, function, i - n, before, behind)
                )
        elif passed and named_registers(word) >> held & 1:
            return None
    return None


def _made(parts: list[tuple[int, int, int]], word: int, is_narrow: bool) -> Const | None:
    """The constant that a word begins and later MOVKs complete."""
    value = _moved(word)
    if value is None:
        return None
    for part, shift, kept in reversed(parts):
        value = value & kept & ~(0xFFFF << shift) | part << shift
    return Const(value & 0xFFFFFFFF if is_narrow else value)


def _global(
    lift: Arm64Lift,
    references: ReferencesArm64,
    function: Function,
    i: int,
    words: tuple[int, ...],
) -> Load | None:
    """The global of 32 bits that instruction `i`, the last of some words, loads."""
    load = words[-1]
    if load & _LITERAL_MASK == _LITERAL_32:
        return _load_at(literal_target(load, function.rvas[i]))
    if load & PLAIN_LOAD_MASK != _LOAD_32:
        return None
    page = _base(lift, references, function, i, words)
    return None if page is None else _load_at(page + (load >> 8 & 0x3FFC))


def _sum(
    lift: Arm64Lift,
    references: ReferencesArm64,
    function: Function,
    i: int,
    words: tuple[int, ...],
    behind: tuple[int, ...],
) -> Expr | None:
    """The address that instruction `i`, the last of some words, adds up, as seen behind others.

    One in the frame only when the stack pointer is still the same there.
    """
    word = words[-1]
    if word >> 5 & 31 == SP:
        is_moved = any(_FLOWS[each >> 24] or written_registers(each) >> SP for each in behind[:-1])
        return None if is_moved else Binary("add", Reg(SP), Const(signed_immediate(word)), 8)
    page = _base(lift, references, function, i, words)
    return None if page is None else ImageAddress(page + signed_immediate(word))


def _base(
    lift: Arm64Lift,
    references: ReferencesArm64,
    function: Function,
    i: int,
    words: tuple[int, ...],
) -> int | None:
    """The page that the base of instruction `i`, the last of some words, holds."""
    base = words[-1] >> 5 & 31
    made = _made_by(words, base)
    if made is None:
        return lift.saved_page(function, base) if CALLEE_SAVED >> base & 1 else None
    q = i - (len(words) - 1 - made)
    if not is_address_of_page(words[made]) or not _is_entered_once(references, function, q + 1, i):
        return None
    return literal_target(words[made], function.rvas[q])


def _load_at(rva: int) -> Load:
    return Load(Memory(IMAGE_BASE, NO_REGISTER, 1, rva, 4))


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
    """Whether no branch leads to instructions `first` to `last`, in code that was all looked at."""
    start, end = function.fragments[0]
    for low, high in references.image.code_ranges:
        if low <= start and end <= high:
            rvas = function.rvas
            return not references.are_branched_to(rvas[first], rvas[last])
    return False

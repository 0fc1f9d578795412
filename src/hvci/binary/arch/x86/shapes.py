"""Which calls of x64 and x86 code may pass many arguments on the stack, by their bytes alone.

A call of a method with a dozen parameters has as many stores close before it. Where instructions
start, and tables by opcode, tell most calls apart from such: only the functions of the others need
decoding. A call is left out only when it certainly has fewer stores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, NEEDS_ESCAPE, WRITING_FORMS
from hvci.binary.form.references import Rvas
from hvci.binary.pe.image import Bytes

Chosen = npt.NDArray[np.bool_]
MAX_PREFIXES = 4
MAX_JUMP = 4
"""Bytes of an indirect jump with its prefixes, up to its opcode."""
ESCAPE = 0x0F
_PREFIX, _SECOND_ESCAPE, _UNSURE, _PUSH, _FAR_PUSH, _END = (1 << bit for bit in range(6))
"""What a byte can be: the first three before the opcode, the others as the opcode."""


def _kinds(bits: int) -> npt.NDArray[np.uint8]:
    """What each byte can be."""
    kinds = np.zeros(256, np.uint8)

    def mark(kind: int, text: str) -> None:
        kinds[list(bytes.fromhex(text))] |= kind

    mark(_PREFIX, "262e363e646566f0f2f3")
    if bits == 64:
        kinds[0x40:0x50] |= _PREFIX
    mark(_SECOND_ESCAPE, "383a")
    mark(_UNSURE, "62678fc4c5")  # VEX, EVEX, XOP, and addresses of another size
    mark(_PUSH, "060e161e505152535455565768 6a 9c 6c 6d a4 a5 aa ab")  # strings are stores as well
    mark(_FAR_PUSH, "a0a8")
    mark(_END, "c2c3e9eb")
    return kinds


_KINDS = {bits: _kinds(bits) for bits in (32, 64)}


class Forms(NamedTuple):
    """Instructions by their bytes; one row for each."""

    at: Rvas
    """RVA of the last opcode byte."""
    opcode: Bytes
    modrm: Bytes
    kinds: Bytes
    """What the opcode byte can be."""
    is_plain: Chosen
    """No escape byte, and nothing unsure."""
    unsure: Chosen
    """Perhaps an encoding that is not known here, or more prefixes than were skipped."""

    def is_group(self, low: int, high: int) -> Chosen:
        """Which are the opcode FF with a register field in a range."""
        field = self.modrm >> 3 & 7
        found: Chosen = self.is_plain & (self.opcode == 0xFF) & (field >= low) & (field <= high)
        return found


def forms(code: Bytes, starts: Rvas, bits: int) -> Forms:
    """Skip the prefixes and escapes of the instructions that start at some RVAs."""
    table, at = _KINDS[bits], starts.copy()
    prefixed = (table[code[at]] & _PREFIX).nonzero()[0]
    for _ in range(MAX_PREFIXES):
        at[prefixed] += 1
        prefixed = prefixed[table[code[at[prefixed]]] & _PREFIX != 0]
    first = code[at]
    unsure = table[first] & (_PREFIX | _UNSURE) != 0
    has_escape = first == ESCAPE
    escaped = has_escape.nonzero()[0]
    at[escaped] += 1
    at[escaped] += table[code[at[escaped]]] & _SECOND_ESCAPE != 0
    opcode = code[at]
    return Forms(at, opcode, code[at + 1], table[opcode], ~has_escape & ~unsure, unsure)


def may_store(rows: Forms) -> Chosen:
    """Which instructions may push, or write memory that a register names."""
    forms_that_write = WRITING_FORMS[rows.opcode] >> (rows.modrm >> 3 & 7) & 1 != 0
    forms_that_write &= ~(rows.is_plain & NEEDS_ESCAPE[rows.opcode])
    is_named = (rows.modrm < 0xC0) & (rows.modrm & DIRECT_MASK != DIRECT)
    is_push = rows.kinds & np.where(rows.is_plain, _PUSH, _FAR_PUSH) != 0
    found: Chosen = rows.unsure | is_push | rows.is_group(6, 6) | (forms_that_write & is_named)
    return found


def ends_way(rows: Forms) -> Chosen:
    """Which instructions certainly do not fall through to the next."""
    found: Chosen = rows.is_plain & (rows.kinds & _END != 0) | rows.is_group(4, 5)
    return found


def may_go_through(rows: Forms, code: Bytes, displacement: int) -> Chosen:
    """Which instructions may call or jump through a register or a field so far in.

    An operand without a base register may be the dispatch pointer of Control Flow Guard.
    """
    mode = rows.modrm >> 6
    has_sib = (rows.modrm & 7 == 4) & (mode != 3)
    is_field = (mode == 1) & (code[rows.at + 2 + has_sib] == displacement)
    is_other = (mode >= 2) | (rows.modrm & DIRECT_MASK == DIRECT)
    found: Chosen = rows.unsure | rows.is_group(2, 5) & (is_field | is_other)
    return found


def calls_jumps(rows: Forms, code: Bytes) -> Chosen:
    """Which instructions call, directly, what may begin with an indirect jump."""
    is_call = rows.is_plain & (rows.opcode == 0xE8)
    at = rows.at[is_call]
    words = np.ndarray((len(code) - 3,), "<i4", code.data, 0, (1,))
    targets = np.clip(at + 5 + words[np.minimum(at + 1, len(words) - 1)], 0, len(code) - MAX_JUMP)
    jumps = np.zeros(len(at), bool)
    for step in range(MAX_JUMP):
        jumps |= code[targets + step] == 0xFF
    found = np.zeros(len(is_call), bool)
    found[is_call] = jumps
    return found


def stored_before(rows: Forms, firsts: Rvas, window: int) -> Rvas:
    """How many instructions may store in the straight code before each of them.

    `firsts` are the rows that begin a function, sorted.
    """
    count = len(rows.opcode)
    sums = np.zeros(count + 1, np.int64)
    np.cumsum(may_store(rows), out=sums[1:])
    begins = np.zeros(count, np.int64)
    begins[firsts] = firsts
    behind_end = (ends_way(rows)).nonzero()[0] + 1
    behind_end = behind_end[behind_end < count]
    begins[behind_end] = behind_end
    begins = np.asarray(np.maximum.accumulate(begins), np.int64)
    first: Rvas = np.maximum(begins, np.arange(-window, count - window))
    found: Rvas = sums[:count] - sums[first]
    return found

"""What bytes or words are a routine, or the end of one: they decode in a row up to it."""

from __future__ import annotations

import re
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from iced_x86 import Code, Decoder, FlowControl, Mnemonic

from hvci.binary.arch.x86.lift import IMMEDIATES
from hvci.binary.flow.atoms import MASK64
from hvci.binary.pe.image import Bytes

LONGEST = 256
"""Bytes from the first instruction of such a routine to its end, at most."""
SHORTEST, SHORTEST_ARM64 = 3, 8
"""Bytes of a routine that does something: `xor eax, eax; ret`, and two words."""
MAX_POPPED = 64
"""Bytes of arguments that a return takes off the stack, at most."""
ENDS_ARM64, RET_ARM64, BR_ARM64 = 0xFFFF_FC1F, 0xD65F_0000, 0xD61F_0000
"""Mask of RET and BR without their register."""
_NEVER = frozenset(
    bytes.fromhex(
        "06 07 0e 16 17 1e 1f 27 2f 37 3f 6c 6d 6e 6f 9a 9b 9e 9f a6 a7 ac ad ae af c8 ca cb cd ce"
        "cf d4 d5 d6 d7 d8 d9 da db dc dd de df e0 e1 e2 e3 e4 e5 e6 e7 ea ec ed ee ef f1 f4"
    )
)
"""First bytes of what no such routine holds, and tables do: segments, BCD, x87, I/O."""
_NEVER_NAMES = frozenset((Mnemonic.INVALID, Mnemonic.ARPL, Mnemonic.BOUND))
_NEVER_CODES = frozenset((Code.ADD_RM8_R8, Code.ADD_R8_RM8))
"""What zeros and small numbers decode as."""


def is_routine(code: bytes, bits: int) -> bool:
    """Whether bytes decode in a row up to a return or a jump through a register or memory."""
    for count, instruction in enumerate(Decoder(bits, code), 1):
        is_odd = instruction.mnemonic in _NEVER_NAMES or instruction.code in _NEVER_CODES
        if is_odd or code[instruction.ip] in _NEVER:
            return False
        flow = instruction.flow_control
        if flow in (FlowControl.RETURN, FlowControl.INDIRECT_BRANCH):
            popped = instruction.immediate(0) if instruction.op0_kind in IMMEDIATES else 0
            plain = popped <= MAX_POPPED and popped % (bits // 8) == 0
            return count > 1 and plain and instruction.next_ip >= SHORTEST
        is_branch = flow in (FlowControl.CONDITIONAL_BRANCH, FlowControl.UNCONDITIONAL_BRANCH)
        if is_branch and not 0 <= instruction.near_branch_target < LONGEST:
            return False
    return False


def is_words(code: bytes) -> bool:
    """The same of ARM64; words with bits 27 and 28 clear are reserved, or for user mode (SVE)."""
    for at in range(0, len(code) - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        if word & ENDS_ARM64 in (RET_ARM64, BR_ARM64):
            return at + 4 >= SHORTEST_ARM64
        if not word >> 27 & 3:
            return False
    return False


# ---- the end of a routine, as a constant that is stored

PADDING = b"\0\x90\xcc"
"""Zeros, NOP and INT3."""
RET, RET_POPS, JUMP, JUMP_THROUGH = 0xC3, 0xC2, 0xE9, 0x25
"""RET, RET n, JMP to a displacement, and ModRM of JMP through memory."""
_CERTAIN_X86 = re.compile(rb"(?:\xc3|\xff[\xe0-\xe7])\Z", re.DOTALL)
"""RET, and a jump through a register."""
_POSSIBLE_X86 = re.compile(rb"(?:\xc2[\x04-\x40]?|\xe9|\xff\x25)\Z", re.DOTALL)
"""What an operand follows: RET n, JMP, and a jump through memory."""
_ARM64 = re.compile(rb"(?:[\0\x20\x40\x60\x80\xa0\xc0\xe0][\0-\3]|\xff[\x0b\x0f])[\x1f\x5f]\xd6\Z")
"""RET and BR through any register, and the returns that check a signed address."""
UPPER_HALVES = (0xD65F, 0xD61F)
"""Of these words."""
B_MASK, B_ARM64 = 0x7FFF_FFE0, 0x52A2_8000
"""MOVZ of 0x1400 << 16: B, into which a distance is put yet."""
_LOW = np.arange(256)
_BEHIND_FF = (_LOW & 0xF8 == 0xE0) | (_LOW == JUMP_THROUGH)
ENDS_X86 = (RET, RET_POPS, JUMP)
"""The opcodes of one byte that end a routine."""
ONE_BYTE = np.isin(_LOW, ENDS_X86)
"""By byte: whether it is an opcode that ends a routine."""
_POPPED = (_LOW <= MAX_POPPED) & (_LOW & 3 == 0)


class End(IntEnum):
    """Whether a constant that is stored ends a routine."""

    NONE = 0
    POSSIBLE = 1
    """A number can look like that too: 0xC3, 50,000 or -256.0."""
    CERTAIN = 2


def end_x86(value: int, size: int, bits: int) -> End:
    """Whether the last bytes of a constant, padding behind it apart, end an x64 or x86 routine."""
    whole = (value & MASK64).to_bytes(8, "little")[:size]
    code = whole.rstrip(PADDING)
    if _CERTAIN_X86.search(code):
        return End.CERTAIN if size == 1 or is_routine(code, bits) else End.POSSIBLE
    if not _POSSIBLE_X86.search(code):
        return End.NONE
    return End.CERTAIN if is_routine(whole + b"\0\0", bits) else End.POSSIBLE


def wants_operand(value: int, size: int) -> bool:
    """Whether the last bytes of a constant are an end of which the operand is missing."""
    code = (value & MASK64).to_bytes(8, "little")[:size]
    return code[-1] in (RET_POPS, JUMP) or code[-2:] == b"\xff\x25"


def end_arm64(value: int, size: int) -> End:
    """The same of a constant that ARM64 code stores."""
    code = (value & MASK64).to_bytes(8, "little")[:size].rstrip(PADDING)
    return End.CERTAIN if _ARM64.search(code) else End.NONE


def may_hold_end(code: Bytes) -> npt.NDArray[np.bool_]:
    """Which bytes may belong to the end of an x64 or x86 routine: quick, and seldom wrong."""
    return np.asarray((code & 0xFE == RET_POPS) | (code == JUMP) | (code == 0xFF))


def are_ends(rows: Bytes) -> npt.NDArray[np.bool_]:
    """Which rows of bytes may end, padding apart, an x64 or x86 routine."""
    padding = (rows == 0) | (rows == 0x90) | (rows == 0xCC)
    last = rows.shape[1] - 1 - np.argmax(~padding[:, ::-1], axis=1)
    each = np.arange(len(rows))
    ends, before = rows[each, last], rows[each, np.maximum(last - 1, 0)]
    found = ONE_BYTE[ends] | ((before == 0xFF) & _BEHIND_FF[ends])
    return np.asarray(found | ((before == RET_POPS) & _POPPED[ends]))


def is_put_together(code: bytes, bits: int) -> bool:
    """Whether bytes are a routine, or a jump to elsewhere with what stands before it."""
    if is_routine(code, bits):
        return True
    for instruction in Decoder(bits, code):
        is_odd = instruction.mnemonic in _NEVER_NAMES or instruction.code in _NEVER_CODES
        if is_odd or code[instruction.ip] in _NEVER:
            return False
        if instruction.flow_control in (
            FlowControl.UNCONDITIONAL_BRANCH,
            FlowControl.INDIRECT_BRANCH,
        ):
            return instruction.next_ip >= SHORTEST
    return False

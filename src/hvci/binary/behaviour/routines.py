"""What bytes or words are a routine: they decode in a row up to its end."""

from __future__ import annotations

from iced_x86 import Code, Decoder, FlowControl, Mnemonic

from hvci.binary.arch.x86.lift import IMMEDIATES

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

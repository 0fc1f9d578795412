"""What a direct call of a few instructions changes of the registers that callees keep.

LLVM's machine outliner moves equal stretches of several functions into one, which keeps to no
calling convention: it has no frame, and saves nothing.
"""

from __future__ import annotations

from iced_x86 import (
    Decoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    OpAccess,
    Register,
)

from hvci.binary.arch.x86.lift import REGISTERS
from hvci.binary.pe.image import PeImage

MOST = 12
"""Instructions of such a function that are looked at."""
LONGEST = 15
_STACK = frozenset((Register.RSP, Register.ESP, Register.SP))
_WRITES = frozenset(
    (OpAccess.WRITE, OpAccess.COND_WRITE, OpAccess.READ_WRITE, OpAccess.READ_COND_WRITE)
)
_ENDS = frozenset((FlowControl.RETURN, FlowControl.UNCONDITIONAL_BRANCH))
_FACTORY = InstructionInfoFactory()


class Outlined:
    """The functions of one image that may be outlined code."""

    def __init__(self, image: PeImage, kept: int) -> None:
        self.image = image
        self.kept = kept
        """Mask of the registers that callees keep."""
        self._known: dict[int, int] = {}

    def changed(self, target: int) -> int:
        """Mask of those that the function at an RVA changes; none where it has a frame."""
        known = self._known.get(target)
        if known is None:
            known = self._known[target] = self._changed(target) & self.kept
        return known

    def _changed(self, target: int) -> int:
        if not self.image.is_code(target):
            return 0
        code = bytes(self.image.memory[target : target + MOST * LONGEST])
        found = 0
        for instruction, _ in zip(Decoder(self.image.bits, code), range(MOST), strict=False):
            if instruction.flow_control in _ENDS:
                return found
            if instruction.flow_control != FlowControl.NEXT or instruction.is_invalid:
                return 0
            written = _written(instruction)
            if written is None:
                return 0
            found |= written
        return 0


def _written(instruction: Instruction) -> int | None:
    """Mask of the registers that an instruction writes; None where it moves the stack pointer."""
    found = 0
    for used in _FACTORY.info(instruction).used_registers():
        if used.access in _WRITES:
            if used.register in _STACK:
                return None
            known = REGISTERS.get(used.register)
            found |= 1 << known[0] if known else 0
    return found

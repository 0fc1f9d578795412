"""What an assembler text passes at a call, where a plain constant stands right before it.

Theory of operation: the straight code before the call is gone back through until something writes
the register, or pushes the argument. Only instructions that are known to write no more than their
first operand are gone past; at a label, a call or anything else the value is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hvci.source.assembly.lines import Statement, value_of

_REGISTERS = {
    "x64": (b"c", b"d", b"r8", b"r9"),
    "arm64": tuple(b"x%d" % at for at in range(8)),
}
"""The families of registers that hold the first arguments."""
_FAMILY = re.compile(rb"(?i)[re]?([abcd])x|([abcd])[lh]|(r(?:8|9|1[0-5]))[dwb]?|[wx]([0-7])")
_WHOLE = re.compile(rb"(?i)[re][abcd]x|r(?:8|9|1[0-5])d?|[wx][0-7]")
_PLAIN = frozenset(
    b"mov movzx movsx movsxd lea xor sub add and or shl shr sar inc dec neg not nop test cmp "
    b"movaps movups movdqa movdqu xorps pxor bt movk movz adr adrp ldr str stp orr eor".split()
)
"""Instructions that write their first operand and no other register; `ldp` writes two."""
_READS = frozenset(b"push test cmp bt str stp nop".split())
"""Those that write no register, and no memory that is asked about."""
_STACK = re.compile(
    rb"(?i)\[\s*rsp\s*\+\s*([0-9a-f]+h?|0x[0-9a-f]+)\s*\]|([0-9a-f]+h?)\s*\[\s*rsp\s*\]"
)
_HOME = 0x20
"""Bytes below the fifth argument of a call on x64."""
FAR = 32
"""Statements that are gone back."""
Names = Mapping[bytes, frozenset[int] | None]


class Before:
    """The code before one call."""

    def __init__(self, lines: Sequence[Statement], at: int, machine: str, names: Names) -> None:
        self.lines, self.at, self.machine, self.names = lines, at, machine, names

    def argument(self, position: int, slot: int) -> frozenset[int] | None:
        """The values of an argument, by its position and its slot of four bytes on x86."""
        if self.machine == "x86":
            return self._pushed(slot)
        registers = _REGISTERS.get(self.machine, ())
        if position < len(registers):
            return self._register(self.at, registers[position])
        return self._stored(_HOME + 8 * (position - 4)) if self.machine == "x64" else None

    def value(self, text: bytes) -> frozenset[int] | None:
        """The values of an operand: a number, or a register at the call."""
        if family := _family(text):
            return self._register(self.at, family)
        return value_of(text, self.names)

    def _register(self, at: int, family: bytes) -> frozenset[int] | None:
        for i in range(at - 1, max(-1, at - FAR), -1):
            line = self.lines[i]
            if self.lines[i + 1].label or not (_is_plain(line) or line.word == b"push"):
                return None
            if _reaches(line, family):
                return self._written(line)
        return None

    def _written(self, line: Statement) -> frozenset[int] | None:
        """What a statement leaves in its first operand."""
        operands = line.operands
        if not _WHOLE.fullmatch(operands[0]) or len(operands) < 2:
            return None
        if line.word in (b"xor", b"sub", b"eor") and _same(operands):
            return frozenset({0})
        if line.word in (b"mov", b"movz") and len(operands) == 2:
            if operands[1].lower() in (b"wzr", b"xzr"):
                return frozenset({0})
            return value_of(operands[1], self.names)
        return None

    def _pushed(self, slot: int) -> frozenset[int] | None:
        """What the code pushed, counted back from the call."""
        for i in range(self.at - 1, max(-1, self.at - FAR), -1):
            line = self.lines[i]
            is_plain = _is_plain(line) and _family_of(line) != b"sp"
            if self.lines[i + 1].label or not (is_plain or line.word == b"push"):
                return None
            if line.word == b"push" and slot == 0:
                family = _family(line.rest)
                return self._register(i, family) if family else value_of(line.rest, self.names)
            slot -= line.word == b"push"
        return None

    def _stored(self, displacement: int) -> frozenset[int] | None:
        """What the code stored at a place of the stack."""
        for i in range(self.at - 1, max(-1, self.at - FAR), -1):
            line = self.lines[i]
            if self.lines[i + 1].label or not _is_plain(line) or _family_of(line) == b"sp":
                return None
            operands = line.operands
            if b"rsp" not in operands[0].lower() or line.word in _READS:
                continue
            match = _STACK.search(operands[0])
            held = value_of(match[1] or match[2], {}) if match else None
            if held is None or held == {displacement}:
                is_wide = re.match(rb"(?i)[dq]word\b", operands[0]) is not None
                is_known = held is not None and is_wide and line.word == b"mov"
                return value_of(operands[1], self.names) if is_known else None
        return None


def family_of(register: bytes) -> bytes:
    """The name that all parts of a register share, argument or not; empty for no register."""
    match = _OTHER.fullmatch(register)
    return _family(register) or ((match[1] or b"x" + match[2]).lower() if match else b"")


_OTHER = re.compile(rb"(?i)[re]?([sd]i|bp)l?|[wx]([12]?[0-9])")


def _is_plain(line: Statement) -> bool:
    """Whether a statement writes its first operand and nothing else, nor an argument that waits."""
    has_further = b"]!" in line.rest or b"]," in line.rest.replace(b" ", b"")
    is_arm = line.word in (b"ldr", b"str", b"stp")
    return line.word in _PLAIN and not (is_arm and has_further)


def _reaches(line: Statement, family: bytes) -> bool:
    """Whether a statement writes a register."""
    return line.word not in _READS and _family(line.operands[0]) == family


def _family_of(line: Statement) -> bytes:
    """What a statement writes; "sp" for what x86 arguments depend on."""
    written = line.operands[0].lower()
    is_stack = written in (b"esp", b"rsp", b"sp") or b"esp" in written
    return b"sp" if is_stack else _family(written)


def _family(register: bytes) -> bytes:
    """The name that all parts of a register share; empty for no register."""
    match = _FAMILY.fullmatch(register)
    if match is None:
        return b""
    return (match[1] or match[2] or match[3] or b"x" + (match[4] or b"")).lower()


def _same(operands: Sequence[bytes]) -> bool:
    return len({one.lower() for one in operands[-2:]}) == 1

"""ARM64 instructions that the engine computes wrongly or refuses, executed here.

Which they are was measured (bench/instructions/arm.py): signed minimum and maximum of memory, whose
old value the engine does not sign-extend, and two bits of the processor's state that it does not
know. Knows nothing of DDIs or of paths.
"""

from __future__ import annotations

import numpy as np
from unicorn import arm64_const as reg

from hvci.verifier.arch.base import Processor

_SIGNED = (0x3F20_EC00, 0x3820_4000)
"""LDSMAX and LDSMIN (opc 100 and 101) in every size and order: mask and pattern."""
_IS_MINIMUM = 0x1000
_STATES = ((0xFFFF_F0FF, 0xD503_403F), (0xFFFF_F0FF, 0xD503_405F))
"""MSR SSBS, #n and MSR DIT, #n: nothing that a driver computes depends on them."""
_READS = ((0xFFFF_FFE0, 0xD53B_42C0), (0xFFFF_FFE0, 0xD53B_42A0))
"""MRS of SSBS and DIT."""
_ALL = (_SIGNED, *_STATES, *_READS)


def _is(word: int, *patterns: tuple[int, int]) -> bool:
    return any(word & mask == pattern for mask, pattern in patterns)


class Arm:
    """Executes what the engine cannot, on one processor."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.state = 0

    def special(self, start: int, end: int) -> list[int]:
        """Addresses of the instructions in a block that the engine must not execute."""
        code = self._processor.memory.read(start, end - start)
        words = np.frombuffer(code, "<u4", len(code) // 4)
        found = np.zeros(len(words), bool)
        for mask, pattern in _ALL:
            found |= words & np.uint32(mask) == pattern
        return [start + 4 * index for index in np.flatnonzero(found).tolist()]

    def step(self, address: int) -> int | None:
        """Execute the instruction there; where to go on, or None when it is not executed here."""
        word = self._processor.memory.u32(address)
        if _is(word, _SIGNED):
            self._signed(word)
        elif _is(word, *_READS):
            self._put(word & 31, 0)
        elif not _is(word, *_STATES):
            return None
        return address + 4

    def _signed(self, word: int) -> None:
        """LDSMAX, LDSMIN: the larger or smaller stays in memory, the old value comes back."""
        processor, size = self._processor, 1 << (word >> 30)
        bits, base = 8 * size, word >> 5 & 31
        address = processor.sp if base == 31 else self._get(base)
        given = self._get(word >> 16 & 31) & (1 << bits) - 1
        old = int.from_bytes(processor.memory.read(address, size), "little")
        choose = min if word & _IS_MINIMUM else max
        kept = choose(old, given, key=lambda value: value - (value >> bits - 1 << bits))
        processor.memory.put(address, kept, size)
        self._put(word & 31, old)

    def _get(self, number: int) -> int:
        return 0 if number == 31 else self._processor.get(_register(number))

    def _put(self, number: int, value: int) -> None:
        if number != 31:
            self._processor.set(_register(number), value)

    def name(self, address: int) -> str:
        """The instruction as a person reads it, without operands."""
        text = self._processor.text(address)
        code = self._processor.memory.read(address, 4)
        return text.partition(" ")[0] or f"word {int.from_bytes(code, 'little'):#010x}"


def _register(number: int) -> int:
    """The engine's number of a general register: X29 and X30 do not follow the others."""
    if number < 29:
        return int(reg.UC_ARM64_REG_X0 + number)
    return int((reg.UC_ARM64_REG_X29, reg.UC_ARM64_REG_X30)[number - 29])

"""Gives RDTSC and RDTSCP a clock that counts its own readings: the emulator's is the host's.

A run that reads the host's time is never the same twice. x64 and x86 only.
"""

from __future__ import annotations

import re

import unicorn
from unicorn import x86_const as reg

from hvci.binary import PeImage
from hvci.verifier.machine import Machine
from hvci.verifier.memory import Engine

CYCLES = 1 << 20
"""How far the clock moves at each reading: more than any loop waits for at a time."""
MAX_WATCHED = 4096
_REGISTERS = {
    32: (reg.UC_X86_REG_EAX, reg.UC_X86_REG_EDX, reg.UC_X86_REG_EIP),
    64: (reg.UC_X86_REG_RAX, reg.UC_X86_REG_RDX, reg.UC_X86_REG_RIP),
}
_CANDIDATES = re.compile(rb"\x0f(?:\x31|\x01\xf9)", re.DOTALL)


def replace_clock(machine: Machine, image: PeImage) -> None:
    """Hook every place where the time-stamp counter may be read."""
    if machine.processor.name == "arm64":
        return
    low, high, counter = _REGISTERS[image.bits]
    readings = 0

    def on_execute(engine: Engine, address: int, size: int, data: int) -> None:
        nonlocal readings
        readings += 1
        now = readings * CYCLES
        engine.reg_write(low, now & 0xFFFF_FFFF)
        engine.reg_write(high, now >> 32)
        engine.reg_write(counter, address + data)

    for rva, length in _candidates(image):
        address = machine.layout.image + rva
        machine.engine.hook_add(unicorn.UC_HOOK_CODE, on_execute, length, address, address)


def _candidates(image: PeImage) -> list[tuple[int, int]]:
    """RVA and length of opcode bytes that may be such an instruction."""
    found: list[tuple[int, int]] = []
    for start, end in image.code_ranges:
        code = bytes(image.memory[start:end])
        found += [(start + at.start(), len(at.group())) for at in _CANDIDATES.finditer(code)]
    return found[:MAX_WATCHED]

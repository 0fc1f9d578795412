"""Gives a driver a clock that counts its own readings: the emulator's is the host's.

Theory of operation. A run that reads the host's time is never the same twice.

1. ARM64: the engine asks before every read of a system register; counters are answered here.
2. x64 and x86: the engine does not ask, so every place with the bytes of RDTSC or RDTSCP in an
   executable page gets a hook. Verified code never changes, so this is done once.
3. Pages that an image keeps writable and executable (sections that share pages) may change: there,
   each block is looked at before it runs, and a new place stops the engine until it has its hook.

Knows instructions that read time; knows nothing of the kernel's time.
"""

from __future__ import annotations

import re
from typing import Protocol

import unicorn
from unicorn import x86_const as reg

from hvci.binary import PeImage
from hvci.verifier.machine import Machine
from hvci.verifier.memory import Engine, Rights

CYCLES = 1 << 20
"""How far the clock moves at each reading: more than any loop waits for at a time."""
MAX_WATCHED = 4096
_REGISTERS = {
    32: (reg.UC_X86_REG_EAX, reg.UC_X86_REG_EDX, reg.UC_X86_REG_EIP),
    64: (reg.UC_X86_REG_RAX, reg.UC_X86_REG_RDX, reg.UC_X86_REG_RIP),
}
_CANDIDATES = re.compile(rb"\x0f(?:\x31|\x01\xf9)", re.DOTALL)
_LONGEST = 3
_COUNTERS = frozenset(
    (
        (14, 0, 3, 3, 1),
        (14, 0, 3, 3, 2),
        (14, 0, 3, 3, 5),
        (14, 0, 3, 3, 6),
        (9, 13, 3, 3, 0),
        (2, 4, 3, 3, 0),
        (2, 4, 3, 3, 1),
    )
)
"""CNTPCT_EL0, CNTVCT_EL0, CNTPCTSS_EL0, CNTVCTSS_EL0, PMCCNTR_EL0, and the random numbers RNDR and
RNDRRS, by (CRn, CRm, op0, op1, op2)."""


class _SystemRegister(Protocol):
    """How the engine names a system register."""

    crn: int
    crm: int
    op0: int
    op1: int
    op2: int


class Clock:
    """The clock of one run."""

    def __init__(self, machine: Machine, image: PeImage) -> None:
        self._machine = machine
        self._engine: Engine = machine.engine
        self._readings = 0
        self._watched: set[int] = set()
        self._waiting: list[tuple[int, int]] = []
        self.unwatched = 0
        """Places that may read the host's clock, for there were too many."""
        if machine.processor.name == "arm64":
            self._answer_system_registers()
            return
        self._low, self._high, self._counter = _REGISTERS[image.bits]
        for start, end in image.code_ranges:
            self._look(machine.layout.image + start, end - start)
        self.take_up()
        if self._may_change():
            machine.code_watch = self

    def _now(self) -> int:
        self._readings += 1
        return self._readings * CYCLES

    # ---- ARM64

    def _answer_system_registers(self) -> None:
        from unicorn import arm64_const as arm

        def on_read(engine: Engine, register: int, system: _SystemRegister, data: object) -> bool:
            name = (system.crn, system.crm, system.op0, system.op1, system.op2)
            if name not in _COUNTERS:
                return False
            engine.reg_write(register, self._now())
            return True

        kind = arm.UC_ARM64_INS_MRS
        self._engine.hook_add(unicorn.UC_HOOK_INSN, on_read, None, 1, 0, kind)

    # ---- x64 and x86

    def _may_change(self) -> bool:
        """Whether a page of the image is writable and executable."""
        both = Rights.WRITE | Rights.EXECUTE
        mappings = self._machine.memory.mappings
        return any(each.label == "image" and each.rights & both == both for each in mappings)

    def _look(self, address: int, size: int) -> bool:
        """Note the places in a stretch of code that have no hook yet; whether there are any."""
        code = self._machine.memory.read(address, size)
        for match in _CANDIDATES.finditer(code):
            place = address + match.start()
            if place in self._watched:
                continue
            if len(self._watched) >= MAX_WATCHED:
                self.unwatched += 1
                continue
            self._watched.add(place)
            self._waiting.append((place, len(match.group())))
        return bool(self._waiting)

    def needs(self, address: int, size: int) -> bool:
        """Whether a block that is about to run must wait until `take_up` was called."""
        return self._look(address, size)

    def take_up(self) -> None:
        """Hook the places that were noted; the engine stands."""
        for address, length in self._waiting:
            self._engine.hook_add(unicorn.UC_HOOK_CODE, self._on_execute, length, address, address)
            self._engine.ctl_remove_cache(address, address + _LONGEST)
        self._waiting.clear()

    def _on_execute(self, engine: Engine, address: int, size: int, length: int) -> None:
        code = self._machine.memory.read(address, length)
        if _CANDIDATES.fullmatch(code) is None:
            return  # other code stands there by now
        now = self._now()
        engine.reg_write(self._low, now & 0xFFFF_FFFF)
        engine.reg_write(self._high, now >> 32)
        engine.reg_write(self._counter, address + length)

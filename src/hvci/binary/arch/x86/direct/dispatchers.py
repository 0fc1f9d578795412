"""Direct calls of code that only goes on to where a register points: they call through it.

Retpolines are such code, and what MSVC makes of calls that Control Flow Guard looks after. Knows
bytes; knows nothing of what the register holds.
"""

from __future__ import annotations

import re
from functools import cached_property

from iced_x86 import Decoder

from hvci.binary.form.code import Flow, Function, any_of
from hvci.binary.form.references import References
from hvci.binary.pe.image import PeImage

DISPATCHED = "dispatched"
"""Where a function keeps the registers of such calls and jumps, by instruction."""
NOT_DISPATCHED: dict[int, int] = {}
_RAX = 0
_CALL, _THROUGH, _WIDE = 0xE8, b"\xff\x25", 0x48
_TO_REGISTER, _SECOND_HALF = 0xE0, 0x41
_RETPOLINE = b"\x0f\xae\xe8\xeb"
"""LFENCE, and a jump back to where no processor comes but by guessing."""
_PUT_64 = re.compile(rb"(?P<rex>[\x48\x4c])\x89(?P<modrm>[\x04-\x3c])\x24\xc3", re.DOTALL)
_PUT_32 = re.compile(rb"(?P<rex>)\x89(?P<modrm>[\x04-\x3c])\x24\xc3", re.DOTALL)
"""`mov [rsp], register; ret`."""
_DIRECT = any_of(Flow.CALL, Flow.JUMP)
_AS = {Flow.CALL: Flow.INDIRECT_CALL, Flow.JUMP: Flow.INDIRECT_JUMP}


class Dispatchers:
    """The code of one image that goes on to where a register points."""

    def __init__(self, image: PeImage, references: References) -> None:
        self.image, self.references = image, references

    @cached_property
    def registers(self) -> dict[int, int]:
        """The register that each goes on to, by its RVA."""
        memory = self.image.memory
        has_retpolines = any(
            memory.find(_RETPOLINE, start, end) >= 0 for start, end in self.image.code_ranges
        )
        if not has_retpolines and not self.image.guard_dispatches:
            return {}
        found: dict[int, int] = {}
        for rva in self.references.call_targets.tolist():
            register = self._register(rva)
            if register is not None:
                found[rva] = register
        return found

    def note(self, function: Function) -> None:
        """Make calls and jumps through a register of those of a decoded function that are."""
        registers = self.registers
        if not registers:
            return
        flows, found = bytearray(function.flows), {}
        for i in function.where(_DIRECT):
            register = registers.get(function.instructions[i].near_branch_target & 0xFFFFFFFF)
            if register is not None and i not in function.jumps:
                flows[i] = _AS[Flow(flows[i])]
                function.targets.pop(i, None)
                found[i] = register
        if found:
            function.cache[DISPATCHED] = found
            function.flows = bytes(flows)

    def _register(self, rva: int) -> int | None:
        """The register to which the code at an RVA goes on; None for other code."""
        memory = self.image.memory
        if memory[rva] == _CALL:
            return self._of_retpoline(rva + 5 + self.image.u32(rva + 1) & 0xFFFFFFFF)
        at = rva + (memory[rva] == _WIDE)
        if memory[at : at + 2] == _THROUGH and self.image.bits == 64:
            instruction = Decoder(64, bytes(memory[at : at + 6]), ip=at).decode()
            is_guard = instruction.ip_rel_memory_address in self.image.guard_dispatches
            return _RAX if is_guard else None
        is_second = memory[rva] == _SECOND_HALF
        at = rva + is_second
        if memory[at] == 0xFF and memory[at + 1] & 0xF8 == _TO_REGISTER:
            return (memory[at + 1] & 7) + 8 * is_second
        return None

    def _of_retpoline(self, rva: int) -> int | None:
        """The register that is put in place of a return address, and returned to."""
        found = (_PUT_64 if self.image.bits == 64 else _PUT_32).match(self.image.memory, rva)
        if found is None:
            return None
        return (found["modrm"][0] >> 3) + 8 * (found["rex"] == b"\x4c")

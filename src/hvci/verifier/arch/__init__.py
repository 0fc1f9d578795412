"""Processors: registers, calling conventions and block ends. Knows nothing of Windows DDIs."""

from __future__ import annotations

from typing import Any

from hvci.model import Machine
from hvci.verifier.arch.base import Block, Convention, Ending, Processor

__all__ = ["Block", "Convention", "Ending", "Processor", "make_processor"]


def make_processor(machine: Machine) -> Processor:
    """The processor of a machine; the emulator is loaded only here."""
    if machine is Machine.ARM64:
        from hvci.verifier.arch.arm64 import Arm64

        return Arm64()
    from hvci.verifier.arch.x86 import X64, X86

    processors: dict[Machine, Any] = {Machine.X64: X64, Machine.X86: X86}
    made: Processor = processors[machine]()
    return made

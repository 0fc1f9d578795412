"""What the machine asks of whoever executes what the engine cannot, whichever the processor is."""

from __future__ import annotations

from typing import Protocol

from hvci.verifier.arch.base import Processor


class Substitute(Protocol):
    """Executes single instructions in place of the engine."""

    state: int
    """What the engine does not keep; part of a snapshot."""

    def special(self, start: int, end: int) -> list[int]:
        """Addresses of the instructions in a block that the engine must not execute."""

    def step(self, address: int) -> int | None:
        """Execute the instruction there; where to go on, or None when it is not executed here."""

    def name(self, address: int) -> str:
        """The instruction as a person reads it, without operands."""


def make_substitute(processor: Processor) -> Substitute:
    """The substitute of a processor."""
    if processor.name == "arm64":
        from hvci.verifier.cpu.arm import Arm

        return Arm(processor)
    from hvci.verifier.cpu.intel import Intel

    return Intel(processor, 8 * processor.pointer_size)

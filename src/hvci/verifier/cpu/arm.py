"""ARM64 instructions that the engine does not execute as Windows needs them."""

from __future__ import annotations

from hvci.verifier.arch.base import Processor


class Arm:
    """Executes what the engine cannot, on one processor."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.state = 0

    def special(self, start: int, end: int) -> list[int]:
        """Addresses of the instructions in a block that the engine must not execute."""
        return []

    def step(self, address: int) -> int | None:
        """Execute the instruction there; where to go on, or None when it is not executed here."""
        return None

    def name(self, address: int) -> str:
        """The instruction as a person reads it, without operands."""
        text = self._processor.text(address)
        code = self._processor.memory.read(address, 4)
        return text.partition(" ")[0] or f"word {int.from_bytes(code, 'little'):#010x}"

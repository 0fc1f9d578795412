"""Three instructions of BMI that the engine computes wrongly, by the manual.

BLSI leaves the carry flag wrong, BZHI of 32 bits cuts a bit too many, PDEP of 32 bits leaves bits
above them. Pure functions: sources and width in, result and status flags out.
"""

from __future__ import annotations

from collections.abc import Callable

from iced_x86 import Mnemonic

CARRY, ZERO, SIGN = 1, 0x40, 0x80
Model = Callable[[int, int, int], tuple[int, int | None]]


def _status(result: int, carry: bool, bits: int) -> int:
    return CARRY * carry | ZERO * (not result) | SIGN * (result >> bits - 1)


def _lowest(source: int, _: int, bits: int) -> tuple[int, int | None]:
    """BLSI: the lowest bit that is set."""
    result = source & -source & (1 << bits) - 1
    return result, _status(result, source != 0, bits)


def _below(source: int, index: int, bits: int) -> tuple[int, int | None]:
    """BZHI: the bits below an index."""
    index &= 0xFF
    result = source & (1 << min(index, bits)) - 1
    return result, _status(result, index >= bits, bits)


def _deposit(source: int, mask: int, bits: int) -> tuple[int, int | None]:
    """PDEP: low bits go where the mask has ones; no flags change."""
    result = 0
    for at in range(bits):
        if mask >> at & 1:
            result |= (source & 1) << at
            source >>= 1
    return result, None


MODELS: dict[int, Model] = {
    Mnemonic.BLSI: _lowest,
    Mnemonic.BZHI: _below,
    Mnemonic.PDEP: _deposit,
}

"""Stand-ins for bitmaps (RTL_BITMAP: bits, then a pointer to words of 32) and single bits."""

from __future__ import annotations

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

_LONGEST = 0x8_0000
"""Bits of a map that are looked at."""
_NONE = 0xFFFF_FFFF


def _bits(call: Call) -> tuple[int, int, int]:
    """Number of bits, address of the words, and all bits as one number."""
    header = call.arg(0)
    count = min(call.memory.u32(header), _LONGEST)
    buffer = call.memory.pointer(header + call.pointer_size)
    size = (count + 31) // 32 * 4
    raw = call.memory.read(buffer, size) if size and buffer >= LOWEST_POINTER else b""
    return count, buffer, int.from_bytes(raw, "little") & (1 << count) - 1


def _store(call: Call, value: int) -> None:
    count, buffer, _ = _bits(call)
    if count and buffer >= LOWEST_POINTER:
        call.memory.write(buffer, value.to_bytes((count + 31) // 32 * 4, "little"))


def _run(start: int, length: int) -> int:
    return (1 << min(length, _LONGEST)) - 1 << min(start, _LONGEST)


@stands_in("RtlInitializeBitMap")
def initialize(call: Call) -> None:
    """Describe a map; its bits stay as they are."""
    call.memory.put(call.arg(0), call.u32(2), 4)
    call.memory.put_pointer(call.arg(0) + call.pointer_size, call.arg(1))


@stands_in("RtlSetAllBits", "RtlClearAllBits")
def change_all(call: Call) -> None:
    """Set or clear every bit."""
    count = _bits(call)[0]
    _store(call, (1 << count) - 1 if "Set" in call.name else 0)


@stands_in("RtlSetBits", "RtlClearBits", "RtlSetBit", "RtlClearBit")
def change(call: Call) -> None:
    """Set or clear one bit or a run of bits."""
    count, _, bits = _bits(call)
    some = _run(call.u32(1), call.u32(2) if call.name.endswith("s") else 1)
    _store(call, (bits | some if "Set" in call.name else bits & ~some) & (1 << count) - 1)


@stands_in("RtlTestBit", "RtlCheckBit")
def test(call: Call) -> int:
    """One bit."""
    return _bits(call)[2] >> min(call.u32(1), _LONGEST) & 1


@stands_in("RtlAreBitsSet", "RtlAreBitsClear")
def are(call: Call) -> int:
    """Whether all bits of a run are set, or clear."""
    count, _, bits = _bits(call)
    start, length = call.u32(1), call.u32(2)
    if not length or start + length > count:
        return 0
    some = _run(start, length)
    return int(bits & some == (some if call.name.endswith("Set") else 0))


@stands_in("RtlNumberOfSetBits", "RtlNumberOfClearBits")
def number_of(call: Call) -> int:
    """How many bits are set, or clear."""
    count, _, bits = _bits(call)
    return bits.bit_count() if "Set" in call.name else count - bits.bit_count()


@stands_in("RtlFindClearBits", "RtlFindSetBits", "RtlFindClearBitsAndSet", "RtlFindSetBitsAndClear")
def find(call: Call) -> int:
    """Where a run of bits begins, from a hint on and then from the front; change it if asked."""
    count, _, bits = _bits(call)
    length, hint = call.u32(1), call.u32(2)
    wanted = bits if "FindSet" in call.name else ~bits & (1 << count) - 1
    hint = hint if hint < count else 0
    if not length:
        return hint & ~7
    at = _first_run(wanted >> hint, length)
    at = at + hint if at >= 0 else _first_run(wanted, length)
    if at < 0:
        return _NONE
    if "And" in call.name:
        _store(call, bits ^ _run(at, length))
    return at


def _first_run(bits: int, length: int) -> int:
    """Where the first run of so many ones begins, or -1; each step doubles what a one means."""
    have = 1
    while have < length and bits:
        step = min(have, length - have)
        bits &= bits >> step
        have += step
    return (bits & -bits).bit_length() - 1


@stands_in("RtlFindMostSignificantBit", "RtlFindLeastSignificantBit", wide=(0,))
def significant(call: Call) -> int:
    """The highest or the lowest bit that is set; -1 as a byte where none is."""
    value = call.arg(0)
    if "Least" in call.name:
        value &= -value
    return value.bit_length() - 1 & 0xFF

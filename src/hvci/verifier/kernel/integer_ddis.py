"""Stand-ins for arithmetic that the kernel exports: 64-bit numbers on x86, exchanges, byte orders.

On x86 a compiler calls `_allmul` and its like for each 64-bit product, quotient and shift.
"""

from __future__ import annotations

from unicorn import x86_const as reg

from hvci.verifier.kernel.call import Call, EndPath
from hvci.verifier.kernel.models import stands_in

_64 = 0xFFFF_FFFF_FFFF_FFFF


def _signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _divided(first: int, second: int) -> tuple[int, int]:
    """Quotient and remainder as the processor has them: cut towards zero."""
    if not second:
        raise EndPath("division by zero")
    quotient = abs(first) // abs(second)
    quotient = -quotient if (first < 0) != (second < 0) else quotient
    return quotient, first - quotient * second


@stands_in("_allmul", wide=(0, 1))
def multiply(call: Call) -> int:
    """The product of two 64-bit numbers."""
    return call.arg(0) * call.arg(1) & _64


def _operands(call: Call) -> tuple[int, int]:
    first, second = call.arg(0), call.arg(1)
    return (first, second) if "_aull" in call.name else (_signed(first), _signed(second))


@stands_in("_alldiv", "_aulldiv", wide=(0, 1))
def divide(call: Call) -> int:
    """The quotient of two 64-bit numbers."""
    return _divided(*_operands(call))[0] & _64


@stands_in("_allrem", "_aullrem", wide=(0, 1))
def remainder(call: Call) -> int:
    """What a division of two 64-bit numbers leaves."""
    return _divided(*_operands(call))[1] & _64


@stands_in("_alldvrm", "_aulldvrm", wide=(0, 1))
def divide_with_remainder(call: Call) -> int:
    """The quotient; what is left comes in ebx:ecx."""
    quotient, left = _divided(*_operands(call))
    processor = call.kernel.machine.processor
    processor.set(reg.UC_X86_REG_ECX, left & 0xFFFF_FFFF)
    processor.set(reg.UC_X86_REG_EBX, left >> 32 & 0xFFFF_FFFF)
    return quotient & _64


@stands_in("_allshl", "_allshr", "_aullshr")
def shift(call: Call) -> int:
    """Shift edx:eax by cl."""
    processor = call.kernel.machine.processor
    if call.pointer_size == 8:  # only x86 has them
        return 0
    high, low = processor.get(reg.UC_X86_REG_EDX), processor.get(reg.UC_X86_REG_EAX)
    count = processor.get(reg.UC_X86_REG_ECX) & 0xFF
    value = high << 32 | low
    if call.name == "_allshl":
        return value << count & _64 if count < 64 else 0
    if call.name == "_allshr":
        return _signed(value) >> min(count, 63) & _64
    return value >> count if count < 64 else 0


# ---- RtlLargeInteger and its like


@stands_in("RtlLargeIntegerAdd", "RtlLargeIntegerSubtract", wide=(0, 1))
def add_large(call: Call) -> int:
    """Sum or difference."""
    second = call.arg(1) if call.name.endswith("Add") else -call.arg(1)
    return call.arg(0) + second & _64


@stands_in("RtlLargeIntegerNegate", wide=(0,))
def negate_large(call: Call) -> int:
    """The number with the other sign."""
    return -call.arg(0) & _64


@stands_in(
    "RtlLargeIntegerShiftLeft",
    "RtlLargeIntegerShiftRight",
    "RtlLargeIntegerArithmeticShift",
    wide=(0,),
)
def shift_large(call: Call) -> int:
    """Shift by at most 63 places."""
    value, count = call.arg(0), call.u8(1) & 63
    if call.name.endswith("Left"):
        return value << count & _64
    return (value if call.name.endswith("Right") else _signed(value)) >> count & _64


@stands_in("RtlEnlargedIntegerMultiply", "RtlEnlargedUnsignedMultiply")
def enlarged_product(call: Call) -> int:
    """The 64-bit product of two 32-bit numbers."""
    if "Unsigned" in call.name:
        return call.u32(0) * call.u32(1)
    return _signed(call.u32(0), 32) * _signed(call.u32(1), 32) & _64


@stands_in("RtlExtendedIntegerMultiply", wide=(0,))
def extended_product(call: Call) -> int:
    """A 64-bit number times a 32-bit one."""
    return call.arg(0) * _signed(call.u32(1), 32) & _64


@stands_in("RtlEnlargedUnsignedDivide", "RtlExtendedLargeIntegerDivide", wide=(0,))
def divide_large(call: Call) -> int:
    """A 64-bit number divided by a 32-bit one; what is left goes where the third argument says."""
    quotient, left = _divided(call.arg(0), call.u32(1))
    call.give_u32(2, left)
    return quotient & _64


@stands_in("RtlLargeIntegerDivide", wide=(0, 1))
def divide_two_large(call: Call) -> int:
    """A 64-bit number divided by another."""
    quotient, left = _divided(call.arg(0), call.arg(1))
    call.give_bytes(2, left.to_bytes(8, "little"))
    return quotient & _64


@stands_in("RtlConvertLongToLargeInteger", "RtlConvertUlongToLargeInteger")
def widen(call: Call) -> int:
    """A 32-bit number with 64 bits."""
    value = call.u32(0)
    return (value if "Ulong" in call.name else _signed(value, 32)) & _64


# ---- exchanges


@stands_in("ExInterlockedAddLargeInteger", wide=(1,))
def add_to_large(call: Call) -> int:
    """Add to a 64-bit variable; give the old value."""
    old = call.memory.u64(call.arg(0))
    call.memory.put(call.arg(0), old + call.arg(1) & _64, 8)
    return old


@stands_in("ExInterlockedAddLargeStatistic")
def add_to_statistic(call: Call) -> None:
    """Add 32 bits to a 64-bit variable."""
    address = call.arg(0)
    call.memory.put(address, call.memory.u64(address) + call.u32(1) & _64, 8)


@stands_in("ExInterlockedAddUlong", "ExfInterlockedAddUlong", "ExInterlockedExchangeUlong")
def add_or_exchange(call: Call) -> int:
    """Add to a 32-bit variable, or change it; give the old value."""
    old, value = call.memory.u32(call.arg(0)), call.u32(1)
    value += old if "Add" in call.name else 0
    call.memory.put_u32(call.arg(0), value & 0xFFFF_FFFF)
    return old


@stands_in("ExInterlockedCompareExchange64", "ExfInterlockedCompareExchange64")
def compare_exchange(call: Call) -> int:
    """Change a 64-bit variable that is what the third argument points at; give the old value."""
    memory = call.memory
    old = memory.u64(call.arg(0))
    if old == memory.u64(call.arg(2)):
        memory.put(call.arg(0), memory.u64(call.arg(1)), 8)
    return old


@stands_in("RtlUshortByteSwap", "RtlUlongByteSwap", "RtlUlonglongByteSwap")
def swap_bytes(call: Call) -> int:
    """The bytes in the other order."""
    if "Ulonglong" in call.name:
        # A fastcall function takes 64 bits on the stack, behind the two registers.
        wide = call.pointer_size == 4
        value = call.slot(2) | call.slot(3) << 32 if wide else call.arg(0)
        return int.from_bytes(value.to_bytes(8, "little"), "big")
    size = 2 if "Ushort" in call.name else 4
    return int.from_bytes((call.u32(0) & (1 << 8 * size) - 1).to_bytes(size, "little"), "big")


@stands_in("_chkstk", "_alloca_probe")
def probe_stack(call: Call) -> int:
    """Touch the pages of a large frame and, on x86, make room for it; no register changes."""
    processor, memory = call.kernel.machine.processor, call.memory
    if call.pointer_size == 4:
        size, back = processor.get(reg.UC_X86_REG_EAX), memory.u32(processor.sp)
        top = processor.sp - size & 0xFFFF_FFFF
        memory.put(top, back, 4)
        processor.sp = top
    return processor.result

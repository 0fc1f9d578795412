"""What run-time functions compute is computed, and an answer that is made up is not natural."""

import ctypes
import math
import sys
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvci.binary import PeImage
from hvci.model import Machine as Architecture
from hvci.model import Tier, WindowsVersion
from hvci.verifier.kernel import Enter, EntryPoint, Kernel
from hvci.verifier.kernel.call import EndPath
from hvci.verifier.kernel.models import computes, stand_in
from hvci.verifier.machine import Machine
from hvci.verifier.outcome import VerifierOptions
from hvci.verifier.session import run_here
from patched import BUILT, starts_with

SIZE = 0x1000


class Arguments:
    """A processor whose argument slots hold chosen values."""

    def __init__(self, processor, values):
        self._processor = processor
        self.values = values

    def argument(self, index, rules):
        return self.values[index]

    def __getattr__(self, name):
        return getattr(self._processor, name)


class Kernels:
    """One emulated kernel an architecture: making one takes longer than asking it."""

    def __init__(self):
        self.made = {}

    def of(self, architecture):
        if architecture not in self.made:
            kernel = Kernel(Machine(architecture, 0x10000), WindowsVersion.WINDOWS_11_24H2)
            self.made[architecture] = kernel, kernel.arena.allocate(SIZE, "test")
        return self.made[architecture]


KERNELS = Kernels()
X64, X86 = Architecture.X64, Architecture.X86


def asked(name, *values, architecture=X64):
    """The answer of a stand-in to these slots."""
    kernel, _ = KERNELS.of(architecture)
    processor = kernel.machine.processor
    processor = getattr(processor, "_processor", processor)
    kernel.machine.processor = Arguments(processor, values)
    number = (kernel.address_of(name) - kernel.machine.layout.stubs) // 16
    return kernel.answer(kernel.call(number))


def room(architecture=X64):
    """A cleared buffer that the driver may write to."""
    kernel, address = KERNELS.of(architecture)
    kernel.memory.write(address, bytes(SIZE))
    return kernel.memory, address


def halves(*values):
    """64-bit values as x86 passes them."""
    return [part for value in values for part in (value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF)]


# ---- 64 bits on x86

NUMBERS = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.integers(2**64 - 300, 2**64 - 1)


def wide(name, first, second):
    return asked(name, *halves(first, second), architecture=X86)


@given(NUMBERS, NUMBERS)
def test_products_and_quotients(first, second):
    signed = ctypes.c_int64(first).value, ctypes.c_int64(second).value
    assert wide("_allmul", first, second) == ctypes.c_uint64(signed[0] * signed[1]).value
    if not second:
        for name in ("_alldiv", "_aulldiv", "_allrem", "_aullrem"):
            with pytest.raises(EndPath):
                wide(name, first, second)
        return
    assert wide("_aulldiv", first, second) == first // second
    assert wide("_aullrem", first, second) == first % second
    quotient = abs(signed[0]) // abs(signed[1])
    quotient = int(math.copysign(1, signed[0])) * int(math.copysign(1, signed[1])) * quotient
    assert wide("_alldiv", first, second) == ctypes.c_uint64(quotient).value
    left = signed[0] - quotient * signed[1]
    assert wide("_allrem", first, second) == ctypes.c_uint64(left).value


@given(NUMBERS, st.integers(0, 255))
def test_shifts_take_registers(value, count):
    asked("_allmul", *halves(1, 1), architecture=X86)
    processor = KERNELS.of(X86)[0].machine.processor
    from unicorn import x86_const as reg

    expected = {
        "_allshl": (value << count) % 2**64,
        "_aullshr": value >> count,
        "_allshr": ctypes.c_uint64(ctypes.c_int64(value).value >> count).value,
    }
    for name, result in expected.items():
        processor.set(reg.UC_X86_REG_EDX, value >> 32)
        processor.set(reg.UC_X86_REG_EAX, value & 0xFFFF_FFFF)
        processor.set(reg.UC_X86_REG_ECX, 0xABC00 | count)
        assert asked(name, architecture=X86) == result


def test_a_remainder_comes_in_two_registers():
    from unicorn import x86_const as reg

    assert wide("_aulldvrm", 1000, 7) == 142
    processor = KERNELS.of(X86)[0].machine.processor
    assert (processor.get(reg.UC_X86_REG_ECX), processor.get(reg.UC_X86_REG_EBX)) == (6, 0)
    assert wide("_alldvrm", 2**64 - 1000, 7) == 2**64 - 142
    assert processor.get(reg.UC_X86_REG_ECX) == 0xFFFF_FFFA
    assert processor.get(reg.UC_X86_REG_EBX) == 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("name", "slots", "result"),
    [
        ("RtlLargeIntegerAdd", halves(2**40, 2**64 - 1), 2**40 - 1),
        ("RtlLargeIntegerSubtract", halves(1, 2), 2**64 - 1),
        ("RtlLargeIntegerNegate", halves(5), 2**64 - 5),
        ("RtlLargeIntegerShiftLeft", [*halves(3), 33], 3 << 33),
        ("RtlLargeIntegerShiftRight", [*halves(2**63), 62], 2),
        ("RtlLargeIntegerArithmeticShift", [*halves(2**63), 62], 2**64 - 2),
        ("RtlEnlargedUnsignedMultiply", [0xFFFF_FFFF, 2], 0x1_FFFF_FFFE),
        ("RtlEnlargedIntegerMultiply", [0xFFFF_FFFF, 2], 2**64 - 2),
        ("RtlExtendedIntegerMultiply", [*halves(2**33), 0xFFFF_FFFF], 2**64 - 2**33),
        ("RtlConvertLongToLargeInteger", [0x8000_0000], 0xFFFF_FFFF_8000_0000),
        ("RtlConvertUlongToLargeInteger", [0x8000_0000], 0x8000_0000),
        ("RtlUlongByteSwap", [0x1234_5678], 0x7856_3412),
        ("RtlUshortByteSwap", [0xABCD_1234], 0x3412),
        ("RtlUlonglongByteSwap", [0, 0, *halves(0x0102_0304_0506_0708)], 0x0807_0605_0403_0201),
    ],
)
def test_large_integers(name, slots, result):
    assert asked(name, *slots, architecture=X86) == result


def test_division_tells_what_is_left():
    memory, address = room(X86)
    slots = [*halves(10**12 + 5), 1000, address]
    assert asked("RtlEnlargedUnsignedDivide", *slots, architecture=X86) == 10**9
    assert memory.u32(address) == 5
    asked("RtlLargeIntegerDivide", *halves(100, 7), address, architecture=X86)
    assert memory.u64(address) == 2


def test_exchanges_of_64_bits():
    memory, address = room(X86)
    memory.put(address, 2**40, 8)
    assert asked("ExInterlockedAddLargeInteger", address, *halves(2**32), 0, architecture=X86)
    assert memory.u64(address) == 2**40 + 2**32
    memory.put(address + 8, 77, 8)
    for comparand, after in ((1, 2**40 + 2**32), (2**40 + 2**32, 77)):
        memory.put(address + 16, comparand, 8)
        slots = (address, address + 8, address + 16, 0)
        old = asked("ExInterlockedCompareExchange64", *slots, architecture=X86)
        assert (old, memory.u64(address)) == (2**40 + 2**32, after)


# ---- formats


@pytest.mark.skipif(sys.platform == "win32", reason="asks the C library of Linux or macOS")
@given(
    flags=st.sampled_from(["", "-", "0", "+", " ", "#", "-#", "+0", "#0"]),
    width=st.sampled_from(["", "1", "12"]),
    precision=st.sampled_from(["", ".", ".0", ".1", ".9"]),
    size=st.sampled_from(["", "h", "l", "ll"]),
    kind=st.sampled_from("diuxX"),
    value=st.integers(0, 2**64 - 1) | st.integers(0, 20),
)
def test_integers_are_printed_as_by_the_c_library(flags, width, precision, size, kind, value):
    """`long` has 64 bits there and 32 here: it is asked with `int`."""
    memory, address = room()
    field = f"[%{flags}{width}{precision}"
    memory.write(address, f"{field}{size}{kind}]".encode() + b"\0")
    asked("sprintf", address + 0x400, address, value)
    target = ctypes.create_string_buffer(64)
    theirs = f"{field}{size if size != 'l' else ''}{kind}]".encode()
    ctypes.CDLL(None).snprintf(target, 64, theirs, ctypes.c_uint64(value))
    assert memory.text(address + 0x400) == target.value


def printed(name, form, *values, architecture=X64):
    """What a narrow function prints, with texts put into memory first."""
    memory, address = room(architecture)
    at, slots = address + 0x800, []
    for value in values:
        if isinstance(value, (str, bytes)):
            raw = value.encode("utf-16-le") + b"\0\0" if isinstance(value, str) else value + b"\0"
            memory.write(at, raw)
            slots.append(at)
            at += len(raw) + 8
        else:
            slots.append(value)
    encoded = form.encode("utf-16-le") + b"\0\0" if "w" in name else form.encode() + b"\0"
    memory.write(address + 0x400, encoded)
    asked(name, address, address + 0x400, *slots, architecture=architecture)
    return memory.wide_text(address) if "w" in name else memory.text(address).decode("latin-1")


@pytest.mark.parametrize(
    ("name", "form", "values", "text"),
    [
        ("sprintf", "%s|%5s|%-5s|%.2s", (b"ab", b"cd", b"ef", b"ghi"), "ab|   cd|ef   |gh"),
        ("sprintf", "%S %ws %hs %c%c", ("wide", "too", b"thin", 0x41, 0x142), "wide too thin AB"),
        ("swprintf", "%s %S %hs %c", ("wide", b"thin", b"too", 0x416), "wide thin too \u0416"),
        ("sprintf", "%I64d %I64x %llu", (2**64 - 5, 2**40, 7), "-5 10000000000 7"),
        ("sprintf", "%*d|%-*d|%.*x", (5, 42, 4, 7, 4, 255), "   42|7   |00ff"),
        ("sprintf", "%p", (0xFFFFF80012345678,), "FFFFF80012345678"),
        ("sprintf", "100%% %s", (0,), "100% (null)"),
        ("sprintf", "%q %", (), "%q %"),
    ],
)
def test_formats_of_the_kernel(name, form, values, text):
    assert printed(name, form, *values) == text


def test_on_x86_a_wide_number_takes_two_slots():
    assert printed("sprintf", "%I64x %x", *halves(2**40), 3, architecture=X86) == "10000000000 3"


def test_counted_strings_are_printed():
    memory, address = room()
    memory.write(address + 0x900, "counted!".encode("utf-16-le"))
    memory.write(address + 0x800, (14).to_bytes(2, "little") * 2)
    memory.put_pointer(address + 0x808, address + 0x900)
    memory.write(address + 0x400, b"<%wZ>\0")
    asked("sprintf", address, address + 0x400, address + 0x800)
    assert memory.text(address) == b"<counted>"


def test_a_list_of_arguments():
    memory, address = room()
    memory.write(address + 0x400, b"%d-%x\0")
    memory.write(address + 0x800, (12).to_bytes(8, "little") + (255).to_bytes(8, "little"))
    assert asked("_vsnprintf", address, 100, address + 0x400, address + 0x800) == 5
    assert memory.text(address) == b"12-ff"


@pytest.mark.parametrize(
    ("name", "slots", "count", "left"),
    [
        ("_snprintf", (5,), 5, b"hello."),
        ("_snprintf", (3,), 0xFFFF_FFFF, b"hel..."),
        ("_snprintf", (6,), 5, b"hello\0"),
        ("sprintf_s", (6,), 5, b"hello\0"),
        ("sprintf_s", (5,), 0xFFFF_FFFF, b"\0....."),
        ("_snprintf_s", (6, 3), 0xFFFF_FFFF, b"hel\0.."),
        ("_snprintf_s", (4, 2**64 - 1), 0xFFFF_FFFF, b"hel\0.."),
    ],
)
def test_what_does_not_fit(name, slots, count, left):
    memory, address = room()
    memory.write(address, b"......")
    memory.write(address + 0x400, b"hello\0")
    assert asked(name, address, *slots, address + 0x400) == count
    assert memory.read(address, 6) == left


# ---- memory, texts, arrays


def test_checked_copies():
    memory, address = room()
    memory.write(address, b"source--target--")
    assert asked("memcpy_s", address + 8, 8, address, 6) == 0
    assert memory.read(address, 16) == b"source--source--"
    assert asked("memmove_s", address + 8, 4, address, 6) == 34
    assert memory.read(address + 8, 8) == b"\0\0\0\0ce--"
    assert asked("memchr", address, ord("r"), 6) == address + 3
    assert asked("memchr", address, ord("r"), 3) == 0


@pytest.mark.parametrize(
    ("name", "before", "most", "given", "result", "after"),
    [
        ("strncpy_s", b"", 3, b"hello", 0, b"hel"),
        ("strncpy_s", b"x", 9, b"hello", 0, b"hello"),
        ("strncpy_s", b"x", 9, b"far too long", 34, b""),
        ("strncpy_s", b"x", 2**64 - 1, b"far too long", 80, b"far too"),
        ("strncat_s", b"ab", 2, b"cdef", 0, b"abcd"),
        ("strncat_s", b"ab", 2**64 - 1, b"cdefghij", 80, b"abcdefg"),
        ("strcat_s", b"ab", None, b"cdefgh", 34, b""),
        ("strcat_s", b"ab", None, b"cdefg", 0, b"abcdefg"),
    ],
)
def test_texts_that_are_copied_where_they_fit(name, before, most, given, result, after):
    memory, address = room()
    memory.write(address, before + b"\0")
    memory.write(address + 0x100, given + b"\0")
    more = () if most is None else (most,)
    assert asked(name, address, 8, address + 0x100, *more) == result
    assert memory.text(address) == after


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 8, 10, 16]))
def test_numbers_as_text_and_back(value, base):
    memory, address = room()
    asked("_ultoa", value, address, base)
    assert int(memory.text(address), base) == value
    assert asked("strtoul", address, address + 0x100, base) == value
    assert memory.pointer(address + 0x100) == address + len(memory.text(address))


@pytest.mark.parametrize(
    ("text", "base", "value", "end"),
    [
        (b" -12x", 10, 2**32 - 12, 4),
        (b"0x1F", 0, 0x1F, 4),
        (b"017", 0, 0o17, 3),
        (b"99999999999", 10, 2**31 - 1, 11),
        (b"-99999999999", 10, 2**31, 12),
        (b"none", 10, 0, 0),
    ],
)
def test_numbers_of_texts(text, base, value, end):
    memory, address = room()
    memory.write(address, text + b"\0")
    assert asked("strtol", address, address + 0x100, base) == value
    assert memory.pointer(address + 0x100) == address + end


def test_signs_and_room_of_numbers():
    memory, address = room()
    asked("_itoa", 0xFFFF_FFFB, address, 10)
    assert memory.text(address) == b"-5"
    assert asked("_i64toa_s", 2**64 - 5, address, 3, 10) == 0
    assert asked("_i64toa_s", 2**64 - 5, address, 2, 10) == 34
    assert asked("_i64toa_s", 5, address, 2, 1) == 22
    asked("_itow", 42, address, 10)
    assert memory.wide_text(address) == "42"


def test_small_functions_on_texts():
    memory, address = room()
    memory.write(address, b"abcabd\0" + b"cab\0")
    assert asked("strspn", address, address + 7) == 5
    assert asked("strcspn", address + 2, address + 8) == 1
    asked("_strrev", address)
    assert memory.text(address) == b"dbacba"
    asked("_strnset", address, ord("x"), 2)
    assert memory.text(address) == b"xxacba"
    assert [asked("isdigit", ord(one)) for one in "5a"] == [1, 0]
    assert asked("isalpha", 0x1234) == 0
    assert asked("mbstowcs", address + 0x100, address, 3) == 3
    assert memory.wide_text(address + 0x100, 3) == "xxa"
    assert asked("wcstombs", 0, address + 0x100, 0) == 3


def compared(answer, memory):
    """Answer the driver's comparison of two words until the stand-in is done."""
    while isinstance(answer, Enter):
        first, second = (memory.u32(address) for address in answer.arguments)
        answer = answer.then((first - second) & 0xFFFF_FFFF)
    return answer


def test_an_array_that_is_too_long_to_be_sorted_is_made_up():
    kernel, address = KERNELS.of(X64)
    before = kernel.guesses
    asked("qsort", address, 64, 4, 1)
    assert kernel.guesses == before
    asked("qsort", address, 65, 4, 1)
    assert kernel.guesses == before + 1


@given(st.lists(st.integers(0, 99), max_size=20), st.integers(0, 99))
def test_arrays_are_sorted_and_searched_with_the_driver_s_comparison(numbers, key):
    memory, address = room()
    for at, number in enumerate(numbers):
        memory.put_u32(address + 4 * at, number)
    compared(asked("qsort", address, len(numbers), 4, 1), memory)
    ordered = [memory.u32(address + 4 * at) for at in range(len(numbers))]
    assert ordered == sorted(numbers)
    memory.put_u32(address + 0x800, key)
    found = compared(asked("bsearch", address + 0x800, address, len(numbers), 4, 1), memory)
    assert (found and memory.u32(found)) == (key if key in numbers else 0)


# ---- lists, bitmaps, times


@pytest.mark.parametrize("architecture", [X64, X86])
def test_a_sequenced_list_gives_back_what_was_put_in(architecture):
    _, head = room(architecture)
    first, second = head + 0x40, head + 0x80
    assert asked("ExpInterlockedPushEntrySList", head, first, architecture=architecture) == 0
    assert asked("ExpInterlockedPushEntrySList", head, second, architecture=architecture) == first
    assert asked("ExQueryDepthSList", head, architecture=architecture) == 2
    assert asked("ExpInterlockedPopEntrySList", head, architecture=architecture) == second
    assert asked("ExpInterlockedFlushSList", head, architecture=architecture) == first
    assert asked("ExpInterlockedPopEntrySList", head, architecture=architecture) == 0
    assert asked("ExQueryDepthSList", head, architecture=architecture) == 0


def test_a_linked_list_gives_back_what_was_put_in():
    memory, head = room()
    memory.put_pointer(head, head)
    memory.put_pointer(head + 8, head)
    one, two, three = head + 0x40, head + 0x80, head + 0xC0
    assert asked("ExInterlockedInsertTailList", head, two, 0) == 0
    assert asked("ExInterlockedInsertHeadList", head, one, 0) == two
    assert asked("ExInterlockedInsertTailList", head, three, 0) == two
    found = [asked("ExInterlockedRemoveHeadList", head, 0) for _ in range(4)]
    assert found == [one, two, three, 0]


BITS = st.lists(st.booleans(), min_size=1, max_size=70)


@given(BITS, st.integers(0, 80), st.integers(1, 6), st.booleans())
def test_runs_of_bits_are_found_as_by_looking(bits, hint, length, wanted):
    _, header = room()
    asked("RtlInitializeBitMap", header, header + 0x40, len(bits))
    for at, bit in enumerate(bits):
        if bit:
            asked("RtlSetBits", header, at, 1)
    assert asked("RtlNumberOfSetBits", header) == sum(bits)
    assert [asked("RtlTestBit", header, at) for at in range(len(bits))] == bits
    begins = [
        at for at in range(len(bits) - length + 1) if bits[at : at + length] == [wanted] * length
    ]
    hint = hint if hint < len(bits) else 0
    expected = next((at for at in begins if at >= hint), begins[0] if begins else 0xFFFF_FFFF)
    name = "RtlFindSetBits" if wanted else "RtlFindClearBits"
    assert asked(name, header, length, hint) == expected
    asked(f"{name}And{'Clear' if wanted else 'Set'}", header, length, hint)
    if begins:
        bits[expected : expected + length] = [not wanted] * length
    assert [asked("RtlTestBit", header, at) for at in range(len(bits))] == bits


def test_whole_maps_and_single_bits():
    memory, header = room()
    asked("RtlInitializeBitMap", header, header + 0x40, 40)
    asked("RtlSetAllBits", header)
    assert memory.u64(header + 0x40) == 2**40 - 1
    asked("RtlClearBits", header, 4, 8)
    assert asked("RtlAreBitsClear", header, 4, 8) == 1
    assert asked("RtlAreBitsSet", header, 3, 2) == 0
    assert asked("RtlAreBitsClear", header, 4, 0) == 0
    assert asked("RtlNumberOfClearBits", header) == 8
    assert asked("RtlFindMostSignificantBit", 2**40 + 5) == 40
    assert asked("RtlFindLeastSignificantBit", 40) == 3
    assert asked("RtlFindMostSignificantBit", 0) == 0xFF


@given(st.datetimes(datetime(1601, 1, 1), datetime(9000, 1, 1)))
def test_times_and_their_fields(when):
    when = when.replace(microsecond=when.microsecond // 1000 * 1000)
    memory, address = room()
    ticks = (when - datetime(1601, 1, 1)) // timedelta(microseconds=1) * 10
    memory.put(address, ticks, 8)
    asked("RtlTimeToTimeFields", address, address + 0x40)
    fields = [memory.u16(address + 0x40 + 2 * at) for at in range(8)]
    assert fields[:3] == [when.year, when.month, when.day]
    assert fields[7] == int(when.strftime("%w"))
    assert asked("RtlTimeFieldsToTime", address + 0x40, address + 8) == 1
    assert memory.u64(address + 8) == ticks


def test_seconds_since_other_years():
    memory, address = room()
    asked("RtlSecondsSince1970ToTime", 1, address)
    assert memory.u64(address) == 116444736010000000
    assert asked("RtlTimeToSecondsSince1970", address, address + 8) == 1
    assert memory.u32(address + 8) == 1
    assert asked("RtlTimeToSecondsSince1980", address, address + 8) == 0
    asked("RtlSecondsSince1980ToTime", 0, address)
    assert memory.u64(address) == 119600064000000000
    memory.write(address + 0x40, bytes(16))
    assert asked("RtlTimeFieldsToTime", address + 0x40, address) == 0


def test_narrow_strings():
    memory, address = room()
    for at, text in ((0, b"Same"), (0x20, b"sAME")):
        memory.write(address + at, len(text).to_bytes(2, "little") * 2)
        memory.put_pointer(address + at + 8, address + 0x100 + at)
        memory.write(address + 0x100 + at, text)
    assert asked("RtlEqualString", address, address + 0x20, 0) == 0
    assert asked("RtlEqualString", address, address + 0x20, 1) == 1
    assert asked("RtlCompareString", address, address + 0x20, 0) == 0xFFFF_FFFF
    assert asked("RtlxAnsiStringToUnicodeSize", address) == 10
    memory.write(address + 0x200, "fresh".encode("utf-16-le") + b"\0\0")
    assert asked("RtlCreateUnicodeString", address, address + 0x200) == 1
    assert memory.u16(address) == 10
    assert memory.wide_text(memory.pointer(address + 8)) == "fresh"


def test_parts_of_a_sid():
    memory, sid = room()
    memory.write(sid, b"\x01\x02")
    assert asked("RtlLengthSid", sid) == asked("RtlLengthRequiredSid", 2) == 16
    assert asked("RtlSubAuthoritySid", sid, 1) == sid + 12
    assert asked("RtlSubAuthorityCountSid", sid) == sid + 1
    assert asked("RtlCaptureStackBackTrace", 0, 8, sid, 0) == 0


# ---- what is made up


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("strtok_s", True),
        ("_snwscanf_s", True),
        ("RtlGetElementGenericTable", True),
        ("RtlNobodyKnowsThis", True),
        ("RtlWriteRegistryValue", False),
        ("IoCancelIrp", False),
        ("EtwSetInformation", False),
        ("WdfRequestReuse", False),
        ("imp_WppRecorderLogCreate", False),
    ],
)
def test_what_only_computes(name, does):
    assert stand_in(name) is None
    assert computes(name) is does


CALLED = "KeQueryTimeIncrement"


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        (CALLED, Tier.NATURAL),
        ("strtok_s", Tier.FORCED),
        ("RtlVirtualUnwind", Tier.FORCED),
        ("IoCancelIrp", Tier.NATURAL),
    ],
)
def test_what_follows_a_result_that_was_made_up_is_not_natural(name, tier):
    driver = "calls_clean.x64.o2.sys"
    image = PeImage((BUILT / driver).read_bytes())
    begin, end = bytes.fromhex("4883ec28 ff15"), bytes.fromhex("4883c428 31c0 c3")
    (slot,) = image.import_slots[CALLED]
    distance = slot - image.headers.entry - len(begin) - 4
    data = starts_with(driver, begin + distance.to_bytes(4, "little", signed=True) + end)
    old, new = (each.encode().ljust(len(CALLED) + 1, b"\0") for each in (CALLED, name))
    assert data.count(old) == 1
    data = data.replace(old, new)
    run = run_here(data, VerifierOptions(force=False))
    assert run.driver_entry.tier is tier


def test_a_routine_that_is_handed_to_windows_is_called():
    """By the table of routines that give contexts: no stand-in of its own."""
    kernel, _ = KERNELS.of(X64)
    kernel.queue.clear()
    routine = kernel.machine.layout.image + 0x100
    asked("PoRegisterPowerSettingCallback", 0, 0, routine, 0x1234, 0)
    entry = kernel.queue.pop()
    assert isinstance(entry, EntryPoint)
    assert (entry.address, entry.arguments[3]) == (routine, 0x1234)


@pytest.mark.parametrize(("name", "tier"), [(CALLED, Tier.NATURAL), ("strtok_s", Tier.FORCED)])
def test_what_runs_after_a_result_that_was_made_up_is_not_natural(name, tier):
    """The driver may have kept it: a dispatch routine that only returns runs behind DriverEntry."""
    driver = "calls_clean.x64.o2.sys"
    image = PeImage((BUILT / driver).read_bytes())
    begin = bytes.fromhex("53 4883ec20 4889cb ff15")
    sets = bytes.fromhex("488d050e000000 488983e0000000 4883c420 5b 31c0 c3")
    (slot,) = image.import_slots[CALLED]
    distance = slot - image.headers.entry - len(begin) - 4
    data = starts_with(driver, begin + distance.to_bytes(4, "little", signed=True) + sets)
    old, new = (each.encode().ljust(len(CALLED) + 1, b"\0") for each in (CALLED, name))
    run = run_here(data.replace(old, new), VerifierOptions(force=False))
    entry, *requests = run.entry_points
    assert [entry.tier, *{each.tier for each in requests}] == [tier] * 2
    assert {each.outcome.ending for each in requests} == {"returned"}

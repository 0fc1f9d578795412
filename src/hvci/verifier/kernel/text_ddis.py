"""Stand-ins for counted strings: UNICODE_STRING, ANSI_STRING and the safe-string checks."""

from __future__ import annotations

import struct

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

BUFFER_TOO_SMALL = 0xC000_0023
INVALID_PARAMETER = 0xC000_000D

MAX_LENGTH = 0xFFFF
"""Bytes that a counted string can hold."""


def _set_string(call: Call, header: int, buffer: int, length: int, width: int) -> None:
    call.memory.write(header, struct.pack("<HH", length, length + width if buffer else 0))
    call.memory.put_pointer(header + call.pointer_size, buffer)


@stands_in("RtlInitUnicodeString", "RtlInitUnicodeStringEx")
def init_unicode(call: Call) -> int:
    """Point a UNICODE_STRING at a text."""
    source = call.arg(1)
    length = 2 * len(call.memory.wide_text(source, 0x4000)) if source else 0
    _set_string(call, call.arg(0), source, min(length, 0xFFFC), 2)
    return 0


@stands_in("RtlInitAnsiString", "RtlInitString", "RtlInitAnsiStringEx")
def init_ansi(call: Call) -> int:
    """Point an ANSI_STRING at a text."""
    source = call.arg(1)
    length = len(call.memory.text(source, 0x4000)) if source else 0
    _set_string(call, call.arg(0), source, min(length, 0xFFFC), 1)
    return 0


@stands_in("RtlCopyUnicodeString", "RtlCopyString")
def copy_string(call: Call) -> None:
    """Copy as much as the target holds."""
    target, source, memory = call.arg(0), call.arg(1), call.memory
    if source < LOWEST_POINTER:
        memory.put(target, 0, 2)
        return
    size = min(memory.u16(source), memory.u16(target + 2))
    data = memory.read(memory.pointer(source + call.pointer_size), size) if size else b""
    memory.write(memory.pointer(target + call.pointer_size), data)
    memory.put(target, size, 2)


def _append(call: Call, data: bytes) -> int:
    target, memory = call.arg(0), call.memory
    length, room = memory.u16(target), memory.u16(target + 2)
    if length + len(data) > room:
        return BUFFER_TOO_SMALL
    memory.write(memory.pointer(target + call.pointer_size) + length, data)
    memory.put(target, length + len(data), 2)
    return 0


@stands_in("RtlAppendUnicodeToString")
def append_text(call: Call) -> int:
    """Append a zero-terminated text."""
    source = call.arg(1)
    text = call.memory.wide_text(source, 0x1000) if source >= LOWEST_POINTER else ""
    return _append(call, text.encode("utf-16-le", "replace"))


@stands_in("RtlAppendUnicodeStringToString")
def append_string(call: Call) -> int:
    """Append a UNICODE_STRING."""
    return _append(call, call.unicode(call.arg(1)).encode("utf-16-le", "replace"))


def _convert(call: Call, data: bytes, width: int) -> int:
    """Store converted text, in a fresh buffer when the third argument says so."""
    if len(data) + width > MAX_LENGTH:  # no counted string holds more
        return INVALID_PARAMETER
    target, memory = call.arg(0), call.memory
    room = memory.u16(target + 2)
    if call.u8(2):
        buffer, room = call.kernel.arena.allocate(len(data) + width, call.name), len(data) + width
        memory.put_pointer(target + call.pointer_size, buffer)
    elif len(data) > room:
        return 0x8000_0005
    memory.write(memory.pointer(target + call.pointer_size), data)
    memory.write(target, struct.pack("<HH", len(data), room))
    return 0


@stands_in("RtlAnsiStringToUnicodeString", "RtlOemStringToUnicodeString")
def to_unicode(call: Call) -> int:
    """Widen."""
    source = call.arg(1)
    size = call.memory.u16(source)
    raw = call.memory.read(call.memory.pointer(source + call.pointer_size), size) if size else b""
    return _convert(call, raw.decode("latin-1").encode("utf-16-le"), 2)


@stands_in("RtlUnicodeStringToAnsiString", "RtlUnicodeStringToOemString")
def to_ansi(call: Call) -> int:
    """Narrow."""
    return _convert(call, call.unicode(call.arg(1)).encode("latin-1", "replace"), 1)


@stands_in("RtlUpcaseUnicodeString", "RtlDowncaseUnicodeString")
def change_case(call: Call) -> int:
    """Change case."""
    text = call.unicode(call.arg(1))
    text = text.upper() if call.name.startswith("RtlUp") else text.lower()
    return _convert(call, text.encode("utf-16-le", "replace"), 2)


@stands_in("RtlFreeUnicodeString", "RtlFreeAnsiString", "RtlFreeOemString")
def free_string(call: Call) -> None:
    """Forget the buffer."""
    _set_string(call, call.arg(0), 0, 0, 0)


@stands_in("RtlCompareUnicodeString")
def compare(call: Call) -> int:
    """Order of two strings."""
    first, second = call.unicode(call.arg(0)), call.unicode(call.arg(1))
    if call.u8(2):
        first, second = first.lower(), second.lower()
    return (first > second) - (first < second)


@stands_in("RtlEqualUnicodeString")
def equal(call: Call) -> int:
    """Whether two strings are the same."""
    return int(compare(call) == 0)


def _ansi(call: Call, index: int) -> str:
    address, memory = call.arg(index), call.memory
    size = memory.u16(address)
    buffer = memory.pointer(address + call.pointer_size)
    raw = memory.read(buffer, size) if size and buffer >= LOWEST_POINTER else b""
    return raw.decode("latin-1")


@stands_in("RtlCompareString", "RtlEqualString")
def compare_narrow(call: Call) -> int:
    """Order of two narrow strings, or whether they are the same."""
    first, second = _ansi(call, 0), _ansi(call, 1)
    if call.u8(2):
        first, second = first.upper(), second.upper()
    order = (first > second) - (first < second)
    return int(not order) if "Equal" in call.name else order & 0xFFFF_FFFF


@stands_in("RtlxAnsiStringToUnicodeSize", "RtlxOemStringToUnicodeSize")
def size_wide(call: Call) -> int:
    """Bytes of the string when it is wide, with a zero behind it."""
    return 2 * call.memory.u16(call.arg(0)) + 2


@stands_in("RtlxUnicodeStringToAnsiSize", "RtlxUnicodeStringToOemSize")
def size_narrow(call: Call) -> int:
    """Bytes of the string when it is narrow, with a zero behind it."""
    return call.memory.u16(call.arg(0)) // 2 + 1


@stands_in("RtlCreateUnicodeString")
def create_string(call: Call) -> int:
    """Copy a text into a fresh buffer."""
    source = call.arg(1)
    text = call.memory.wide_text(source, MAX_LENGTH // 4) if source >= LOWEST_POINTER else ""
    raw = text.encode("utf-16-le", "replace")
    buffer = call.kernel.arena.allocate(len(raw) + 2, call.name)
    if not buffer:
        return 0
    call.memory.write(buffer, raw + bytes(2))
    _set_string(call, call.arg(0), buffer, len(raw), 2)
    return 1


@stands_in("RtlAnsiCharToUnicodeChar")
def widen_one(call: Call) -> int:
    """The character that a pointer points at; the pointer moves on."""
    at = call.memory.pointer(call.arg(0))
    call.memory.put_pointer(call.arg(0), at + 1)
    return call.memory.u8(at)


@stands_in("RtlPrefixUnicodeString")
def prefix(call: Call) -> int:
    """Whether the second string starts with the first."""
    first, second = call.unicode(call.arg(0)), call.unicode(call.arg(1))
    if call.u8(2):
        first, second = first.lower(), second.lower()
    return int(second.startswith(first))


@stands_in("RtlIntegerToUnicodeString")
def integer_to_text(call: Call) -> int:
    """Write a number in a base."""
    digits, value, base = "", call.u32(0), call.u32(1) or 10
    while value or not digits:
        digits = "0123456789ABCDEF"[value % min(base, 16)] + digits
        value //= max(min(base, 16), 2)
    target, data = call.arg(2), digits.encode("utf-16-le")
    if len(data) > call.memory.u16(target + 2):
        return 0x8000_0005
    call.memory.write(call.memory.pointer(target + call.pointer_size), data)
    call.memory.put(target, len(data), 2)
    return 0


@stands_in("RtlUnicodeStringToInteger")
def text_to_integer(call: Call) -> int:
    """Read a number in a base."""
    text, base = call.unicode(call.arg(0)).strip(), call.u32(1) or 10
    try:
        value = int(text, base if 2 <= base <= 36 else 10)
    except ValueError:
        value = 0
    call.give_u32(2, value)
    return 0


@stands_in("RtlStringFromGUID")
def text_of_guid(call: Call) -> int:
    """Spell a GUID in braces."""
    a, b, c, *rest = struct.unpack("<IHH8B", call.memory.read(call.arg(0), 16))
    tail = "".join(f"{byte:02X}" for byte in rest)
    header = call.kernel.objects.unicode(f"{{{a:08X}-{b:04X}-{c:04X}-{tail[:4]}-{tail[4:]}}}")
    call.memory.write(call.arg(1), call.memory.read(header, 2 * call.pointer_size))
    return 0

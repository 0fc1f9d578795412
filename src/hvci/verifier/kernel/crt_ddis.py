"""Stand-ins for the C run-time functions that the kernel exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hvci.verifier.kernel.call import Call
from hvci.verifier.kernel.models import stands_in

LONGEST = 0x10_0000
TOO_SMALL = 34
"""ERANGE: what a checked function returns where the target has no room."""


def _signed(value: int) -> int:
    return value & 0xFFFF_FFFF_FFFF_FFFF


T = TypeVar("T", bytes, str)


def _order(first: T, second: T) -> int:
    return (first > second) - (first < second)


@stands_in("memcpy", "memmove", "RtlCopyMemory", "RtlMoveMemory", "RtlCopyMemoryNonTemporal")
def copy(call: Call) -> int:
    """Copy bytes; a target in code is refused as the processor would."""
    size = min(call.arg(2), LONGEST)
    if size:
        call.memory.write(call.arg(0), call.memory.read(call.arg(1), size))
    return call.arg(0)


@stands_in("memcpy_s", "memmove_s")
def copy_checked(call: Call) -> int:
    """Copy bytes when there is room; else zero the target."""
    room, size = min(call.arg(1), LONGEST), call.arg(3)
    if size > room:
        call.memory.write(call.arg(0), bytes(room))
        return TOO_SMALL
    if size:
        call.memory.write(call.arg(0), call.memory.read(call.arg(2), size))
    return 0


@stands_in("memchr")
def find_byte(call: Call) -> int:
    """Where a byte stands first, or zero."""
    at = call.memory.read(call.arg(0), min(call.arg(2), LONGEST)).find(call.u8(1))
    return call.arg(0) + at if at >= 0 else 0


@stands_in("memset")
def fill(call: Call) -> int:
    """Fill bytes."""
    call.memory.write(call.arg(0), bytes([call.u8(1)]) * min(call.arg(2), LONGEST))
    return call.arg(0)


@stands_in("RtlFillMemory")
def fill_memory(call: Call) -> None:
    """Fill bytes; the value comes last."""
    call.memory.write(call.arg(0), bytes([call.u8(2)]) * min(call.arg(1), LONGEST))


@stands_in("RtlZeroMemory", "RtlSecureZeroMemory")
def zero(call: Call) -> None:
    """Fill with zero."""
    call.memory.write(call.arg(0), bytes(min(call.arg(1), LONGEST)))


@stands_in("memcmp")
def compare_bytes(call: Call) -> int:
    """Order of two blocks."""
    size = min(call.arg(2), LONGEST)
    return _order(call.memory.read(call.arg(0), size), call.memory.read(call.arg(1), size))


@stands_in("RtlCompareMemory")
def equal_bytes(call: Call) -> int:
    """How many leading bytes are the same."""
    size = min(call.arg(2), 0x10000)
    first, second = call.memory.read(call.arg(0), size), call.memory.read(call.arg(1), size)
    return next((at for at in range(size) if first[at] != second[at]), size)


@stands_in("strlen", "strnlen")
def length(call: Call) -> int:
    """Length of a text."""
    return len(call.memory.text(call.arg(0), 0x10000))


@stands_in("wcslen", "wcsnlen")
def wide_length(call: Call) -> int:
    """Length of a wide text."""
    return len(call.memory.wide_text(call.arg(0), 0x10000))


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le", "replace")


@stands_in("strcpy", "wcscpy")
def copy_text(call: Call) -> int:
    """Copy a text with its terminator."""
    memory = call.memory
    if call.name == "strcpy":
        memory.write(call.arg(0), memory.text(call.arg(1), 0x4000) + b"\0")
    else:
        memory.write(call.arg(0), _wide(memory.wide_text(call.arg(1), 0x4000)) + b"\0\0")
    return call.arg(0)


@stands_in("strncpy", "wcsncpy")
def copy_text_padded(call: Call) -> int:
    """Copy at most so many characters and pad with zeros."""
    count = min(call.arg(2), 0x4000)
    if call.name == "strncpy":
        call.memory.write(call.arg(0), call.memory.text(call.arg(1), count).ljust(count, b"\0"))
    else:
        raw = _wide(call.memory.wide_text(call.arg(1), count))[: 2 * count]
        call.memory.write(call.arg(0), raw.ljust(2 * count, b"\0"))
    return call.arg(0)


@stands_in("strcpy_s", "wcscpy_s")
def copy_text_checked(call: Call) -> int:
    """Copy a text when it fits."""
    room, memory = min(call.arg(1), 0x4000), call.memory
    if call.name == "strcpy_s":
        raw, width = memory.text(call.arg(2), 0x4000), 1
    else:
        raw, width = _wide(memory.wide_text(call.arg(2), 0x4000)), 2
    if len(raw) + width > room * width:
        return TOO_SMALL
    memory.write(call.arg(0), raw + bytes(width))
    return 0


@stands_in("strcat", "wcscat", "strncat", "wcsncat")
def append_text(call: Call) -> int:
    """Append a text."""
    target, memory = call.arg(0), call.memory
    limit = min(call.arg(2), 0x4000) if call.name[3] == "n" else 0x4000
    if call.name.startswith("str"):
        at = target + len(memory.text(target, 0x4000))
        memory.write(at, memory.text(call.arg(1), limit) + b"\0")
    else:
        at = target + 2 * len(memory.wide_text(target, 0x4000))
        memory.write(at, _wide(memory.wide_text(call.arg(1), limit)) + b"\0\0")
    return target


def _texts(call: Call) -> tuple[str, str]:
    """The first two arguments as texts, cut and in lower case as the name asks."""
    name, memory = call.name.lower(), call.memory
    limit = min(call.arg(2), 0x4000) if "n" in name.strip("_")[3:] else 0x4000
    if "wcs" in name:
        pair = memory.wide_text(call.arg(0), limit), memory.wide_text(call.arg(1), limit)
    else:
        first, second = memory.text(call.arg(0), limit), memory.text(call.arg(1), limit)
        pair = first.decode("latin-1"), second.decode("latin-1")
    cut = (pair[0][:limit], pair[1][:limit])
    return (cut[0].lower(), cut[1].lower()) if "i" in name.strip("_")[3:] else cut


@stands_in(
    "strcmp",
    "strncmp",
    "wcscmp",
    "wcsncmp",
    "_stricmp",
    "_strnicmp",
    "_wcsicmp",
    "_wcsnicmp",
)
def compare_text(call: Call) -> int:
    """Order of two texts."""
    first, second = _texts(call)
    return _signed(_order(first, second))


@stands_in("strstr", "wcsstr")
def find_text(call: Call) -> int:
    """Where the second text starts in the first."""
    width = 2 if call.name == "wcsstr" else 1
    memory = call.memory
    if width == 2:
        at = memory.wide_text(call.arg(0), 0x4000).find(memory.wide_text(call.arg(1), 0x400))
    else:
        at = memory.text(call.arg(0), 0x4000).find(memory.text(call.arg(1), 0x400))
    return call.arg(0) + width * at if at >= 0 else 0


@stands_in("strchr", "strrchr", "wcschr", "wcsrchr")
def find_character(call: Call) -> int:
    """Where a character stands, from the front or from the back."""
    if call.name.startswith("wcs"):
        text, width = call.memory.wide_text(call.arg(0), 0x4000), 2
        wanted = chr(call.u32(1) & 0xFFFF)
    else:
        text, width = call.memory.text(call.arg(0), 0x4000).decode("latin-1"), 1
        wanted = chr(call.u8(1))
    find: Callable[[str], int] = text.rfind if "rchr" in call.name else text.find
    at = len(text) if wanted == "\0" else find(wanted)
    return call.arg(0) + width * at if at >= 0 else 0


@stands_in("_strupr", "_strlwr", "_wcsupr", "_wcslwr", "strlwr", "strupr", "wcslwr", "wcsupr")
def change_case(call: Call) -> int:
    """Change case in place."""
    address, upper, memory = call.arg(0), call.name.endswith("upr"), call.memory
    if "str" in call.name:
        raw = memory.text(address, 0x4000)
        memory.write(address, raw.upper() if upper else raw.lower())
    else:
        text = memory.wide_text(address, 0x4000)
        memory.write(address, _wide(text.upper() if upper else text.lower())[: 2 * len(text)])
    return address


@stands_in("toupper", "tolower", "towupper", "towlower", "RtlUpcaseUnicodeChar")
def change_character(call: Call) -> int:
    """Change case of one character."""
    character = chr(call.u32(0) & 0xFFFF)
    changed = character.lower() if "lower" in call.name else character.upper()
    return ord(changed[0])


@stands_in("atoi", "atol", "_wtoi", "_wtol")
def to_number(call: Call) -> int:
    """Read a decimal number."""
    if call.name.startswith("_w"):
        text = call.memory.wide_text(call.arg(0), 32)
    else:
        text = call.memory.text(call.arg(0), 32).decode("latin-1")
    digits = ""
    for character in text.strip():
        if not character.isdigit():
            break
        digits += character
    return int(digits or "0")


@stands_in("rand", "RtlRandom", "RtlRandomEx")
def number(call: Call) -> int:
    """A number that is always the same."""
    return 0x2A

"""Stand-ins for the less usual C run-time functions on texts, numbers as text, and sorted arrays.

The narrow and the wide form of a function share a stand-in; a text is a `str` here.
"""

from __future__ import annotations

from collections.abc import Callable

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.crt_ddis import TOO_SMALL
from hvci.verifier.kernel.models import Answer, Enter, stands_in

_LONGEST = 0x4000
_INVALID, _TRUNCATED = 22, 80
"""EINVAL and STRUNCATE."""
_MOST_SORTED = 64
"""Elements of an array that is sorted; each comparison is a call of the driver."""


def _is_wide(call: Call) -> bool:
    return any(part in call.name for part in ("wcs", "tow", "_w"))


def _read(call: Call, index: int, limit: int = _LONGEST) -> str:
    address = call.arg(index)
    if address < LOWEST_POINTER:
        return ""
    if _is_wide(call):
        return call.memory.wide_text(address, limit)
    return call.memory.text(address, limit).decode("latin-1")


def _write(call: Call, address: int, text: str, ends: bool = True) -> None:
    raw = text.encode("utf-16-le" if _is_wide(call) else "latin-1", "replace")
    zero = bytes(2 if _is_wide(call) else 1) if ends else b""
    call.memory.write(address, raw + zero)


def _width(call: Call) -> int:
    return 2 if _is_wide(call) else 1


@stands_in("strcat_s", "wcscat_s", "strncat_s", "wcsncat_s", "strncpy_s", "wcsncpy_s")
def copy_or_append(call: Call) -> int:
    """Copy or append a text when it fits; else the target becomes empty."""
    room = min(call.arg(1), _LONGEST)
    if not room or call.arg(0) < LOWEST_POINTER:
        return _INVALID
    before = _read(call, 0, room) if "cat" in call.name else ""
    given = _read(call, 2)
    if "n" in call.name:
        most = call.arg(3)
        if most == (1 << 8 * call.pointer_size) - 1:  # _TRUNCATE: as much as there is room for
            cut = given[: room - len(before) - 1]
            _write(call, call.arg(0), before + cut)
            return _TRUNCATED if len(cut) < len(given) else 0
        given = given[:most]
    fits = len(before) + len(given) < room
    _write(call, call.arg(0), before + given if fits else "")
    return 0 if fits else TOO_SMALL


@stands_in("_strrev", "_wcsrev", "_strset", "_wcsset", "_strnset", "_wcsnset")
def change_text(call: Call) -> int:
    """Turn a text round, or make all or its first characters one character."""
    text = _read(call, 0)
    if "rev" in call.name:
        text = text[::-1]
    else:
        most = call.arg(2) if "nset" in call.name else len(text)
        character = chr(call.u32(1) & (0xFFFF if _is_wide(call) else 0xFF))
        text = character * min(most, len(text)) + text[most:]
    _write(call, call.arg(0), text, ends=False)
    return call.arg(0)


@stands_in("strspn", "wcsspn", "strcspn", "wcscspn")
def span(call: Call) -> int:
    """How many leading characters are, or are not, among those of the second text."""
    text, among = _read(call, 0), _read(call, 1)
    wanted = "cspn" not in call.name
    return next((at for at, one in enumerate(text) if (one in among) is not wanted), len(text))


_KINDS: dict[str, Callable[[str], bool]] = {
    "isdigit": lambda one: one in "0123456789",
    "isxdigit": lambda one: one in "0123456789abcdefABCDEF",
    "islower": lambda one: "a" <= one <= "z",
    "isupper": lambda one: "A" <= one <= "Z",
    "isalpha": lambda one: "a" <= one.lower() <= "z",
    "isalnum": lambda one: "a" <= one.lower() <= "z" or one in "0123456789",
    "isspace": lambda one: one in " \t\n\v\f\r",
    "isprint": lambda one: " " <= one <= "~",
}


@stands_in(*_KINDS)
def is_kind(call: Call) -> int:
    """Whether a character is of a kind."""
    value = call.u32(0)
    return int(value < 0x100 and _KINDS[call.name](chr(value)))


# ---- numbers as text

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _spelled(value: int, base: int) -> str:
    digits = ""
    while value or not digits:
        value, digit = divmod(value, base)
        digits = _DIGITS[digit] + digits
    return digits


def _number_as_text(call: Call, value: int, bits: int, base: int) -> str:
    value &= (1 << bits) - 1
    is_signed = "ui64" not in call.name and "ult" not in call.name
    if is_signed and base == 10 and value >> (bits - 1):
        return "-" + _spelled((1 << bits) - value, base)
    return _spelled(value, base)


@stands_in("_itoa", "_itow", "_ltoa", "_ltow", "_ultoa", "_ultow")
def number_to_text(call: Call) -> int:
    """Write a number in a base."""
    base = call.u32(2)
    if 2 <= base <= len(_DIGITS):
        _write(call, call.arg(1), _number_as_text(call, call.u32(0), 32, base))
    return call.arg(1)


def _checked(call: Call, bits: int) -> int:
    room, base = min(call.arg(2), _LONGEST), call.u32(3)
    if not 2 <= base <= len(_DIGITS) or not room:
        return _INVALID
    text = _number_as_text(call, call.arg(0), bits, base)
    fits = len(text) < room
    _write(call, call.arg(1), text if fits else "")
    return 0 if fits else TOO_SMALL


@stands_in("_itoa_s", "_itow_s", "_ltoa_s", "_ltow_s", "_ultoa_s", "_ultow_s")
def number_to_text_checked(call: Call) -> int:
    """Write a number in a base when it fits."""
    return _checked(call, 32)


@stands_in("_i64toa_s", "_i64tow_s", "_ui64toa_s", "_ui64tow_s", wide=(0,))
def wide_number_to_text_checked(call: Call) -> int:
    """Write a 64-bit number in a base when it fits."""
    return _checked(call, 64)


@stands_in("strtol", "strtoul", "wcstol", "wcstoul", "_strtoui64", "_strtoi64", "_wcstoui64")
def text_to_number(call: Call) -> int:
    """Read a number in a base, or in that which its start shows; tell where it ends."""
    text = _read(call, 0, 128)
    at = len(text) - len(text.lstrip(" \t\n\v\f\r"))
    negative = text[at : at + 1] == "-"
    at += text[at : at + 1] in ("-", "+") and text[at : at + 1] != ""
    base = call.u32(2)
    if base in (0, 16) and text[at : at + 2].lower() == "0x":
        base, at = 16, at + 2
    base = base or (8 if text[at : at + 1] == "0" else 10)
    value, begin = 0, at
    for one in text[at:].lower():
        digit = _DIGITS.find(one)
        if not 0 <= digit < base:
            break
        value, at = value * base + digit, at + 1
    call.give(1, call.arg(0) + _width(call) * (at if at > begin else 0))
    bits = 64 if "64" in call.name else 32
    most = (1 << bits) - 1
    if "toul" in call.name or "toui" in call.name:
        value = min(value, most)
    else:
        value = min(value, (most >> 1) + negative)
    return (-value if negative else value) & most


@stands_in("mbstowcs", "wcstombs")
def convert(call: Call) -> int:
    """Widen or narrow a text; without a target tell how long it will be."""
    memory, target, most = call.memory, call.arg(0), min(call.arg(2), _LONGEST)
    to_wide = call.name == "mbstowcs"
    if call.arg(1) < LOWEST_POINTER:
        return 0
    text = (
        memory.text(call.arg(1), _LONGEST).decode("latin-1")
        if to_wide
        else memory.wide_text(call.arg(1), _LONGEST)
    )
    if target < LOWEST_POINTER:
        return len(text)
    raw = (text[:most] + ("\0" if len(text) < most else "")).encode(
        "utf-16-le" if to_wide else "latin-1", "replace"
    )
    memory.write(target, raw)
    return min(len(text), most)


@stands_in("wctomb")
def narrow_one(call: Call) -> int:
    """Narrow one character."""
    call.give_bytes(0, chr(call.u32(1) & 0xFFFF).encode("latin-1", "replace"))
    return 1


@stands_in("srand")
def seed(call: Call) -> None:
    """Numbers are always the same here."""


# ---- arrays


def _signed(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


@stands_in("bsearch")
def search(call: Call) -> Answer:
    """Search a sorted array with the driver's comparison."""
    key, base, count, size, compare = (call.arg(index) for index in range(5))
    return _search(key, base, size, compare, 0, min(count, _LONGEST))


def _search(key: int, base: int, size: int, compare: int, low: int, high: int) -> Answer:
    if low >= high:
        return 0
    middle = (low + high) // 2
    element = base + size * middle

    def then(result: int) -> Answer:
        order = _signed(result)
        if not order:
            return element
        if order < 0:
            return _search(key, base, size, compare, low, middle)
        return _search(key, base, size, compare, middle + 1, high)

    return Enter(compare, (key, element), then)


@stands_in("qsort")
def sort(call: Call) -> Answer:
    """Sort a small array with the driver's comparison."""
    base, count, size, compare = (call.arg(index) for index in range(4))
    if not size:
        return 0
    call.kernel.guesses += count > _MOST_SORTED
    return _sort(call, (base, min(count, _MOST_SORTED), size, compare), 1, 1)


def _sort(call: Call, array: tuple[int, int, int, int], at: int, down: int) -> Answer:
    """Move the element at `down` forward to its place among those before `at`."""
    base, count, size, compare = array
    if at >= count:
        return 0
    here, before = base + size * down, base + size * (down - 1)

    def then(result: int) -> Answer:
        if _signed(result) <= 0:
            return _sort(call, array, at + 1, at + 1)
        first, second = call.memory.read(before, size), call.memory.read(here, size)
        call.memory.write(before, second)
        call.memory.write(here, first)
        if down == 1:
            return _sort(call, array, at + 1, at + 1)
        return _sort(call, array, at, down - 1)

    return Enter(compare, (before, here), then)

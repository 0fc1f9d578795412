"""Stand-ins for the C run-time functions that print into a buffer.

Formats are those of Microsoft's run-time in the kernel: `%wZ` prints a UNICODE_STRING, `%I64x` a
64-bit number, and in a wide format `%s` takes a wide text. Floating point is not printed: a driver
may not use it, and the kernel's own functions do not either.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hvci.verifier.kernel.call import LOWEST_POINTER, Call
from hvci.verifier.kernel.models import stands_in

_LONGEST = 0x4000
_WIDEST = 0x400
_FIELD = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?"
    r"(?P<size>hh|h|ll|l|I64|I32|I|w|z|t|j|L)?(?P<kind>[diouxXcCsSpZn%aAeEfFgG])"
)
_WIDE_NUMBERS = ("ll", "I64", "j")
_SIZES = ("I", "z", "t")
Next = Callable[[int], int]
"""Gives the next argument of so many bytes."""


class _Printer:
    """One format with its arguments."""

    def __init__(self, call: Call, wide: bool, take: Next) -> None:
        self.call = call
        self.wide = wide
        self.take = take

    def text(self, form: str) -> str:
        """The format with its fields filled in."""
        return _FIELD.sub(self._field, form)[:_LONGEST]

    def _field(self, match: re.Match[str]) -> str:
        kind, flags, size = match["kind"], match["flags"], match["size"] or ""
        if kind == "%":
            return "%"
        width, flags = self._width(match["width"], flags)
        precision = self._number(match["precision"])
        if kind in "diouxX":
            shown = self._integer(kind, flags, size, precision)
            zeros = "0" in flags and "-" not in flags and precision is None
        elif kind == "p":
            digits = 2 * self.call.pointer_size
            shown, zeros = f"{self.take(self.call.pointer_size):0{digits}X}", False
        elif kind in "cC":
            value = self.take(4)
            shown, zeros = chr(value & (0xFFFF if self._is_wide(kind, size) else 0xFF)), False
        elif kind in "sSZ":
            limit = _LONGEST if precision is None else precision
            shown, zeros = self._string(kind, size, limit)[:limit], False
        else:
            self.take(8)
            return ""
        if "-" in flags:
            return shown.ljust(width)
        return self._zeros(shown, width) if zeros else shown.rjust(width)

    def _width(self, given: str, flags: str) -> tuple[int, str]:
        width = self._number(given) or 0
        if given == "*" and width >> 31:
            width, flags = (1 << 32) - width, flags + "-"
        return min(width, _WIDEST), flags

    def _number(self, given: str | None) -> int | None:
        if given is None:
            return None
        value = self.take(4) if given == "*" else int(given or 0)
        return min(value, _WIDEST) if not value >> 31 else value

    @staticmethod
    def _zeros(shown: str, width: int) -> str:
        sign = len(shown) - len(shown.lstrip("+- ")) + (2 if shown[:2].lower() == "0x" else 0)
        return shown[:sign] + shown[sign:].rjust(width - sign, "0")

    def _integer(self, kind: str, flags: str, size: str, precision: int | None) -> str:
        count = 8 if size in _WIDE_NUMBERS else self.call.pointer_size if size in _SIZES else 4
        value = self.take(count)
        bits = {"h": 16, "hh": 8}.get(size, 8 * count)
        value &= (1 << bits) - 1
        sign = ""
        if kind in "di":
            if value >> (bits - 1):
                value, sign = (1 << bits) - value, "-"
            else:
                sign = "+" if "+" in flags else " " if " " in flags else ""
        digits = f"{value:{'d' if kind in 'diu' else kind}}"
        digits = digits.rjust(precision or 0, "0") if precision is None or value else ""
        if precision and not value:
            digits = "0" * precision
        if "#" in flags and kind in "xX" and value:
            sign = f"0{kind}"
        return sign + digits

    def _is_wide(self, kind: str, size: str) -> bool:
        if size in ("l", "w"):
            return True
        if size == "h":
            return False
        return self.wide if kind in "cs" else not self.wide

    def _string(self, kind: str, size: str, limit: int) -> str:
        address, memory = self.take(self.call.pointer_size), self.call.memory
        if address < LOWEST_POINTER:
            return "(null)"
        if kind == "Z":
            if size == "w" or (self.wide and size != "h"):
                return self.call.unicode(address)
            length = min(memory.u16(address), _LONGEST)
            buffer = memory.pointer(address + self.call.pointer_size)
            raw = memory.read(buffer, length) if length and buffer >= LOWEST_POINTER else b""
            return raw.decode("latin-1")
        if self._is_wide(kind, size):
            return memory.wide_text(address, limit)
        return memory.text(address, limit).decode("latin-1")


def _of_call(call: Call, first: int) -> Next:
    """The arguments of the call itself, from a slot on."""
    at = first

    def take(size: int) -> int:
        nonlocal at
        value = call.slot(at)
        at += 1
        if size == 8 and call.pointer_size == 4:
            value |= call.slot(at) << 32
            at += 1
        return value & (1 << 8 * size) - 1

    return take


def _of_list(call: Call, address: int) -> Next:
    """The arguments of a `va_list`."""
    at = address

    def take(size: int) -> int:
        nonlocal at
        value = call.memory.u64(at) if size == 8 else call.memory.u32(at)
        at += max(size, call.pointer_size)
        return value

    return take


def _printed(call: Call, form: int) -> str:
    """The text of the format at a slot; the arguments stand behind it."""
    wide = "w" in call.name
    read = call.memory.wide_text if wide else call.memory.text
    raw = read(call.arg(form), _LONGEST) if call.arg(form) >= LOWEST_POINTER else ""
    text = raw if isinstance(raw, str) else raw.decode("latin-1")
    is_list = call.name.lstrip("_").startswith("v")
    take = _of_list(call, call.arg(form + 1)) if is_list else _of_call(call, form + 1)
    return _Printer(call, wide, take).text(text)


def _store(call: Call, text: str, room: int, ends: bool) -> None:
    """Write so many characters at most; `ends` says whether a zero stands behind them."""
    width = 2 if "w" in call.name else 1
    raw = text[:room].encode("utf-16-le" if width == 2 else "latin-1", "replace")
    call.memory.write(call.arg(0), raw + (bytes(width) if ends else b""))


@stands_in("sprintf", "vsprintf", "swprintf", "_swprintf", "vswprintf", "_vswprintf")
def print_all(call: Call) -> int:
    """Print as much as there is."""
    text = _printed(call, 1)
    _store(call, text, len(text), ends=True)
    return len(text)


@stands_in("_snprintf", "_vsnprintf", "_snwprintf", "_vsnwprintf")
def print_some(call: Call) -> int:
    """Print so many characters; -1 where there are more, and then nothing ends them."""
    text, room = _printed(call, 2), min(call.arg(1), _LONGEST)
    if call.arg(0) >= LOWEST_POINTER:
        _store(call, text, room, ends=len(text) < room)
    return len(text) if len(text) <= room else 0xFFFF_FFFF


@stands_in("sprintf_s", "vsprintf_s", "swprintf_s", "vswprintf_s")
def print_checked(call: Call) -> int:
    """Print when there is room; else an empty text and -1."""
    text, room = _printed(call, 2), min(call.arg(1), _LONGEST)
    fits = len(text) < room
    _store(call, text if fits else "", room, ends=True)
    return len(text) if fits else 0xFFFF_FFFF


@stands_in("_snprintf_s", "_vsnprintf_s", "_snwprintf_s", "_vsnwprintf_s")
def print_some_checked(call: Call) -> int:
    """Print so many characters and a zero when there is room for these."""
    text, room = _printed(call, 3), min(call.arg(1), _LONGEST)
    most = min(call.arg(2), room - 1) if room else 0
    _store(call, text, most, ends=True)
    return len(text) if len(text) <= most else 0xFFFF_FFFF

"""Reads a registry hive (regf): keys by path, values by name; every length is checked.

Follows "Windows registry file format specification" (M. Suhanov); knows no key by name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from hvci.errors import InputError

MAX_BYTES = 1 << 30
_BASE = 0x1000
_ROOT = 0x24
_LATIN_KEY, _LATIN_VALUE = 0x20, 0x1
_INLINE = 0x80000000
_SEGMENT = 16344
"""Bytes of one part of a value that is kept in several."""
MOST_SUBKEYS = 100_000
MOST_VALUES = 20_000
MAX_VALUE = 1 << 20
SZ, EXPAND_SZ, BINARY, DWORD, MULTI_SZ, QWORD = 1, 2, 3, 4, 7, 11


class DamagedHive(InputError):
    """The bytes are no hive, or contradict themselves."""


class Hive:
    """A hive whose transaction logs were applied, if it had any."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"regf" or len(data) < _BASE + 0x20:
            raise DamagedHive("no registry hive")
        self._data = data

    def cell(self, offset: int, size: int) -> int:
        """Where the content of a cell begins, when it has so many bytes."""
        at = _BASE + offset
        if not 0 <= offset < len(self._data) - _BASE - 4:
            raise DamagedHive(f"the hive refers to {offset:#x}, where it has nothing")
        length = -self.number(at, "i")
        if length - 4 < size or at + length > len(self._data):
            raise DamagedHive(f"the cell at {offset:#x} of the hive is cut or free")
        return at + 4

    def number(self, at: int, kind: str = "I") -> int:
        """A number of the file."""
        try:
            found: int = struct.unpack_from(f"<{kind}", self._data, at)[0]
        except struct.error as error:
            raise DamagedHive("the hive is cut off") from error
        return found

    def bytes(self, at: int, size: int) -> bytes:
        """Some bytes of the file."""
        found = self._data[at : at + size]
        if len(found) < size:
            raise DamagedHive("the hive is cut off")
        return found

    @property
    def root(self) -> Key:
        """The key that all others are in."""
        return Key(self, self.number(_ROOT))

    def find(self, path: str) -> Key | None:
        """The key at a path such as `Select` or `ControlSet001\\Services`."""
        key: Key | None = self.root
        for name in path.split("\\"):
            key = key.get(name) if key is not None else None
        return key


class Key:
    """One key; names are found whatever their case."""

    def __init__(self, hive: Hive, offset: int) -> None:
        self._hive = hive
        self._at = hive.cell(offset, 76)
        if hive.bytes(self._at, 2) != b"nk":
            raise DamagedHive(f"no key at {offset:#x} of the hive")
        length = hive.number(self._at + 72, "H")
        raw = hive.bytes(hive.cell(offset, 76 + length) + 76, length)
        self.name = _name(raw, hive.number(self._at + 2, "H") & _LATIN_KEY)

    @cached_property
    def _keys(self) -> tuple[dict[str, int], str]:
        """Offsets of the keys in this one, by name in lower case, and why some are left out."""
        count, offset = self._hive.number(self._at + 20), self._hive.number(self._at + 28)
        found: dict[str, int] = {}
        damage = ""
        try:
            for each in self._listed(offset, 2) if count else ():
                if len(found) == min(count, MOST_SUBKEYS):
                    break
                try:
                    found[Key(self._hive, each).name.lower()] = each
                except DamagedHive as error:
                    damage = damage or str(error)
        except DamagedHive as error:
            damage = damage or str(error)
        if not damage and count > MOST_SUBKEYS:
            damage = f"more than {MOST_SUBKEYS} keys in one"
        if not damage and len(found) < count:
            damage = f"{count - len(found)} of {count} keys are not where they should be"
        return found, damage

    def _listed(self, offset: int, depth: int) -> Iterator[int]:
        at = self._hive.cell(offset, 4)
        kind, count = self._hive.bytes(at, 2), self._hive.number(at + 2, "H")
        step = {b"lf": 8, b"lh": 8, b"li": 4, b"ri": 4}.get(kind)
        if step is None or not depth:
            raise DamagedHive(f"no list of keys at {offset:#x} of the hive")
        at = self._hive.cell(offset, 4 + count * step)
        for number in range(count):
            each = self._hive.number(at + 4 + number * step)
            if kind == b"ri":
                yield from self._listed(each, depth - 1)
            else:
                yield each

    def get(self, name: str) -> Key | None:
        """A key in this one; raises `DamagedHive` where one that is damaged may be it."""
        found, damage = self._keys
        offset = found.get(name.lower())
        if offset is None and damage:
            raise DamagedHive(damage)
        return None if offset is None else Key(self._hive, offset)

    def subkeys(self) -> Iterator[Key]:
        """All keys in this one, in order; raises `DamagedHive` behind them where there are more."""
        found, damage = self._keys
        for offset in found.values():
            yield Key(self._hive, offset)
        if damage:
            raise DamagedHive(damage)

    @cached_property
    def values(self) -> dict[str, tuple[int, bytes]]:
        """Type and bytes of the values, by name in lower case; the unnamed one is empty."""
        count = min(self._hive.number(self._at + 36), MOST_VALUES)
        found: dict[str, tuple[int, bytes]] = {}
        if count:
            at = self._hive.cell(self._hive.number(self._at + 40), count * 4)
            for number in range(count):
                name, kind, data = self._value(self._hive.number(at + number * 4))
                found[name.lower()] = (kind, data)
        return found

    def _value(self, offset: int) -> tuple[str, int, bytes]:
        hive = self._hive
        at = hive.cell(offset, 20)
        if hive.bytes(at, 2) != b"vk":
            raise DamagedHive(f"no value at {offset:#x} of the hive")
        length, size = hive.number(at + 2, "H"), hive.number(at + 4)
        name = _name(hive.bytes(at + 20, length), hive.number(at + 16, "H") & _LATIN_VALUE)
        if size & _INLINE:
            return name, hive.number(at + 12), hive.bytes(at + 8, min(size & ~_INLINE, 4))
        data = self._long(hive.number(at + 8), min(size, MAX_VALUE)) if size else b""
        return name, hive.number(at + 12), data

    def _long(self, offset: int, size: int) -> bytes:
        at = self._hive.cell(offset, min(size, 8))
        if size <= _SEGMENT or self._hive.bytes(at, 2) != b"db":
            return self._hive.bytes(self._hive.cell(offset, size), size)
        count = self._hive.number(at + 2, "H")
        parts = self._hive.cell(self._hive.number(at + 4), count * 4)
        data = b""
        for number in range(count):
            part = min(size - len(data), _SEGMENT)
            begin = self._hive.cell(self._hive.number(parts + number * 4), part)
            data += self._hive.bytes(begin, part)
        return data

    # ---- values as what they mean

    def integer(self, name: str) -> int | None:
        """A number; None where there is none."""
        kind, data = self.values.get(name.lower(), (0, b""))
        if kind in (DWORD, QWORD) and len(data) in (4, 8):
            return int.from_bytes(data, "little")
        return None

    def text(self, name: str) -> str:
        """A string, or the first of several; empty where there is none."""
        return next(iter(self.texts(name)), "")

    def texts(self, name: str) -> list[str]:
        """Strings, none of them empty."""
        kind, data = self.values.get(name.lower(), (0, b""))
        if kind not in (SZ, EXPAND_SZ, MULTI_SZ):
            return []
        return [each for each in data.decode("utf-16-le", "replace").split("\0") if each]

    def data(self, name: str) -> bytes:
        """The bytes of a value; empty where there is none."""
        return self.values.get(name.lower(), (0, b""))[1]


def _name(raw: bytes, latin: int) -> str:
    return raw.decode("latin-1") if latin else raw.decode("utf-16-le", "replace")

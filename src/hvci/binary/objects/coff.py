"""One object file: its sections with their relocations, and its symbols.

Every read is bounded, whatever the headers claim. Judges nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from hvci.binary.objects.archive import ANONYMOUS

MAX_SECTIONS, MAX_SYMBOLS, MAX_RELOCATIONS = 60_000, 1_000_000, 1_000_000
_BIG = bytes.fromhex("c7a1bad1eebaa94baf20faf66aa4dcb8")
"""The class of objects with more sections than 65,279."""
EXTERNAL, STATIC, WEAK = 2, 3, 105
COMDAT, ASSOCIATIVE = 0x1000, 5
UNINITIALIZED = 0x80
MACHINES = {0x8664: "x64", 0x14C: "x86", 0xAA64: "arm64"}


class Unreadable(Exception):
    """The bytes are no object that can be examined, and why."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place in a section that gets an address."""

    at: int
    symbol: int
    kind: int


@dataclass(slots=True)
class Part:
    """One section of an object."""

    name: str
    flags: int
    data: bytes
    relocations: list[Relocation] = field(default_factory=list)
    comdat: int = 0
    """How duplicates of it are chosen; 0: there are none."""
    associated: int = 0
    """Number of the section that it comes and goes with."""
    member: str = ""


@dataclass(slots=True)
class Symbol:
    """One name of an object."""

    name: str
    value: int
    section: int
    """Number of its section, from 1; 0: somewhere else; negative: no address."""
    kind: int
    is_function: bool
    other: int = -1
    """Index of the symbol that stands for a weak one that nobody defines."""


@dataclass(slots=True)
class Object:
    """One object file."""

    machine: str
    sections: list[Part]
    symbols: dict[int, Symbol]
    """By index in its table."""

    def defined(self) -> Iterator[Symbol]:
        """The names that other objects can use."""
        return (
            one
            for one in self.symbols.values()
            if one.kind in (EXTERNAL, WEAK) and (one.section > 0 or (not one.section and one.value))
        )

    def wanted(self) -> Iterator[Symbol]:
        """The names that it wants from others."""
        return (
            one
            for one in self.symbols.values()
            if one.kind in (EXTERNAL, WEAK) and not one.section and not one.value
        )


def read(data: bytes, member: str) -> Object:
    """Take an object apart; raise `Unreadable` when it is none, or damaged."""
    try:
        return _Reader(data, member).object()
    except (struct.error, IndexError, ValueError) as error:
        raise Unreadable("it is damaged") from error


class _Reader:
    def __init__(self, data: bytes, member: str) -> None:
        self.data = data
        self.member = member
        self.is_big = data[:4] == ANONYMOUS
        if self.is_big:
            if data[12:28] != _BIG:
                raise Unreadable("it is compiled for link-time code generation (/GL)")
            fields = struct.unpack_from("<H", data, 6) + struct.unpack_from("<3I", data, 44)
            self.at = 56
        else:
            machine, count, table, names, size = struct.unpack_from("<HH4x2IH", data)
            fields = machine, count, table, names
            self.at = 20 + size
        machine, self.count, self.table, self.names = fields
        if self.data[:2] == b"BC":
            raise Unreadable("it is compiled for link-time optimisation (LLVM bitcode)")
        if machine not in MACHINES:
            raise Unreadable(f"it is for the machine {machine:#06x}, which is not examined")
        self.machine = MACHINES[machine]
        if self.count > MAX_SECTIONS or self.names > MAX_SYMBOLS:
            raise Unreadable("it has more sections or symbols than are examined")
        self.strings = self.table + self.names * (20 if self.is_big else 18)

    def object(self) -> Object:
        sections = [self._section(self.at + 40 * index) for index in range(self.count)]
        if any(part.name.startswith(".cil$") for part in sections):
            raise Unreadable("it is compiled for link-time code generation (/GL)")
        return Object(self.machine, sections, dict(self._symbols(sections)))

    def _text(self, raw: bytes) -> str:
        if raw[:4] == bytes(4):
            return self._string(int.from_bytes(raw[4:8], "little"))
        if raw[:1] == b"/" and raw[1:].rstrip(b"\0").isdigit():
            return self._string(int(raw[1:].rstrip(b"\0")))
        return raw.partition(b"\0")[0].decode("latin-1")

    def _string(self, at: int) -> str:
        start = self.strings + at
        end = self.data.find(b"\0", start, start + 4096)
        return self.data[start : max(end, start)].decode("latin-1")

    def _section(self, at: int) -> Part:
        raw, size, place, moved, count, flags = struct.unpack_from("<8s8x3I4xH2xI", self.data, at)
        data = b"" if flags & UNINITIALIZED else self.data[place : place + size]
        if flags & UNINITIALIZED:
            data = bytes(min(size, 1 << 20))
        elif len(data) != size:
            raise Unreadable("it is damaged")
        part = Part(self._text(raw), flags, data, member=self.member)
        if flags & 0x0100_0000 and count == 0xFFFF:
            (count,) = struct.unpack_from("<I", self.data, moved)
            moved, count = moved + 10, count - 1
        if count > MAX_RELOCATIONS:
            raise Unreadable("it has more relocations than are examined")
        for index in range(count):
            place, symbol, kind = struct.unpack_from("<2IH", self.data, moved + 10 * index)
            part.relocations.append(Relocation(place, symbol, kind))
        return part

    def _symbols(self, sections: list[Part]) -> Iterator[tuple[int, Symbol]]:
        step, form = (20, "<8sIiHBB") if self.is_big else (18, "<8sIhHBB")
        index = 0
        while index < self.names:
            at = self.table + step * index
            raw, value, section, type_, kind, more = struct.unpack_from(form, self.data, at)
            symbol = Symbol(self._text(raw), value, section, kind, type_ >> 4 == 2)
            if more and kind == WEAK:
                (symbol.other,) = struct.unpack_from("<I", self.data, at + step)
            elif more and kind == STATIC and not value and 0 < section <= len(sections):
                self._chosen(sections[section - 1], at + step)
            yield index, symbol
            index += 1 + more

    def _chosen(self, part: Part, at: int) -> None:
        number, selection = struct.unpack_from("<HB", self.data, at + 12)
        if self.is_big:
            number |= struct.unpack_from("<H", self.data, at + 16)[0] << 16
        if part.flags & COMDAT and selection:
            part.comdat = selection
            part.associated = number if selection == ASSOCIATIVE else 0

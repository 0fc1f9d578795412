"""Routines that code looks up in the export table of another image by itself.

What it compares names or hashes with, and what it then calls, is not followed: a limit says so.
The fields are those of IMAGE_DOS_HEADER, IMAGE_NT_HEADERS and IMAGE_EXPORT_DIRECTORY (winnt.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import numpy as np

from hvci.binary.calls.found import Open, Shared
from hvci.binary.flow.atoms import Kind
from hvci.binary.form.code import (
    CALLS,
    Address,
    Architecture,
    Binary,
    Const,
    Expr,
    Function,
    Insert,
    Load,
    Memory,
    Reg,
    SignExtend,
)
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import members

HEADERS = 0x3C
"""Offset of e_lfanew in an image."""
DIRECTORY = {64: 0x88, 32: 0x78}
"""Offset of the export directory's RVA from the headers, by the bits of the image."""
TABLES = frozenset((0x1C, 0x20, 0x24))
"""Offsets of AddressOfFunctions, AddressOfNames and AddressOfNameOrdinals."""
NUMBER = 2
"""Which parameter of RtlImageDirectoryEntryToData tells the directory, from 0."""
WINDOW = 256
"""Bytes behind the load of e_lfanew in which the directory is read."""
AHEAD = 48
"""Instructions behind that load in which it is."""
MAX_PLACES = 256
"""Loads of e_lfanew that are looked at; drivers have a few."""
MAX_CALLERS = 16
"""Callers of a function that reads headers which are looked at."""
REASON = "looks routines up in an export table by itself; which it finds and calls is not known"


class Given(Enum):
    """What is known behind a place."""

    OFFSET = "offset"
    """The offset of the headers in the image is read."""
    HEADERS = "headers"
    """A call returns their address."""
    DIRECTORY = "directory"
    """A call returns the address of a directory."""


_ASKED = {
    "RtlImageNtHeader": Given.HEADERS,
    "RtlImageNtHeaderEx": Given.HEADERS,
    "RtlImageDirectoryEntryToData": Given.DIRECTORY,
}


class _Held:
    """Which registers and local variables hold the offset of the headers, or their address."""

    def __init__(self, directory: int) -> None:
        self.directory = directory
        self.offset: set[int | Memory] = set()
        self.headers: set[int | Memory] = set()

    def take(self, arch: Architecture, function: Function, i: int) -> bool:
        """Do what an instruction does; whether it reads the directory of the headers."""
        effect = arch.effect(function, i)
        if function.flows[i] in CALLS:
            lost = {*members(arch.volatile)}
            self.offset, self.headers = self.offset - lost, self.headers - lost
            return False
        made: list[tuple[int | Memory, Expr]] = [
            (register, arch.define(function, i, register)) for register in members(effect.registers)
        ]
        made += ((memory, arch.stored(function, i, n)) for n, memory in enumerate(effect.stores))
        if any(self._reads_directory(value) for _, value in made):
            return True
        kinds = [(target, self._kind(value)) for target, value in made]
        for target, kind in kinds:
            for known in (self.offset, self.headers):
                known.discard(target)
            if kind is not None:
                kind.add(target)
        return False

    def _reads_directory(self, value: Expr) -> bool:
        return any(
            memory.displacement == self.directory
            and (memory.base in self.headers or self._is_sum(memory))
            for memory in _loads(value)
        )

    def _is_sum(self, memory: Memory) -> bool:
        """Whether an operand adds the offset to a register."""
        both = memory.base, memory.index_register
        return min(both) >= 0 and any(each in self.offset for each in both)

    def _kind(self, value: Expr) -> set[int | Memory] | None:
        """What an expression gives: the set of those that hold the same."""
        match value:
            case Binary("add", left, right, _) if not isinstance(right, Const):
                if any(self._kind(each) is self.offset for each in (left, right)):
                    return self.headers
            case Address(memory):
                if self._is_sum(memory):
                    return self.headers
                if memory.base in self.headers and not memory.displacement:
                    return self.headers
            case Load(memory):
                if memory.displacement == HEADERS and memory.base >= 0:
                    return self.offset
                return self._of(memory)
            case Reg(number):
                return self._of(number)
            case SignExtend(inner, _):
                return self._kind(inner)
            case Insert(_, new, _, _):
                return self._kind(new)
        return None

    def _of(self, place: int | Memory) -> set[int | Memory] | None:
        return next((known for known in (self.offset, self.headers) if place in known), None)


def _loads(value: object) -> Iterator[Memory]:
    """The memory that an expression reads."""
    if isinstance(value, Load):
        yield value.memory
    elif isinstance(value, tuple):
        for part in value:
            yield from _loads(part)


class ExportTables:
    """The functions of one image that read export tables."""

    def __init__(self, shared: Shared) -> None:
        self.analysis = shared.analysis
        self.directory = DIRECTORY[shared.analysis.image.bits]
        self._loads: dict[int, Rvas] = {}

    def find(self) -> Iterator[Open]:
        """A limit for each function that looks up."""
        seen: set[int] = set()
        for place, given in self._places():
            found = self.analysis.functions.instruction_at(place)
            if found is None or found[0].start in seen or self.analysis.flow.exhausted:
                continue
            reader, i = found
            if self._finds_directory(reader, i, given) and self._reads_tables(reader):
                seen.add(reader.start)
                yield Open(f"sub_{reader.start:x} {REASON}", place)

    def _places(self) -> Iterator[tuple[int, Given]]:
        """RVA of what may find the headers of an image, and what it gives."""
        headers = self._of(HEADERS)
        if len(headers):
            read = self._of(self.directory)
            near = np.searchsorted(read, headers) < np.searchsorted(read, headers + WINDOW)
            for place in headers[near][:MAX_PLACES].tolist():
                yield place, Given.OFFSET
        for name, given in _ASKED.items():
            for place, _ in self.analysis.import_hits.get(name, ())[:MAX_PLACES]:
                yield place, given

    def _finds_directory(self, function: Function, i: int, given: Given) -> bool:
        """Whether the RVA of the export directory is read from the headers that are found at `i`.

        Only straight code is looked at: what was found, added to the image and read behind.
        """
        if given is Given.DIRECTORY:
            return self._may_be_exports(function, i)
        arch, held = self.analysis.arch, _Held(self.directory)
        end, is_asked = min(i + AHEAD, len(function.flows)), given is Given.HEADERS
        for j in range(i, end):
            if held.take(arch, function, j):
                return True
            if is_asked and function.flows[j] in CALLS:  # of what was loaded before it, perhaps
                held.headers.add(arch.result)
                is_asked = False
        return False

    def _may_be_exports(self, function: Function, i: int) -> bool:
        """Whether the call at or behind `i` may ask for the directory of exports, number 0."""
        flow, end = self.analysis.flow, min(i + AHEAD, len(function.flows))
        at = next((j for j in range(i, end) if function.flows[j] in CALLS), None)
        if at is None:
            return True
        flow.begin()
        number = flow.interprocedural.argument(function, at, NUMBER, 2)
        return any(atom.kind is not Kind.CONST or not atom.value & 0xFFFF for atom in number)

    def _reads_tables(self, reader: Function) -> bool:
        """Whether a function that finds the directory, or one that calls it, reads its tables."""
        offsets = self._offsets(reader)
        if offsets >= TABLES:
            return True
        callers = self.analysis.functions.callers(reader.start)[:MAX_CALLERS]
        return any(offsets | self._offsets(caller) >= TABLES for caller, _ in callers)

    def _offsets(self, function: Function) -> set[int]:
        """Which of the fields an instruction of a function loads."""
        return {
            offset
            for offset in TABLES
            if any(self._is_there(function, place) for place in self._within(function, offset))
        }

    def _within(self, function: Function, offset: int) -> Iterator[int]:
        loads = self._of(offset)
        for start, end in function.fragments:
            low, high = np.searchsorted(loads, (start, end))
            yield from loads[low:high].tolist()

    def _is_there(self, function: Function, place: int) -> bool:
        """Whether an instruction has its opcode at an RVA, behind one prefix or none."""
        return any(function.find(rva) is not None for rva in (place, place - 1))

    def _of(self, offset: int) -> Rvas:
        if offset not in self._loads:
            self._loads[offset] = self.analysis.references.field_loads(offset)
        return self._loads[offset]

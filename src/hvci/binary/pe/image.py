"""A driver image as the loader maps it: bytes by RVA, imports, exports, relocations.

Every read is bounded, whatever the headers claim. Judges nothing; decodes no instruction.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.pe import directories
from hvci.binary.pe.headers import (
    EXCEPTION,
    IAT,
    LOAD_CONFIG,
    MAX_MAPPED,
    SECURITY,
    Headers,
    parse_headers,
)
from hvci.binary.pe.linking import unusual
from hvci.model import Image, Machine, Rva, Section
from hvci.model.judged import CODE_RULES, RELOCATION_RULES

LONG = 7
"""Bytes that fill a word of four wherever they stand."""
Bytes = npt.NDArray[np.uint8]
_XFG_DISPATCHES = (0x120, 0x128)
"""Where the load configuration has those of eXtended Flow Guard, on 64 bits."""
_OF_ARM64EC = frozenset({".hexpthk", ".a64xrm"})
"""Sections that only the linking of ARM64EC code makes."""

_SHARED_CODE = "executable sections hold more bytes than the file; not all code was examined"


class Import(NamedTuple):
    """One imported function."""

    module: str
    """In lower case, such as "ntoskrnl.exe"."""
    name: str
    """"#12" for an import by ordinal."""


class PeImage:
    """A mapped driver image.

    `memory` holds `size` bytes by RVA and 16 zero bytes more; `bits` is 32 or 64.
    Raises `InputError` when the bytes are no driver image.
    """

    def __init__(self, data: bytes) -> None:
        self.headers: Headers = parse_headers(data)
        self.file_size = len(data)
        self.machine: Machine = self.headers.machine
        self.bits = 64 if self.headers.is_pe32_plus else 32
        self.pointer_size = self.bits // 8
        self.base = self.headers.image_base
        self.sections: tuple[Section, ...] = self.headers.sections
        self.problems: list[tuple[str, tuple[str, ...]]] = []
        """What is damaged, in words, with the rules that it weakens."""
        self.memory = self._map(data)
        self.size = len(self.memory) - 16
        self.bytes: Bytes = np.frombuffer(self.memory, np.uint8)

    def _map(self, data: bytes) -> bytearray:
        """Lay out headers and sections by RVA; bytes that the file lacks are zero."""
        ends = [section.end for section in self.sections]
        size = min(max([self.headers.size_of_image, 0x1000, *ends]), MAX_MAPPED)
        if self.headers.size_of_image > MAX_MAPPED:
            size = max([0x1000, *ends])
        memory = bytearray(size + 16)
        first = min((section.rva for section in self.sections), default=Rva(0x1000))
        header = data[: min(self.headers.size_of_headers, first, 0x10000)]
        memory[: len(header)] = header
        for section in self.sections:
            wanted = min(section.raw_size, section.virtual_size or section.raw_size)
            chunk = data[section.raw_offset : section.raw_offset + wanted]
            memory[section.rva : section.rva + len(chunk)] = chunk
        del memory[size + 16 :]
        return memory

    # ---- reading by RVA

    def u16(self, rva: int) -> int:
        """Two bytes at an RVA; 0 outside the image."""
        return int.from_bytes(self.memory[rva : rva + 2], "little") if rva >= 0 else 0

    def u32(self, rva: int) -> int:
        """Four bytes at an RVA; 0 outside the image."""
        return int.from_bytes(self.memory[rva : rva + 4], "little") if rva >= 0 else 0

    def pointer(self, rva: int) -> int:
        """A pointer at an RVA, as a virtual address; 0 outside the image."""
        end = rva + self.pointer_size
        return int.from_bytes(self.memory[rva:end], "little") if rva >= 0 else 0

    def number(self, rva: int, size: int) -> int:
        """`size` bytes at an RVA as an unsigned number; 0 outside the image."""
        return int.from_bytes(self.memory[rva : rva + size], "little") if rva >= 0 else 0

    def holds(self, rva: int, size: int = 1) -> bool:
        """Whether `size` bytes at the RVA lie in the image."""
        return rva >= 0 and rva + size <= self.size

    def find(self, wanted: bytes, start: int = 0, end: int = sys.maxsize) -> Iterator[int]:
        """RVAs where some bytes stand, in order; overlapping ones too.

        A regular expression looks for its first byte at the speed of memory; `bytearray.find`
        takes several times as long where zeros are frequent.
        """
        if len(wanted) >= LONG:
            start = max(start, self._before(wanted))
        search = re.compile(re.escape(wanted)).search
        while (found := search(self.memory, start, end)) is not None:
            yield found.start()
            start = found.start() + 1

    def _before(self, wanted: bytes) -> int:
        """An RVA before which some bytes certainly do not stand.

        Wherever they stand, one of their first four bytes starts a word of four that they fill.
        """
        words = np.frombuffer(self.memory, "<u4", len(self.memory) // 4)
        first = len(self.memory)
        for n in range(4):
            found = words == int.from_bytes(wanted[n : n + 4], "little")
            at = int(found.argmax())
            if found[at]:
                first = min(first, 4 * at - n)
        return max(0, first)

    def text(self, rva: int, limit: int = 512) -> str:
        """A zero-terminated byte string at an RVA, at most `limit` characters."""
        if not self.holds(rva):
            return ""
        end = self.memory.find(0, rva, rva + limit)
        return self.memory[rva : end if end >= 0 else rva + limit].decode("latin-1")

    def wide_text(self, rva: int, limit: int = 512) -> str:
        """A zero-terminated UTF-16 string at an RVA, at most `limit` characters."""
        if not self.holds(rva, 2):
            return ""
        raw = bytes(self.memory[rva : rva + 2 * limit])
        text = raw[: len(raw) & ~1].decode("utf-16-le", "replace")
        return text.partition("\0")[0]

    def section_at(self, rva: int) -> Section | None:
        """The section that holds an RVA."""
        for start, end, section in self._spans:
            if start <= rva < end:
                return section
        return None

    @cached_property
    def _spans(self) -> list[tuple[int, int, Section]]:
        """Where each section starts and ends."""
        return [(section.rva, section.end, section) for section in self.sections]

    def section_name(self, rva: int) -> str:
        """Name of the section that holds an RVA; empty when none does."""
        section = self.section_at(rva)
        return section.name if section else ""

    def is_writable(self, rva: int) -> bool:
        """Whether the RVA lies in a writable section."""
        section = self.section_at(rva)
        return section is not None and section.writable

    @cached_property
    def code_ranges(self) -> tuple[tuple[int, int], ...]:
        """(start, end) RVAs of executable sections, in order, without overlap.

        What the file does not hold is zero and no code, however much memory the headers claim.
        """
        spans = [
            (int(s.rva), min(s.end, s.rva + s.raw_size, self.size))
            for s in self.sections
            if s.executable
        ]
        ranges: list[tuple[int, int]] = []
        left = self.file_size
        for first, end in sorted(spans):
            start = max(first, ranges[-1][1]) if ranges else first
            if end - start > left:
                self.problems.append((_SHARED_CODE, CODE_RULES))
                end = start + left
            if end > start:
                ranges.append((start, end))
                left -= end - start
        return tuple(ranges)

    def is_code(self, rva: int) -> bool:
        """Whether the RVA lies in an executable section."""
        for start, end in self.code_ranges:  # noqa: SIM110 - asked too often for a generator
            if start <= rva < end:
                return True
        return False

    # ---- directories

    def directory(self, index: int) -> tuple[int, int]:
        """(RVA, size in bytes) of a data directory, clipped to the image; (0, 0) when absent."""
        rva, size = self.headers.directories[index]
        if not rva or not self.holds(rva):
            return 0, 0
        return rva, min(size, self.size - rva)

    @cached_property
    def imports(self) -> dict[int, Import]:
        """Imported functions by the RVA of their address table slot."""
        slots, problem = directories.read_imports(self)
        if problem:
            self.problems.append((problem, CODE_RULES))
        return {slot: Import(module, name) for slot, (module, name) in slots.items()}

    @cached_property
    def import_slots(self) -> dict[str, list[int]]:
        """Address table slots by the name of the imported function."""
        slots: dict[str, list[int]] = {}
        for slot, item in self.imports.items():
            slots.setdefault(item.name, []).append(slot)
        return slots

    @cached_property
    def exports(self) -> dict[int, str]:
        """Exported functions by RVA."""
        exports, problem = directories.read_exports(self)
        if problem:
            self.problems.append((problem, CODE_RULES))
        return exports

    def relocated(self, rva: int, value: int) -> int | None:
        """The RVA that eight bytes at an RVA are relocated to; None where they are no address."""
        target = value - self.base
        if not 0 <= target < self.size:
            return None
        return target if rva in self._relocated else None

    @cached_property
    def _relocated(self) -> frozenset[int]:
        """Where the base relocations are."""
        return frozenset(self.relocations.rvas.tolist())

    @cached_property
    def relocations(self) -> directories.Relocations:
        """Base relocations: RVAs and types."""
        found = directories.read_relocations(self)
        if found.problem:
            self.problems.append((found.problem, RELOCATION_RULES))
        return found

    @cached_property
    def guard_check(self) -> int:
        """RVA of the pointer to Control Flow Guard's check function; -1 when there is none."""
        return self._guard_pointer({64: 0x70, 32: 0x48})

    @cached_property
    def guard_dispatch(self) -> int:
        """RVA of the pointer to Control Flow Guard's dispatch function; -1 when there is none."""
        return self._guard_pointer({64: 0x78, 32: 0x4C})

    @cached_property
    def guard_dispatches(self) -> frozenset[int]:
        """RVAs of all pointers to functions that go on to where a register points."""
        found = (self._guard_pointer({64: offset, 32: -1}) for offset in _XFG_DISPATCHES)
        return frozenset({self.guard_dispatch, *found} - {-1})

    def _guard_pointer(self, offsets: dict[int, int]) -> int:
        """A pointer field of the load configuration, at an offset by word size."""
        at, size = self.directory(LOAD_CONFIG)
        offset = offsets[self.bits]
        if offset < 0 or min(size, self.u32(at)) < offset + self.pointer_size:
            return -1
        rva = self.pointer(at + offset) - self.base
        return rva if self.holds(rva) else -1

    @cached_property
    def runtime_functions(self) -> tuple[int, int]:
        """(RVA, size) of the exception directory."""
        return self.directory(EXCEPTION)

    @property
    def load_config(self) -> tuple[int, int]:
        """(RVA, size) of the load configuration."""
        return self.directory(LOAD_CONFIG)

    @cached_property
    def facts(self) -> Image:
        """What the headers say, for the rules."""
        headers = self.headers
        odd = self.relocations.odd(self.headers.is_pe32_plus)
        iat = headers.directories[IAT]
        return Image(
            machine=headers.machine,
            is_pe32_plus=headers.is_pe32_plus,
            image_base=headers.image_base,
            size_of_image=headers.size_of_image,
            entry=headers.entry,
            section_alignment=headers.section_alignment,
            file_alignment=headers.file_alignment,
            subsystem=headers.subsystem,
            dll_characteristics=headers.dll_characteristics,
            linker_version=headers.linker_version,
            sections=headers.sections,
            iat=(Rva(iat[0]), iat[1]) if iat[0] and iat[1] else None,
            import_tables=directories.import_tables(self),
            odd_relocations=odd[:1024],
            odd_relocation_count=len(odd),
            signed=_is_signed(headers, self.file_size),
            debug_id=directories.read_debug_id(self),
            hybrid=self._hybrid(),
            linking=unusual(self),
        )

    def _hybrid(self) -> str | None:
        """ARM64EC and ARM64X images carry CHPE metadata in their load configuration.

        ARM64EC code that was linked without one leaves the sections of its thunks.
        """
        rva, size = self.load_config
        if self.machine is Machine.X64 and _OF_ARM64EC & {each.name for each in self.sections}:
            return "arm64ec"
        if self.bits != 64 or min(size, self.u32(rva)) < 0xD0 or not self.pointer(rva + 0xC8):
            return None
        return "arm64ec" if self.machine is Machine.X64 else "arm64x"


def _is_signed(headers: Headers, file_size: int) -> bool:
    """The certificate table is addressed by file offset, not by RVA."""
    offset, size = headers.directories[SECURITY]
    return bool(offset and size >= 8 and offset + size <= file_size)

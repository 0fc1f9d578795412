"""Routines that code looks up in the export table of another image by itself.

What it compares names or hashes with, and what it then calls, is not followed: a limit says so.
The fields are those of IMAGE_DOS_HEADER, IMAGE_NT_HEADERS and IMAGE_EXPORT_DIRECTORY (winnt.h).
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np

from hvci.binary.calls.found import Open, Shared
from hvci.binary.form.code import Function
from hvci.binary.form.references import Rvas

HEADERS = 0x3C
"""Offset of e_lfanew in an image."""
DIRECTORY = {64: 0x88, 32: 0x78}
"""Offset of the export directory's RVA from the headers, by the bits of the image."""
TABLES = frozenset((0x1C, 0x20, 0x24))
"""Offsets of AddressOfFunctions, AddressOfNames and AddressOfNameOrdinals."""
NAMED = ("RtlFindExportedRoutineByName",)
WINDOW = 256
"""Bytes behind the load of e_lfanew in which the directory is read."""
MAX_PLACES = 256
"""Loads of e_lfanew that are looked at; drivers have a few."""
MAX_CALLERS = 16
"""Callers of a function that reads headers which are looked at."""
REASON = "looks routines up in an export table by itself; which it finds and calls is not known"


class ExportTables:
    """The functions of one image that read export tables."""

    def __init__(self, shared: Shared) -> None:
        self.analysis = shared.analysis
        self.directory = DIRECTORY[shared.analysis.image.bits]
        self._loads: dict[int, Rvas] = {}

    def find(self) -> Iterator[Open]:
        """A limit for each function that looks up, or that asks Windows to."""
        for name in NAMED:
            for place, _ in self.analysis.import_hits.get(name, ()):
                yield Open(f"uses {name}; what it finds and calls so is not known", place)
        seen: set[int] = set()
        for place, given in self._places():
            found = self.analysis.functions.instruction_at(place)
            if found is None or found[0].start in seen or self.analysis.flow.exhausted:
                continue
            reader = found[0]
            offsets = self._offsets(reader) | given
            if {HEADERS, self.directory} <= offsets and self._reads_tables(reader, offsets):
                seen.add(reader.start)
                yield Open(f"sub_{reader.start:x} {REASON}", place)

    def _places(self) -> Iterator[tuple[int, frozenset[int]]]:
        """(RVA, offsets that need not be read there) of what may find the headers of an image."""
        headers = self._of(HEADERS)
        if len(headers):
            read = self._of(self.directory)
            near = np.searchsorted(read, headers) < np.searchsorted(read, headers + WINDOW)
            for place in headers[near][:MAX_PLACES].tolist():
                yield place, frozenset()
        for name, given in (
            ("RtlImageNtHeader", frozenset((HEADERS,))),
            ("RtlImageNtHeaderEx", frozenset((HEADERS,))),
            ("RtlImageDirectoryEntryToData", frozenset((HEADERS, self.directory))),
        ):
            for place, _ in self.analysis.import_hits.get(name, ())[:MAX_PLACES]:
                yield place, given

    def _reads_tables(self, reader: Function, offsets: Set[int]) -> bool:
        """Whether a function that finds the directory, or one that calls it, reads its tables."""
        if offsets >= TABLES:
            return True
        callers = self.analysis.functions.callers(reader.start)[:MAX_CALLERS]
        return any(offsets | self._offsets(caller) >= TABLES for caller, _ in callers)

    def _offsets(self, function: Function) -> set[int]:
        """Which of the fields an instruction of a function loads."""
        return {
            offset
            for offset in (HEADERS, self.directory, *TABLES)
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

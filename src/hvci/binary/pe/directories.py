"""Reads the tables that the data directories point at: imports, exports, relocations, debug.

Each reader takes a mapped image, is bounded, and reports damage in words instead of failing.
"""

from __future__ import annotations

import struct
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hvci.binary.pe.headers import DEBUG, DELAY_IMPORT, EXPORT, IMPORT, RELOCATION
from hvci.model import DebugId, Relocation, Rva
from hvci.model.record import record

if TYPE_CHECKING:
    from hvci.binary.pe.image import PeImage

MAX_MODULES = 1024
MAX_IMPORTS = 65_536
MAX_EXPORTS = 65_536
MAX_RELOCATIONS, MAX_BLOCKS = 1 << 23, 1 << 17
"""Entries, and blocks: twice as many as the largest image has pages."""
ABSOLUTE, DIR64 = 0, 10
LAST_WHOLE_DIR64 = 0xFF8
"""A DIR64 at a higher page offset reaches into the next page."""

Slots = dict[int, tuple[str, str]]


def _descriptors(image: PeImage) -> list[tuple[str, int, int]]:
    """(module, RVA of the names, RVA of the address table) of each import descriptor."""
    found: list[tuple[str, int, int]] = []
    at, _ = image.directory(IMPORT)
    while at and image.holds(at, 20) and len(found) < MAX_MODULES:
        names, _, _, module, table = struct.unpack_from("<5I", image.memory, at)
        if not module or not table:
            break
        found.append((image.text(module, 256).lower(), names or table, table))
        at += 20
    return found


def _delay_descriptors(image: PeImage) -> list[tuple[str, int, int]]:
    """The same of each delay-load descriptor that uses RVAs."""
    found: list[tuple[str, int, int]] = []
    at, _ = image.directory(DELAY_IMPORT)
    while at and image.holds(at, 32) and len(found) < MAX_MODULES:
        attributes, module, _, table, names = struct.unpack_from("<5I", image.memory, at)
        if not module:
            break
        if attributes & 1:
            found.append((image.text(module, 256).lower(), names, table))
        at += 32
    return found


def read_imports(image: PeImage) -> tuple[Slots, str]:
    """Imported functions by slot RVA, and what is damaged (empty when nothing is)."""
    slots: Slots = {}
    problem = ""
    for module, names, table in _descriptors(image) + _delay_descriptors(image):
        if not image.holds(names, 8) or not image.holds(table, 8):
            problem = f"the import table of {module or 'a module'} lies outside the image"
            continue
        _read_thunks(image, module, names, table, slots)
        if len(slots) >= MAX_IMPORTS:
            return slots, "more than 65,536 imports"
    rva, _ = image.headers.directories[IMPORT]
    if rva and not image.holds(rva):
        problem = "the import directory lies outside the image"
    return slots, problem


def _read_thunks(image: PeImage, module: str, names: int, table: int, slots: Slots) -> None:
    step = image.pointer_size
    by_ordinal = 1 << (image.bits - 1)
    end = min(image.size, names + step * (MAX_IMPORTS - len(slots)))
    entries = memoryview(image.memory)[names : names + (end - names) // step * step]
    for slot, (entry,) in zip(
        count(table, step), struct.iter_unpack("<Q" if step == 8 else "<I", entries), strict=False
    ):
        if not entry:
            return
        name = f"#{entry & 0xFFFF}" if entry & by_ordinal else image.text((entry & 0x7FFFFFFF) + 2)
        slots[slot] = (module, name)


def import_tables(image: PeImage) -> tuple[tuple[str, Rva], ...]:
    """FirstThunk of each import descriptor with the module's name."""
    return tuple((module, Rva(table)) for module, _, table in _descriptors(image))


def read_exports(image: PeImage) -> tuple[dict[int, str], str]:
    """What is exported by RVA, and what was not read (empty: nothing).

    What has no name is called by its ordinal, such as "#7": others may call it as well.
    """
    at, size = image.directory(EXPORT)
    if size < 40:
        return {}, ""
    base, many, count = struct.unpack_from("<III", image.memory, at + 16)
    names = image.u32(at + 32)
    functions, ordinals = image.u32(at + 28), image.u32(at + 36)
    found: dict[int, str] = {}
    for index in range(count):
        if index == MAX_EXPORTS:
            return found, "more than 65,536 exports"
        if not image.holds(names + 4 * index, 4) or not image.holds(ordinals + 2 * index, 2):
            break
        ordinal = image.u16(ordinals + 2 * index)
        found[image.u32(functions + 4 * ordinal)] = image.text(image.u32(names + 4 * index), 256)
    for index in range(many):
        if index == MAX_EXPORTS:
            return found, "more than 65,536 exports"
        if not image.holds(functions + 4 * index, 4):
            break
        rva = image.u32(functions + 4 * index)
        is_forwarded = at <= rva < at + size
        if rva and not is_forwarded and rva not in found:
            found[rva] = f"#{base + index}"
    return found, ""


@record
class Relocations:
    """Base relocations without padding entries; `rvas` and `types` run side by side."""

    rvas: npt.NDArray[np.int64]
    types: npt.NDArray[np.uint8]
    problem: str = ""

    def odd(self, is_pe32_plus: bool) -> tuple[Relocation, ...]:
        """Those that Windows 10 1507 to 1607 reject: page-crossing or not DIR64, 64-bit only."""
        if not is_pe32_plus:
            return ()
        crossing = (self.rvas & 0xFFF) > LAST_WHOLE_DIR64
        chosen = ((self.types != DIR64) | crossing).nonzero()[0]
        return tuple(Relocation(Rva(int(self.rvas[i])), int(self.types[i])) for i in chosen)


def read_relocations(image: PeImage) -> Relocations:
    """All base relocations of the image."""
    at, size = image.directory(RELOCATION)
    end, problem = at + size, ""
    pages: list[npt.NDArray[np.int64]] = []
    entries: list[npt.NDArray[np.uint16]] = []
    total = 0
    while at + 8 <= end:
        if total > MAX_RELOCATIONS or len(pages) == MAX_BLOCKS:
            problem = "more relocations than are read"
            break
        page, block = struct.unpack_from("<II", image.memory, at)
        if block < 8 or at + block > end:
            if block or page:
                problem = f"the relocation block at RVA {at:#x} is damaged"
            break
        words = np.frombuffer(image.memory, "<u2", (block - 8) // 2, at + 8)
        entries.append(words)
        pages.append(np.full(len(words), page, np.int64))
        at += block
        total += len(words)
    if not entries:
        return Relocations(np.empty(0, np.int64), np.empty(0, np.uint8), problem)
    words, bases = np.concatenate(entries), np.concatenate(pages)
    kinds = (words >> 12).astype(np.uint8)
    kept = kinds != ABSOLUTE
    return Relocations((bases + (words & 0xFFF))[kept], kinds[kept], problem)


def read_debug_id(image: PeImage) -> DebugId | None:
    """The CodeView record that names the PDB."""
    at, size = image.directory(DEBUG)
    for entry in range(at, at + min(size, 28 * 32) - 27, 28):
        kind, length, rva = struct.unpack_from("<III", image.memory, entry + 12)
        is_held = kind == 2 and length >= 25 and image.holds(rva, 24)
        if is_held and image.memory[rva : rva + 4] == b"RSDS":
            first, second, third, rest = struct.unpack_from("<IHH8s", image.memory, rva + 4)
            guid = f"{first:08X}-{second:04X}-{third:04X}-{rest[:2].hex()}-{rest[2:].hex()}".upper()
            path = image.text(rva + 24, min(length - 24, 512))
            return DebugId(guid, image.u32(rva + 20), path)
    return None

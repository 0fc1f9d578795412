"""What is unusual about how an image was linked, in words: memory integrity asks about none of it.

Reads headers and tables only.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hvci.binary.pe.directories import import_tables
from hvci.binary.pe.headers import SUBSYSTEM_NATIVE, kind_of_subsystem
from hvci.packages.images import is_kernel

if TYPE_CHECKING:
    from hvci.binary.pe.image import PeImage

RELOCS_STRIPPED = 0x0001
MOST_ENTRIES = 4096
_LINKED = "nothing but a driver is linked so"
_PSEUDO = struct.pack("<3I", 0, 0, 1)
"""What GNU ld's list of relocations for its runtime starts with, in its second version."""
_WIDTHS = (8, 16, 32, 64)


def unusual(image: PeImage) -> str:
    """In a few clauses; empty for most images."""
    found = []
    subsystem = image.headers.subsystem
    if subsystem != SUBSYSTEM_NATIVE:
        modules = (name.lower() for name, _ in import_tables(image))
        why = "it imports the kernel" if any(map(is_kernel, modules)) else _LINKED
        found.append(
            f"Subsystem {subsystem} of its headers says {kind_of_subsystem(subsystem)}, though "
            f"{why}; whether every Windows loads such a driver is not documented: "
            "link with /SUBSYSTEM:NATIVE (GNU ld: --subsystem native)"
        )
    if image.headers.characteristics & RELOCS_STRIPPED:
        found.append(f"its relocations are stripped, so it loads at {image.base:#x} only")
    if count := _pseudo_relocations(image):
        places = "1 place is" if count == 1 else f"{count} places are"
        found.append(
            f"{places} to be relocated by the runtime of GNU ld (auto-import), which Windows does "
            "not do, and which cannot write to code or read-only data"
        )
    return "; ".join(found)


def _pseudo_relocations(image: PeImage) -> int:
    """How many entries the list of GNU ld's runtime has: import slot, place, width."""
    if image.headers.linker_version[0] != 2:
        return 0
    for at in image.find(_PSEUDO):
        count = 0
        while count < MOST_ENTRIES and _is_entry(image, at + 12 + 12 * count):
            count += 1
        if count:
            return count
    return 0


def _is_entry(image: PeImage, at: int) -> bool:
    slot, place, flags = image.u32(at), image.u32(at + 4), image.u32(at + 8)
    return slot in image.imports and image.holds(place) and flags in _WIDTHS

"""Maps a driver image as the kernel does and gives every section the rights that W^X leaves it.

Knows the image and the machine; knows nothing of what the imported functions do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hvci.binary import PeImage
from hvci.binary.pe.headers import LOAD_CONFIG
from hvci.model import PAGE_SIZE
from hvci.verifier.machine import Machine
from hvci.verifier.memory import RW, RX, Rights, page_up

HIGHLOW, DIR64 = 3, 10
COOKIE = 0x0000_5A7B_31C4_D296
"""What the loader would draw by lot; fixed, so that two runs are the same."""
_COOKIE_FIELD = {8: 0x58, 4: 0x3C}

Resolve = Callable[[str, str], int]
"""(module, name) of an import -> address to put into its slot."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A driver in the machine."""

    base: int
    size: int
    entry: int
    shares_pages: bool
    """Code and data share pages, for the sections are not aligned to them."""

    def rva(self, address: int) -> int:
        """Bytes from the image base."""
        return address - self.base


def load(machine: Machine, image: PeImage, resolve: Resolve) -> Loaded:
    """Map, relocate, link and protect an image."""
    base, size = machine.layout.image, page_up(image.size)
    memory = machine.memory
    memory.map(base, size, RW, "image")
    memory.poke(base, bytes(_relocated(image, base)))
    _set_cookie(machine, image, base)
    for slot, item in image.imports.items():
        if image.holds(slot, image.pointer_size):
            target = resolve(item.module, item.name)
            memory.poke(base + slot, target.to_bytes(image.pointer_size, "little"))
    shares = not image.headers.section_alignment or bool(
        image.headers.section_alignment % PAGE_SIZE
    )
    _protect(machine, image, base, size)
    return Loaded(base, size, base + image.headers.entry, shares)


def _relocated(image: PeImage, base: int) -> bytearray:
    """The image's bytes with every pointer moved to the new base."""
    memory = bytearray(image.memory[: image.size])
    delta = (base - image.base) & ((1 << image.bits) - 1)
    found = image.relocations
    for rva, kind in zip(found.rvas.tolist(), found.types.tolist(), strict=True):
        form = {DIR64: "<Q", HIGHLOW: "<I"}.get(kind)
        if form is None or rva + struct.calcsize(form) > len(memory):
            continue
        (value,) = struct.unpack_from(form, memory, rva)
        mask = (1 << 8 * struct.calcsize(form)) - 1
        struct.pack_into(form, memory, rva, (value + delta) & mask)
    return memory


def _set_cookie(machine: Machine, image: PeImage, base: int) -> None:
    """Draw the stack cookie, as the loader does before the entry point runs."""
    rva, size = image.directory(LOAD_CONFIG)
    field = _COOKIE_FIELD[image.pointer_size]
    if size < field + image.pointer_size:
        return
    cookie = image.pointer(rva + field) - image.base
    if image.holds(cookie, image.pointer_size):
        value = COOKIE & (0xFFFF_FFFF_FFFF if image.bits == 64 else 0xFFFF)
        machine.memory.poke(base + cookie, value.to_bytes(image.pointer_size, "little"))


def _page_rights(image: PeImage, pages: int) -> list[Rights]:
    """Rights of each page: what its sections ask for, without W where there is X.

    A page that holds both code and data of a badly aligned image keeps W: such an image does not
    load with memory integrity on, and the run looks at what it would do all the same.
    """
    asked = np.zeros(pages, np.uint8)
    for section in image.sections:
        first, last = section.rva >> 12, page_up(min(section.end, image.size)) >> 12
        bits = Rights.EXECUTE * section.executable | Rights.WRITE * section.writable
        asked[first:last] |= np.uint8(bits)
    rights = [Rights(value) | Rights.READ for value in asked.tolist()]
    if image.headers.section_alignment % PAGE_SIZE:
        return rights
    return [RX if held & Rights.EXECUTE else held for held in rights]


def _protect(machine: Machine, image: PeImage, base: int, size: int) -> None:
    """Seal runs of code pages and protect the others."""
    rights = _page_rights(image, size >> 12)
    start = 0
    for page in range(1, len(rights) + 1):
        if page < len(rights) and rights[page] == rights[start]:
            continue
        at, length = base + (start << 12), (page - start) << 12
        if rights[start] == RX:
            machine.memory.seal(at, length)
        else:
            machine.memory.protect(at, length, rights[start])
        start = page

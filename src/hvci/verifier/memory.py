"""Emulated memory: physical frames, pages that map them, and the law that no page is both W and X.

Theory of operation. Physical memory is one host buffer; a virtual page is a view of a frame of it,
so an MDL mapping, a section view or an I/O mapping of the same frames is a true alias.

1. A frame is *code* once verified code was loaded into it (`seal`); it stays so.
2. A mapping of a code frame is never writable, whoever made it and however often.
3. A mapping is executable only where the loader sealed it; every other mapping is not.
4. The kernel stand-ins write through `write`, which obeys the same law as the processor;
   only the loader uses `poke`.
5. Pages that the driver reaches through pointers that nobody set are *invented*: zero, writable
   and counted, for a run that needed one is no longer natural.

Blind spots: user and kernel space share one set of pages; large pages, caching and guard pages
do not exist. Knows nothing of DDIs or of instructions.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

PAGE = 0x1000
Engine = Any
"""The unicorn engine: its binding carries no types."""
PHYSICAL_BASE = 0x1000_0000
"""Physical address of the first frame."""
_U32, _U64 = struct.Struct("<I").unpack_from, struct.Struct("<Q").unpack_from
INVENTED_GRAIN = 0x10000
MAX_INVENTED = 256


class Rights(IntFlag):
    """Page rights, numbered as the emulator numbers them."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXECUTE = 4


RW = Rights.READ | Rights.WRITE
RX = Rights.READ | Rights.EXECUTE


class AccessFault(Exception):
    """A stand-in touched a page as its rights forbid, or a page that cannot be invented."""

    def __init__(self, address: int, write: bool) -> None:
        super().__init__(f"{'write' if write else 'read'} at {address:#x}")
        self.address = address
        self.write = write


@dataclass(slots=True)
class Mapping:
    """A run of pages: `size` bytes at `start` show the frames from `frame` on."""

    start: int
    size: int
    frame: int
    """Offset in physical memory, bytes."""
    rights: Rights
    label: str

    writable: bool = field(init=False)

    def __post_init__(self) -> None:
        self.writable = bool(self.rights & Rights.WRITE)

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.start + self.size


def page_up(value: int) -> int:
    """Round up to a whole page."""
    return (value + PAGE - 1) & ~(PAGE - 1)


class Memory:
    """Virtual memory over `capacity` bytes of frames, kept in step with the engine."""

    def __init__(self, uc: Engine, pointer_size: int, capacity: int) -> None:
        self.uc = uc
        self.pointer_size = pointer_size
        self.mask = (1 << (8 * pointer_size)) - 1
        self._ram = mmap.mmap(-1, capacity)
        self._host = ctypes.addressof(ctypes.c_char.from_buffer(self._ram))
        self.ram: npt.NDArray[np.uint8] = np.frombuffer(self._ram, np.uint8)
        self._capacity = capacity
        self._next_frame = 0
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []
        self._code: list[tuple[int, int]] = []
        self._invented: tuple[Mapping, ...] = ()
        self._invented_frame = 0
        """How many of the frames for inventions were used since the last were forgotten."""
        self.written: set[int] = set()
        """Offsets in physical memory of pages that were written, by the driver or for it, since
        somebody took them off."""
        self.inventions = 0
        """How many times memory was invented so far."""

    # ---- frames and mappings

    def frames(self, size: int) -> int:
        """Take fresh zero frames; return the offset of the first."""
        frame, self._next_frame = self._next_frame, self._next_frame + page_up(size)
        if self._next_frame > self._capacity:
            raise MemoryError("the emulated machine is out of memory")
        return frame

    def map(self, start: int, size: int, rights: Rights, label: str, frame: int = -1) -> Mapping:
        """Map frames (fresh ones unless given) at `start`; the law trims the rights.

        What was invented there gives way.
        """
        size = page_up(size)
        for invented in self._invented:
            if invented.start < start + size and start < invented.end:
                self._forget(invented)
        frame = self.frames(size) if frame < 0 else frame
        if self.is_code_frame(frame, size):
            rights &= ~Rights.WRITE
        mapping = Mapping(start, size, frame, rights, label)
        self.uc.mem_map_ptr(start, size, int(rights), ctypes.c_void_p(self._host + frame))
        at = bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._mappings.insert(at, mapping)
        return mapping

    def unmap(self, mapping: Mapping) -> None:
        """Take a mapping away; its frames stay what they are."""
        at = self._starts.index(mapping.start)
        del self._starts[at], self._mappings[at]
        self.uc.mem_unmap(mapping.start, mapping.size)

    def protect(self, start: int, size: int, rights: Rights) -> None:
        """Change the rights of whole pages inside one mapping, splitting it."""
        old = self.find(start)
        if old is None:
            raise AccessFault(start, write=False)
        at = self._mappings.index(old)
        pieces = [
            (old.start, start - old.start, old.rights),
            (start, page_up(size), rights),
            (start + page_up(size), old.end - start - page_up(size), old.rights),
        ]
        parts = [
            Mapping(begin, length, old.frame + begin - old.start, held, old.label)
            for begin, length, held in pieces
            if length > 0
        ]
        self._mappings[at : at + 1] = parts
        self._starts[at : at + 1] = [part.start for part in parts]
        self.uc.mem_protect(start, page_up(size), int(rights))

    def seal(self, start: int, size: int) -> None:
        """Make pages verified code: executable here, writable nowhere."""
        mapping = self.find(start)
        if mapping is None:
            raise AccessFault(start, write=False)
        frame = mapping.frame + start - mapping.start
        self._code.append((frame, frame + page_up(size)))
        self.protect(start, size, RX)

    def is_code_frame(self, frame: int, size: int = 1) -> bool:
        """Whether verified code lies in any of these frames."""
        return any(start < frame + size and frame < end for start, end in self._code)

    def runs(self, frame: int, size: int) -> Iterator[tuple[int, int]]:
        """(offset, bytes) of the pieces of a range of frames that are all code or all not."""
        start, end = frame, frame + size
        for at in range(frame + PAGE, end + PAGE, PAGE):
            if at >= end or self.is_code_frame(at) != self.is_code_frame(start):
                yield start, min(at, end) - start
                start = at

    def is_code(self, address: int) -> bool:
        """Whether the page shows a frame with verified code."""
        mapping = self.find(address)
        return mapping is not None and self.is_code_frame(mapping.frame + address - mapping.start)

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds an address."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        mapping = self._mappings[at]
        return mapping if address < mapping.start + mapping.size else None

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """All mappings, by address."""
        return tuple(self._mappings)

    # ---- physical addresses

    def physical(self, address: int) -> int:
        """The physical address behind a virtual one; 0 when there is none."""
        mapping = self.find(address)
        return PHYSICAL_BASE + mapping.frame + address - mapping.start if mapping else 0

    def frame_of(self, physical: int, size: int) -> int:
        """The frame offset of existing physical memory; -1 when it is not ours."""
        frame = (physical & ~(PAGE - 1)) - PHYSICAL_BASE
        return frame if frame >= 0 and frame + size <= self._next_frame else -1

    def page_entry(self, address: int) -> int:
        """The page table entry that a bug check would show for an address; 0 when unmapped."""
        mapping = self.find(address)
        if mapping is None:
            return 0
        entry = (self.physical(address) & ~(PAGE - 1)) | 0x121
        entry |= 2 if mapping.rights & Rights.WRITE else 0
        return entry if mapping.rights & Rights.EXECUTE else entry | 1 << 63

    # ---- inventions

    def invent(self, address: int, size: int = 1) -> bool:
        """Give zero pages to addresses that nobody mapped; False when there are too many."""
        for page in {address & ~(PAGE - 1), (address + size - 1) & ~(PAGE - 1)}:
            if self.find(page) is None and not self._invent_one(page):
                return False
        return True

    def _invent_one(self, page: int) -> bool:
        if self._invented_frame >= MAX_INVENTED or page > self.mask:
            return False
        self.inventions += 1
        start = page & ~(INVENTED_GRAIN - 1)
        whole = all(self.find(at) is None for at in range(start, start + INVENTED_GRAIN, PAGE))
        begin, length = (start, INVENTED_GRAIN) if whole else (page, PAGE)
        frame = self._invented_frames + self._invented_frame * INVENTED_GRAIN
        self._invented_frame += 1
        self._invented = (*self._invented, self.map(begin, length, RW, "invented", frame))
        return True

    def reserve_inventions(self) -> None:
        """Set the frames for inventions aside."""
        self._invented_frames = self.frames(MAX_INVENTED * INVENTED_GRAIN)

    def forget_inventions(self, above: int = 0) -> None:
        """Unmap and clear the invented pages when there are more than `above`."""
        if len(self._invented) <= above:
            return
        for mapping in self._invented:
            self._forget(mapping)
        self._invented_frame = 0

    def _forget(self, mapping: Mapping) -> None:
        """Unmap and clear invented pages."""
        self.unmap(mapping)
        self.ram[mapping.frame : mapping.frame + mapping.size] = 0
        self._invented = tuple(each for each in self._invented if each is not mapping)

    # ---- reading and writing

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address; unmapped pages are invented."""
        mapping = self.find(address)
        if mapping is not None and address + size <= mapping.start + mapping.size:
            at = mapping.frame + address - mapping.start
            return self._ram[at : at + size]
        out = b""
        while size > 0:
            address &= self.mask
            mapping = self.find(address) or self._required(address)
            at = mapping.frame + address - mapping.start
            chunk = min(size, mapping.end - address)
            out += self._ram[at : at + chunk]
            address, size = address + chunk, size - chunk
        return out

    def write(self, address: int, data: bytes) -> None:
        """Store bytes as the kernel would: `AccessFault` on a page without the write right."""
        size, mapping = len(data), self.find(address)
        if mapping is not None and mapping.writable and address + size <= mapping.end:
            at = mapping.frame + address - mapping.start
            self._ram[at : at + size] = data
            self.note(at, size)
            return
        offset = 0
        while offset < len(data):
            place = (address + offset) & self.mask
            mapping = self.find(place) or self._required(place)
            if not mapping.rights & Rights.WRITE:
                raise AccessFault(place, write=True)
            at = mapping.frame + place - mapping.start
            chunk = min(len(data) - offset, mapping.end - place)
            self._ram[at : at + chunk] = data[offset : offset + chunk]
            self.note(at, chunk)
            offset += chunk

    def poke(self, address: int, data: bytes) -> None:
        """Store bytes as the loader does, whatever the rights."""
        mapping = self.find(address)
        if mapping is None or address + len(data) > mapping.end:
            raise AccessFault(address, write=True)
        at = mapping.frame + address - mapping.start
        self._ram[at : at + len(data)] = data
        self.note(at, len(data))

    def note(self, at: int, size: int) -> None:
        """Remember which pages of physical memory are written; more than one is rare."""
        first, last = at & -PAGE, (at + size - 1) & -PAGE
        self.written.add(first)
        if last > first:
            self.written.update(range(first + PAGE, last + PAGE, PAGE))

    def note_write(self, address: int) -> None:
        """The driver is about to write to the page that holds an address."""
        mapping = self.find(address)
        if mapping is not None:
            self.written.add((mapping.frame + address - mapping.start) & -PAGE)

    def page(self, frame: int) -> bytes:
        """The page of physical memory at an offset."""
        return self._ram[frame : frame + PAGE]

    def set_page(self, frame: int, data: bytes) -> None:
        """Store a page of physical memory that was written before."""
        self._ram[frame : frame + PAGE] = data

    def _required(self, address: int) -> Mapping:
        mapping = self.find(address) if self.invent(address) else None
        if mapping is None:
            raise AccessFault(address, write=False)
        return mapping

    def u8(self, address: int) -> int:
        """One byte."""
        return self.read(address, 1)[0]

    def u16(self, address: int) -> int:
        """Two bytes."""
        return int.from_bytes(self.read(address, 2), "little")

    def u32(self, address: int) -> int:
        """Four bytes."""
        mapping = self.find(address)
        if mapping is not None and address + 4 <= mapping.start + mapping.size:
            value: int = _U32(self._ram, mapping.frame + address - mapping.start)[0]
            return value
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        """Eight bytes."""
        mapping = self.find(address)
        if mapping is not None and address + 8 <= mapping.start + mapping.size:
            value: int = _U64(self._ram, mapping.frame + address - mapping.start)[0]
            return value
        return int.from_bytes(self.read(address, 8), "little")

    def pointer(self, address: int) -> int:
        """A pointer."""
        return self.u64(address) if self.pointer_size == 8 else self.u32(address)

    def put(self, address: int, value: int, size: int) -> None:
        """Store a number of `size` bytes."""
        self.write(address, (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little"))

    def put_u32(self, address: int, value: int) -> None:
        """Store four bytes."""
        self.put(address, value, 4)

    def put_pointer(self, address: int, value: int) -> None:
        """Store a pointer."""
        self.put(address, value, self.pointer_size)

    def text(self, address: int, limit: int = 512) -> bytes:
        """A zero-terminated byte string without its terminator."""
        return self._until_zero(address, limit, 1)

    def wide_text(self, address: int, limit: int = 512) -> str:
        """A zero-terminated UTF-16 string."""
        return self._until_zero(address, limit, 2).decode("utf-16-le", "replace")

    def _until_zero(self, address: int, limit: int, width: int) -> bytes:
        out = bytearray()
        zero = bytes(width)
        while len(out) < limit * width:
            chunk = self.read(address + len(out), 32)
            for at in range(0, 32, width):
                if chunk[at : at + width] == zero:
                    return bytes(out + chunk[:at])
            out += chunk
        return bytes(out)

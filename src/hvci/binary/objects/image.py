"""Writes the headers and tables of an image around code and data that are laid out.

Knows what an image looks like; knows no objects.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PAGE, ALIGNED = 0x1000, 0x200
KERNEL = b"ntoskrnl.exe\0"
_IDS = {"x64": 0x8664, "x86": 0x14C, "arm64": 0xAA64}
_NAMES = (b".text", b".rdata", b".data", b".pdata")
_FLAGS = (0x6000_0020, 0x4000_0040, 0xC000_0040, 0x4000_0040)
_NATIVE = 1


@dataclass
class Bucket:
    """Code, constants, data and unwind rows, and where they stand."""

    machine: str
    base: int
    parts: list[bytearray]
    imports: Sequence[str]
    pointers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        at = PAGE
        self.starts = []
        for part in self.parts:
            self.starts.append(at)
            at += _pages(len(part) + 16)
        self.tables = at
        """Where the tables of imports begin, with the addresses first."""

    @property
    def step(self) -> int:
        """Bytes of a pointer."""
        return 4 if self.machine == "x86" else 8

    def rva(self, part: int, offset: int) -> int:
        """The place of a byte of a part."""
        return self.starts[part] + offset

    def slot(self, index: int) -> int:
        """The place of an imported address."""
        return self.tables + self.step * index


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def write(bucket: Bucket, exports: Sequence[tuple[int, str]], thunks: Mapping[int, str]) -> bytes:
    """The image; `thunks` are jumps in the code through the address table."""
    index = {name: at for at, name in enumerate(bucket.imports)}
    for rva, name in thunks.items():
        at = rva - bucket.starts[0]
        code = _jump(bucket, rva, bucket.slot(index[name]))
        bucket.parts[0][at : at + len(code)] = code
        if bucket.machine == "x86":
            bucket.pointers.append(rva + 2)
    tables, directory = _imports(bucket)
    names = bucket.tables + _pages(len(tables) + 16)
    exported = _exports(names, exports)
    moved = names + _pages(len(exported) + 16)
    relocations = _relocations(bucket)
    size = moved + _pages(len(relocations) + 16)
    sections = [
        *zip(_NAMES, bucket.starts, map(bytes, bucket.parts), _FLAGS, strict=True),
        (b".idata", bucket.tables, tables, 0x4000_0040),
        (b".edata", names, exported, 0x4000_0040),
        (b".reloc", moved, relocations, 0x4200_0040),
    ]
    directories = {
        0: (names, len(exported)),
        1: directory,
        3: (bucket.starts[3], len(bucket.parts[3])),
        5: (moved, len(relocations)),
        12: (bucket.tables, bucket.step * (len(bucket.imports) + 1)),
    }
    return _file(bucket, sections, directories, size)


def _jump(bucket: Bucket, place: int, slot: int) -> bytes:
    if bucket.machine == "x86":
        return b"\xff\x25" + struct.pack("<I", bucket.base + slot)
    if bucket.machine == "x64":
        return b"\xff\x25" + struct.pack("<i", slot - place - 6)
    pages = (slot >> 12) - (place >> 12)
    words = (
        0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5,
        0xF940_0210 | (slot & 0xFFF) >> 3 << 10,
        0xD61F_0200,
    )
    return struct.pack("<3I", *words)


def _imports(bucket: Bucket) -> tuple[bytes, tuple[int, int]]:
    """Addresses, one descriptor, its names; and where the descriptor stands."""
    count = len(bucket.imports)
    size = bucket.step * (count + 1)
    descriptor = bucket.tables + size
    lookup, text = descriptor + 40, b""
    begin, rows = lookup + size, []
    for name in bucket.imports:
        rows.append(begin + len(text))
        raw = name.encode("latin-1", "replace") + b"\0"
        text += b"\0\0" + raw + b"\0" * (len(raw) % 2)
    form = "<I" if bucket.step == 4 else "<Q"
    thunks = b"".join(struct.pack(form, row) for row in (*rows, 0))
    first = struct.pack("<5I", lookup, 0, 0, begin + len(text), bucket.tables)
    data = thunks + first + bytes(20) + thunks + text + KERNEL
    return data, ((descriptor, 40) if count else (0, 0))


def _exports(start: int, exports: Sequence[tuple[int, str]]) -> bytes:
    count = len(exports)
    functions = start + 40
    names, ordinals = functions + 4 * count, functions + 8 * count
    text = functions + 10 * count
    strings, pointers = b"library\0", []
    for _, name in exports:
        pointers.append(text + len(strings))
        strings += name.encode("latin-1", "replace") + b"\0"
    head = struct.pack("<II4xIIIIIII", 0, 0, text, 1, count, count, functions, names, ordinals)
    rows = b"".join(struct.pack("<I", rva) for rva, _ in exports)
    rows += b"".join(struct.pack("<I", one) for one in pointers)
    return head + rows + struct.pack(f"<{count}H", *range(count)) + strings


def _relocations(bucket: Bucket) -> bytes:
    kind = 3 << 12 if bucket.step == 4 else 10 << 12
    pages: dict[int, list[int]] = {}
    for rva in sorted(set(bucket.pointers)):
        pages.setdefault(rva & ~0xFFF, []).append(kind | rva & 0xFFF)
    found = b""
    for page, words in pages.items():
        words += [0] * (len(words) % 2)
        found += struct.pack("<II", page, 8 + 2 * len(words))
        found += struct.pack(f"<{len(words)}H", *words)
    return found


def _file(
    bucket: Bucket,
    sections: Sequence[tuple[bytes, int, bytes, int]],
    directories: Mapping[int, tuple[int, int]],
    size: int,
) -> bytes:
    wide = bucket.step == 8
    table = b"".join(struct.pack("<2I", *directories.get(at, (0, 0))) for at in range(16))
    head = struct.pack("<HBB5I", 0x20B if wide else 0x10B, 14, 0, 0, 0, 0, 0, PAGE)
    head += struct.pack("<Q", bucket.base) if wide else struct.pack("<2I", PAGE, bucket.base)
    sizes = (PAGE, ALIGNED, 10, 0, 0, 0, 10, 0, 0, size, PAGE, 0, _NATIVE, 0x160)
    head += struct.pack("<2I6H4I2H", *sizes)
    head += struct.pack("<4Q" if wide else "<4I", 0, 0, 0, 0) + struct.pack("<2I", 0, 16) + table
    start = b"MZ" + bytes(58) + struct.pack("<I", 64)
    fields = (_IDS[bucket.machine], len(sections), 0, 0, 0, len(head), 2)
    coff = struct.pack("<4s2H3I2H", b"PE\0\0", *fields)
    data, rows, at = b"", b"", PAGE
    for name, rva, held, flags in sections:
        room = held + bytes(16 + -(len(held) + 16) % ALIGNED)
        rows += struct.pack("<8s4I12xI", name, len(room), rva, len(room), at, flags)
        data, at = data + room, at + len(room)
    front = start + coff + head + rows
    return front + bytes(PAGE - len(front)) + data

"""Exception and unwind data of three machines: chained, overlapping, endless, out of bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import images
from answers import answer_or_sentence
from choices import Choices

import build
from hvci.binary import PeImage
from hvci.binary.arch.arm64.unwind import UnwindTableArm64
from hvci.binary.arch.x86.unwind import UnwindTable

ROOM = 0x800
TABLES = {"x64": UnwindTable, "arm64": UnwindTableArm64}
ROWS, INFO = images.TEXT + 0x200, images.TEXT + 0x500


def one(data: bytes) -> None:
    """Machine, rows of the table, then unwind data; the table stands in the code section."""
    choose = Choices(data)
    machine = choose.pick(images.MACHINES)
    code = bytearray(images.soup(machine, Choices(choose.bytes(32))).data)
    code = code[:0x200].ljust(0x200, b"\x90")
    rows = choose.below(64)
    for _ in range(rows):
        start = images.TEXT + choose.below(0x900)
        row = [start, start + choose.below(0x900), INFO + choose.below(0x300)]
        if choose.below(8) == 0:
            row[choose.below(3)] = choose.number(4)
        if machine == "arm64":
            row = [start & ~3, choose.number(4) if choose.below(2) else row[2] & ~3]
        code += struct.pack(f"<{len(row)}I", *row)
    size = len(code) - 0x200
    code = code[:0x500].ljust(0x500, b"\0") + choose.rest()[:0x300]
    with answer_or_sentence():
        image = build.driver(
            machine,
            code=bytes(code.ljust(ROOM, b"\0")),
            directories={"exception": (ROWS, min(size, 0x300))},
        )
        _frames(image, machine)
        images.judged(image, machine)


def _frames(data: bytes, machine: str) -> None:
    """Ask the table all that an analysis can; x86 images have none."""
    if machine == "x86":
        return
    table = TABLES[machine](PeImage(data))
    for rva in range(images.TEXT, images.TEXT + ROOM, 0x20):
        fragments = table.find(rva)
        for fragment in fragments:
            frame = table.frame(fragment)
            assert frame.size >= 0
            assert frame.prologue >= 0
        if not fragments:
            low, high = table.gap(rva)
            assert low <= rva < high


def seeds() -> Iterator[bytes]:
    """Some rows."""
    for machine in range(3):
        yield bytes([machine]) + bytes(i * 29 % 256 for i in range(400))

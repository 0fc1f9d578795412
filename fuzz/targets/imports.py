"""Import tables: descriptors, thunks, names and ordinals that lie anywhere."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import images
from answers import answer_or_sentence
from choices import Choices

import build
from hvci.binary import PeImage

NAMES = (b"ExAllocatePool", b"MmMapIoSpace\0", b"ntoskrnl.exe\0", b"HAL.dll\0", b"\xff\xfe", b"#")


def one(data: bytes) -> None:
    """Machine, descriptors, thunks, names; all in one writable place."""
    choose = Choices(data)
    machine = choose.pick(images.MACHINES)
    base, size = 0x1000, 0x600
    table = bytearray()
    for _ in range(choose.below(12)):
        row = [base + choose.below(size) for _ in range(5)]
        if choose.below(6) == 0:
            row[choose.below(5)] = choose.number(4)
        table += struct.pack("<5I", *row)
    ends = len(table) + 20
    table += bytes(20)
    while choose and len(table) < size:
        what = choose.below(4)
        if what == 0:
            table += struct.pack("<Q", base + choose.below(size))
        elif what == 1:
            table += struct.pack("<I", 0x8000_0000 | choose.below(500))
        elif what == 2:
            table += bytes(choose.below(3)) + choose.pick(NAMES)
        else:
            table += choose.bytes(4)
    with answer_or_sentence():
        image = build.driver(
            machine,
            code=bytes(table[:size]).ljust(size, b"\0"),
            directories={"import": (base, ends if choose.below(2) else 0xFFFF)},
            iat_directory=bool(choose.below(2)),
        )
        PeImage(image).imports  # noqa: B018 (read now)
        images.judged(image, machine)


def seeds() -> Iterator[bytes]:
    """Some tables."""
    for machine in range(3):
        yield bytes([machine]) + bytes(i * 41 % 256 for i in range(300))

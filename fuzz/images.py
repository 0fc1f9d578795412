"""Valid drivers around whatever a fuzzer makes: code, tables, directories."""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

from choices import Choices

import build
from hvci.binary import PeImage, read
from hvci.evaluate import report_on
from hvci.model import LAST_32_BIT, NEWEST, Evidence, Target

MACHINES = ("x64", "x86", "arm64")
ROOM = 0x400
"""Bytes of code in a driver."""
TEXT = 0x1000
PLAIN = (
    *("ExAllocatePoolWithTag", "ExFreePoolWithTag", "MmGetSystemRoutineAddress", "MmMapIoSpace"),
    *("ZwMapViewOfSection", "MmProtectMdlSystemAddress", "IoAllocateMdl", "ExAllocatePool2"),
)
IMPORTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"ntoskrnl.exe": PLAIN},
    {"ntoskrnl.exe": PLAIN, "WDFLDR.SYS": ("WdfVersionBind", "WdfVersionUnbind")},
    {
        "ntoskrnl.exe": PLAIN,
        "portcls.sys": ("PcNewPort", "PcNewServiceGroup", "PcAddAdapterDevice"),
    },
    {"ntoskrnl.exe": PLAIN, "ntdll.dll": ("KeInitializeDpc", "MmMapLockedPagesSpecifyCache")},
)


class Frame(NamedTuple):
    """A driver with room for code, and what its code can name."""

    data: bytes
    at: int
    """File offset of the code."""
    slots: tuple[int, ...]
    """RVAs of the import slots."""
    variables: tuple[int, ...]
    base: int


@cache
def frame(machine: str, kind: int) -> Frame:
    """A driver whose section of code is to be filled."""
    data = build.driver(machine, code=b"\xcc" * ROOM, imports=IMPORTS[kind])
    image = PeImage(data)
    text = next(section for section in image.sections if section.name == ".text")
    variable = next(section.rva for section in image.sections if section.name == ".data")
    assert image.imports and text.rva == TEXT
    at = data.index(b"\xcc" * ROOM)
    places = (variable, variable + 8, variable + 0x40, variable + 0x800)
    return Frame(data, at, tuple(image.imports), places, image.base)


class Code(NamedTuple):
    """Instructions, and where operands are that the loader moves."""

    data: bytes
    moved: tuple[int, ...] = ()


def with_code(machine: str, kind: int, code: Code) -> bytes:
    """A driver with this code; on x86 operands that name places are relocated."""
    held = code.data[:ROOM].ljust(ROOM, b"\xcc")
    if machine == "x86":
        moved = [place for place in code.moved if place < ROOM - 4]
        words = [build.HIGHLOW << 12 | place for place in moved] + [0] * (len(moved) % 2)
        block = struct.pack(f"<II{len(words)}H", TEXT, 8 + 2 * len(words), *words)
        return build.driver(machine, code=held, imports=IMPORTS[kind], relocations=block)
    found = frame(machine, kind)
    return found.data[: found.at] + held + found.data[found.at + ROOM :]


def judged(data: bytes, machine: str = "x64") -> Evidence:
    """Read and judge a driver as `hvci check` does; raises what it raises."""
    evidence = read(data, LAST_32_BIT if machine == "x86" else NEWEST)
    report = report_on(Target("-", "", len(data), "image"), evidence)
    assert report.verdict in ("compatible", "incompatible", "undecided")
    return evidence


# ---------------------------------------------------------------------- instructions

X64: tuple[bytes, ...] = tuple(
    bytes.fromhex(text)
    for text in [
        "c3",
        "90",
        "cc",
        "7410",
        "75f0",
        "ebe0",
        "eb02",
        "ffe0",
        "ffe1",
        "ffd3",
        "ffd0",
        "ff5018",
        "ffd6",
        "33c0",
        "33c9",
        "488bcb",
        "4889c3",
        "48895c2420",
        "488b5c2420",
        "8b0c82",
        "4803c1",
        "4883ec28",
        "4883c428",
        "488bec",
        "55",
        "5d",
        "53",
        "5b",
        "4157",
        "415f",
        "b900020000",
        "b940000000",
        "ba00100000",
        "41b854657374",
        "410fb6c0",
        "0f22c0",
        "0f20c0",
        "0f30",
        "0f32",
        "0f0b",
        "cd29",
        "f3aa",
        "f348a5",
        "81f900020000",
        "83e107",
        "0f44c8",
        "0f45ca",
        "63048a",
        "48630488",
        "0fb68401",
        "488d4c2430",
        "488b01",
        "488908",
        "48894108",
        "c7010002000000",
        "4c8bdc",
        "498973f0",
        "660f6f00",
        "f30f7f00",
        "c5fd6f00",
        "6548",
        "f0480fb111",
        "87c8",
        "c20800",
        "e800000000",
        "488b0424",
        "48ffc0",
        "85c0",
        "740a",
        "78f8",
        "0fb7c1",
        "c1e004",
        "ffc9",
        "4533c9",
        "4489442428",
        "8b442428",
        "0f10442420",
        "0f114908",
        "66488b00",
        "41ff5308",
    ]
)
X86: tuple[bytes, ...] = tuple(
    bytes.fromhex(text)
    for text in [
        "c3",
        "90",
        "cc",
        "7410",
        "75f0",
        "ebe0",
        "eb02",
        "ffe0",
        "ffe1",
        "ffd6",
        "ffd0",
        "ff5018",
        "558bec",
        "5d",
        "53",
        "5b",
        "56",
        "5e",
        "8b45f8",
        "8945f8",
        "8b450c",
        "6800020000",
        "6a00",
        "6a40",
        "50",
        "51",
        "52",
        "83c40c",
        "83ec10",
        "81ec00010000",
        "c20800",
        "c20c00",
        "33c0",
        "8bff",
        "8b0c82",
        "03c1",
        "c9",
        "60",
        "61",
        "9c",
        "9d",
        "0f22c0",
        "0f20c0",
        "0f30",
        "0f0b",
        "cd29",
        "f3a5",
        "3dff000000",
        "83e007",
        "0f44c8",
        "ff2485",
        "8a0401",
        "0fb600",
        "8d4508",
        "8b00",
        "8901",
        "894108",
        "c70100020000",
        "e800000000",
        "58",
        "5a",
        "8b0424",
        "89442404",
        "ff742404",
        "ff75fc",
        "87c8",
        "64a100000000",
        "648925",
        "ca0400",
        "c8100001",
        "e2f8",
        "e3fb",
        "68",
        "e9fbffffff",
        "0f84f0ffffff",
        "cf",
        "f04",
        "8be5",
        "8d65f4",
        "83e4f8",
        "ffb5",
        "8b442408",
        "5153",
        "9a0000000000",
        "ea",
    ]
    if len(text) % 2 == 0
)
ARM64: tuple[int, ...] = (
    *(
        0xD65F03C0,
        0xA9BF7BFD,
        0xA8C17BFD,
        0xD63F0100,
        0xD63F0260,
        0xD61F0020,
        0xD61F0000,
        0x8B010000,
    ),
    *(
        0xB8617802,
        0x14000001,
        0x17FFFFF0,
        0x54000080,
        0x54FFFF01,
        0xB4000040,
        0x35FFFFC0,
        0x36000060,
    ),
    *(
        0xAA1303E0,
        0xF9000BF3,
        0xF9400BF3,
        0xF9400000,
        0xF9000001,
        0x52804000,
        0x52800801,
        0xD2802001,
    ),
    *(
        0x528CAE82,
        0xD5181000,
        0xD5381000,
        0xD4200000,
        0xD503201F,
        0xD503237F,
        0x910003FD,
        0xD10083FF,
    ),
    *(
        0x910083FF,
        0xA90153F3,
        0xA94153F3,
        0x1A9F17E0,
        0x9A810000,
        0x12000C00,
        0x72A00020,
        0x3C000000,
    ),
    *(
        0x38616800,
        0x10000003,
        0x8B204863,
        0xD61F0060,
        0xC8DFFC00,
        0x885F7C00,
        0xF8008C01,
        0xF8408C01,
    ),
    *(
        0xAD400400,
        0x4F000400,
        0x1E260000,
        0x9AC12000,
        0xD3441C00,
        0x93407C00,
        0x6B01001F,
        0x7100081F,
    ),
)


def soup(machine: str, choose: Choices) -> Code:
    """Instructions that are wild but decode, with operands that name slots, variables and code."""
    kind = frame(machine, 0)
    code, moved = bytearray(), []
    while choose and len(code) < ROOM:
        what = choose.below(8)
        if what < 4:
            code += _plain(machine, choose)
        elif what < 7:
            opcode, operand, is_moved = _naming(machine, choose, kind, TEXT + len(code))
            if is_moved:
                moved.append(len(code) + len(opcode))
            code += opcode + operand
        elif choose.below(2):
            code += choose.bytes(4)
        else:
            code += code[-choose.below(64) - 1 :]
    return Code(bytes(code), tuple(moved))


def _plain(machine: str, choose: Choices) -> bytes:
    if machine == "arm64":
        word = choose.pick(ARM64)
        if choose.below(4) == 0:
            word ^= 1 << choose.below(32)
        return struct.pack("<I", word)
    return choose.pick(X64 if machine == "x64" else X86)


NAMING = {
    "x64": tuple(
        bytes.fromhex(text)
        for text in [
            "ff15",
            "ff25",
            "488b05",
            "488b1d",
            "488905",
            "48891d",
            "488d05",
            "488d0d",
            "4c8d1d",
            "e8",
            "e9",
            "0f84",
            "8b0d",
            "890d",
            "488b0d",
            "48833d",
            "c705",
            "ff35",
            "0fb605",
            "660f6f05",
            "0f1105",
            "4c8b15",
            "48ff25",
            "ff1d",
            "48c705",
            "0f10",
            "0d",
        ]
    ),
    "x86": tuple(
        bytes.fromhex(text)
        for text in [
            "ff15",
            "ff25",
            "a1",
            "a3",
            "8b35",
            "8b1d",
            "8935",
            "68",
            "b8",
            "be",
            "e8",
            "e9",
            "0f84",
            "c705",
            "833d",
            "ff35",
            "ff2485",
            "8b0485",
            "0fb680",
            "8b0c8d",
            "ffb0",
            "8d05",
            "891c85",
            "0fbe81",
            "6a00ff15",
            "6a0168",
        ]
    ),
}
WORDS = (0xF9400008, 0xF9000008, 0x91000108, 0xF9400100, 0xB9400100, 0xB9000101, 0xA9400500)


def _naming(machine: str, choose: Choices, found: Frame, at: int) -> tuple[bytes, bytes, bool]:
    """An instruction that names a place: opcode, the rest, and whether the loader moves it."""
    kinds = (found.slots, found.slots, found.variables, ())
    places = choose.pick(kinds)
    target = choose.pick(places) if places else TEXT + choose.below(ROOM)
    if machine == "arm64":
        page = (target >> 12) - (at >> 12)
        register = choose.below(29)
        adrp = 0x9000_0000 | (page & 3) << 29 | (page >> 2 & 0x7FFFF) << 5 | register
        word = choose.pick(WORDS) & ~(31 << 5) | register << 5
        shift = 0 if word >> 24 == 0x91 else 3 if word >> 30 == 3 else 2
        if choose.below(4) == 0:
            call = 0x94000000 | (target - at) // 4 & 0x3FFFFFF
            return struct.pack("<I", call), b"", False
        word |= (target & 0xFFF) >> shift << 10
        return struct.pack("<II", adrp, word), b"", False
    opcode = choose.pick(NAMING[machine])
    relative = machine == "x64" or opcode in (b"\xe8", b"\xe9", b"\x0f\x84")
    value = target - at - len(opcode) - 4 if relative else target + found.base
    tail = choose.bytes(4) if opcode[:1] in (b"\xc7", b"\x83") else b""
    return opcode, struct.pack("<I", value & 0xFFFF_FFFF) + tail, not relative

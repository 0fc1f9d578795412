"""The PE headers of a driver, checked against the file.

Knows file offsets and header fields; knows nothing of machine code or of what is allowed.
"""

from __future__ import annotations

import struct

from hvci.errors import DamagedImage, NotAnImage, UnsupportedImage
from hvci.model import FileOffset, Machine, Rva, Section
from hvci.model.record import record
from hvci.packages.images import is_of_kernel

MACHINES = {
    0x8664: Machine.X64,
    0x014C: Machine.X86,
    0xAA64: Machine.ARM64,
    0x01C0: Machine.ARM,
    0x01C2: Machine.ARM,
    0x01C4: Machine.ARM,
    0x0200: Machine.IA64,
}
_OTHERS = frozenset(
    (
        *(0x162, 0x166, 0x168, 0x169, 0x184, 0x1A2, 0x1A6, 0x1D3, 0x1F0, 0x1F1, 0x266, 0x284),
        *(0x366, 0x466, 0xEBC, 0x5032, 0x5064, 0x6232, 0x6264, 0x9041),
    )
)
"""MIPS, Alpha, PowerPC, SuperH, EFI byte code, RISC-V, LoongArch, M32R: no Windows of today."""
JUDGED = frozenset((Machine.X64, Machine.X86, Machine.ARM64))
SUBSYSTEM_NATIVE = 1
DIRECTORIES = 16
MAX_SECTIONS = 2048
MAX_MAPPED = 256 << 20
"""Bytes; a section that ends beyond is damage, not a driver."""

EXPORT, IMPORT, EXCEPTION, SECURITY, RELOCATION, DEBUG = 0, 1, 3, 4, 5, 6
LOAD_CONFIG, IAT, DELAY_IMPORT, MANAGED = 10, 12, 13, 14

_SUBSYSTEMS = {
    1: "a native program for user mode, which imports no module of the kernel",
    2: "a Windows GUI program",
    3: "a Windows console program",
    9: "a Windows CE program",
    10: "a UEFI application",
    11: "a UEFI boot driver",
    12: "a UEFI run-time driver",
    13: "a UEFI ROM image",
    16: "a boot application",
}
_BASES = struct.Struct("<4x3I"), struct.Struct("<Q2I")
"""The base and the alignments, by whether the image is PE32+."""
_SECTION = struct.Struct("<4I12xI")
_OTHER_PROGRAMS = {b"NE": "a 16-bit Windows program", b"LE": "a VxD", b"LX": "an OS/2 program"}


Pairs = tuple[tuple[int, int], ...]


@record
class Headers:
    """The header fields that anything here needs."""

    machine: Machine
    is_pe32_plus: bool
    entry: Rva
    image_base: int
    section_alignment: int
    file_alignment: int
    size_of_image: int
    size_of_headers: int
    subsystem: int
    characteristics: int
    dll_characteristics: int
    linker_version: tuple[int, int]
    directories: Pairs
    """(RVA, size in bytes) of the 16 data directories; (0, 0) where absent."""
    sections: tuple[Section, ...]


Fields = tuple[Machine, bool, Rva, int, int, int, int, int, int, int, int, tuple[int, int], Pairs]
"""Those of `Headers` but the sections, in order."""


COFF_SIZE = 20
_POINTER = b"version https://git-lfs.github.com/spec/"
_OBJECTS = frozenset(struct.pack("<H", machine) for machine in (0x8664, 0x14C, 0xAA64))
"""What object files begin with: their machine."""


def parse_headers(data: bytes) -> Headers:
    """Read the headers; raise `NotAnImage`, `DamagedImage` or `UnsupportedImage`."""
    start = _pe_offset(data)
    machine_id, section_count, optional_size = _coff(data, start)
    optional = start + 24
    fields = _optional(data, optional, optional_size, machine_id)
    sections = _sections(data, optional + optional_size, section_count)
    return Headers(*fields, sections)


def _described(data: bytes) -> str:
    """What a file is that a linker takes, and where it is judged; else what it lacks."""
    if data.startswith(b"!<arch>\n"):
        kind = "a static library"
    elif len(data) >= COFF_SIZE and data[:2] in _OBJECTS and data[16:18] == b"\0\0":
        kind = "an object file"
    elif data.startswith(_POINTER):
        return "it is a pointer of Git LFS to a file that was not fetched: git lfs pull"
    else:
        return "the file does not start with MZ"
    return f"it is {kind}, which is judged in the driver that links it, or with that one's project"


def _pe_offset(data: bytes) -> int:
    if not data:
        raise NotAnImage("the file is empty")
    if data[:2] != b"MZ":
        raise NotAnImage(f"not a PE image: {_described(data)}")
    if len(data) < 0x40:
        raise DamagedImage("the file ends within the DOS header", len(data))
    (start,) = struct.unpack_from("<I", data, 0x3C)
    if start + 24 > len(data):
        raise DamagedImage("the PE header lies behind the end of the file", 0x3C)
    signature = data[start : start + 4]
    if signature != b"PE\0\0":
        other = _OTHER_PROGRAMS.get(signature[:2], "a DOS program")
        raise NotAnImage(f"not a PE image: it looks like {other}")
    return int(start)


def _coff(data: bytes, start: int) -> tuple[int, int, int]:
    machine, section_count = struct.unpack_from("<HH", data, start + 4)
    (optional_size,) = struct.unpack_from("<H", data, start + 20)
    if not section_count:
        raise DamagedImage("the image has no sections", start + 6)
    if section_count > MAX_SECTIONS:
        raise DamagedImage(f"{section_count} sections", start + 6)
    if start + 24 + optional_size + 40 * section_count > len(data):
        raise DamagedImage("the section table lies behind the end of the file", start + 20)
    return machine, section_count, optional_size


def _optional(data: bytes, start: int, size: int, machine_id: int) -> Fields:
    """The fields of the headers in order, the sections apart."""
    magic = struct.unpack_from("<H", data, start)[0] if size >= 2 else 0
    if magic not in (0x10B, 0x20B):
        raise DamagedImage(f"unknown optional header magic {magic:#x}", start)
    is_plus = magic == 0x20B
    table = start + (112 if is_plus else 96)
    if table > start + size:
        raise DamagedImage("the optional header is too short", start)
    machine, directories = (
        _machine(machine_id, is_plus, start),
        _directories(data, table, start + size),
    )
    base, section_alignment, file_alignment = _BASES[is_plus].unpack_from(data, start + 24)
    image_size, headers_size, _, subsystem, flags = struct.unpack_from("<3I2H", data, start + 56)
    _refuse_other_kinds(data, directories, subsystem)
    return (
        machine,
        is_plus,
        Rva(_u32(data, start + 16)),
        base,
        section_alignment,
        file_alignment,
        image_size,
        headers_size,
        subsystem,
        struct.unpack_from("<H", data, start - 2)[0],
        flags,
        (data[start + 2], data[start + 3]),
        directories,
    )


def _machine(machine_id: int, is_plus: bool, start: int) -> Machine:
    machine = MACHINES.get(machine_id)
    if machine is None and machine_id not in _OTHERS:
        raise DamagedImage(f"machine type {machine_id:#06x} is none of a driver", start)
    if machine is None:
        raise UnsupportedImage(f"machine type {machine_id:#06x} is not a Windows driver machine")
    if machine not in JUDGED:
        name = {Machine.IA64: "Itanium (IA-64)", Machine.ARM: "32-bit ARM"}[machine]
        raise UnsupportedImage(f"an image for {name}, on which memory integrity does not exist")
    if is_plus is (machine is Machine.X86):
        raise DamagedImage(f"a {machine} image whose optional header is of the other size", start)
    return machine


def _refuse_other_kinds(data: bytes, directories: Pairs, subsystem: int) -> None:
    if directories[MANAGED][0]:
        raise UnsupportedImage("managed (.NET) code, which never runs in the kernel")
    if not is_of_kernel(lambda at, size: data[at : at + size]):
        raise UnsupportedImage(f"not a kernel-mode driver: {kind_of_subsystem(subsystem)}")


def kind_of_subsystem(subsystem: int) -> str:
    """What the subsystem of an image says that it is, where that is not a driver."""
    return _SUBSYSTEMS.get(subsystem, f"an image for subsystem {subsystem}")


def _directories(data: bytes, table: int, end: int) -> Pairs:
    count = min(_u32(data, table - 4), DIRECTORIES, (end - table) // 8)
    found = struct.iter_unpack("<II", data[table : table + 8 * count])
    return (*found, *[(0, 0)] * (DIRECTORIES - count))


def _sections(data: bytes, table: int, count: int) -> tuple[Section, ...]:
    return tuple(_section(data, table + 40 * i) for i in range(count))


def _section(data: bytes, at: int) -> Section:
    name = data[at : at + 8].partition(b"\0")[0].decode("latin-1")
    virtual_size, rva, raw_size, raw_offset, rights = _SECTION.unpack_from(data, at + 8)
    section = Section(name, Rva(rva), virtual_size, FileOffset(raw_offset), raw_size, rights)
    if section.end > MAX_MAPPED:
        raise DamagedImage(f"section {len(name)}-byte name at RVA {rva:#x} ends beyond 256 MiB", at)
    return section


def _u32(data: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", data, at)[0]
    return value

"""Builds a clean driver image in memory; a test changes exactly one thing.

`driver()` is a small, correct driver: page-aligned sections, an import table with its address
table in `.rdata`, base relocations, a checksum, and an entry that asks for NX pool once. Every
keyword of `driver` changes one property of it. `patch` then overwrites header fields with values
that no linker would write.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

READ, WRITE, EXECUTE, DISCARDABLE = 0x4000_0000, 0x8000_0000, 0x2000_0000, 0x0200_0000
CODE = 0x20 | READ | EXECUTE
DATA = 0x40 | READ | WRITE
CONSTANT = 0x40 | READ
HIGHLOW, DIR64 = 3, 10
MACHINES = {"x64": 0x8664, "x86": 0x014C, "arm64": 0xAA64, "arm": 0x01C4, "ia64": 0x0200}
IMPORTS = {
    "ntoskrnl.exe": ("ExAllocatePoolWithTag", "ExFreePoolWithTag", "DbgPrint"),
    "HAL.dll": ("KeGetCurrentIrql",),
}
OF_PROGRAMS = {"KERNEL32.dll": ("ExAllocatePoolWithTag",), "ntdll.dll": ("DbgPrint",)}
DIRECTORIES = {
    "export": 0,
    "import": 1,
    "resource": 2,
    "exception": 3,
    "security": 4,
    "relocation": 5,
    "debug": 6,
    "load_config": 10,
    "iat": 12,
    "managed": 14,
}


@dataclass
class Section:
    """A section on its way into the file; `rva` is set by the layout."""

    name: str
    characteristics: int
    content: bytes = b""
    virtual_size: int = 0
    rva: int = 0
    raw: int = 0

    @property
    def size(self) -> int:
        return self.virtual_size or len(self.content)


def driver(
    machine: str = "x64",
    *,
    pool_type: int = 0x200,
    code: bytes | None = None,
    imports: dict[str, tuple[str, ...]] = IMPORTS,
    section_alignment: int = 0x1000,
    sections: tuple[tuple[str, int], ...] = (),
    content: bytes = b"\x90" * 16,
    init: int = CODE | DISCARDABLE,
    iat_in_text: bool = False,
    iat_directory: bool = True,
    pointers: tuple[int, ...] = (0, 8, 0x800),
    relocation_type: int | None = None,
    relocations: bytes | None = None,
    subsystem: int = 1,
    dll_characteristics: int = 0x4160,
    managed: bool = False,
    signature: bytes = b"",
    directories: dict[str, tuple[int, int]] | None = None,
    overlay: bytes = b"",
) -> bytes:
    """Build a driver.

    `pool_type` is what the entry passes to ExAllocatePoolWithTag; `code` replaces the entry.
    `sections` adds (name, characteristics) with `content`; `init` are those of INIT. `pointers`
    are offsets into `.data` of relocated pointers. `directories` overwrites data directories.
    """
    image = _Builder(machine, section_alignment)
    table = image.import_table(imports)
    text = Section(".text", CODE, bytes(max(0x200, len(code or b""))))
    rdata = Section(".rdata", CONSTANT, table.content)
    data = Section(".data", DATA, bytes(max(pointers, default=0) + 8), 0x2000)
    init_section = Section("INIT", init, bytes(0x20))
    extra = [Section(name, flags, content) for name, flags in sections]
    image.sections = [text, rdata, data, init_section, *extra]
    unwind = Section(".pdata", CONSTANT, bytes(20))
    if machine == "x64" and code is None:
        image.sections.insert(3, unwind)
    if iat_in_text:
        text.content += bytes(table.iat_size)
    image.place()
    table.place(rdata.rva, iat=text.rva + 0x200 if iat_in_text else rdata.rva)
    rdata.content = table.descriptors_and_names()
    body = code if code is not None else _entry(image, text.rva, table, pool_type)
    text.content = body.ljust(0x200, b"\xcc") + (table.iat() if iat_in_text else b"")
    unwind.content = struct.pack("<3I", text.rva, text.rva + len(body), unwind.rva + 12) + UNWIND
    data.content = image.pointers(data, pointers)
    block = image.relocations(data, pointers, relocation_type)
    image.add(
        Section(".reloc", CONSTANT | DISCARDABLE, block if relocations is None else relocations)
    )
    image.directories |= {
        "import": (table.descriptors, table.descriptors_size),
        "relocation": (image.sections[-1].rva, len(image.sections[-1].content)),
    }
    if unwind in image.sections:
        image.directories["exception"] = (unwind.rva, 12)
    if iat_directory:
        image.directories["iat"] = (table.iat_rva, table.iat_size)
    if managed:
        image.directories["managed"] = (rdata.rva, 72)
    if directories:
        image.directories |= directories
    return image.file(text.rva, subsystem, dll_characteristics, signature) + overlay


def user_program(subsystem: int = 2, overlay: bytes = b"") -> bytes:
    """Build a program for user mode."""
    return driver(subsystem=subsystem, imports=OF_PROGRAMS, overlay=overlay)


class _Builder:
    """Layout and headers of one image."""

    def __init__(self, machine: str, section_alignment: int) -> None:
        self.machine = machine
        self.wide = machine != "x86" and machine != "arm"
        self.base = 0x1_4000_0000 if self.wide else 0x0001_0000
        self.section_alignment = section_alignment
        self.file_alignment = 0x200 if section_alignment >= 0x1000 else section_alignment
        self.pointer = struct.Struct("<Q" if self.wide else "<I")
        self.sections: list[Section] = []
        self.directories: dict[str, tuple[int, int]] = {}

    def import_table(self, imports: dict[str, tuple[str, ...]]) -> _ImportTable:
        return _ImportTable(imports, self.pointer)

    @property
    def headers_size(self) -> int:
        return _up(0x80 + 24 + self.optional_size + 40 * 12, self.file_alignment or 0x200)

    @property
    def optional_size(self) -> int:
        return (112 if self.wide else 96) + 16 * 8

    def place(self) -> None:
        alignment = self.section_alignment or 0x1000
        rva = _up(self.headers_size, alignment)  # what follows the headers in the file as well
        for section in self.sections:
            section.rva = rva
            rva = _up(rva + section.size, alignment)

    def add(self, section: Section) -> None:
        self.sections.append(section)
        self.place()

    def pointers(self, data: Section, offsets: tuple[int, ...]) -> bytes:
        content = bytearray(data.content)
        for offset in offsets:
            self.pointer.pack_into(content, offset, self.base + data.rva)
        return bytes(content)

    def relocations(self, data: Section, offsets: tuple[int, ...], kind: int | None) -> bytes:
        kind = (DIR64 if self.wide else HIGHLOW) if kind is None else kind
        pages: dict[int, list[int]] = {}
        rvas = [data.rva + offset for offset in offsets] + self.code_relocations
        for rva in sorted(rvas):
            usual = rva in self.code_relocations
            word = ((HIGHLOW if usual else kind) << 12) | rva & 0xFFF
            pages.setdefault(rva & ~0xFFF, []).append(word)
        blocks = b""
        for page, words in pages.items():
            words += [0] * (len(words) % 2)
            blocks += struct.pack(f"<II{len(words)}H", page, 8 + 2 * len(words), *words)
        return blocks

    code_relocations: list[int] = []  # noqa: RUF012 (replaced, never changed in place)

    def file(self, entry: int, subsystem: int, flags: int, signature: bytes) -> bytes:
        alignment = self.file_alignment or 0x200
        at = self.headers_size
        for section in self.sections:
            if self.section_alignment < 0x1000:  # then file offsets are RVAs
                section.content = section.content.ljust(section.size, b"\0")
            section.raw, at = at, at + _up(len(section.content), alignment)
        if signature:
            self.directories["security"] = (at, len(signature))
        head = self._headers(entry, subsystem, flags)
        body = b"".join(
            s.content.ljust(_up(len(s.content), alignment), b"\0") for s in self.sections
        )
        data = bytearray(head.ljust(self.headers_size, b"\0") + body + signature)
        struct.pack_into("<I", data, CHECKSUM_OFFSET, checksum(bytes(data)))
        return bytes(data)

    def _headers(self, entry: int, subsystem: int, flags: int) -> bytes:
        dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
        coff = struct.pack(
            "<4sHHIIIHH",
            b"PE\0\0",
            MACHINES[self.machine],
            len(self.sections),
            0x6500_0000,
            0,
            0,
            self.optional_size,
            0x22 if self.wide else 0x102,
        )
        last = self.sections[-1]
        end = _up(last.rva + last.size, self.section_alignment or 0x1000)
        optional = struct.pack(
            "<HBBIIIII", 0x20B if self.wide else 0x10B, 14, 30, 0x200, 0x400, 0, entry, 0x1000
        )
        optional += b"" if self.wide else struct.pack("<I", 0x2000)
        optional += self.pointer.pack(self.base)
        optional += struct.pack("<II", self.section_alignment, self.file_alignment)
        optional += struct.pack("<6HI", 10, 0, 10, 0, 10, 0, 0)
        optional += struct.pack("<IIIHH", end, self.headers_size, 0, subsystem, flags)
        optional += b"".join(self.pointer.pack(n) for n in (0x40000, 0x1000, 0x100000, 0x1000))
        optional += struct.pack("<II", 0, 16)
        found = {DIRECTORIES[name]: value for name, value in self.directories.items()}
        optional += b"".join(struct.pack("<II", *found.get(i, (0, 0))) for i in range(16))
        return dos.ljust(0x80, b"\0") + coff + optional + b"".join(map(self._header, self.sections))

    def _header(self, section: Section) -> bytes:
        return struct.pack(
            "<8sIIIIIIHHI",
            section.name.encode(),
            section.size,
            section.rva,
            _up(len(section.content), self.file_alignment or 0x200),
            section.raw,
            0,
            0,
            0,
            0,
            section.characteristics,
        )


@dataclass
class _ImportTable:
    """The address table, then descriptors, name tables and names, in one section."""

    imports: dict[str, tuple[str, ...]]
    pointer: struct.Struct
    rva: int = 0
    iat_rva: int = 0
    hints: dict[str, int] = field(default_factory=dict)

    @property
    def iat_size(self) -> int:
        return self.pointer.size * sum(len(names) + 1 for names in self.imports.values())

    @property
    def descriptors(self) -> int:
        return self.rva + self.iat_size

    @property
    def descriptors_size(self) -> int:
        return 20 * (len(self.imports) + 1)

    @property
    def content(self) -> bytes:
        return self.descriptors_and_names()

    def place(self, rva: int, iat: int) -> None:
        self.rva, self.iat_rva = rva, iat

    def slot(self, wanted: str) -> int:
        """RVA of the address table slot of an import."""
        at = self.iat_rva
        for names in self.imports.values():
            for name in names:
                if name == wanted:
                    return at
                at += self.pointer.size
            at += self.pointer.size
        raise KeyError(wanted)

    def iat(self) -> bytes:
        """The address table as the file holds it: RVAs of the names."""
        self.descriptors_and_names()
        thunks = b""
        for names in self.imports.values():
            for name in names:
                thunks += self.pointer.pack(self.hints[name])
            thunks += self.pointer.pack(0)
        return thunks

    def descriptors_and_names(self) -> bytes:
        lookup = self.descriptors + self.descriptors_size
        strings, text = lookup + self.iat_size, b""
        for name in (name for names in self.imports.values() for name in names):
            self.hints[name] = strings + len(text)
            text += b"\0\0" + name.encode() + b"\0" * (2 - len(name) % 2)
        table, offset = b"", 0
        for module, names in self.imports.items():
            table += struct.pack(
                "<5I", lookup + offset, 0, 0, strings + len(text), self.iat_rva + offset
            )
            text += module.encode() + b"\0"
            offset += self.pointer.size * (len(names) + 1)
        thunks = b"".join(
            b"".join(self.pointer.pack(self.hints[name]) for name in names) + self.pointer.pack(0)
            for names in self.imports.values()
        )
        return thunks + table + bytes(20) + thunks + text


def _entry(image: _Builder, start: int, table: _ImportTable, pool_type: int) -> bytes:
    """DriverEntry: ask for pool once and return success."""
    slot = table.slot("ExAllocatePoolWithTag")
    tag = int.from_bytes(b"tseT", "big")
    if image.machine == "x86":
        head = struct.pack("<BIBIBI", 0x68, tag, 0x68, 0x100, 0x68, pool_type) + b"\xff\x15"
        image.code_relocations = [start + len(head)]
        return head + struct.pack("<I", image.base + slot) + b"\x33\xc0\xc2\x08\x00"
    if image.machine == "arm64":
        return _arm64_entry(start, slot, pool_type)
    head = b"\x48\x83\xec\x28" + b"\xb9" + struct.pack("<I", pool_type)
    head += b"\xba" + struct.pack("<I", 0x100) + b"\x41\xb8" + struct.pack("<I", tag) + b"\xff\x15"
    head += struct.pack("<i", slot - (start + len(head) + 4))
    return head + b"\x33\xc0\x48\x83\xc4\x28\xc3"


def _arm64_entry(start: int, slot: int, pool_type: int) -> bytes:
    at = start + 16
    pages = (slot >> 12) - (at >> 12)
    adrp = 0x9000_0008 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    words = (
        0xA9BF7BFD,  # stp x29, x30, [sp, #-16]!
        0x52800000 | (pool_type & 0xFFFF) << 5,  # mov w0, #pool_type
        0xD2802001,  # mov x1, #0x100
        0x528CAE82,  # mov w2, #0x6574
        adrp,
        0xF9400108 | (slot & 0xFFF) >> 3 << 10,  # ldr x8, [x8, #slot]
        0xD63F0100,  # blr x8
        0x52800000,  # mov w0, #0
        0xA8C17BFD,  # ldp x29, x30, [sp], #16
        0xD65F03C0,  # ret
    )
    return struct.pack(f"<{len(words)}I", *words)


UNWIND = bytes.fromhex("0104010004420000")
"""UNWIND_INFO of a function that begins with `sub rsp, 28h`."""
PE = 0x80
CHECKSUM_OFFSET = PE + 24 + 64
FIELDS = {
    "pe_offset": (0x3C, "<I"),
    "machine": (PE + 4, "<H"),
    "section_count": (PE + 6, "<H"),
    "optional_size": (PE + 20, "<H"),
    "characteristics": (PE + 22, "<H"),
    "magic": (PE + 24, "<H"),
    "linker": (PE + 26, "<H"),
    "entry": (PE + 40, "<I"),
    "section_alignment": (PE + 24 + 32, "<I"),
    "file_alignment": (PE + 24 + 36, "<I"),
    "size_of_image": (PE + 24 + 56, "<I"),
    "size_of_headers": (PE + 24 + 60, "<I"),
    "subsystem": (PE + 24 + 68, "<H"),
}
SECTION_FIELDS = {"virtual_size": 8, "rva": 12, "raw_size": 16, "raw": 20, "characteristics": 36}


def patch(data: bytes, **fields: int) -> bytes:
    """Overwrite header fields, whatever they mean afterwards."""
    patched = bytearray(data)
    for name, value in fields.items():
        offset, form = FIELDS[name]
        struct.pack_into(form, patched, offset, value)
    return bytes(patched)


def patch_section(data: bytes, index: int, **fields: int) -> bytes:
    """Overwrite fields of one section header."""
    patched = bytearray(data)
    (signature,) = struct.unpack_from("<I", data, 0x3C)
    (optional_size,) = struct.unpack_from("<H", data, signature + 20)
    start = signature + 24 + optional_size + 40 * index
    for name, value in fields.items():
        struct.pack_into("<I", patched, start + SECTION_FIELDS[name], value)
    return bytes(patched)


def checksum(data: bytes) -> int:
    """The PE checksum, with the checksum field itself as zero."""
    total = 0
    padded = data + bytes(-len(data) % 4)
    for at, (word,) in zip(range(0, len(padded), 4), struct.iter_unpack("<I", padded), strict=True):
        total += 0 if at == CHECKSUM_OFFSET else word
        total = (total & 0xFFFF_FFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    return ((total + (total >> 16)) & 0xFFFF) + len(data)


def _up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment

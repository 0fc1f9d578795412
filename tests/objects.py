"""Object files for tests: sections, symbols and relocations in, bytes out."""

from __future__ import annotations

import struct

CODE, DATA, CONSTANT, COMMENT = 0x6050_0020, 0xC050_0040, 0x4050_0040, 0x0010_0A00
COMDAT = 0x1000
IDS = {"x64": 0x8664, "x86": 0x14C, "arm64": 0xAA64}
BIG = bytes.fromhex("c7a1bad1eebaa94baf20faf66aa4dcb8")


def section(name, data, flags=CODE, moved=()):
    """One section; `moved` are relocations (offset, index of the symbol, type)."""
    return name, data, flags, moved


def symbol(name, number, value=0, kind=2, extra=b""):
    """One symbol; `extra` is what stands behind it in the table."""
    return name, number, value, kind, extra


def choice(selection, number=0, big=False):
    """What a section symbol says of duplicates of its section."""
    head = struct.pack("<IHHIHBxH", 0, 0, 0, 0, number, selection, 0)
    return head[:18].ljust(20 if big else 18, b"\0")


def weak(other):
    """What stands behind a weak name: the index of its default."""
    return struct.pack("<II", other, 1).ljust(18, b"\0")


def obj(machine, sections, symbols, big=False):
    """An object file."""
    size, form = (20, "<IIIiHBB") if big else (18, "<IIIhHBB")
    at = (56 if big else 20) + 40 * len(sections)
    rows, body = b"", b""
    for name, data, flags, moved in sections:
        place = at + len(body)
        held = b"" if flags & 0x80 else data
        rows += struct.pack("<8s4I", name.encode(), 0, 0, len(data), place)
        rows += struct.pack("<2I2HI", place + len(held), 0, len(moved), 0, flags)
        body += held + b"".join(struct.pack("<IIH", *one) for one in moved)
    table, strings = b"", b""
    for name, number, value, kind, extra in symbols:
        table += struct.pack(form, 0, 4 + len(strings), value, number, 0x20, kind, bool(extra))
        table += extra
        strings += name.encode() + b"\0"
    count = len(table) // size
    if big:
        head = struct.pack("<4s2HI16s", b"\0\0\xff\xff", 2, IDS[machine], 0, BIG) + bytes(16)
        head += struct.pack("<3I", len(sections), at + len(body), count)
    else:
        head = struct.pack("<2H3I2H", IDS[machine], len(sections), 0, at + len(body), count, 0, 0)
    return head + rows + body + table + struct.pack("<I", 4 + len(strings)) + strings


def archive(*members):
    """A library of objects."""
    data = b"!<arch>\n"
    for number, one in enumerate(members):
        name = f"{number}.obj/".encode()
        head = name.ljust(16) + b"0".ljust(12) + bytes(12).replace(b"\0", b" ") + b"0".ljust(8)
        data += head + str(len(one)).encode().ljust(10) + b"`\n" + one + b"\n" * (len(one) % 2)
    return data

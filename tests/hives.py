"""Writes registry hives (regf) from nested dicts, and the transaction log of a change to one."""

from __future__ import annotations

import struct

from hvci.installed.recovery import _checksum, _marvin

BASE = 0x1000


class Writer:
    """Cells one after the other in one hive bin."""

    def __init__(self):
        self.cells = bytearray(bytes(32))

    def cell(self, content):
        offset = len(self.cells)
        size = -(-(len(content) + 4) // 8) * 8
        self.cells += struct.pack("<i", -size) + content.ljust(size - 4, b"\0")
        return offset

    def key(self, name, fields, root=False):
        """A dict in it is a key, anything else a value."""
        keys = {k: v for k, v in fields.items() if isinstance(v, dict)}
        values = {k: v for k, v in fields.items() if not isinstance(v, dict)}
        below = [self.key(k, v) for k, v in sorted(keys.items(), key=lambda kv: kv[0].upper())]
        listed = [self.value(k, v) for k, v in values.items()]
        subkeys = self.subkeys(below) if below else 0xFFFFFFFF
        table = self.cell(struct.pack(f"<{len(listed)}I", *listed)) if listed else 0xFFFFFFFF
        latin = all(ord(letter) < 256 for letter in name)
        raw = name.encode("latin-1") if latin else name.encode("utf-16-le")
        flags = 0x20 * latin | 0xC * root
        head = struct.pack("<2sHQII", b"nk", flags, 0, 0, 0)
        counts = struct.pack("<IIIIII", len(below), 0, subkeys, 0xFFFFFFFF, len(listed), table)
        rest = struct.pack("<II20xHH", 0xFFFFFFFF, 0xFFFFFFFF, len(raw), 0)
        return self.cell(head + counts + rest + raw)

    def subkeys(self, offsets):
        """Several lists below one, where there are many."""
        if len(offsets) <= 4:
            pairs = b"".join(struct.pack("<I4x", each) for each in offsets)
            return self.cell(struct.pack("<2sH", b"lh", len(offsets)) + pairs)
        parts = [offsets[at : at + 4] for at in range(0, len(offsets), 4)]
        lists = [
            self.cell(struct.pack("<2sH", b"li", len(part)) + struct.pack(f"<{len(part)}I", *part))
            for part in parts
        ]
        head = struct.pack("<2sH", b"ri", len(lists))
        return self.cell(head + struct.pack(f"<{len(lists)}I", *lists))

    def value(self, name, value):
        kind, data = value if isinstance(value, tuple) else typed(value)
        if len(data) <= 4:
            size, at = len(data) | 0x80000000, int.from_bytes(data.ljust(4, b"\0"), "little")
        elif len(data) > 16344:
            parts = [data[each : each + 16344] for each in range(0, len(data), 16344)]
            places = [self.cell(part) for part in parts]
            table = self.cell(struct.pack(f"<{len(places)}I", *places))
            size, at = len(data), self.cell(struct.pack("<2sHI", b"db", len(parts), table))
        else:
            size, at = len(data), self.cell(data)
        raw = name.encode("latin-1")
        return self.cell(struct.pack("<2sHIIIHH", b"vk", len(raw), size, at, kind, 1, 0) + raw)


def typed(value):
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, bytes):
        return 3, value
    if isinstance(value, list):
        return 7, ("".join(f"{each}\0" for each in value) + "\0").encode("utf-16-le")
    return 1, f"{value}\0".encode("utf-16-le")


def hive(fields, sequence=(1, 1)):
    """A whole hive."""
    writer = Writer()
    root = writer.key("ROOT", fields, root=True)
    size = -(-len(writer.cells) // BASE) * BASE
    body = writer.cells.ljust(size, b"\0")
    if left := size - len(writer.cells):
        struct.pack_into("<i", body, len(writer.cells), left)
    struct.pack_into("<4sII", body, 0, b"hbin", 0, size)
    head = bytearray(BASE)
    numbers = (*sequence, 0, 1, 5, 0, 1, root, size, 1)
    struct.pack_into("<4sIIQIIIIIII", head, 0, b"regf", *numbers)
    struct.pack_into("<I", head, 508, _checksum(bytes(head)))
    return bytes(head) + bytes(body)


def log(before, after, sequence, kind=b"HvLE"):
    """The transaction log that makes one hive of another, in pages."""
    head = bytearray(after[:512])
    struct.pack_into("<II", head, 4, sequence, sequence)
    size = len(after) - BASE
    if kind == b"DIRT":
        marked, pages = bytearray(size // BASE), b""
        for at in range(0, size, 512):
            page = after[BASE + at : BASE + at + 512]
            if page != before[BASE + at : BASE + at + 512]:
                marked[at // 512 // 8] |= 1 << at // 512 % 8
                pages += page
        start = 512 + 4 + len(marked)
        return bytes(head) + b"DIRT" + bytes(marked) + bytes(-start % 512) + pages
    pages = [
        (at, after[BASE + at : BASE + at + BASE])
        for at in range(0, size, BASE)
        if after[BASE + at : BASE + at + BASE] != before[BASE + at : BASE + at + BASE]
    ]
    listed = b"".join(struct.pack("<II", at, len(page)) for at, page in pages)
    body = listed + b"".join(page for _, page in pages)
    whole = -(-(40 + len(body)) // 512) * 512
    body = body.ljust(whole - 40, b"\0")
    entry = struct.pack("<4sIIIII", b"HvLE", whole, 0, sequence, size, len(pages)) + _marvin(body)
    return bytes(head) + entry + _marvin(entry) + body

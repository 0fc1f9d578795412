"""Writes cabinets (stored or MSZIP) and the compound files that hold them in an MSI."""

from __future__ import annotations

import struct
import zlib

BLOCK = 0x8000


def cabinet(files: dict[str, bytes], *, zipped: bool = True) -> bytes:
    """A cabinet with one folder."""
    data = b"".join(files.values())
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
    packed = [_packed(block, zipped) for block in blocks]
    entries, offset = b"", 0
    for name, content in files.items():
        flags = 0x20 if name.isascii() else 0xA0
        entries += struct.pack("<IIHHHH", len(content), offset, 0, 0x5A21, 0, flags)
        entries += name.encode() + b"\0"
        offset += len(content)
    first_file = 36 + 8
    first_block = first_file + len(entries)
    body = b"".join(
        struct.pack("<IHH", 0, len(raw), len(block)) + raw
        for raw, block in zip(packed, blocks, strict=True)
    )
    folder = struct.pack("<IHH", first_block, len(blocks), int(zipped))
    size = first_block + len(body)
    head = struct.pack(
        "<4sIIIIIBBHHHHH", b"MSCF", 0, size, 0, first_file, 0, 3, 1, 1, len(files), 0, 7, 0
    )
    return head + folder + entries + body


def _packed(block: bytes, zipped: bool) -> bytes:
    if not zipped:
        return block
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"CK" + packer.compress(block) + packer.flush()


def compound(streams: dict[str, bytes]) -> bytes:
    """A compound file (OLE) whose streams all fill sectors of 512 bytes."""
    free, end, fat_mark = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    names = list(streams)
    contents = [streams[name].ljust(4096, b"\0") for name in names]
    counts = [(len(each) + 511) // 512 for each in contents]
    directory = (len(names) + 1 + 3) // 4
    fat = [fat_mark]
    chains = [directory, *counts]
    starts = []
    for count in chains:
        starts.append(len(fat))
        fat += [len(fat) + 1 + n for n in range(count - 1)] + [end]
    assert len(fat) <= 128
    fat += [free] * (128 - len(fat))

    def entry(name: str, kind: int, start: int, size: int, child: int, right: int) -> bytes:
        text = name.encode("utf-16-le") + b"\0\0"
        head = text.ljust(64, b"\0") + struct.pack("<HBB", len(text), kind, 1)
        head += struct.pack("<III", free, right, child) + bytes(36)
        return head + struct.pack("<IQ", start, size)

    entries = [entry("Root Entry", 5, end, 0, 1 if names else free, free)]
    for n, (name, content) in enumerate(zip(names, contents, strict=True)):
        right = n + 2 if n + 1 < len(names) else free
        entries.append(entry(name, 2, starts[n + 1], len(content), free, right))
    table = b"".join(entries).ljust(directory * 512, b"\0")
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    head += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<IIIIIIIII", 0, 1, starts[0], 0, 4096, end, 0, end, 0)
    head += struct.pack("<I", 0) + struct.pack("<I", free) * 108
    body = struct.pack("<128I", *fat) + table
    return (
        head + body + b"".join(each.ljust(-(-len(each) // 512) * 512, b"\0") for each in contents)
    )

"""Adds a version resource to a driver that `build.driver` makes."""

from __future__ import annotations

import struct


def _padded(data):
    return data + bytes(-len(data) % 4)


def _node(key, value=b"", children=(), *, text=False):
    """A node of VS_VERSIONINFO; children follow at multiples of four."""
    head = key.encode("utf-16-le") + b"\0\0"
    body = _padded(bytes(6) + head)[6:] + value
    for child in children:
        body = _padded(bytes(6) + body)[6:] + child
    size = len(value) // 2 if text else len(value)
    return struct.pack("<HHH", 6 + len(body), size, int(text)) + body


def version_block(version=(1, 2, 3, 4), *, fixed=True, language="040904B0", **names):
    """VS_VERSIONINFO."""
    a, b, c, d = version
    numbers = struct.pack("<4H", b, a, d, c)
    info = struct.pack("<II", 0xFEEF04BD, 0x10000) + numbers + numbers + bytes(28)
    strings = [
        _node(key, (value + "\0").encode("utf-16-le"), text=True) for key, value in names.items()
    ]
    table = _node(
        "StringFileInfo", children=[_node(language, children=strings, text=True)], text=True
    )
    var = _node("Translation", struct.pack("<HH", 0x409, 1200))
    children = [table, _node("VarFileInfo", children=[var], text=True)]
    return _node("VS_VERSION_INFO", info if fixed else b"", children)


def resource_section(block, rva, *, type_=16, language=0x409):
    """A resource directory of three levels with one entry each."""

    def directory(identifier, offset):
        return struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, identifier, offset)

    below = 0x8000_0000
    tree = directory(type_, below | 24) + directory(1, below | 48) + directory(language, 72)
    return tree + struct.pack("<IIII", rva + 88, len(block), 0, 0) + block


def with_resource(image, make):
    """The image with one more section, whose content `make` gives for its RVA."""
    data = bytearray(image.ljust((len(image) + 0x1FF) & ~0x1FF, b"\0"))
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    count, optional = struct.unpack_from("<H12xH", data, pe + 6)
    wide = struct.unpack_from("<H", data, pe + 24)[0] == 0x20B
    (end,) = struct.unpack_from("<I", data, pe + 24 + 56)
    rva = (end + 0xFFF) & ~0xFFF
    content = make(rva)
    raw = len(data)
    header = struct.pack(
        "<8sIIIIIIHHI", b".rsrc", len(content), rva, len(content), raw, 0, 0, 0, 0, 0x4000_0040
    )
    at = pe + 24 + optional + 40 * count
    data[at : at + 40] = header
    struct.pack_into("<H", data, pe + 6, count + 1)
    struct.pack_into("<I", data, pe + 24 + 56, rva + ((len(content) + 0xFFF) & ~0xFFF))
    struct.pack_into("<II", data, pe + 24 + (112 if wide else 96) + 16, rva, len(content))
    return bytes(data) + content + bytes(-len(content) % 0x200)


def with_version(image, version=(1, 2, 3, 4), **names):
    """The image with a version resource."""
    block = version_block(version, **names)
    return with_resource(image, lambda rva: resource_section(block, rva))

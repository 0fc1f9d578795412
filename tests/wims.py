"""Writes Windows images (WIM): stored, XPRESS with literals only, LZX with stored blocks."""

from __future__ import annotations

import hashlib
import struct

CHUNK = 1 << 15


def wim(files, form="stored", images=1):
    """An image file; every image in it holds the same files."""
    flags = {"stored": 0, "xpress": 0x20002, "lzx": 0x40002}[form]
    blobs, body = [], bytearray(208)

    def put(data, kind=0):
        packed = _packed(data, form) if flags and data else None
        resource = packed if packed is not None else data
        size = len(resource) | (kind | 4 * (packed is not None)) << 56
        entry = struct.pack("<QQQHI", size, len(body), len(data), 1, 1)
        blobs.append(entry + hashlib.sha1(data).digest())
        body.extend(resource)

    for data in dict.fromkeys(files.values()):
        put(data)
    for _ in range(images):
        put(_metadata(files), 2)
    table = b"".join(blobs)
    head = struct.pack("<8sIIII16sHHI", b"MSWIM", 208, 0x10D00, flags, CHUNK, b"", 1, 1, images)
    resource = struct.pack("<QQQ", len(table), len(body), len(table))
    body[: len(head) + 24] = head + resource
    return bytes(body) + table


def _metadata(files):
    tree = {}
    for path, data in files.items():
        *folders, name = path.split("/")
        inside = tree
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[name] = data
    out = bytearray(struct.pack("<II", 8, 0))
    root = len(out)
    out += _dentry("", True, b"") + bytes(8)
    _fill(out, root, tree)
    return bytes(out)


def _fill(out, at, tree):
    struct.pack_into("<Q", out, at + 16, len(out))
    places = []
    for name, inside in tree.items():
        places.append((len(out), inside))
        out += _dentry(name, isinstance(inside, dict), inside)
    out += bytes(8)
    for place, inside in places:
        if isinstance(inside, dict):
            _fill(out, place, inside)


def _dentry(name, folder, data):
    raw = name.encode("utf-16-le")
    size = -(-(102 + len(raw) + 2 * bool(raw)) // 8) * 8
    digest = bytes(20) if folder else hashlib.sha1(data).digest()
    head = struct.pack("<QIiQ", size, 0x10 if folder else 0x20, -1, 0) + bytes(40) + digest
    return (head + bytes(12) + struct.pack("<HHH", 0, 0, len(raw)) + raw).ljust(size, b"\0")


def _packed(data, form):
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    done = [(xpress if form == "xpress" else lzx)(chunk) for chunk in chunks]
    # A chunk of its own size would be taken for a stored one; a larger one is stored.
    done = [new if len(new) < len(old) else old for new, old in zip(done, chunks, strict=True)]
    ends, at = [], 0
    for each in done[:-1]:
        at += len(each)
        ends.append(at)
    return struct.pack(f"<{len(ends)}I", *ends) + b"".join(done)


def xpress(chunk):
    """Codes of 9 bits for 0 and the 511 other symbols; runs of one byte as a match."""
    bits, at = "", 0
    while at < len(chunk):
        run = 1
        while run < 10 and at + run < len(chunk) and at and chunk[at + run - 1] == chunk[at - 1]:
            run += 1
        run -= 1
        if run >= 3:
            bits += f"{256 + run - 3:09b}"
            at += run
        else:
            bits += f"{chunk[at]:09b}"
            at += 1
    bits += "0" * (-len(bits) % 16 + 32)
    words = [int(bits[each : each + 16], 2) for each in range(0, len(bits), 16)]
    return b"\x99" * 256 + struct.pack(f"<{len(words)}H", *words)


def lzx(chunk):
    """One block that is not compressed: larger than the chunk, so only good as a test of it."""
    bits = f"{3:03b}" + ("1" if len(chunk) == CHUNK else f"0{len(chunk):016b}")
    bits += "0" * (-len(bits) % 16)
    words = [int(bits[each : each + 16], 2) for each in range(0, len(bits), 16)]
    head = struct.pack(f"<{len(words)}H", *words) + struct.pack("<III", 1, 1, 1)
    return head + chunk + b"\0" * (len(chunk) % 2)

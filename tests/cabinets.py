"""Writes cabinets (stored or MSZIP) and the compound files that hold them in an MSI."""

from __future__ import annotations

import struct
import zlib

BLOCK = 0x8000


File = tuple[str, int, int, int]
"""Of a cabinet: name, folder, start and length in it."""


def cabinet(files: dict[str, bytes], *, zipped: bool = True) -> bytes:
    """A cabinet with one folder."""
    entries: list[File] = []
    offset = 0
    for name, content in files.items():
        entries.append((name, 0, offset, len(content)))
        offset += len(content)
    return cabinet_of([b"".join(files.values())], entries, zipped=zipped)


def cabinet_of(
    folders: list[bytes], files: list[File], *, zipped: bool = True, of_block: int = 0
) -> bytes:
    """A cabinet whose files are any stretches of its folders, in any order; `of_block` bytes of
    others' data stand in each block.
    """
    entries = b""
    for name, folder, start, length in files:
        flags = 0x20 if name.isascii() else 0xA0
        entries += struct.pack("<IIHHHH", length, start, folder, 0x5A21, 0, flags)
        entries += name.encode() + b"\0"
    reserves = struct.pack("<HBB", 0, 0, of_block) if of_block else b""
    first_file = 36 + len(reserves) + 8 * len(folders)
    first_block = first_file + len(entries)
    table, body = b"", b""
    for data in folders:
        blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)] or [b""]
        table += struct.pack("<IHH", first_block + len(body), len(blocks), int(zipped))
        for block in blocks:
            raw = _packed(block, zipped)
            body += struct.pack("<IHH", 0, len(raw), len(block)) + bytes(of_block) + raw
    flags = 4 if of_block else 0
    head = struct.pack(
        *("<4sIIIIIBBHHHHH", b"MSCF", 0, first_block + len(body), 0, first_file),
        *(0, 3, 1, len(folders), len(files), flags, 7, 0),
    )
    return head + reserves + table + entries + body


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


def installer(
    files: dict[str, tuple[str, bytes]],
    outside: str = "",
    streams: dict[str, bytes] | None = None,
    second: tuple[str, ...] = (),
) -> bytes:
    """An installer database whose cabinets name files by keys: key -> path and bytes; it names
    a cabinet outside as well, has streams of its own, and keeps some keys in a second cabinet.
    """
    texts = [""]

    def text(word: str) -> int:
        if word not in texts:
            texts.append(word)
        return texts.index(word)

    tables: dict[str, tuple[list[str], list[tuple[str, ...]]]] = {
        "File": (["File", "Component_", "FileName"], []),
        "Component": (["Component", "Directory_"], []),
        "Directory": (["Directory", "Directory_Parent", "DefaultDir"], [("TOP", "", "SourceDir")]),
        "Media": (["Cabinet"], [("#a",), *([(outside,)] if outside else [])]),
    }
    for number, (key, (path, _)) in enumerate(files.items()):
        *folders, name = path.split("/")
        above = "TOP"
        for depth, folder in enumerate(folders):
            here = f"D{number}_{depth}"
            tables["Directory"][1].append((here, above, f"SHORT~{depth}|{folder}:."))
            above = here
        tables["Component"][1].append((f"C{number}", above))
        tables["File"][1].append((key, f"C{number}", f"SHORT~1.SYS|{name}"))
    columns = [
        (text(table), (number + 1) ^ 0x8000, text(name), 0x8D48 ^ 0x8000)
        for table, (names, _) in tables.items()
        for number, name in enumerate(names)
    ]
    stored = {"_Columns": _by_column(columns)}
    for table, (_, rows) in tables.items():
        stored[table] = _by_column([tuple(map(text, row)) for row in rows])
    encoded = [each.encode() for each in texts[1:]]
    stored["_StringPool"] = struct.pack("<I", 65001) + b"".join(
        struct.pack("<HH", len(each), 1) for each in encoded
    )
    stored["_StringData"] = b"".join(encoded)
    data = cabinet({key: content for key, (_, content) in files.items() if key not in second})
    streams = dict(streams or {})
    if second:
        streams["b"] = cabinet({key: files[key][1] for key in second})
    named = {"\u4840" + _short(name): content for name, content in stored.items()}
    return compound({**named, "a": data, **streams})


def _by_column(rows: list[tuple[int, ...]]) -> bytes:
    """A table, with as many empty rows as make a stream large enough to have sectors of its own."""
    wide = len(rows[0])
    rows = rows + [(0,) * wide] * (4096 // (2 * wide) + 1 - len(rows))
    return b"".join(struct.pack(f"<{len(rows)}H", *each) for each in zip(*rows, strict=True))


def _short(name: str) -> str:
    """A name as an installer database stores it: two letters as one."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
    codes = [letters.index(letter) for letter in name]
    pairs = [codes[at : at + 2] for at in range(0, len(codes), 2)]
    return "".join(
        chr(0x3800 + pair[0] + (pair[1] << 6)) if len(pair) == 2 else chr(0x4800 + pair[0])
        for pair in pairs
    )

"""Writes shim databases (.sdb) from nested lists of tags."""

from __future__ import annotations

import struct

INDEXES, DATABASE, STRING_TABLE, STRING_ITEM = 0x7802, 0x7001, 0x7801, 0x8801
EXE, KERNEL_DRIVER, MATCHING_FILE, DATA, APP = 0x7007, 0x701C, 0x7008, 0x700F, 0x7006
NAME, APP_NAME, WILDCARD_NAME, EXE_ID = 0x6001, 0x6006, 0x600B, 0x9004
SIZE, CHECKSUM, PE_CHECKSUM, DATA_DWORD, FLAGS = 0x4001, 0x4003, 0x400B, 0x4019, 0x4017
COMPANY, PRODUCT, ORIGINAL = 0x6009, 0x6010, 0x6014
FILE_VERSION, UPTO_VERSION, FROM_VERSION, NOT = 0x5002, 0x500D, 0x5013, 0x1003


class Writer:
    """Collects the strings of a database while its tags are written."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}
        self._table = b""

    def _string(self, text: str) -> int:
        if text not in self._offsets:
            raw = (text + "\0").encode("utf-16-le")
            self._offsets[text] = 6 + len(self._table)
            item = struct.pack("<HI", STRING_ITEM, len(raw)) + raw
            self._table += item + bytes(len(item) % 2)
        return self._offsets[text]

    def tag(self, number: int, value: object = None) -> bytes:
        """One tag; a list is given as pairs of number and value."""
        head = struct.pack("<H", number)
        match number >> 12:
            case 1:
                return head
            case 2 | 3 | 4 | 5:
                size = {2: 1, 3: 2, 4: 4, 5: 8}[number >> 12]
                body = head + int(value).to_bytes(size, "little")
            case 6:
                body = head + struct.pack("<I", self._string(value))
            case 7:
                inner = b"".join(self.tag(*each) for each in value)
                body = head + struct.pack("<I", len(inner)) + inner
            case _:
                body = head + struct.pack("<I", len(value)) + value
        return body + bytes(len(body) % 2)

    def file(self, *tags: tuple, version: int = 3) -> bytes:
        """The whole file: header, index, database, strings."""
        body = self.tag(INDEXES, []) + self.tag(DATABASE, list(tags))
        table = struct.pack("<HI", STRING_TABLE, len(self._table)) + self._table
        return struct.pack("<II", version, 1) + b"sdbf" + body + table


def version(a, b, c, d):
    """A version as the number of a tag."""
    return a << 48 | b << 32 | c << 16 | d


def driver_entry(name, *conditions, policy=None, kind=EXE, data="Policy", extra=(), wild=False):
    """An entry about one driver with conditions on the file itself."""
    tags = [(WILDCARD_NAME if wild else NAME, name), (APP_NAME, f"about {name}")]
    tags.append((EXE_ID, bytes(range(16))))
    if conditions:
        tags.append((MATCHING_FILE, [(NAME, "*"), *conditions]))
    if policy is not None:
        tags.append((DATA, [(NAME, data), (0x4018, 4), (DATA_DWORD, policy)]))
    return (kind, [*tags, *extra])


def database(*entries, version=3):
    """A database of entries."""
    return Writer().file((NAME, "drivers"), (0x9007, bytes(16)), *entries, version=version)

"""Whether a cabinet says of its folders and blocks what can be true, before native code reads it.

A library that was written for speed once trusted the lengths of a block. Unpacks nothing.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from hvci.errors import InputError

_HEADER = struct.Struct("<4sIIIIIBBHHHHH")
_FOLDER, _FILE, _BLOCK = struct.Struct("<IHH"), struct.Struct("<IIHHHH"), struct.Struct("<IHH")
_BEFORE, _BEHIND, _RESERVES = 1, 2, 4
"""Flags: other cabinets of the set come before or behind; there is room for others' data."""
_STORED, _KINDS = 0, 0xF
_LARGEST, _LARGEST_PACKED = 0x8000, 0x8000 + 6144
"""Bytes in a block, unpacked and packed."""
_LONGEST_NAME = 256
_PARTS_OF_SETS = frozenset((0xFFFD, 0xFFFE, 0xFFFF))


def check(path: Path) -> None:
    """Refuse a cabinet whose lengths and places contradict each other or the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            _checked(stream, size)
        except struct.error as error:
            raise InputError("the cabinet is cut off") from error


def _checked(stream: BinaryIO, size: int) -> None:
    fields = _HEADER.unpack(stream.read(_HEADER.size))
    files_at, folders, files, flags = fields[4], fields[8], fields[9], fields[10]
    of_folder = of_block = 0
    if flags & _RESERVES:
        of_header, of_folder, of_block = struct.unpack("<HBB", stream.read(4))
        stream.seek(of_header, 1)
    for flag in (_BEFORE, _BEHIND):
        if flags & flag:
            _name(stream)
            _name(stream)
    places = []
    for _ in range(folders):
        places.append(_FOLDER.unpack(stream.read(_FOLDER.size)))
        stream.seek(of_folder, 1)
    room = [
        _blocks(stream, size, at, count, kind & _KINDS, of_block, bool(flags & _BEHIND))
        for at, count, kind in places
    ]
    stream.seek(files_at)
    for _ in range(files):
        length, start, folder, *_ = _FILE.unpack(stream.read(_FILE.size))
        _name(stream)
        if folder in _PARTS_OF_SETS:
            continue
        if folder >= folders:
            raise InputError("the cabinet is damaged: a file lies in a folder that is not there")
        if start + length > room[folder] and not flags & _BEHIND:
            raise InputError("the cabinet is damaged: a file is larger than what it is packed in")


def _blocks(
    stream: BinaryIO, size: int, at: int, count: int, kind: int, reserved: int, is_open: bool
) -> int:
    """Bytes that the blocks of one folder hold."""
    total = 0
    for _ in range(count):
        stream.seek(at)
        _, packed, unpacked = _BLOCK.unpack(stream.read(_BLOCK.size))
        at += _BLOCK.size + reserved + packed
        goes_on = is_open and not unpacked
        if packed > _LARGEST_PACKED or unpacked > _LARGEST or at > size:
            raise InputError("the cabinet is damaged: a block is larger than it can be")
        if ((kind == _STORED and packed != unpacked) or not packed) and not goes_on:
            raise InputError("the cabinet is damaged: the lengths of a block contradict each other")
        total += unpacked
    return total


def _name(stream: BinaryIO) -> None:
    """Pass over a name, with the zero behind it."""
    at = stream.tell()
    found = stream.read(_LONGEST_NAME)
    end = found.find(b"\0")
    if end < 0:
        raise InputError("the cabinet is damaged: a name does not end")
    stream.seek(at + end + 1)

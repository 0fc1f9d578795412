"""Reads what a cabinet says of its folders, blocks and files, before native code reads any of it.

A library that was written for speed once trusted the lengths of a block. Unpacks nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

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


class File(NamedTuple):
    """A file of a cabinet; several can be the same bytes of a folder, which are stored once."""

    folder: int
    start: int
    length: int
    rest: tuple[int, int, int]
    """Date, time and attributes."""
    name: bytes


class Cabinet(NamedTuple):
    """What stands before the blocks of a cabinet."""

    fields: tuple[int, ...]
    """Of the header."""
    before: bytes
    """Between the header and the folders."""
    folders: tuple[bytes, ...]
    """As they stand, with what others keep there."""
    files: tuple[File, ...]
    first: int
    """Where the first block stands."""
    in_a_set: bool
    of_block: int
    """Bytes that others keep in each block."""

    @property
    def size(self) -> int:
        """Bytes of the cabinet itself."""
        return self.fields[2]

    @property
    def is_plain(self) -> bool:
        """Whether each file begins where the one before it ends."""
        ends = dict.fromkeys(range(len(self.folders)), 0)
        last = 0
        for file in self.files:
            if file.folder < last or file.start != ends.get(file.folder):
                return False
            last = file.folder
            ends[last] += file.length
        return self._in_order == list(range(len(self.folders)))

    @property
    def _in_order(self) -> list[int]:
        """The folders in the order of their blocks."""
        places = [_FOLDER.unpack_from(each)[0] for each in self.folders]
        return sorted(range(len(places)), key=places.__getitem__)

    def plainly(self) -> tuple[bytes, list[tuple[bytes, ...]]] | None:
        """What would stand before the first block of a plain cabinet with the same blocks, and the
        names of each file in it; a file without a name is none. None where files share some bytes.
        """
        order = self._in_order
        at_folder = {number: place for place, number in enumerate(order)}
        wanted: dict[tuple[int, int, int], list[File]] = {}
        for file in self.files:
            key = (at_folder.get(file.folder, file.folder), file.start, file.length)
            wanted.setdefault(key, []).append(file)
        names: list[tuple[bytes, ...]] = []
        entries, at = b"", (0, 0)
        for (folder, start, length), same in sorted(wanted.items()):
            end = at[1] if at[0] == folder else 0
            if start < end and length:
                return None
            if start > end and length:
                entries += _entry(folder, end, start - end, (0, 0, 0), b"-")
                names.append(())
            begin = start if length else end
            entries += _entry(folder, begin, length, same[0].rest, same[0].name)
            names.append(tuple(each.name for each in same))
            at = (folder, begin + length)
        return self._head(order, entries, len(names)), names

    def _head(self, order: list[int], entries: bytes, count: int) -> bytes:
        folders_at = _HEADER.size + len(self.before)
        files_at = folders_at + sum(map(len, self.folders))
        moved = files_at + len(entries) - self.first
        fields = list(self.fields)
        fields[2] += moved
        fields[4], fields[9] = files_at, count
        folders = b""
        for number in order:
            place, *rest = _FOLDER.unpack_from(self.folders[number])
            folders += _FOLDER.pack(place + moved, *rest) + self.folders[number][_FOLDER.size :]
        return _HEADER.pack(*fields) + self.before + folders + entries


def _entry(folder: int, start: int, length: int, rest: tuple[int, int, int], name: bytes) -> bytes:
    return _FILE.pack(length, start, folder, *rest) + name + b"\0"


def read(path: Path) -> Cabinet:
    """Refuse a cabinet whose lengths and places contradict each other or the file."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            return _checked(stream, size)
        except struct.error as error:
            raise InputError("the cabinet is cut off") from error


def _checked(stream: BinaryIO, size: int) -> Cabinet:
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
    folders_at = stream.tell()
    found = [stream.read(_FOLDER.size + of_folder) for _ in range(folders)]
    places = [_FOLDER.unpack_from(each) for each in found]
    room = [
        _blocks(stream, size, at, count, kind & _KINDS, of_block, bool(flags & _BEHIND))
        for at, count, kind in places
    ]
    stream.seek(_HEADER.size)
    before = stream.read(folders_at - _HEADER.size)
    stream.seek(files_at)
    listed = tuple(_files(stream, files, room, bool(flags & _BEHIND)))
    first = min((at for at, count, _ in places if count), default=size)
    in_a_set = bool(flags & (_BEFORE | _BEHIND))
    return Cabinet(fields, before, tuple(found), listed, first, in_a_set, of_block)


def _files(stream: BinaryIO, count: int, room: list[int], is_open: bool) -> Iterator[File]:
    for _ in range(count):
        length, start, folder, *rest = _FILE.unpack(stream.read(_FILE.size))
        file = File(folder, start, length, (rest[0], rest[1], rest[2]), _name(stream))
        yield file
        if folder in _PARTS_OF_SETS:
            continue
        if folder >= len(room):
            raise InputError("the cabinet is damaged: a file lies in a folder that is not there")
        if start + length > room[folder] and not is_open:
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


def _name(stream: BinaryIO) -> bytes:
    """The name that stands here; the stream is behind its zero afterwards."""
    at = stream.tell()
    found = stream.read(_LONGEST_NAME)
    end = found.find(b"\0")
    if end < 0:
        raise InputError("the cabinet is damaged: a name does not end")
    stream.seek(at + end + 1)
    return found[:end]

"""What a program for user mode brings along: drivers, archives and installers within its bytes.

Looks for marks, and checks where they stand that they are what they seem; opens nothing. A file is
read in pieces. What a program keeps compressed or scrambled in a way of its own is not seen.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hvci.errors import InputError
from hvci.packages.images import is_driver_at
from hvci.packages.marks import DRIVER

PIECE = 4 << 20
_NEAR = 1 << 12
"""The farthest that the header of an image lies behind its start, and its table of sections."""
_LONGEST = 64
"""Bytes of a mark, or more."""
_MOST = 50_000
"""Marks that are looked at; an installer can hold thousands of programs as they are."""
_MANY = "a program with very many parts"
_RAW = struct.Struct("<16xII")
_SECTION, _CERTIFICATES = 40, 4
_INSTALLER = b"\x0c\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"
"""In the class of databases of Windows Installer, of their patches and modules."""
_EXTRACT = ", which hvci does not open: extract it and check the folder"
_RAR_MAIN = 0x73
_WIM_VERSIONS = (struct.pack("<I", 0x10D00), struct.pack("<I", 0xE00))
_ALIGNED, _FLAGS = 512, 4
_INNO = re.compile(rb"Inno Setup Setup Data \(\d+\.\d+[^)\0]*\)[^\0]{0,8}\0")
_TOLD = (
    (b"ISSetupStream", "an InstallShield installer"),
    (b"ADVINSTSFX", "an installer of Advanced Installer"),
)


class Part(NamedTuple):
    """Something within a program."""

    start: int
    end: int
    kind: str
    """`DRIVER`, the kind of an archive, or empty for what is told and not opened."""
    told: str = ""

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{self.kind} at {self.start:#x}"


_Check = Callable[[BinaryIO, int, int], Part | None]


def parts(path: Path) -> list[Part]:
    """What lies in a program, in order; what lies within an archive in it is of that archive."""
    with path.open("rb") as stream:
        size = path.stat().st_size
        marks = _marks(stream)
        found = [part for at, check in marks if (part := check(stream, at, size)) is not None]
        if not found or is_driver_at(stream):
            return []
    kept: dict[str, Part] = {}
    end = 0
    for part in sorted(found, key=lambda one: (one.start, -one.end)):
        if part.told:
            kept.setdefault(part.told, part)
        elif part.start >= end:
            kept[part.name] = part
            end = part.end
    return list(kept.values())


def members(path: Path) -> Iterator[tuple[Part, Iterator[bytes]]]:
    """What lies in a program and is opened, with its bytes; raises `InputError` for the rest."""
    found = parts(path)
    with path.open("rb") as stream:
        for part in found:
            if not part.told:
                yield part, _stretch(stream, part)
    if told := [part.told for part in found if part.told]:
        raise InputError(f"{' and '.join(told)}{_EXTRACT}")


def _stretch(stream: BinaryIO, part: Part) -> Iterator[bytes]:
    at = part.start if part.kind != "zip" else 0  # whose places can count from either
    while at < part.end and (piece := _bytes(stream, at, min(PIECE, part.end - at))):
        yield piece
        at += len(piece)


def _marks(stream: BinaryIO) -> list[tuple[int, _Check]]:
    """Where the marks stand."""
    found: dict[tuple[int, int], None] = {}
    base, data = 0, b""
    while piece := stream.read(PIECE):
        kept = data[-_LONGEST:]
        data = kept + piece
        for number, (mark, _) in enumerate(_CHECKS):
            at = data.find(mark)
            while at >= 0:
                if len(found) == _MOST:
                    return [*_checked(found), (base, _told(_MANY))]
                found.setdefault((base - len(kept) + at, number))
                at = data.find(mark, at + 1)
        base += len(piece)
    return _checked(found)


def _checked(found: Iterable[tuple[int, int]]) -> list[tuple[int, _Check]]:
    return [(at, _CHECKS[number][1]) for at, number in sorted(found)]


def is_database(path: Path) -> bool:
    """Whether a compound file is a database of Windows Installer."""
    with path.open("rb") as stream:
        return _database(stream, 0, path.stat().st_size) is not None


def _bytes(stream: BinaryIO, at: int, size: int) -> bytes:
    stream.seek(at)
    return stream.read(size)


def _image(stream: BinaryIO, at: int, size: int) -> Part | None:
    """A driver by the place of its header; its sections and certificates say how long it is."""
    low = max(at - _NEAR, 0)
    data = _bytes(stream, low, at - low + _NEAR)
    header = at - low
    start = data.rfind(b"MZ", 0, header)
    while start >= 0 and data[start + 0x3C : start + 0x40] != struct.pack("<I", header - start):
        start = data.rfind(b"MZ", 0, start)
    if low + start <= 0 or start < 0 or not is_driver_at(stream, low + start):
        return None
    count, optional = struct.unpack_from("<H12xH", data, header + 6)
    table = header + 24 + optional
    entries = (data[table + n * _SECTION : table + (n + 1) * _SECTION] for n in range(count))
    raw = [_RAW.unpack_from(entry) for entry in entries if len(entry) == _SECTION]
    end = max((length + place for length, place in raw if length), default=_NEAR)
    wide = data[header + 24 : header + 26] == b"\x0b\x02"
    pair = data[header + 24 + (112 if wide else 96) + 8 * _CERTIFICATES :][:8]
    place, length = struct.unpack("<II", pair.ljust(8, b"\0"))
    if place >= end:
        end = place + length
    return Part(low + start, min(low + start + end, size), DRIVER)


def _cabinet(stream: BinaryIO, at: int, size: int) -> Part | None:
    head = _bytes(stream, at, 36).ljust(36, b"\0")
    none, length, none_again, files_at, no_more = struct.unpack_from("<IIIII", head, 4)
    is_one = not (none or none_again or no_more) and head[24:26] == b"\3\1" and files_at < length
    return Part(at, min(at + length, size), "cab") if is_one and any(head[26:28]) else None


def _seven_zip(stream: BinaryIO, at: int, size: int) -> Part | None:
    head = _bytes(stream, at, 32)
    if len(head) < 32 or zlib.crc32(head[12:]) != int.from_bytes(head[8:12], "little"):
        return None
    place, length = struct.unpack_from("<QQ", head, 12)
    return Part(at, min(at + 32 + place + length, size), "7z")


def _zip(stream: BinaryIO, at: int, size: int) -> Part | None:
    """A zip by its end, from which it is read."""
    end = _bytes(stream, at, 22)
    if len(end) < 22 or any(end[4:8]):
        return None
    length, place, remark = struct.unpack_from("<IIH", end, 12)
    listed = at - length
    if _bytes(stream, max(listed, 0), 4) != b"PK\1\2":
        listed -= 76  # a larger zip has two more records there
        if length != 0xFFFF_FFFF and _bytes(stream, max(listed, 0), 4) != b"PK\1\2":
            return None
        return Part(0, min(at + 22 + remark, size), "zip")
    return Part(max(listed - place, 0), min(at + 22 + remark, size), "zip")


def _rar(stream: BinaryIO, at: int, size: int) -> Part | None:
    """A RAR by its first header, which has a sum: programs that know RAR hold the mark as well."""
    head = _bytes(stream, at, 160).ljust(160, b"\0")
    if head[6:8] == b"\1\0":  # the length stands in seven bits of each byte
        length, shift, place = 0, 0, 12
        while place < 16:
            length |= (head[place] & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if not head[place - 1] & 0x80:
                break
        is_one = zlib.crc32(head[12 : place + length]) == int.from_bytes(head[8:12], "little")
    else:
        length = int.from_bytes(head[12:14], "little")
        sums = zlib.crc32(head[9 : 7 + length]) & 0xFFFF
        is_one = head[9] == _RAR_MAIN and sums == int.from_bytes(head[7:9], "little")
    return Part(at, size, "rar") if is_one else None


def _database(stream: BinaryIO, at: int, size: int) -> Part | None:
    """A database of Windows Installer; its table of sectors says how long it can be."""
    head = _bytes(stream, at, 0x50)
    if len(head) < 0x50 or head[28:30] != b"\xfe\xff":
        return None
    shift, tables = struct.unpack_from("<H12xI", head, 30)
    (folder,) = struct.unpack_from("<I", head, 48)
    if shift not in (9, 12):
        return None
    root = _bytes(stream, at + ((folder + 1) << shift), 128)
    if _INSTALLER not in root[0x50:0x60]:
        return None
    end = at + (tables << shift) // 4 * (1 << shift) + (1 << shift)
    return Part(at, min(end, size), "msi")


def _windows(stream: BinaryIO, at: int, size: int) -> Part | None:
    head = _bytes(stream, at + 8, 8)
    is_one = head[:4] == struct.pack("<I", 208) and head[4:] in _WIM_VERSIONS
    return Part(at, size, "wim") if is_one else None


def _nsis(_stream: BinaryIO, at: int, _size: int) -> Part | None:
    """The header of an NSIS installer, which begins with four bytes of flags."""
    return Part(at, at, "", "an NSIS installer") if at % _ALIGNED == _FLAGS else None


def _inno(stream: BinaryIO, at: int, _size: int) -> Part | None:
    """What names the version of an Inno Setup installer, in a field of its own."""
    is_one = _INNO.match(_bytes(stream, at, 64))
    return Part(at, at, "", "an Inno Setup installer") if is_one else None


def _told(text: str) -> _Check:
    def check(_stream: BinaryIO, at: int, _size: int) -> Part:
        return Part(at, at, "", text)

    return check


_CHECKS: tuple[tuple[bytes, _Check], ...] = (
    (b"PE\0\0", _image),
    (b"MSCF\0\0\0\0", _cabinet),
    (b"7z\xbc\xaf\x27\x1c", _seven_zip),
    (b"PK\5\6", _zip),
    (b"Rar!\x1a\x07", _rar),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _database),
    (b"MSWIM\0\0\0", _windows),
    (b"\xef\xbe\xad\xdeNullsoftInst", _nsis),
    (b"Inno Setup Setup Data", _inno),
    *((mark, _told(text)) for mark, text in _TOLD),
)

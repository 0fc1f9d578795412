"""The version resource of an image: four numbers and the names that lists know files by.

Bounded and forgiving: a resource that cannot be read is none, as it is for Windows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from hvci.binary.pe.headers import Headers

Version = tuple[int, int, int, int]
_RESOURCE = 2
_VERSION_TYPE = 16
_SIGNATURE = 0xFEEF04BD
_MOST_ENTRIES = 4096
_MOST_BYTES = 1 << 16
_DEEPEST = 3
NAMES = (
    "CompanyName",
    "FileDescription",
    "FileVersion",
    "InternalName",
    "LegalCopyright",
    "OriginalFilename",
    "ProductName",
    "ProductVersion",
)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """What the version resource says; empty without one."""

    file: Version | None = None
    product: Version | None = None
    names: dict[str, str] = field(default_factory=dict)
    """Strings such as OriginalFilename, the first of each name."""
    language: int | None = None


def read_version(data: bytes, headers: Headers) -> VersionInfo:
    """The version resource of an image."""
    try:
        found = _find(data, headers)
    except struct.error:
        return VersionInfo()
    if found is None:
        return VersionInfo()
    block, language = found
    names: dict[str, str] = {}
    fixed = _read_block(block, 0, len(block), names, 0)
    if len(fixed) < 52 or struct.unpack_from("<I", fixed)[0] != _SIGNATURE:
        return VersionInfo(None, None, names, language)
    words = struct.unpack_from("<8H", fixed, 8)
    return VersionInfo(_numbers(words[:4]), _numbers(words[4:]), names, language)


def _numbers(words: tuple[int, ...]) -> Version:
    """Each pair of words holds its more significant one last."""
    return (words[1], words[0], words[3], words[2])


def _offset(headers: Headers, rva: int) -> int | None:
    for section in headers.sections:
        if section.rva <= rva < section.rva + section.raw_size:
            return section.raw_offset + rva - section.rva
    return None


def _find(data: bytes, headers: Headers) -> tuple[bytes, int] | None:
    """The bytes of the version resource and its language."""
    start = _offset(headers, headers.directories[_RESOURCE][0])
    if not headers.directories[_RESOURCE][0] or start is None:
        return None
    at, identifier = start, 0
    for level, wanted in enumerate((_VERSION_TYPE, None, None)):
        entry = _entry(data, at, wanted)
        if entry is None:
            return None
        identifier, offset = entry
        if bool(offset & 0x8000_0000) is (level == 2):
            return None
        at = start + (offset & 0x7FFF_FFFF)
    rva, size = struct.unpack_from("<II", data, at)
    offset_in_file = _offset(headers, rva)
    if offset_in_file is None:
        return None
    return data[offset_in_file : offset_in_file + min(size, _MOST_BYTES)], identifier


def _entry(data: bytes, at: int, wanted: int | None) -> tuple[int, int] | None:
    """The entry of a resource directory with an id, or the first one."""
    named, numbered = struct.unpack_from("<HH", data, at + 12)
    for n in range(min(named + numbered, _MOST_ENTRIES)):
        identifier, offset = struct.unpack_from("<II", data, at + 16 + 8 * n)
        if wanted is None or identifier == wanted:
            return identifier, offset
    return None


def _read_block(block: bytes, at: int, end: int, names: dict[str, str], depth: int) -> bytes:
    """One node of the tree: fills in the strings below it and gives its value."""
    if at + 6 > end:
        return b""
    length, value_length, kind = struct.unpack_from("<HHH", block, at)
    end = min(end, at + length)
    key_end = at + 6
    while key_end + 2 <= end and block[key_end : key_end + 2] != b"\0\0":
        key_end += 2
    key = block[at + 6 : key_end].decode("utf-16-le", "replace")
    value_at = key_end + 2 + 3 & ~3
    size = value_length * 2 if kind == 1 else value_length
    value = block[value_at : min(value_at + size, end)]
    if depth == _DEEPEST:
        text = value[: len(value) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
        names.setdefault(key, text.strip())
        return value
    child = value_at + size + 3 & ~3
    for _ in range(_MOST_ENTRIES):
        if child + 6 > end:
            break
        _read_block(block, child, end, names, depth + 1)
        child += max(struct.unpack_from("<H", block, child)[0], 6) + 3 & ~3
    return value

"""Applies the transaction logs of a hive: a live copy lacks what was written last without them.

Knows both forms, whole entries with their own hash (Windows 8.1 and later) and one set of dirty
pages; an entry whose hash is wrong, and all after it, are left out, as Windows does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_BASE, _SECTOR, _HEAD = 0x1000, 0x200, 0x28
_SEED = (0x7A4E55C5, 0x82EF4D88)
_MASK = 0xFFFFFFFF
_MOST_PAGES = 100_000


class _Entry(NamedTuple):
    size: int
    pages: tuple[tuple[int, bytes], ...]


def is_dirty(hive: bytes) -> bool:
    """Whether a hive was not written to its end."""
    first, second = struct.unpack_from("<II", hive, 4)
    return bool(first != second or _checksum(hive) != struct.unpack_from("<I", hive, 508)[0])


def recovered(hive: bytes, logs: Iterable[bytes]) -> tuple[bytes, bool]:
    """The hive with what its logs hold, and whether it is whole now."""
    if len(hive) < _BASE or hive[:4] != b"regf" or not is_dirty(hive):
        return hive, True
    entries: dict[int, _Entry] = {}
    for log in logs:
        if log[:4] != b"regf":
            continue
        if log[_SECTOR : _SECTOR + 4] == b"DIRT":
            pages = _dirty_pages(log)
            return (_with(hive, [pages]), True) if pages else (hive, False)
        entries.update(_entries(log))
    sequence = struct.unpack_from("<I", hive, 8)[0]
    later = sorted(number for number in entries if number >= sequence)
    chosen = [entries[number] for place, number in enumerate(later) if number == later[0] + place]
    return _with(hive, chosen), bool(chosen)


def _with(hive: bytes, entries: Iterable[_Entry]) -> bytes:
    data = bytearray(hive)
    for entry in entries:
        for offset, page in entry.pages:
            end = _BASE + offset + len(page)
            if end > len(data):
                data.extend(bytes(end - len(data)))
            data[_BASE + offset : end] = page
    return bytes(data)


def _entries(log: bytes) -> Iterator[tuple[int, _Entry]]:
    """The entries of a log up to the first that is damaged, by sequence number."""
    at, last = _SECTOR, None
    while log[at : at + 4] == b"HvLE":
        if at + _HEAD > len(log):
            return
        size, _, sequence, bins, count = struct.unpack_from("<IIIII", log, at + 4)
        whole = log[at : at + size]
        wrong = size % _SECTOR or len(whole) < size or size < _HEAD + 8 * count
        if wrong or count > _MOST_PAGES or (last is not None and sequence != last + 1):
            return
        if not _is_whole(whole):
            return
        pages, begin = [], _HEAD + 8 * count
        for number in range(count):
            offset, length = struct.unpack_from("<II", whole, _HEAD + 8 * number)
            if begin + length > size or offset + length > bins:
                return
            pages.append((offset, whole[begin : begin + length]))
            begin += length
        yield sequence, _Entry(bins, tuple(pages))
        at, last = at + size, sequence


def _is_whole(entry: bytes) -> bool:
    """Whether both hashes of an entry are right."""
    first, second = entry[24:32], entry[32:40]
    return second == _marvin(entry[:32]) and first == _marvin(entry[40:])


def _dirty_pages(log: bytes) -> _Entry | None:
    """The older form: a bit for each 512 bytes, then those that are set."""
    size = struct.unpack_from("<I", log, 0x28)[0]
    bits = log[_SECTOR + 4 : _SECTOR + 4 + size // _BASE]
    at = -(-(_SECTOR + 4 + size // _BASE) // _SECTOR) * _SECTOR
    pages = []
    for number in range(len(bits) * 8):
        if bits[number // 8] >> number % 8 & 1:
            page = log[at : at + _SECTOR]
            if len(page) < _SECTOR:
                return None
            pages.append((number * _SECTOR, page))
            at += _SECTOR
    return _Entry(size, tuple(pages))


def _checksum(hive: bytes) -> int:
    found = 0
    for word in struct.unpack_from("<127I", hive):
        found ^= word
    return {0: 1, _MASK: _MASK - 1}.get(found, found)


def _marvin(data: bytes) -> bytes:
    """Marvin32 with the seed of the registry."""
    low, high = _SEED
    whole = len(data) & ~3
    tail = data[whole:] + b"\x80"
    words = [*struct.unpack_from(f"<{whole // 4}I", data), int.from_bytes(tail, "little"), 0]
    for word in words:
        low = low + word & _MASK
        high ^= low
        low = (low << 20 | low >> 12) + high & _MASK
        high = (high << 9 | high >> 23) ^ low
        high &= _MASK
        low = (low << 27 | low >> 5) + high & _MASK
        high = (high << 19 | high >> 13) & _MASK
    return struct.pack("<II", low, high)

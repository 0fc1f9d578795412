"""Driver compatibility databases (.sdb)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import asked
from answers import answer_or_sentence

from hvci.lists.compatibility import Compatibility


def one(data: bytes) -> None:
    """The file is the input; half of all get a head that fits."""
    if data[:1] < b"\x80":
        data = struct.pack("<II4s", 3, 0, b"sdbf") + data[1:]
    with answer_or_sentence():
        asked.ask(Compatibility("x.sdb", data))


def _tag(number: int, content: bytes) -> bytes:
    return struct.pack("<HI", number, len(content)) + content + bytes(len(content) % 2)


def seeds() -> Iterator[bytes]:
    """A database with strings and one driver."""
    text = _tag(0x8801, "a.sys\0".encode("utf-16-le"))
    driver = _tag(0x701C, struct.pack("<HI", 0x6001, 6) + struct.pack("<HI", 0x4010, 3))
    yield b"\0" + _tag(0x7001, driver) + _tag(0x7801, text)
    yield b"\0" + _tag(0x7802, _tag(0x7803, b"\x02\x38\x07\x70")) + _tag(0x7001, driver * 3)

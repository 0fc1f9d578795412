"""Objects and libraries that a kit ships: COFF members, symbols, relocations."""

from __future__ import annotations

from collections.abc import Iterator

from answers import answer_or_sentence

import objects
from hvci.binary.objects.library import examine
from hvci.model import NEWEST


def one(data: bytes) -> None:
    """The file is the input."""
    with answer_or_sentence():
        examine(data, "x.lib", NEWEST, frozenset(), lambda name: True)


def seeds() -> Iterator[bytes]:
    """Objects of three machines, alone and in a library."""
    calls = {"x64": b"\x31\xc9\xe8\0\0\0\0\xc3", "x86": b"\x6a\0\xe8\0\0\0\0\xc3"}
    calls["arm64"] = bytes.fromhex("00008052 00000094 c0035fd6".replace(" ", ""))
    made = []
    for machine, code in calls.items():
        sections = [objects.section(".text$mn", code, moved=((4, 1, 4),))]
        symbols = [objects.symbol("f", 1), objects.symbol("ExAllocatePool", 0)]
        made.append(objects.obj(machine, sections, symbols))
    yield from made
    yield objects.archive(*made)
    yield objects.obj("x64", [objects.section(".data", b"abcd", objects.DATA)], [], big=True)

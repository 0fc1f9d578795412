"""Base relocation blocks of three machines."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import images
from answers import answer_or_sentence
from choices import Choices

import build


def one(data: bytes) -> None:
    """Machine, then blocks as they are or with headers that fit."""
    choose = Choices(data)
    machine = choose.pick(images.MACHINES)
    blocks = choose.rest() if choose.below(2) else _blocks(choose)
    with answer_or_sentence():
        images.judged(build.driver(machine, relocations=blocks), machine)


def _blocks(choose: Choices) -> bytes:
    blocks = b""
    while choose and len(blocks) < 0x1000:
        count = choose.below(20)
        words = [choose.number(2) for _ in range(count)]
        size = 8 + 2 * count + (choose.below(5) if choose.below(8) == 0 else 0)
        blocks += struct.pack(f"<II{count}H", 0x1000 * choose.below(9), size, *words)
    return blocks


def seeds() -> Iterator[bytes]:
    """Blocks that fit."""
    yield b"\0\0" + bytes(range(100))
    yield b"\1\1" + struct.pack("<II4H", 0x3000, 16, 0xA000, 0xA008, 0x3010, 0)

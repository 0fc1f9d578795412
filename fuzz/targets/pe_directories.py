"""Data directories that point anywhere in a driver whose tables hold anything."""

from __future__ import annotations

import images
from answers import answer_or_sentence
from choices import Choices

import build

NAMES = sorted(build.DIRECTORIES)


def one(data: bytes) -> None:
    """Machine, directories, then bytes for the section of constants."""
    choose = Choices(data)
    machine = choose.pick(images.MACHINES)
    directories = {}
    for _ in range(choose.below(5)):
        name = choose.pick(NAMES)
        wide = choose.below(4) == 0
        rva = choose.number(4) if wide else 0x1000 + choose.below(0x6000)
        directories[name] = (rva, choose.number(4) if wide else choose.below(0x400))
    with answer_or_sentence():
        image = bytearray(build.driver(machine, directories=directories))
        held = choose.rest()
        start = 0x400 + (held[0] * 8 if held else 0)
        image[start : start + len(held)] = held
        images.judged(bytes(image), machine)

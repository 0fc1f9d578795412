"""What an operand is counted from: its base, or what an index was added to right before.

Knows expressions; knows nothing of tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hvci.binary.behaviour.scene import Scene
from hvci.binary.flow.atoms import MASK64, signed
from hvci.binary.form.code import (
    CALLS,
    IMAGE_BASE,
    NO_REGISTER,
    Address,
    Binary,
    Const,
    Function,
    Location,
    Memory,
    Reg,
)


class Base(NamedTuple):
    """A register that may hold where a table begins."""

    i: int
    """The instruction that reads it."""
    register: int
    behind: int
    """What is added to it, besides the index."""
    is_indexed: bool


def bases(scene: Scene, function: Function, i: int, memory: Memory) -> Iterator[Base]:
    """The registers that an operand of the size of a pointer may be counted from."""
    behind = signed(memory.displacement & MASK64, scene.arch.bits)
    if memory.size != scene.image.pointer_size or memory.base in (NO_REGISTER, IMAGE_BASE):
        return
    is_indexed = memory.index_register != NO_REGISTER
    yield Base(i, memory.base, behind, is_indexed)
    if is_indexed:
        if memory.scale == 1:
            yield Base(i, memory.index_register, behind, is_indexed)
        return
    for d in scene.flow.definitions(function, i, Location(memory.base)):
        if not isinstance(d, int) or function.flows[d] in CALLS:
            continue
        match scene.arch.define(function, d, memory.base):
            case Binary("add", left, right, _) if not isinstance(right, Const):
                parts = [part.number for part in (left, right) if isinstance(part, Reg)]
            case Address(Memory(base, index, _, more, _)) if index != NO_REGISTER and not more:
                parts = [each for each in (base, index) if each >= 0]
            case _:
                continue
        yield from (Base(d, each, behind, is_indexed=True) for each in parts)

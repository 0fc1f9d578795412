"""Writes through an address of code that is kept in a field of an object: a record of a hook.

Starts from stores of such an address; where the field is read is told by others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called import fieldbytes
from hvci.binary.behaviour.called.readagain import ANY, held_after, readers
from hvci.binary.behaviour.scene import Place, Scene
from hvci.binary.behaviour.shallow import MAX_WALKED, Shallow
from hvci.binary.behaviour.writes.callees import writes
from hvci.binary.behaviour.writes.pairs import Pairs
from hvci.binary.form.code import CALLS, Location
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import members
from hvci.model import Machine

SOON = 12
"""Bytes behind an address in which it is put into a field."""
_STORE, _STORE_CONSTANT = 0x89, 0xC7


class InFields:
    """The fields of one image."""

    def __init__(self, scene: Scene, shallow: Shallow) -> None:
        self.scene, self.shallow, self.pairs = scene, shallow, Pairs(scene)

    def written(self, stores: Iterable[Place]) -> Iterator[tuple[Place, int]]:
        """(place, bytes behind the address) of writes through what some stores put into fields."""
        scene = self.scene
        for function, i in sorted(stores, key=lambda each: (each[0].start, each[1])):
            if function.flows[i] in CALLS or scene.flow.exhausted:
                continue
            for reader in readers(self.shallow, (function, i), self.pairs.has):
                held = held_after(scene, reader)
                if reader[0].flows[reader[1]] not in CALLS and held:
                    fate = self.shallow.from_instruction(*reader, held, MAX_WALKED)
                    yield from ((where, behind) for where, behind, _ in writes(scene, fate))

    def stored(self, places: Rvas) -> Iterator[tuple[Place, int]]:
        """Where the address of some operands, or ARM64 instructions, is put into a field soon.

        With the operand.
        """
        functions, flow = self.scene.analysis.functions, self.scene.flow
        is_arm64 = self.scene.image.machine is Machine.ARM64
        for place, at, behind in (_by_words if is_arm64 else _by_bytes)(self.scene, places):
            if not self.pairs.has(at, behind):
                continue
            made, store = functions.instruction_at(place), functions.instruction_at(at)
            if made is None or store is None or made[0] is not store[0]:
                continue
            registers = members(self.scene.arch.effect(*made).registers)
            if made == store or any(
                made[1] in flow.definitions(*store, Location(each)) for each in registers
            ):
                yield store, place


def _by_bytes(scene: Scene, places: Rvas) -> Iterator[tuple[int, int, int]]:
    """(operand, place in the store, bytes behind a register) of addresses that are stored soon."""
    places = places[places + nearby.OPERAND + SOON + nearby.MAX_INSTRUCTION < scene.image.size]
    code, registers = scene.image.bytes, nearby.registers(scene, places)
    at = places[:, None] + np.arange(nearby.OPERAND, nearby.OPERAND + SOON)
    opcode, modrm = code[at], code[at + 1]
    puts = (opcode == _STORE) & (modrm < 0xC0) & (modrm & DIRECT_MASK != DIRECT)
    puts &= (modrm >> 3 & 7) == (registers & 7)[:, None]
    puts &= (registers >= 0)[:, None]
    operands = at[np.arange(len(at)), puts.argmax(axis=1)] + 1 if len(at) else places
    is_put = puts.any(axis=1)
    for size in (2, 3, 4, 6, 7) if scene.image.bits == 32 else ():  # of what stands before
        modrm = code[places - size + 1]
        is_here = (code[places - size] == _STORE_CONSTANT) & (modrm & 0x38 == 0) & (modrm < 0xC0)
        operands = np.where(is_here & ~is_put, places - size + 1, operands)
        is_put |= is_here
    behind = fieldbytes.displacements(scene, operands)
    behind = np.where(fieldbytes.names_object(scene, operands), behind, ANY)
    columns = (each[is_put].tolist() for each in (places, operands, behind))
    yield from zip(*columns, strict=True)


def _by_words(scene: Scene, rvas: Rvas) -> Iterator[tuple[int, int, int]]:
    """The same of ARM64 instructions."""
    from hvci.binary.behaviour.arm64 import putwords

    return putwords.find(scene, rvas)

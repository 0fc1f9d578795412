"""Cheap tests on bytes that decide whether a place is worth decoding a function for.

They only sort out; a place that passes is decoded and judged by the data flow. x64 and x86 only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from iced_x86 import Decoder, FlowControl, Instruction, Mnemonic, OpKind

from hvci.binary.behaviour.scene import Scene
from hvci.binary.sets import distinct
from hvci.binary.x86_lift import FRAME_BASES, RAX, RCX, RDI, RDX, REGISTERS, RSI
from hvci.model import Machine

Rvas = npt.NDArray[np.int64]
WINDOW = 64
"""Bytes behind an instruction in which a use of what it loads is looked for."""
_STORES = np.zeros(256, bool)
_STORES[list(bytes.fromhex("01 09 11 21 29 31 7f 80 81 83 86 87 88 89 c6 c7 e7"))] = True
"""Last opcode bytes of the usual instructions that write a memory operand."""
_STRINGS = np.zeros(256, bool)
_STRINGS[[0xA4, 0xA5, 0xAA, 0xAB]] = True
_KEEPS_OPERAND = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH))
_VOLATILE = (RAX, RCX, RDX, 8, 9, 10, 11)


class Pointer(NamedTuple):
    """Where an instruction puts a pointer: a register, or the frame when that is -1."""

    place: int
    """RVA of the operand of four bytes that ends the instruction."""
    register: int


def stored_soon(scene: Scene, places: Rvas) -> Rvas:
    """Which operands are followed by something that may be a store, within `WINDOW` bytes."""
    places = places[places + WINDOW + 6 < scene.image.size]
    if not len(places):
        return places
    code = scene.image.bytes
    window = places[:, None] + np.arange(4, WINDOW)
    opcode, modrm = code[window], code[window + 1]
    stores = _STORES[opcode] & (modrm < 0xC0) & ((modrm & 7) != 4) & ((modrm & 0xC7) != 5)
    found: Rvas = places[(stores | _STRINGS[modrm]).any(axis=1)]
    return found


def called_soon(places: Rvas, sites: Rvas, window: int = WINDOW) -> Rvas:
    """Which places have one of the sorted `sites` in the bytes behind them."""
    if not len(sites) or not len(places):
        return places[:0]
    following = np.searchsorted(sites, places)
    near = sites[np.minimum(following, len(sites) - 1)] - places
    return places[(near >= 0) & (near < window)]


def call_places(scene: Scene, names: Iterable[str]) -> Rvas:
    """RVAs of the instructions that may call these imports, sorted."""
    if scene.image.machine is Machine.ARM64:
        calls = scene.calls(*names)
        return distinct(np.array([call.function.rvas[call.i] for call in calls], np.int64))
    found: list[int] = []
    for name in names:
        for slot in scene.image.import_slots.get(name, ()):
            for place in scene.places(slot):
                found += [place - 2, place - 3, *scene.analysis.references.to_code(place - 2)]
    return distinct(np.array(found, np.int64))


def is_used(scene: Scene, pointer: Pointer, calls: frozenset[int]) -> bool:
    """Whether code right behind an instruction writes through the pointer it loads, or calls.

    Follows copies between registers and to the frame, in code order, as far as the next jump.
    """
    start = pointer.place + 4
    held = {pointer.register} - {-1}
    code = bytes(scene.image.memory[start : start + WINDOW])
    kept: set[tuple[int, int]] = set()
    on_stack = pointer.register < 0
    for instruction in Decoder(scene.image.bits, code, ip=start):
        flow = instruction.flow_control
        if flow != FlowControl.NEXT:
            if instruction.ip in calls:
                return scene.image.bits == 32 or not held.isdisjoint((RCX, RDX))
            if flow == FlowControl.CONDITIONAL_BRANCH:
                continue
            held.difference_update(_VOLATILE)
            on_stack = False
            if flow not in (FlowControl.CALL, FlowControl.INDIRECT_CALL) or not (held or kept):
                return False
        elif _writes_through(instruction, held, kept, on_stack):
            return True
        elif not held and not kept and not on_stack:
            return False
    return False


def _writes_through(
    instruction: Instruction, held: set[int], kept: set[tuple[int, int]], on_stack: bool
) -> bool:
    """Whether an instruction stores through a held pointer; notes where it moves otherwise."""
    if not instruction.op_count:
        return False
    kind = instruction.op0_kind
    if kind == OpKind.MEMORY:
        if instruction.mnemonic in _KEEPS_OPERAND:
            return False
        base = instruction.memory_base
        if base in FRAME_BASES:
            if instruction.op_count == 2 and _number(instruction.op1_register) in held:
                kept.add((base, instruction.memory_displacement))
            return False
        return _number(base) in held
    if kind != OpKind.REGISTER:
        return instruction.is_string_instruction and not held.isdisjoint((RSI, RDI))
    if instruction.mnemonic in _KEEPS_OPERAND:
        return False
    target = _number(instruction.op0_register)
    if instruction.mnemonic in (Mnemonic.ADD, Mnemonic.SUB, Mnemonic.INC, Mnemonic.DEC):
        return False
    if _loads_held(instruction, held, kept, on_stack):
        held.add(target)
    else:
        held.discard(target)
    return False


def _loads_held(
    instruction: Instruction, held: set[int], kept: set[tuple[int, int]], on_stack: bool
) -> bool:
    """Whether an instruction puts the pointer, or one near it, into its register."""
    if instruction.op_count < 2:
        return False
    if instruction.op1_kind == OpKind.REGISTER:
        return instruction.mnemonic == Mnemonic.MOV and _number(instruction.op1_register) in held
    if instruction.op1_kind != OpKind.MEMORY:
        return False
    base = instruction.memory_base
    if instruction.mnemonic == Mnemonic.LEA:
        return _number(base) in held
    return base in FRAME_BASES and (on_stack or (base, instruction.memory_displacement) in kept)


def _number(register: int) -> int:
    known = REGISTERS.get(register)
    return known[0] if known else -2

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
from hvci.binary.image import Bytes
from hvci.binary.references import NO_RVAS
from hvci.binary.sets import distinct
from hvci.binary.x86_lift import FRAME_BASES, NONE, RAX, RCX, RDI, RDX, REGISTERS, RSI
from hvci.model import Machine

Rvas = npt.NDArray[np.int64]
WINDOW = 64
"""Bytes behind an instruction in which a use of what it loads is looked for."""
MAX_INSTRUCTION = 16
"""Bytes; no x64 instruction has more than 15."""
_STORES = np.zeros(256, bool)
_STORES[list(bytes.fromhex("01 09 11 21 29 31 7f 80 81 83 86 87 88 89 c6 c7 e7"))] = True
"""Last opcode bytes of the usual instructions that write a memory operand."""
_STRINGS = np.zeros(256, bool)
_STRINGS[[0xA4, 0xA5, 0xAA, 0xAB]] = True
_KEEPS_OPERAND = frozenset((Mnemonic.CMP, Mnemonic.TEST, Mnemonic.PUSH))
_SIMPLE = frozenset(
    (
        *(Mnemonic.MOV, Mnemonic.LEA, Mnemonic.PUSH, Mnemonic.CMP, Mnemonic.TEST, Mnemonic.AND),
        *(Mnemonic.ADD, Mnemonic.SUB, Mnemonic.OR, Mnemonic.XOR, Mnemonic.MOVZX, Mnemonic.NOP),
    )
)
"""Instructions that change no register but their first operand."""
FRAME, PUSHED = -1, -2
"""Where a pointer is that no register holds: in a frame slot, or pushed as an argument."""
CHUNK = 4096
"""Places looked at together: bounds the memory of a look at what is behind them."""
LOOK_BACK = 16
"""Instructions before a call in which the load of its register is looked for."""
_VOLATILE = (RAX, RCX, RDX, 8, 9, 10, 11)


class Pointer(NamedTuple):
    """Where an instruction puts a pointer: a register, `FRAME` or `PUSHED`."""

    place: int
    """RVA of the operand of four bytes that ends the instruction."""
    register: int


def names_memory(scene: Scene, place: int) -> bool:
    """Whether the bytes at `place` can be the address in a memory operand.

    `and eax, imm32` behind a zero byte looks like a store.
    """
    start = scene.analysis.functions.boundary(place)
    if start is None:
        return True
    if start == place:
        return False
    instruction = _decode(scene, start)
    if scene.image.bits == 64:
        return bool(instruction.is_ip_rel_memory_operand)
    return instruction.memory_displ_size == 4 and instruction.memory_base == NONE


def _decode(scene: Scene, start: int) -> Instruction:
    code = bytes(scene.image.memory[start : start + MAX_INSTRUCTION])
    return Decoder(scene.image.bits, code, ip=start).decode()


def is_called_code(scene: Scene, place: int) -> bool:
    """Whether bytes at an RVA lie in a known function, or what known code calls starts there.

    Outside of known functions only that proves them code, and data looks like code too often.
    """
    functions = scene.analysis.functions
    if scene.image.bits == 32 or functions.unwind.find(place):
        return True
    start = functions.gap_start(place)
    if start == scene.image.headers.entry or start in scene.image.exports:
        return True
    sites = scene.analysis.references.to_code(start)
    return any(functions.boundary(site) == site for site in sites)


def may_start(scene: Scene, places: Iterable[int]) -> bool:
    """Whether an instruction can start at one of some neighbouring places."""
    boundary = scene.analysis.functions.boundary
    return any(boundary(place) in (place, None) for place in places)


def is_method_call(scene: Scene, place: int) -> bool:
    """Whether a call or jump goes where a field or an import says that was loaded just before.

    True only when the bytes prove it: most indirect calls are such calls, and go nowhere new.
    """
    boundary = scene.analysis.functions.boundary
    call, start = _decode(scene, place), boundary(place)
    is_register = call.op0_kind == OpKind.REGISTER
    if start != place or not (is_register or _dispatches(scene, call)):
        return False
    wanted = _number(call.op0_register) if is_register else RAX
    for _ in range(LOOK_BACK):
        behind, start = start, boundary(start - 1)
        if start is None or behind - start > MAX_INSTRUCTION:
            return False
        instruction = _decode(scene, start)
        if instruction.mnemonic == Mnemonic.MOV and _is_target(instruction, wanted):
            return _loads_field(scene, instruction)
        if instruction.mnemonic not in _SIMPLE or _is_target(instruction, wanted):
            return False
    return False


def _dispatches(scene: Scene, call: Instruction) -> bool:
    """Whether a call goes through the dispatch function of Control Flow Guard."""
    slot = scene.image.guard_dispatch
    return slot >= 0 and bool(call.is_ip_rel_memory_operand) and call.ip_rel_memory_address == slot


def _is_target(instruction: Instruction, register: int) -> bool:
    """Whether an instruction has a register as its first operand."""
    is_register = instruction.op0_kind == OpKind.REGISTER
    return is_register and _number(instruction.op0_register) == register


def _loads_field(scene: Scene, instruction: Instruction) -> bool:
    """Whether a move reads an import or a field of a structure outside the frame."""
    if instruction.op1_kind != OpKind.MEMORY:
        return False
    if instruction.is_ip_rel_memory_operand:
        return instruction.ip_rel_memory_address in scene.image.imports
    if instruction.memory_base == NONE:
        slot = instruction.memory_displacement - scene.image.base
        return scene.image.bits == 32 and slot in scene.image.imports
    return instruction.memory_base not in FRAME_BASES and _number(instruction.memory_base) >= 0


def stored_soon(scene: Scene, places: Rvas, registers: Rvas) -> Rvas:
    """Which operands are followed by what may be a store through the register they load.

    Looks at `WINDOW` bytes for stores with that base, copies of it, and its return from a frame
    slot. Of a pointer in the frame any store counts, of a pushed one after a load by ESP.
    """
    inside = places + WINDOW + 6 < scene.image.size
    pushed = inside & (registers == PUSHED)
    if pushed.any():
        inside[pushed] = _loads_by_esp(scene, places[pushed])
    places, registers = places[inside], registers[inside]
    found = [
        places[first : first + CHUNK][
            _stores_behind(
                scene.image.bytes,
                places[first : first + CHUNK],
                registers[first : first + CHUNK, None],
            )
        ]
        for first in range(0, len(places), CHUNK)
    ]
    return np.concatenate(found) if found else places


def _stores_behind(code: Bytes, places: Rvas, register: Rvas) -> npt.NDArray[np.bool_]:
    """By place: whether the bytes behind it may hold such a store."""
    window = places[:, None] + np.arange(4, WINDOW)
    opcode, modrm = code[window], code[window + 1]
    low, in_memory, base = register & 7, modrm < 0xC0, modrm & 7
    source = modrm >> 3 & 7
    stores = _STORES[opcode] & in_memory & ((modrm & 0xC7) != 5)
    # Behind a SIB byte the base stands there: `mov [rax+rcx], dl`.
    through = in_memory & (np.where(base == 4, code[window + 2] & 7, base) == low)
    strings = _STRINGS[modrm]
    own = stores & through
    own |= strings & (low >= RSI)
    own |= (opcode == 0x89) & ~in_memory & (source == low)
    own |= (opcode == 0x8B) & ~in_memory & (base == low)
    own |= (opcode == 0x8D) & through
    in_frame = in_memory & (base >> 1 == 2)
    kept = ((opcode == 0x89) & in_frame & (source == low)).any(axis=1)
    kept &= ((opcode == 0x8B) & in_frame).any(axis=1)
    is_odd = (register[:, 0] < 0) | (low[:, 0] >> 1 == 2)  # bases with a longer encoding
    own[is_odd] = (stores | strings)[is_odd]
    answer: npt.NDArray[np.bool_] = own.any(axis=1) | (kept & ~is_odd)
    return answer


def _loads_by_esp(scene: Scene, places: Rvas) -> npt.NDArray[np.bool_]:
    """Which places have something like `mov r, [esp+x]` in the bytes behind them."""
    loads = [NO_RVAS]
    for start, end in scene.image.code_ranges:
        code = scene.image.bytes[start:end]
        loads.append(np.flatnonzero((code[:-2] == 0x8B) & (code[1:-1] & 0x07 == 4)) + start)
    sites = np.concatenate(loads)
    return _followed(places, sites, WINDOW)


def called_soon(places: Rvas, sites: Rvas, window: int = WINDOW) -> Rvas:
    """Which places have one of the sorted `sites` in the bytes behind them."""
    return places[_followed(places, sites, window)]


def called_before(places: Rvas, sites: Rvas, window: int) -> list[int]:
    """Which places have one of the sorted `sites` in the bytes before them."""
    before = sites.searchsorted(places) - 1
    near = (before >= 0) & (places - sites[np.maximum(before, 0)] < window)
    found: list[int] = places[near].tolist()
    return found


def _followed(places: Rvas, sites: Rvas, window: int) -> npt.NDArray[np.bool_]:
    if not len(sites):
        return np.zeros(len(places), bool)
    following = sites.searchsorted(places)
    near = sites[np.minimum(following, len(sites) - 1)] - places
    found: npt.NDArray[np.bool_] = (near >= 0) & (near < window)
    return found


def call_places(scene: Scene, names: Iterable[str]) -> Rvas:
    """RVAs of the instructions that may call these imports, sorted."""
    if scene.image.machine is Machine.ARM64:
        calls = scene.calls(*names)
        return distinct(np.array([call.function.rvas[call.i] for call in calls], np.int64))
    found: list[int] = []
    references = scene.analysis.references
    for name in names:
        for place in scene.places(name):
            found += (place - 2, place - 3)
            if references.thunk(place) is not None:
                found += references.to_code(place - 2)
    return distinct(np.array(found, np.int64))


def is_used(scene: Scene, pointer: Pointer, calls: frozenset[int]) -> bool:
    """Whether code right behind an instruction writes through the pointer it loads, or calls.

    Follows copies between registers and to the frame, in code order, as far as the next jump.
    """
    start = pointer.place + 4
    held = {pointer.register} - {FRAME, PUSHED}
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

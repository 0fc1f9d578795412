"""Which x64 and x86 calls through pointers may go to memory, as far as bytes tell.

Only sorts out: a call that passes is decoded and judged by the data flow. The counterpart for ARM64
is `arm64.words.indirect`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK, LEA
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.around import Around, Mask
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import Numbers, among, distinct

IMPORT_WINDOW = 0x600
"""Bytes before a call in which x86 code loads the import that it calls through a register."""
LOADED_WITHIN, MADE_WITHIN = 32, 0x80
"""Bytes before a call in which its register is loaded from a variable, and gets an address."""
NO_VARIABLE = -1
FIRST = 0x1000
"""Lowest RVA of what is no header."""
_THROUGH_FRAME = np.array((0x14, 0x54, 0x55, 0x64, 0x94, 0x95, 0xA4), np.uint8)
"""Operand bytes of calls through a frame slot, and of jumps through an argument."""
_THROUGH_REGISTER = np.array((0xD0, 0xE0), np.uint8)
"""The same of calls and jumps through a register, which is in the three bits below."""
_CALL_MEMORY, _JUMP_MEMORY = 0x15, 0x25
"""The same of `call [address]` and `jmp [address]`."""
_IN_FRAME = -1
"""Instead of a register: a call through a frame slot."""
_DISPATCHED = 0
"""The register through which Control Flow Guard's dispatch function calls, RAX."""
_CALL, _CALL_POINTER = 0xE8, 0xFF
_TO_FRAME, _TO_ESP = np.array((0x04, 0x44, 0x45)), 0x44
"""ModRM of a constant to the frame; that with two bytes more."""
_STORE, _STORE_CONSTANT, _LEA_BEFORE = 0x89, 0xC7, 7
"""Opcodes of stores, and bytes from the operand of LEA to that of a store right behind."""
_WIDE_MASK, _WIDE = 0xF8, 0x48
"""REX prefix of 64 bits."""
_SP, _BP = 4, 5
"""RSP as a base, which a SIB byte follows, and RBP."""
_NEAR_BP = 0x45
"""ModRM of an operand near that, without its register."""
_FROM_SP, _TO_ANY = 0xE0, 0xC4
"""ModRM of the two ways to copy RSP to a register, which is in its low or its middle bits."""
_SP_TO_BP = 0xEC
"""The second as functions begin with."""
_SP_ALONE = 0x24
"""That byte, where no register is added."""


class Variable(NamedTuple):
    """A variable that is called."""

    rva: int
    calls: list[int]
    writers: list[int]
    """The operands by which it may get a pointer to memory."""


class Candidates(NamedTuple):
    """Calls and jumps that may go to memory that does not execute, by their RVAs."""

    calls: list[int]
    """Through a register or a frame slot."""
    variables: list[Variable]
    """That others go through, or that their register is loaded from."""
    opcodes: Rvas
    """RVAs of what may be the opcode of any call or jump through a pointer."""
    before: Before
    """The bytes before those through a register or a frame slot."""


def find(scene: Scene, around: Around) -> Candidates:
    """All that the bytes do not clear."""
    opcodes = _pointers(scene)
    places, registers = _through(scene, opcodes)
    before = Before(scene, places, registers, MADE_WITHIN)
    loaded = before.variables()
    near = around.hold(places) | before.get_addresses()
    rows = (around.call(places) & (loaded == NO_VARIABLE) & ~near).nonzero()[0]
    if len(rows):
        near[rows] = before.come_from_frame(rows)
    chosen = (loaded == NO_VARIABLE) & near
    calls = [place for place in np.sort(places[chosen]).tolist() if may_be(scene, place)]
    is_loaded = loaded != NO_VARIABLE
    memory, variables_of = _through_variables(scene, opcodes)
    calling = np.concatenate((places[is_loaded], memory))
    names = np.concatenate((loaded[is_loaded], variables_of))
    variables = [
        Variable(rva, calling[names == rva].tolist(), _writers(scene, around, rva))
        for rva in distinct(names).tolist()
    ]
    return Candidates(calls, variables, opcodes, before)


def _pointers(scene: Scene) -> Rvas:
    """RVAs of what may be the opcode of a call or jump through a pointer."""
    code, found = scene.image.bytes, [NO_RVAS]
    for start, end in scene.image.code_ranges:
        last = min(end - 1, len(code) - 6)  # what is looked at behind it lies in the image
        found.append((code[start:last] == 0xFF).nonzero()[0] + start)
    return np.concatenate(found)


def may_be(scene: Scene, place: int) -> bool:
    """Whether the instruction can start there that the bytes at a place look like."""
    prefix = 1 if scene.image.bits == 64 else 0
    return nearby.is_called_code(scene, place) and nearby.may_start(
        scene, range(place, place - prefix - 1, -1)
    )


# ---- calls


def _through(scene: Scene, opcodes: Rvas) -> tuple[Rvas, Rvas]:
    """(RVA, register) of what looks like calls and jumps through a register or frame slot."""
    code = scene.image.bytes
    modrm = code[opcodes + 1]
    wanted = among(modrm & 0xF8, _THROUGH_REGISTER) | among(modrm, _THROUGH_FRAME)
    wanted &= (modrm & 7 != _SP) | (modrm >= 0xC0) | (code[opcodes + 2] == _SP_ALONE)
    places = opcodes[wanted]
    if scene.image.bits == 32:  # `mov edi, edi; push ebp; mov ebp, esp` holds FF 55
        places = places[(code[places - 1] != 0x8B) | (code[places + 3] != 0xEC)]
    places = places[~_calls_import(scene, places)]
    modrm = code[places + 1].astype(np.int64)
    registers = np.where(modrm >= 0xC0, modrm & 7, _IN_FRAME)
    dispatched = np.array(_dispatched(scene), np.int64)
    registers = np.concatenate((registers, np.full(len(dispatched), _DISPATCHED)))
    return np.concatenate((places, dispatched)), registers


def _dispatched(scene: Scene) -> list[int]:
    """RVAs of calls through the dispatch function of Control Flow Guard."""
    to_data = scene.analysis.references.to_data
    return [place - 2 for pointer in scene.image.guard_dispatches for place in to_data(pointer)]


def _calls_import(scene: Scene, calls: Rvas) -> Mask:
    """Which calls through a register have it loaded from an import shortly before."""
    if scene.image.bits == 64:
        return np.zeros(len(calls), bool)
    code = scene.image.bytes
    places = np.array(scene.analysis.import_places, np.int64)
    loads = places[(code[places - 2] == nearby.LOAD) & ((code[places - 1] & DIRECT_MASK) == DIRECT)]
    if not len(loads):
        return np.zeros(len(calls), bool)
    # One number for a register and an RVA: the next lower one is the last load of the same.
    loaded = np.sort(loads | (code[loads - 1] >> 3 & 7).astype(np.int64) << 32)
    called = calls | (code[calls + 1] & 7).astype(np.int64) << 32
    last = loaded[np.maximum(loaded.searchsorted(called) - 1, 0)]
    answer: Mask = (called > last) & (called - last < IMPORT_WINDOW)
    return answer


# ---- variables


def _through_variables(scene: Scene, opcodes: Rvas) -> tuple[Rvas, Rvas]:
    """(RVA, RVA of the variable) of calls and jumps through one that is no import."""
    modrm = scene.image.bytes[opcodes + 1]
    places = opcodes[(modrm == _CALL_MEMORY) | (modrm == _JUMP_MEMORY)]
    variables = named_rvas(scene, places + 2)
    others = variables != NO_VARIABLE
    for known in (scene.image.imports, scene.image.guard_dispatches):
        others &= ~among(variables, np.array(sorted(known), np.int64))
    return places[others], variables[others]


def named_rvas(scene: Scene, operands: Rvas) -> Rvas:
    """The RVAs in the image that addresses in instructions name, which end with them."""
    image = scene.image
    words = np.ndarray((image.size - 3,), "<i4", image.memory, 0, (1,))
    named = words[np.minimum(operands, image.size - 4)].astype(np.int64)
    named = named + operands + 4 if image.bits == 64 else (named & 0xFFFF_FFFF) - image.base
    return np.asarray(np.where((named >= 0) & (named < image.size), named, NO_VARIABLE))


def _writers(scene: Scene, around: Around, rva: int) -> list[int]:
    """The operands by which a variable may get a pointer to memory, as far as bytes tell."""
    image, references = scene.image, scene.analysis.references
    if rva in image.imports or not image.is_writable(rva):
        return []
    places = np.array(references.to_data(rva), np.int64)
    chosen = around.hold(places) | _get_data(scene, places)
    return [place for place in places[chosen].tolist() if not references.only_reads(place)]


def points_to_data(image: PeImage, rva: int) -> bool:
    """Whether the file holds the address of something that is no code in a variable."""
    content = image.number(rva, image.pointer_size) - image.base
    return FIRST <= content < image.size and not image.is_code(content)


def _get_data(scene: Scene, places: Rvas) -> Mask:
    """Which operands of stores get the address of data, made right before on x64."""
    code, is_32 = scene.image.bytes, scene.image.bits == 32
    stores = code[places - 2] == (_STORE_CONSTANT if is_32 else _STORE)
    addresses = places + 4 if is_32 else places - _LEA_BEFORE
    stores &= is_32 | (code[addresses - 2] == LEA)
    targets = named_rvas(scene, addresses)
    return np.asarray(stores & (targets >= FIRST) & ~scene.analysis.references.in_code(targets))


# ---- what stands before a call


def is_wide(scene: Scene, places: Rvas) -> Mask:
    """Which opcodes move 64 bits, on x64."""
    if scene.image.bits == 32:
        return np.ones(places.shape, bool)
    return np.asarray(scene.image.bytes[places - 1] & _WIDE_MASK == _WIDE)


def _names_frame(modrm: Numbers) -> Mask:
    """Which operands may be based on the stack pointer or the frame pointer."""
    base = modrm & 7
    in_frame = (base == _SP) | ((base == _BP) & (modrm >= 0x40))
    return np.asarray(in_frame & (modrm < 0xC0))


def _is_parameter(modrm: Numbers, displacement: Numbers) -> Mask:
    """Which x86 operands are so far above the frame pointer."""
    return np.asarray((modrm & 0xC7 == _NEAR_BP) & (displacement < 0x80))


class Before:
    """The bytes before some places with a register each, a row for each, the nearest first."""

    def __init__(self, scene: Scene, places: Rvas, registers: Rvas, count: int) -> None:
        """`count` bytes are looked at."""
        code = scene.image.bytes
        self.scene, self.places = scene, places
        self.registers = registers[:, None]
        self.at = np.maximum(places[:, None] - np.arange(2, count), 0)
        self.opcodes, self.modrm = code[self.at], code[self.at + 1].astype(np.int64)
        self.rows = np.arange(len(places))
        self.is_whole = is_wide(scene, self.at)

    def loads(self, is_wanted: Callable[[Numbers], Mask], count: int) -> Mask:
        """Where, in so many bytes, the register may be loaded from an operand with such a ModRM."""
        opcodes, modrm = self.opcodes[:, :count], self.modrm[:, :count]
        is_load = (opcodes == nearby.LOAD) & (modrm >> 3 & 7 == self.registers)
        return np.asarray(is_load & is_wanted(modrm) & self.is_whole[:, :count])

    def variables(self) -> Rvas:
        """The variables from which the registers are loaded, with nothing else in between."""
        at, opcodes = self.at[:, :LOADED_WITHIN], self.opcodes[:, :LOADED_WITHIN]
        modrm = self.modrm[:, :LOADED_WITHIN]
        writes = ((opcodes == nearby.LOAD) | (opcodes == LEA)) & (modrm >> 3 & 7 == self.registers)
        is_load = (opcodes == nearby.LOAD) & (modrm == (DIRECT | self.registers << 3))
        is_load &= self.is_whole[:, :LOADED_WITHIN]
        operands = at + 2
        if self.scene.image.bits == 32:
            is_short = (opcodes == nearby.LOAD_SHORT) & (self.registers == 0)
            operands = np.where(is_short & ~is_load, at + 1, operands)
            is_load |= is_short
        stops = writes | is_load | (opcodes == _CALL) | (opcodes == _CALL_POINTER)
        nearest = stops.argmax(axis=1)
        named = named_rvas(self.scene, operands[self.rows, nearest])
        return np.asarray(np.where(is_load[self.rows, nearest], named, NO_VARIABLE))

    def come_from_frame(self, rows: Rvas) -> Mask:
        """Which of some calls go through a local variable, or a register that one is loaded into.

        Where an address in the frame is made before.
        """
        code, at = self.scene.image.bytes, self.at[rows]
        opcodes, modrm, is_whole = self.opcodes[rows], self.modrm[rows], self.is_whole[rows]
        registers, places = self.registers[rows], self.places[rows]
        is_load = (opcodes == nearby.LOAD) & (modrm >> 3 & 7 == registers) & _names_frame(modrm)
        is_load &= is_whole
        is_through = registers[:, 0] == _IN_FRAME
        if self.scene.image.bits == 32:  # what lies above the frame pointer are parameters
            is_load &= ~_is_parameter(modrm, code[at + 2])
            is_through &= ~_is_parameter(code[places + 1], code[places + 2])
        is_copy = (opcodes == _STORE) & (modrm & 0xF8 == _FROM_SP) & (modrm & 7 != _BP)
        is_copy |= (opcodes == nearby.LOAD) & (modrm & 0xC7 == _TO_ANY) & (modrm != _SP_TO_BP)
        is_made = ((opcodes == LEA) & _names_frame(modrm) | is_copy) & is_whole
        from_frame = is_through | is_load[:, :LOADED_WITHIN].any(axis=1)
        return np.asarray(from_frame & is_made.any(axis=1))

    def get_addresses(self) -> Mask:
        """Which registers get an address in the frame, or one of data."""
        made = (self.opcodes == LEA) & (self.modrm >> 3 & 7 == self.registers)
        in_frame = made & _names_frame(self.modrm)
        in_frame |= (self.opcodes == _STORE) & (self.modrm == (_FROM_SP | self.registers))
        in_frame |= (self.opcodes == nearby.LOAD) & (self.modrm == (_TO_ANY | self.registers << 3))
        found = (in_frame & self.is_whole).any(axis=1)
        made &= self.modrm & DIRECT_MASK == DIRECT
        operands = self.at + 2
        if self.scene.image.bits == 32:
            made, operands = self._constants(operands)
        rows = made.any(axis=1).nonzero()[0]
        targets = named_rvas(self.scene, operands[rows, made[rows].argmax(axis=1)])
        is_data = (targets >= FIRST) & ~self.scene.analysis.references.in_code(targets)
        found[rows] |= is_data
        return np.asarray(found)

    def _constants(self, operands: Rvas) -> tuple[Mask, Rvas]:
        """Where x86 code may put the address of data into the register, or into the frame."""
        to_register = self.opcodes == (nearby.MOVE_IMMEDIATE | self.registers)
        in_frame = among(self.modrm, _TO_FRAME)
        to_frame = (self.opcodes == _STORE_CONSTANT) & in_frame
        places = np.where(to_register, operands - 1, operands + 1 + (self.modrm == _TO_ESP))
        places = np.where(to_register | to_frame, places, 0)
        named = named_rvas(self.scene, places)
        is_address = (named >= FIRST) & ~self.scene.analysis.references.in_code(named)
        return np.asarray(is_address & (to_register | to_frame)), places

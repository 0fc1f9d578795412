"""Which x64 and x86 instructions may call through a field, or put allocated memory into one.

Only sorts out, by bytes. The counterpart for ARM64 is in `arm64/fieldwords.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hvci.binary.arch.x86.operands import LEA
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.around import Around, Mask
from hvci.binary.behaviour.called.candidates import Before, Candidates, is_wide, named_rvas
from hvci.binary.behaviour.scene import Scene
from hvci.binary.flow.fates import OBJECT_REACH
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.sets import Numbers, among

EXTENSION = {32: 0x28, 64: 0x40}
"""Offset of DeviceExtension in a DEVICE_OBJECT, by the bits of the machine."""
BASE_WITHIN = 96
"""Bytes before a field in which the pointer to its object is loaded."""
TABLE_WITHIN = 32
"""Bytes before a call in which its base is loaded from the start of an object: a table of C++."""
HELD_WITHIN, COPIED_WITHIN = 0x200, 32
"""Bytes behind a call in which what it returns is stored, and is copied to another register."""
RELOADED_WITHIN = 18
"""Bytes before a store in which its register is loaded from the frame, without optimisation."""
FRAME_WITHIN = 0x800
"""Bytes around a store into the frame in which an address there is taken."""
NAMED_WITHIN = 0x80
"""Bytes before a call in which an argument of it is named."""
RECENT = 4
"""Calls before a store that may have returned what is stored."""
_CALL, _JUMP, _STORE = 2, 4, 0x89
_SP, _BP = 4, 5
_FROM_SP, _TO_ANY = 0xE0, 0xC4
"""ModRM of the two ways to copy the stack pointer, without the register that gets it."""
_RESULT, NO_SLOT = 0, -1


class Fields(NamedTuple):
    """Instructions that name fields."""

    places: Rvas
    operands: Rvas
    """Where each names one: the RVA of ModRM, or the index of an ARM64 word."""
    displacements: Rvas
    """How far behind the pointer to its object the field lies."""

    def of(self, wanted: Rvas) -> Fields:
        """Those with one of some displacements, which are sorted."""
        chosen = among(self.displacements, wanted)
        return Fields(*(each[chosen] for each in self))


class Bases(NamedTuple):
    """What the code before some fields tells of their objects."""

    variables: Rvas
    """The variable that the pointer to it was loaded from; `NO_VARIABLE` for others."""
    extend: Mask
    """Whether it may be the extension of a device."""


class FieldBytes:
    """The fields of an x64 or x86 image."""

    def __init__(self, scene: Scene, around: Around, found: Candidates) -> None:
        self.scene, self.around, self.found = scene, around, found

    def calls(self, wanted: Rvas) -> Fields:
        """The calls and jumps through a field, or what is loaded there, of a wanted displacement.

        Not those by a table whose address an object starts with.
        """
        scene, code = self.scene, self.scene.image.bytes
        places = self.found.opcodes
        modrm = code[places + 1]
        operation = modrm >> 3 & 7
        places = places[((operation == _CALL) | (operation == _JUMP)) & _names_field(modrm)]
        places = places[_is_wanted(scene, places + 1, wanted)]
        if len(places):
            bases = code[places + 1].astype(np.int64) & 7
            tables = Before(scene, places, bases, TABLE_WITHIN).loads(_is_start, TABLE_WITHIN)
            places = places[~tables.any(axis=1)]
        before = self.found.before
        loads = before.loads(_names_field, TABLE_WITHIN)
        rows = np.asarray(loads.any(axis=1)).nonzero()[0]
        operands = before.at[rows, loads[rows].argmax(axis=1)] + 1
        chosen = _is_wanted(scene, operands, wanted)
        operands, loaded = operands[chosen], before.places[rows[chosen]]
        operands = np.concatenate((places + 1, operands))
        return Fields(np.concatenate((places, loaded)), operands, displacements(scene, operands))

    def stores(self) -> Fields:
        """The stores of a register into a field that may store memory."""
        scene, sites, found = self.scene, self.around.sites, [NO_RVAS]
        code = scene.image.bytes
        for start, end in scene.image.code_ranges if len(sites) else ():
            last = min(end, len(code) - nearby.MAX_INSTRUCTION)
            found.append((code[start:last] == _STORE).nonzero()[0] + start)
        places = np.concatenate(found)
        if len(places):
            recent = np.maximum(sites.searchsorted(places) - 1, 0)
            behind = places - sites[recent]
            places = places[(behind > 0) & (behind < HELD_WITHIN)]
            modrm = code[places + 1]
            places = places[(_names_field(modrm) | _names_frame(modrm)) & is_wide(scene, places)]
            places = places[may_hold(scene, self.around, places)]
        is_object = names_object(scene, places + 1)
        own, (local, behind) = places[is_object], _in_frame(scene, self.around, places[~is_object])
        places = np.concatenate((own, local))
        behind = np.concatenate((displacements(scene, own + 1), behind))
        return Fields(places, places + 1, behind)

    def bases(self, fields: Fields) -> Bases:
        """What is known of the objects of some fields."""
        scene, code = self.scene, self.scene.image.bytes
        bases = code[fields.operands].astype(np.int64) & 7
        before = Before(scene, fields.operands, bases, BASE_WITHIN)
        extend = (before.opcodes == nearby.LOAD) & (before.modrm >> 6 == 1)
        extend &= code[before.at + 2] == EXTENSION[scene.image.bits]
        extend &= _names_field(before.modrm)
        return Bases(before.variables(), extend.any(axis=1))

    def named_before(self, places: Rvas) -> Rvas:
        """The RVAs that code before some places may name, a row for each."""
        at = np.maximum(places[:, None] - np.arange(4, NAMED_WITHIN), 0)
        return named_rvas(self.scene, at)


def _in_frame(scene: Scene, around: Around, places: Rvas) -> tuple[Rvas, Rvas]:
    """Stores into the frame, and how far behind an address in it that their function takes."""
    code, found = scene.image.bytes, list[tuple[int, int]]()
    for place, at in zip(places.tolist(), _in_frame_at(scene, places).tolist(), strict=True):
        start, end = around.span(place)
        first, last = max(start, place - FRAME_WITHIN), min(end, place + FRAME_WITHIN)
        taken = _taken(scene, np.arange(first, last - 1), int(code[place + 1]) & 7)
        found += [(place, at - each) for each in taken if 0 <= at - each < OBJECT_REACH]
    rows = np.array(found, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _taken(scene: Scene, at: Rvas, base: int) -> list[int]:
    """How far behind a register of the frame code takes addresses, by LEA or as a copy of it."""
    opcodes, modrm = scene.image.bytes[at], scene.image.bytes[at + 1]
    is_made = (opcodes == LEA) & _names_frame(modrm) & (modrm & 7 == base)
    copies = (opcodes == _STORE) & (modrm & 0xF8 == _FROM_SP)
    copies |= (opcodes == nearby.LOAD) & (modrm & 0xC7 == _TO_ANY)
    starts = {*_in_frame_at(scene, at[is_made]).tolist()}
    return sorted(starts | ({0} if base == _SP and copies.any() else set()))


def _in_frame_at(scene: Scene, places: Rvas) -> Rvas:
    """The displacements of operands in the frame, behind opcodes at some RVAs."""
    code = scene.image.bytes
    return displacements(scene, places + 1, (code[places + 1] & 7 == _SP).astype(np.int64))


def _names_frame(modrm: Numbers) -> Mask:
    """Which operands are a place in the frame, as a rule."""
    base = modrm & 7
    return np.asarray((modrm >= 0x40) & (modrm < 0xC0) & ((base == _SP) | (base == _BP)))


def object_loads(scene: Scene) -> Fields:
    """The loads of a pointer from a field into a register: `operands` are where they end."""
    code, found = scene.image.bytes, [NO_RVAS]
    for start, end in scene.image.code_ranges:
        last = min(end, len(code) - nearby.MAX_INSTRUCTION)
        found.append((code[start:last] == nearby.LOAD).nonzero()[0] + start)
    places = np.concatenate(found)
    places = places[names_object(scene, places + 1) & is_wide(scene, places)]
    modes = code[places + 1] >> 6
    ends = places + 2 + np.where(modes == 2, 4, modes)
    return Fields(places, ends, displacements(scene, places + 1))


def _names_field(modrm: Numbers) -> Mask:
    """Which operands are one register, with or without a displacement; RBP may be the frame's."""
    base = modrm & 7
    is_alone = (base != _SP) & ((base != _BP) | (modrm >= 0x40))
    return np.asarray((modrm < 0xC0) & is_alone)


def names_object(scene: Scene, operands: Rvas) -> Mask:
    """Which operands with ModRM at some RVAs are a field behind a register."""
    return np.asarray(_names_field(scene.image.bytes[operands]) & _is_object(scene, operands))


def _is_object(scene: Scene, operands: Rvas) -> Mask:
    """Which operands with ModRM at some RVAs are none of local variables, as RBP names them."""
    is_frame = scene.image.bytes[operands] & 7 == _BP
    return np.asarray(~is_frame | (displacements(scene, operands) >= 0))


def _is_wanted(scene: Scene, operands: Rvas, wanted: Rvas) -> Mask:
    """Which of them have one of some displacements, which are sorted."""
    return np.asarray(_is_object(scene, operands) & among(displacements(scene, operands), wanted))


def _is_start(modrm: Numbers) -> Mask:
    """Which operands are such a register alone."""
    return np.asarray((modrm < 0x40) & _names_field(modrm))


def displacements(scene: Scene, operands: Rvas, more: Rvas | int = 0) -> Rvas:
    """The displacements of operands of which ModRM stands at some RVAs, with bytes between."""
    image = scene.image
    modes = image.bytes[operands] >> 6
    words = np.ndarray((image.size - 3,), "<i4", image.memory, 0, (1,))
    at = operands + 1 + more
    wide = words[np.minimum(at, image.size - 4)].astype(np.int64)
    short = image.bytes[np.minimum(at, image.size - 1)].astype(np.int8).astype(np.int64)
    return np.asarray(np.where(modes == 0, 0, np.where(modes == 1, short, wide)))


def may_hold(scene: Scene, around: Around, places: Rvas) -> Mask:
    """Which stores store a register that gets what a call shortly before returned.

    By a copy to that register, or out of the slot of the frame that got it.
    """
    code, sites = scene.image.bytes, around.sites
    registers = code[places + 1].astype(np.int64) >> 3 & 7
    kept, slots = _kept(scene, sites), _reloaded(scene, places, registers)
    found = np.zeros(len(places), bool)
    last = sites.searchsorted(places) - 1
    for back in range(RECENT):
        call = np.maximum(last - back, 0)
        behind = places - sites[call]
        at = np.minimum(sites[call][:, None] + np.arange(5, COPIED_WITHIN), len(code) - 2)
        opcodes, modrm = code[at], code[at + 1].astype(np.int64)
        copied = (opcodes == _STORE) & (modrm == (0xC0 | registers)[:, None])
        copied |= (opcodes == nearby.LOAD) & (modrm == (0xC0 | registers << 3)[:, None])
        holds = (registers == _RESULT) & (behind < COPIED_WITHIN) | copied.any(axis=1)
        holds |= (slots != NO_SLOT) & (slots == kept[call])
        found |= (behind > 0) & (behind < HELD_WITHIN) & holds
    return found


def _kept(scene: Scene, sites: Rvas) -> Rvas:
    """The slot of the frame that gets the result of each call, as ModRM and displacement."""
    code = scene.image.bytes
    at = np.minimum(sites[:, None] + np.arange(5, COPIED_WITHIN), len(code) - 4)
    stored = (code[at] == _STORE) & _is_slot(code[at + 1], _RESULT)
    return np.asarray(np.where(stored.any(axis=1), _slots(scene, at, stored), NO_SLOT))


def _reloaded(scene: Scene, places: Rvas, registers: Rvas) -> Rvas:
    """The slot of the frame that each register was loaded from shortly before, in the same way."""
    code = scene.image.bytes
    at = np.maximum(places[:, None] - np.arange(2, RELOADED_WITHIN), 0)
    loads = (code[at] == nearby.LOAD) & _is_slot(code[at + 1], registers[:, None])
    return np.asarray(np.where(loads.any(axis=1), _slots(scene, at, loads), NO_SLOT))


def _is_slot(modrm: Numbers, registers: Numbers | int) -> Mask:
    """Which operands are a register and a slot near the frame's."""
    base = modrm & 7
    in_frame = (modrm >> 6 == 1) & ((base == _SP) | (base == _BP))
    return np.asarray((modrm >> 3 & 7 == registers) & in_frame)


def _slots(scene: Scene, at: Rvas, chosen: Mask) -> Rvas:
    """The displacement of the first chosen operand of each row."""
    code = scene.image.bytes
    first = at[np.arange(len(at)), chosen.argmax(axis=1)]
    return np.asarray(code[first + 2 + (code[first + 1] & 7 == _SP)].astype(np.int64))

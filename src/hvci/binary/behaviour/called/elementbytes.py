"""Which x64 and x86 instructions may call an element of a table, or put memory into one.

Only sorts out, by bytes. The counterpart for ARM64 is `arm64/elementwords.py`.
"""

from __future__ import annotations

import numpy as np

from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.called.around import Around, Mask, kept_behind
from hvci.binary.behaviour.called.candidates import (
    NO_VARIABLE,
    Candidates,
    is_wide,
    may_be,
    named_rvas,
)
from hvci.binary.behaviour.called.elements import Indexed
from hvci.binary.behaviour.called.fieldbytes import may_hold
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.sets import distinct

HELD_WITHIN = 0x80
"""Bytes behind where memory comes up in which it is put into an element."""
LOADED_WITHIN = 24
"""Bytes before a call in which its register is loaded."""
STEPPED_WITHIN = 48
"""Bytes around a call in which its register is moved on to the next element."""
SUMMED_WITHIN = 12
"""Bytes before an operand in which an index is added to its base."""
_ADD, _DIRECT = 0x83, 5
_ADD_TO, _ADD_FROM = 0x01, 0x03
_STORE, _SIB, _NO_INDEX, _WIDE = 0x89, 4, 4, 2
_RESULT, _CALL, _JUMP = 0, 2, 4
"""EAX, and the operation of a call and of a jump, in the middle of ModRM."""


def find(scene: Scene, around: Around, found: Candidates) -> Indexed:
    """All that the bytes do not clear; nothing where no memory comes up."""
    if not len(around.sites):
        return Indexed(NO_RVAS, NO_RVAS)
    stores, are_named = _stores(scene, around), _fills(scene, around)
    if not len(stores) and not are_named:
        return Indexed(NO_RVAS, NO_RVAS)
    return Indexed(_calls(scene, around, found), stores, are_named)


def _fills(scene: Scene, around: Around) -> bool:
    """Whether memory is put into two variables side by side: into elements, one by one."""
    kept = {rva for place in around.sites.tolist() for rva in kept_behind(scene, place)}
    return any(rva + scene.image.pointer_size in kept for rva in kept)


def _calls(scene: Scene, around: Around, found: Candidates) -> Rvas:
    code, places = scene.image.bytes, found.opcodes
    operation = code[places + 1] >> 3 & 7
    through = places[(operation == _CALL) | (operation == _JUMP)]
    through = through[_has_index(scene, through)]
    before = found.before
    rows, columns = before.loads(lambda modrm: modrm < 0xC0, LOADED_WITHIN).nonzero()
    loaded = before.places[rows[_has_index(scene, before.at[rows, columns])]]
    stepping = _stepping(scene, places[(operation == _CALL) & around.hold(places)])
    found_ = distinct(np.concatenate((through, loaded, stepping)))
    return np.array([place for place in found_.tolist() if may_be(scene, place)], np.int64)


def _stepping(scene: Scene, places: Rvas) -> Rvas:
    """The calls through a register to which the size of a pointer is added nearby."""
    code = scene.image.bytes
    modrm = code[places + 1]
    is_plain = (modrm < 0xC0) & (modrm & 7 != _SIB) & (modrm & 0xC7 != _DIRECT)
    places, registers = places[is_plain], code[places[is_plain] + 1] & 7
    near = np.arange(-STEPPED_WITHIN, STEPPED_WITHIN)
    at = np.clip(places[:, None] + near, 0, len(code) - 3)
    is_step = (code[at] == _ADD) & (code[at + 1] == (0xC0 | registers)[:, None])
    is_step &= code[at + 2] == scene.image.pointer_size
    return np.asarray(places[is_step.any(axis=1)])


def _stores(scene: Scene, around: Around) -> Rvas:
    code, found = scene.image.bytes, [NO_RVAS]
    for start, end in scene.image.code_ranges:
        last = min(end, len(code) - nearby.MAX_INSTRUCTION)
        places = (code[start:last] == _STORE).nonzero()[0] + start
        places = places[code[places + 1] < 0xC0]
        places = places[is_wide(scene, places) & around.hold(places)]
        found.append(places[_has_index(scene, places)])
    places = np.concatenate(found)
    behind = places - around.sites[np.maximum(around.sites.searchsorted(places) - 1, 0)]
    places = places[(behind > 0) & (behind < HELD_WITHIN)]
    if not len(places):
        return places
    is_result = code[places + 1] >> 3 & 7 == _RESULT
    return np.asarray(places[is_result | may_hold(scene, around, places)])


def _is_summed(scene: Scene, opcodes: Rvas) -> Mask:
    """Which instructions have a base to which a register was added right before."""
    code = scene.image.bytes
    base = (code[opcodes + 1] & 7).astype(np.int64)[:, None]
    at = np.maximum(opcodes[:, None] - np.arange(2, SUMMED_WITHIN), 0)
    into, to = code[at + 1] >> 3 & 7 == base, code[at + 1] & 7 == base
    is_sum = (code[at] == _ADD_TO) & to | (code[at] == _ADD_FROM) & into
    return np.asarray((is_sum & (code[at + 1] >= 0xC0)).any(axis=1))


def _has_index(scene: Scene, opcodes: Rvas) -> Mask:
    """Which instructions have an operand of base and index, or of a table and index."""
    code = scene.image.bytes
    modrm, sib = code[opcodes + 1], code[opcodes + 2]
    found = (modrm & 7 == _SIB) & (modrm < 0xC0) & (sib >> 3 & 7 != _NO_INDEX)
    if scene.image.bits == 64:
        found |= _is_summed(scene, opcodes)
    else:
        is_named = (modrm >> 6 == _WIDE) & (modrm & 7 != _SIB)
        found[is_named] |= _is_table(scene, opcodes[is_named] + 2)
        is_alone = found & (modrm & 0xC7 == _SIB) & (sib & 7 == _DIRECT)
        found[is_alone] = _is_table(scene, opcodes[is_alone] + 3)
    return np.asarray(found)


def _is_table(scene: Scene, operands: Rvas) -> Mask:
    """Which addresses in x86 instructions are of data that code fills."""
    named, code = named_rvas(scene, operands), scene.image.bytes
    is_empty = (code[named] == 0) & (code[np.minimum(named + 1, len(code) - 1)] == 0)
    return np.asarray((named != NO_VARIABLE) & is_empty & ~scene.analysis.references.in_code(named))

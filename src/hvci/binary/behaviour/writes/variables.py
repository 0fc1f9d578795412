"""Variables that may keep an address of code, and what may read them, by bytes and words alone.

They only sort out; the data flow decides what a variable holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.x86.operands import DIRECT, DIRECT_MASK
from hvci.binary.behaviour import nearby
from hvci.binary.behaviour.arm64 import words
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.writes import lasting
from hvci.binary.form.code import IMAGE_BASE, NO_REGISTER, Function, Load
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.sets import among, distinct
from hvci.model import Machine

KEPT_WITHIN = 48
"""Bytes behind an address, or a read of such a variable, in which it is put into another one."""
ROUNDS = 2
"""How often a variable is expected to be copied from another one."""
_STORE, _STORE_CONSTANT, _STORE_SHORT = 0x89, 0xC7, 0xA3
Mask = npt.NDArray[np.bool_]


def reads(scene: Scene, initial: bool = False) -> set[int]:
    """Operands of loads of a variable that may keep an address of code, or does in the file.

    In the file, or copied from one that does, where only `initial` ones are asked for.
    """
    kept = _initial(scene)
    made = NO_RVAS if initial else _made(scene)
    if not len(kept) and not len(made):
        return set()
    rvas, places = _named(scene)
    loads, stores = are_loads(scene, places), _are_stores(scene, places)
    for _ in range(ROUNDS):
        sources = distinct(np.concatenate((made, places[loads & among(rvas, kept)])))
        more = stores & _follow(places, sources)
        kept = distinct(np.concatenate((kept, rvas[more])))
    return set(places[loads & among(rvas, kept)].tolist())


def _initial(scene: Scene) -> Rvas:
    """The writable variables that the file gives an address of code, sorted."""
    references = scene.analysis.references
    targets, places = references.pointers
    places = places[references.in_code(targets)]
    return np.sort(places[_are_within(places, _writable(scene))])


def _made(scene: Scene) -> Rvas:
    """Where code makes an address of code, or loads that of an import."""
    if scene.image.machine is Machine.ARM64:
        return words.code_pages(scene)
    places = lasting.functions(scene, lasting.made(scene))
    imports = np.array(scene.analysis.import_places, np.int64)
    return distinct(np.concatenate((places, imports[are_loads(scene, imports)])))


def _named(scene: Scene) -> tuple[Rvas, Rvas]:
    """(RVA, operand) of everything that may name a writable variable."""
    found = [scene.analysis.references.naming(*span) for span in _writable(scene)]
    if not found:
        return NO_RVAS, NO_RVAS
    rvas, places = (np.concatenate([each[k] for each in found]) for k in (0, 1))
    return rvas, places


def _writable(scene: Scene) -> list[tuple[int, int]]:
    """The spans of the sections that are writable and not executable."""
    return [
        (section.rva, section.end)
        for section in scene.image.sections
        if section.writable and not section.executable
    ]


def _are_within(places: Rvas, spans: list[tuple[int, int]]) -> Mask:
    found = np.zeros(len(places), bool)
    for low, high in spans:
        found |= (places >= low) & (places < high)
    return found


def are_loads(scene: Scene, places: Rvas) -> Mask:
    """Which operands may be those of a load of a pointer into a register."""
    if scene.image.machine is Machine.ARM64:
        return words.are_loads(scene, places)
    code = scene.image.bytes
    found = (code[places - 2] == nearby.LOAD) & ((code[places - 1] & DIRECT_MASK) == DIRECT)
    if scene.image.bits == 32:
        found |= code[places - 1] == nearby.LOAD_SHORT
    return np.asarray(found)


def _are_stores(scene: Scene, places: Rvas) -> Mask:
    """Which operands may be those of a store of a register, or of an address on x86."""
    if scene.image.machine is Machine.ARM64:
        return words.are_stores(scene, places)
    code = scene.image.bytes
    direct = (code[places - 1] & DIRECT_MASK) == DIRECT
    found = direct & (code[places - 2] == _STORE)
    if scene.image.bits == 32:
        found |= direct & (code[places - 2] == _STORE_CONSTANT)
        found |= code[places - 1] == _STORE_SHORT
    return np.asarray(found)


def _follow(places: Rvas, sources: Rvas) -> Mask:
    """Which places have one of the sorted sources shortly before them, or right behind."""
    if not len(sources):
        return np.zeros(len(places), bool)
    before = sources[np.maximum(sources.searchsorted(places) - 1, 0)]
    found = (before < places) & (places - before < KEPT_WITHIN)
    return np.asarray(found | among(places + nearby.OPERAND, sources))


def named(scene: Scene, function: Function, i: int) -> int | None:
    """The RVA of the variable that an instruction loads."""
    effect = scene.arch.effect(function, i)
    loaded = scene.arch.define(function, i, effect.registers.bit_length() - 1)
    if isinstance(loaded, Load) and loaded.memory.base == IMAGE_BASE:
        is_plain = loaded.memory.index_register == NO_REGISTER
        return loaded.memory.displacement if is_plain else None
    return None

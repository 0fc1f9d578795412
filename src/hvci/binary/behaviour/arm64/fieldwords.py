"""Which ARM64 instructions may call through a field, or put allocated memory into one.

Only sorts out, by words. The counterpart of `called/fieldbytes.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.scan.fields import page_steps
from hvci.binary.behaviour.called.around import Around, Mask
from hvci.binary.behaviour.called.candidates import NO_VARIABLE
from hvci.binary.behaviour.called.fieldbytes import EXTENSION, Bases, Fields
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.pe.sets import among

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

Words = npt.NDArray[np.uint32]
BASE_WITHIN = 24
"""Words before a field in which the pointer to its object is loaded."""
LOADED_WITHIN = 8
"""Words before a call in which its register is loaded, and before that load that of its base."""
HELD_WITHIN, COPIED_WITHIN, RELOADED_WITHIN = 128, 8, 4
"""Words behind a call in which what it returns is stored, and is copied to another register;
before a store in which its register is loaded from the frame, without optimisation."""
NAMED_WITHIN, PAIR_WINDOW = 32, 4
"""Words before a call in which an argument of it is named, and between an ADRP and its ADD."""
FRAME_WITHIN = 0x200
"""Words around a store into the frame in which an address there is taken."""
RECENT = 4
"""Calls before a store that may have returned what is stored."""
_FP, NO_SLOT = 29, -1
_LOAD, _STORE, _ACCESS = 0xF940_0000, 0xF900_0000, 0xFFC0_0000
"""LDR and STR of 64 bits with an unsigned offset."""
_PAIR = 0xA900_0000
"""STP of 64 bits that leaves its base alone."""
_PAGE, _PAGE_BITS = 0x9F00_0000, 0x9000_0000
"""ADRP."""
_ADD, _ADD_BITS = 0xFFC0_0000, 0x9100_0000
"""ADD of a number of 12 bits."""
_COPY = 0xAA00_03E0
"""MOV of X0 to the register in the lowest bits."""


class FieldWords:
    """The fields of an ARM64 image."""

    def __init__(self, scene: Scene, around: Around) -> None:
        self.scene, self.around = scene, around

    def calls(self, wanted: Rvas) -> Fields:
        """Those that calls and jumps go through."""
        return _calls(self.scene, wanted)

    def stores(self) -> Fields:
        """Those into which memory may be put."""
        return _stores(self.scene, self.around)

    def bases(self, fields: Fields) -> Bases:
        """What is known of the objects of some fields."""
        return _bases(self.scene, fields.operands)

    def named_before(self, places: Rvas) -> Rvas:
        """The RVAs that code before some places may name, a row for each."""
        return _named_before(self.scene, places)


def object_loads(scene: Scene) -> Fields:
    """The loads of a pointer from a field into a register."""
    words, rvas = _code(scene)
    at = ((words & _ACCESS == _LOAD) & (words >> 5 & 31 < _FP)).nonzero()[0]
    return Fields(rvas[at], at, _displacements(words[at]))


def _named_before(scene: Scene, places: Rvas) -> Rvas:
    words, rvas = _code(scene)
    at = np.maximum(rvas.searchsorted(places)[:, None] - np.arange(1, NAMED_WITHIN), 0)
    made = words[at]
    is_page = made & _PAGE == _PAGE_BITS
    pages = (rvas[at] & ~0xFFF) + page_steps(made)
    found = []
    for behind in range(1, PAIR_WINDOW + 1):
        after = words[np.minimum(at + behind, len(words) - 1)]
        is_sum = (after & 0xFF80_0000 == 0x9100_0000) & (after >> 5 & 31 == made & 31)
        found.append(np.where(is_page & is_sum, pages + (after >> 10 & 0xFFF), 0))
    return np.concatenate(found, axis=1)


def _calls(scene: Scene, wanted: Rvas) -> Fields:
    """The calls and jumps through what is loaded from a field with a wanted displacement.

    Neither those by a table whose address an object starts with, nor those through imports.
    """
    words, rvas = _code(scene)
    places = ((words & 0xFFDF_FC1F) == 0xD61F_0000).nonzero()[0]
    loads = np.array(scene.analysis.import_places, np.int64)
    behind = rvas[places][:, None] - 4 * np.arange(1, 3)
    places = places[~np.isin(behind, loads).any(axis=1)]
    registers = (words[places] >> 5 & 31)[:, None]
    at = np.maximum(places[:, None] - np.arange(1, LOADED_WITHIN), 0)
    made = words[at] & (_ACCESS | 31) == (_LOAD | registers)
    rows = made.any(axis=1).nonzero()[0]
    places, load = places[rows], at[rows, made[rows].argmax(axis=1)]
    chosen = among(_displacements(words[load]), wanted)
    places, load = places[chosen], load[chosen]
    bases = (words[load] >> 5 & 31)[:, None]
    before = words[np.maximum(load[:, None] - np.arange(1, LOADED_WITHIN), 0)]
    is_page, is_load = before & _PAGE == _PAGE_BITS, before & _ACCESS == _LOAD
    makes = (before & 31 == bases) & (is_page | is_load)
    nearest = before[np.arange(len(before)), makes.argmax(axis=1)]
    is_table = (nearest & 0xFFFF_FC00 == _LOAD) & (nearest >> 5 & 31 < _FP)
    is_usual = makes.any(axis=1) & (is_table | (nearest & _PAGE == _PAGE_BITS))
    chosen = (bases[:, 0] < _FP) & ~is_usual
    load = load[chosen]
    return Fields(rvas[places[chosen]], load, _displacements(words[load]))


def _stores(scene: Scene, around: Around) -> Fields:
    """The stores of a register into a field that may store memory."""
    if not len(around.sites):
        return Fields(NO_RVAS, NO_RVAS, NO_RVAS)
    words, rvas = _code(scene)
    sites = rvas.searchsorted(around.sites)
    near = np.zeros(len(words) + 1, np.int32)
    near[sites] += 1
    np.subtract.at(near, np.minimum(sites + HELD_WITHIN, len(words)), 1)
    held = np.cumsum(near[:-1]) > 0
    single = (held & (words & _ACCESS == _STORE)).nonzero()[0]
    pairs = (held & (words & _ACCESS == _PAIR)).nonzero()[0]
    distances = (words[pairs].astype(np.int64) >> 15 & 0x7F ^ 0x40) - 0x40 << 3
    places = np.concatenate((single, pairs, pairs))
    registers = np.concatenate((words[single], words[pairs], words[pairs] >> 10)) & 31
    displacements = np.concatenate((_displacements(words[single]), distances, distances + 8))
    before = words[np.maximum(places[:, None] - np.arange(1, RELOADED_WITHIN), 0)]
    loads = (before & (_ACCESS | 31) == (_LOAD | registers[:, None])) & (before >> 5 & 31 >= _FP)
    reloaded = _slots(before, loads)
    last, chosen = sites.searchsorted(places) - 1, np.zeros(len(places), bool)
    for back in range(RECENT):
        call = sites[np.maximum(last - back, 0)]
        behind = places - call
        after = words[np.minimum(call[:, None] + np.arange(1, COPIED_WITHIN), len(words) - 1)]
        stores = (after & (_ACCESS | 31) == _STORE) & (after >> 5 & 31 >= _FP)
        holds = (after == (_COPY | registers)[:, None]).any(axis=1)
        holds |= (registers == 0) & (behind < COPIED_WITHIN)
        holds |= (reloaded != NO_SLOT) & (reloaded == _slots(after, stores))
        chosen |= (behind > 0) & (behind < HELD_WITHIN) & holds
    places, displacements = _behind_objects(around, places[chosen], displacements[chosen])
    return Fields(rvas[places], places, displacements)


def _behind_objects(around: Around, places: Rvas, displacements: Rvas) -> tuple[Rvas, Rvas]:
    """Stores, and how far behind the object: in the frame, behind an address that is taken."""
    words, rvas = _code(around.scene)
    bases = words[places] >> 5 & 31
    in_frame = bases >= _FP
    found: list[tuple[int, int]] = []
    columns = (each[in_frame].tolist() for each in (places, displacements, bases))
    for place, at, base in zip(*columns, strict=True):
        first, last = rvas.searchsorted(around.span(int(rvas[place]))).tolist()
        code = words[max(first, place - FRAME_WITHIN) : min(last, place + FRAME_WITHIN)]
        taken = code[(code & _ADD == _ADD_BITS) & (code >> 5 & 31 == base)] >> 10 & 0xFFF
        found += [(place, at - start) for start in sorted({*taken.tolist()}) if start <= at]
    rows = np.array(found, np.int64).reshape(-1, 2)
    return (
        np.concatenate((places[~in_frame], rows[:, 0])),
        np.concatenate((displacements[~in_frame], rows[:, 1])),
    )


def _bases(scene: Scene, operands: Rvas) -> Bases:
    """What is known of the objects of the fields that words of some indices name."""
    words, rvas = _code(scene)
    bases = (words[operands] >> 5 & 31)[:, None]
    at = np.maximum(operands[:, None] - np.arange(1, BASE_WITHIN), 0)
    before, rows = words[at], np.arange(len(operands))
    is_load = before & _ACCESS == _LOAD
    extend = (is_load & (before >> 7 & 0x7FF8 == EXTENSION[64])).any(axis=1)
    loads = is_load & (before & 31 == bases)
    load = before[rows, loads.argmax(axis=1)]
    pages = before & (_PAGE | 31) == (_PAGE_BITS | load[:, None] >> 5 & 31)
    page = pages.argmax(axis=1)
    start = (rvas[at[rows, page]] & ~0xFFF) + page_steps(before[rows, page])
    known = loads.any(axis=1) & pages.any(axis=1)
    variables = np.where(known, start + (load >> 7 & 0x7FF8), NO_VARIABLE)
    return Bases(variables, extend)


def _slots(words: Words, chosen: Mask) -> Rvas:
    """Base and offset of the first chosen word of each row, where there is one."""
    first = words[np.arange(len(words)), chosen.argmax(axis=1)].astype(np.int64) >> 5 & 0x1FFFF
    return np.asarray(np.where(chosen.any(axis=1), first, NO_SLOT))


def _displacements(words: Words) -> Rvas:
    return np.asarray((words >> 7 & 0x7FF8).astype(np.int64))


def _code(scene: Scene) -> tuple[Words, Rvas]:
    references = cast("ReferencesArm64", scene.analysis.references)
    return references.words, references.rvas

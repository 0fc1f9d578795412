"""Which ARM64 instructions may call an element of a table, or put memory into one.

Only sorts out, by words. The counterpart of `called/elementbytes.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour.called.around import Around
from hvci.binary.behaviour.called.elements import Indexed
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import NO_RVAS

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

HELD_WITHIN = 0x80
"""Bytes behind where memory comes up in which it is put into an element."""
LOADED_WITHIN, SUMMED_WITHIN = 8, 3
"""Words before a call in which its register is loaded, and behind a sum in which that is used."""
_CALL, _CALL_BITS = 0xFFDF_FC1F, 0xD61F_0000
"""BR and BLR."""
_INDEXED, _LOAD, _STORE = 0xFFE0_0C00, 0xF860_0800, 0xF820_0800
"""LDR and STR of 64 bits with a register that counts elements."""
_STEPPED, _LOAD_NEXT, _STORE_NEXT = 0xFFFF_FC00, 0xF840_8400, 0xF800_8400
"""The same that move their base on to the next element."""
_PLAIN, _LOAD_PLAIN, _STORE_PLAIN = 0xFFC0_0000, 0xF940_0000, 0xF900_0000
"""The same with an unsigned offset."""
_NEXT = 1 << 10
"""What eight bytes are in its operand."""
_SUM, _ADD = 0xFF20_0000, 0x8B00_0000
"""ADD of a shifted register."""


def find(scene: Scene, around: Around) -> Indexed:
    """All that the words do not clear; nothing where no memory comes up."""
    references = cast("ReferencesArm64", scene.analysis.references)
    words, rvas = references.words, references.rvas
    if not len(around.sites):
        return Indexed(NO_RVAS, NO_RVAS)
    loads = (words & _INDEXED == _LOAD) | (words & _STEPPED == _LOAD_NEXT)
    stores = (words & _INDEXED == _STORE) | (words & _STEPPED == _STORE_NEXT)
    sums = ((words & _SUM == _ADD) & (words >> 10 & 63 > 0)).nonzero()[0]
    for behind in range(1, SUMMED_WITHIN):
        after = np.minimum(sums + behind, len(words) - 1)
        of = words[after] >> 5 & 31 == words[sums] & 31
        loads[after[of & (words[after] & _PLAIN == _LOAD_PLAIN)]] = True
        stores[after[of & (words[after] & _PLAIN == _STORE_PLAIN)]] = True
    places, sites = rvas[stores], around.sites[around.sites < rvas[-1]]
    behind = places - around.sites[np.maximum(around.sites.searchsorted(places) - 1, 0)]
    places = places[(behind > 0) & (behind < HELD_WITHIN)]
    calls = (words & _CALL == _CALL_BITS).nonzero()[0] if loads.any() else NO_RVAS
    before = np.maximum(calls[:, None] - np.arange(1, LOADED_WITHIN), 0)
    is_loaded = loads[before] & (words[before] & 31 == (words[calls] >> 5 & 31)[:, None])
    calls = rvas[calls[is_loaded.any(axis=1)]]
    right_behind = words[np.minimum(rvas.searchsorted(sites) + 1, len(words) - 1)]
    return Indexed(calls, places[around.hold(places)], _fills(right_behind))


def _fills(behind: npt.NDArray[np.uint32]) -> bool:
    """Whether what stands right behind calls puts results side by side, behind one register."""
    stores = {*behind[behind & (_PLAIN | 31) == _STORE_PLAIN].tolist()}
    return any(word + _NEXT in stores for word in stores)

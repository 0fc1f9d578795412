"""Addresses of code that outlast the words right behind them: ARM64 places worth following.

Kept in a register that calls leave alone or in a local variable that is read again, returned,
chosen, or carried on by a jump. Only sorts out, by words; the counterpart for x64 and x86 is
`writes/lasting.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour.arm64.words import PAIR_WINDOW
from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.writes.lasting import are_text
from hvci.binary.form.references import Rvas
from hvci.binary.pe.sets import distinct

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

SOON = 8
"""Words behind an address in which it is copied, chosen, put into the frame or returned."""
MAX_SPAN = 0x1000
"""Words of a function in which a use of the address is looked for."""
FIRST_KEPT, LAST_KEPT = 19, 28
"""Registers that calls leave alone."""
_FP = 29
_RET = 0xD65F_03C0
Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


def made(scene: Scene) -> Rvas:
    """RVAs of the words that complete an address of what may be a function, in order."""
    references = cast("ReferencesArm64", scene.analysis.references)
    words, (targets, pages) = references.words, references.adrps
    inside = references.in_code(targets)
    targets, pages = targets[inside], pages[inside]
    last = len(words) - 1
    after = words[np.minimum(pages + np.arange(1, PAIR_WINDOW + 1)[:, None], last)]
    adds = ((after & 0xFF80_0000) == 0x9100_0000) & ((after >> 5 & 31) == (words[pages] & 31))
    steps, rows = adds.nonzero()
    low = after[steps, rows] >> 10 & 0xFFF
    starts = targets[rows] + np.where(after[steps, rows] >> 22 & 1, low << 12, low)
    found = (starts % 4 == 0) & references.in_code(starts) & ~are_text(scene.image, starts)
    return references.rvas[distinct(np.minimum(pages[rows] + steps + 1, last)[found])]


def find(scene: Scene, rvas: Rvas, few: bool = False) -> Iterator[int]:
    """RVAs of those words whose register outlasts what stands behind them.

    Where they are `few`, whatever is done with a register that calls leave alone.
    """
    references = cast("ReferencesArm64", scene.analysis.references)
    words, last = references.words, len(references.words) - 1
    at = np.minimum(references.rvas.searchsorted(rvas), last)
    register = (words[at] & 31).astype(np.int64)
    behind = words[np.minimum(at[:, None] + np.arange(1, SOON + 1), last)]
    goes_on = _is_copied(behind, register[:, None]).any(axis=1) | _is_returned(behind, register)
    goes_on |= _jumps_at_once(behind)
    kept = (register >= FIRST_KEPT) & (register <= LAST_KEPT)
    columns = (at, rvas, register, goes_on, kept)
    for k, rva, each, is_sure, is_kept in zip(*(one.tolist() for one in columns), strict=True):
        is_used = is_kept and (few or _is_base(scene, words, k, each))
        if is_sure or is_used or _is_read(scene, words, k):
            yield rva


def _is_copied(behind: Words, register: Rvas) -> Mask:
    """Which words choose a register, or copy it to one that calls leave alone."""
    first, second, to = behind >> 5 & 31, behind >> 16 & 31, behind & 31
    chooses = (behind & 0xFFE0_0C00 == 0x9A80_0000) & ((first == register) | (second == register))
    copies = (behind & 0xFFE0_FFE0 == 0xAA00_03E0) & (second == register)
    return np.asarray(chooses | copies & (to >= FIRST_KEPT))


def _is_returned(behind: Words, register: Rvas) -> Mask:
    """Behind which addresses a function returns soon, where the first register holds them."""
    return np.asarray((behind == _RET).any(axis=1) & (register == 0))


def _jumps_at_once(behind: Words) -> Mask:
    """Behind which addresses a jump follows at once, or one that goes back on a condition."""
    near = behind[:, : SOON // 2]
    jumps = near & 0xFC00_0000 == 0x1400_0000
    is_back = near & 0x0080_0000 != 0
    backs = ((near & 0xFF00_0010 == 0x5400_0000) | (near & 0x7E00_0000 == 0x3400_0000)) & is_back
    return np.asarray(jumps[:, :2].any(axis=1) | backs.any(axis=1))


def span(scene: Scene, at: int) -> tuple[int, int]:
    """The words of the function around one, by their indices."""
    references = cast("ReferencesArm64", scene.analysis.references)
    starts = scene.analysis.functions.unwind.starts
    rva = int(references.rvas[at])
    k = bisect_right(starts, rva)
    low = starts[k - 1] if k else rva
    high = starts[k] if k < len(starts) else rva + 4 * MAX_SPAN
    first, last = references.rvas.searchsorted((low, high)).tolist()
    return max(first, at - MAX_SPAN), min(last, at + MAX_SPAN)


def _is_base(scene: Scene, words: Words, at: int, register: int) -> bool:
    """Whether a store in the function goes through a register."""
    first, last = span(scene, at)
    code = words[first:last]
    single, pair = code & 0x3A40_0000 == 0x3800_0000, code & 0x3A40_0000 == 0x2800_0000
    return bool(((single | pair) & (code >> 5 & 31 == register)).any())


def _is_read(scene: Scene, words: Words, at: int) -> bool:
    """Whether an address is put into a slot of the frame that the function reads."""
    register = int(words[at]) & 31
    for word in words[at + 1 : at + 4].tolist():
        is_store = word & 0xFFC0_0000 == 0xF900_0000 and word & 31 == register
        if is_store and word >> 5 & 31 >= _FP:
            first, last = span(scene, at)
            loads = (words[first:last] & 0xFFFF_FFE0) == (word & 0xFFFF_FFE0 | 0x0040_0000)
            return bool(loads.any())
    return False

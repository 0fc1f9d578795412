"""Which ARM64 instructions make an address that is put into a field soon: by words alone.

The counterpart of what `writes/infields.py` tells of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour.arm64.lastingwords import span
from hvci.binary.behaviour.scene import Scene
from hvci.binary.form.references import Rvas

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.scan.references import ReferencesArm64

PUT_WITHIN = 4
"""Words behind an address in which it is put into a field."""
_FP = 29
_STORE, _ACCESS = 0xF900_0000, 0xFFC0_0000
"""STR of 64 bits with an unsigned offset."""
_PAIR, _PAIR_BITS = 0xFE40_0000, 0xA800_0000
"""STP of 64 bits, with any way to change its base."""
_ADD, _ADD_BITS = 0xFFC0_0000, 0x9100_0000
"""ADD of a number of 12 bits."""


def find(scene: Scene, rvas: Rvas) -> Iterator[tuple[int, int, int]]:
    """(instruction, store, bytes) of those that make an address which is put into a field soon.

    So far behind a register, or behind where the function takes an address in its frame.
    """
    words, places = _words(scene)
    at = np.minimum(places.searchsorted(rvas), len(words) - 1)
    after = words[np.minimum(at[:, None] + np.arange(1, PUT_WITHIN + 1), len(words) - 1)]
    register = (words[at] & 31)[:, None]
    single = after & (_ACCESS | 31) == (_STORE | register)
    pairs = after & _PAIR == _PAIR_BITS
    second = pairs & (after >> 10 & 31 == register)
    puts = single | second | (pairs & (after & 31 == register))
    for row in puts.any(axis=1).nonzero()[0].tolist():
        n = int(puts[row].argmax())
        word = int(after[row, n])
        behind = word >> 7 & 0x7FF8
        if not single[row, n]:
            behind = ((word >> 15 & 0x7F ^ 0x40) - 0x40 << 3) + 8 * bool(second[row, n])
        base = word >> 5 & 31
        starts = (0,) if base < _FP else _taken(scene, int(at[row]), base)
        place, store = int(rvas[row]), int(places[at[row]]) + 4 * (n + 1)
        yield from ((place, store, behind - start) for start in starts if start <= behind)


def _taken(scene: Scene, at: int, base: int) -> Iterator[int]:
    """How far behind a register of the frame the function around a word takes addresses."""
    words, _ = _words(scene)
    first, last = span(scene, at)
    code = words[first:last]
    taken = code[(code & _ADD == _ADD_BITS) & (code >> 5 & 31 == base)]
    yield from sorted({*(taken >> 10 & 0xFFF).tolist()})


def _words(scene: Scene) -> tuple[npt.NDArray[np.uint32], Rvas]:
    references = cast("ReferencesArm64", scene.analysis.references)
    return references.words, references.rvas

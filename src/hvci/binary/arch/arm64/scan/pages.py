"""Which pages ARM64 code makes addresses of in the registers that functions save."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from itertools import pairwise

import numpy as np

from hvci.binary.arch.arm64.scan.fields import Numbers, page_steps
from hvci.binary.form.references import Rvas
from hvci.binary.pe.image import PeImage

SAVED = range(19, 29)
_MASK, _FIRST, _LAST = 0x9F00001F, 0x90000013, 0x9000001C
"""ADRP into x19 to x28."""


class SavedPages:
    """Every ADRP into a saved register, found in one look at all words."""

    def __init__(self, image: PeImage) -> None:
        self.image = image

    def within(self, start: int, end: int, register: int) -> list[int]:
        """RVAs of the pages that code between two RVAs puts into a saved register."""
        places, pages = self._made[register]
        return pages[bisect_left(places, start) : bisect_left(places, end)]

    def within_all(self, starts: Rvas, ends: Rvas, registers: Numbers) -> tuple[Numbers, Rvas]:
        """How many pages code between RVAs puts into saved registers, and the first of them.

        Row by row. One that is put there again, after another, counts as a further one. Where
        there is none, or the register is no saved one, the page means nothing.
        """
        of, places, pages = self._sorted
        if not len(of):
            return np.zeros(len(starts), np.int64), starts
        keys, wanted = of.astype(np.int64) << 32 | places, registers.astype(np.int64) << 32
        low, high = keys.searchsorted(wanted | starts), keys.searchsorted(wanted | ends)
        first, last = np.minimum(low, len(pages) - 1), np.maximum(high - 1, 0)
        changes = np.zeros(len(pages), np.int64)
        (pages[1:] != pages[:-1]).cumsum(out=changes[1:])
        return np.where(low < high, changes[last] - changes[first] + 1, 0), pages[first]

    @cached_property
    def _made(self) -> dict[int, tuple[list[int], list[int]]]:
        """By register: RVA and page of the ADRPs, sorted."""
        registers, rvas, made = self._sorted
        places: list[int] = rvas.tolist()
        pages: list[int] = made.tolist()
        bounds = registers.searchsorted([*SAVED, SAVED.stop]).tolist()
        stretches = zip(SAVED, pairwise(bounds), strict=True)
        return {each: (places[low:high], pages[low:high]) for each, (low, high) in stretches}

    @cached_property
    def _sorted(self) -> tuple[Numbers, Rvas, Rvas]:
        """(register, RVA, page) of the ADRPs, sorted by the first two."""
        makers, sites = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for start, end in self.image.code_ranges:
            first = (start + 3) & ~3
            words = np.frombuffer(self.image.memory, "<u4", max(0, end - first) // 4, first)
            fields = words & _MASK
            chosen = ((fields >= _FIRST) & (fields <= _LAST)).nonzero()[0]
            makers.append(words[chosen])
            sites.append(first + 4 * chosen)
        words, rvas = np.concatenate(makers), np.concatenate(sites)
        registers = words & 31
        order = np.argsort(registers, kind="stable")
        pages = (rvas & ~0xFFF) + page_steps(words) & 0xFFFFFFFF
        return registers[order], rvas[order], pages[order]

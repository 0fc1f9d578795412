"""Which pages ARM64 code makes addresses of in the registers that functions save."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from itertools import pairwise

import numpy as np

from hvci.binary.arm64_fields import page_steps
from hvci.binary.image import PeImage

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

    @cached_property
    def _made(self) -> dict[int, tuple[list[int], list[int]]]:
        """By register: RVA and page of the ADRPs, sorted."""
        makers, sites = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
        for start, end in self.image.code_ranges:
            first = (start + 3) & ~3
            words = np.frombuffer(self.image.memory, "<u4", max(0, end - first) // 4, first)
            fields = words & _MASK
            chosen = np.flatnonzero((fields >= _FIRST) & (fields <= _LAST))
            makers.append(words[chosen])
            sites.append(first + 4 * chosen)
        words, rvas = np.concatenate(makers), np.concatenate(sites)
        registers = words & 31
        order = np.argsort(registers, kind="stable")
        places: list[int] = rvas[order].tolist()
        pages: list[int] = ((rvas & ~0xFFF) + page_steps(words) & 0xFFFFFFFF)[order].tolist()
        bounds = np.searchsorted(registers[order], [*SAVED, SAVED.stop]).tolist()
        stretches = zip(SAVED, pairwise(bounds), strict=True)
        return {each: (places[low:high], pages[low:high]) for each, (low, high) in stretches}

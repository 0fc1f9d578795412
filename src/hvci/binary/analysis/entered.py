"""Whether anything leads into a stretch of code of which nobody knows where its function starts.

Calls, jumps, pointers, addresses that code makes, and four bytes of data that are an RVA or a
distance. Knows nothing of what the code does.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hvci.binary.form.references import References, Rvas
from hvci.binary.pe.image import PeImage

PADDED = 16
"""Bytes before a function that may be taken for padding."""
MOST_DISTANCES = 64
"""Entries of a table of distances that are looked at."""


class Entered:
    """What leads where in one image; nothing is worked out before somebody asks."""

    def __init__(self, image: PeImage, references: References) -> None:
        self.image, self.references = image, references

    def between(self, low: int, high: int) -> bool:
        """Whether something outside leads between two RVAs, or to what may be padding before."""
        short = self._short.searchsorted((low, high))
        if short[0] < short[1]:
            return True
        low -= PADDED
        for targets, sites in (self.references.branches, self._named):
            first, last = targets.searchsorted((low, high))
            if bool(((sites[first:last] < low) | (sites[first:last] >= high)).any()):
                return True
        lists = (self.references.pointers[0], self.references.taken)
        return any(bool(np.diff(rvas.searchsorted((low, high)))[0]) for rvas in lists)

    @cached_property
    def _named(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every operand that names something, sorted by target."""
        targets, sites = self.references.naming(0, self.image.size)
        order = np.argsort(targets, kind="stable")
        return targets[order], sites[order]

    @cached_property
    def _short(self) -> Rvas:
        """Where four bytes of data lead, sorted: as an RVA, or counted from what code names."""
        image = self.image
        words = np.ndarray((max(0, image.size - 3),), "<i4", image.memory, 0, (1,))
        unwind, size = image.runtime_functions
        found = []
        for section in image.sections:
            at = np.arange((section.rva + 3) & ~3, min(section.end, image.size - 3), 4)
            found.append(words[at[(at < unwind) | (at >= unwind + size)]].astype(np.int64))
        bases = np.unique(self._named[0])
        places = bases[:, None] + 4 * np.arange(MOST_DISTANCES)
        held = words[np.minimum(places, len(words) - 1)] + bases[:, None]
        is_code = self.references.in_code(held.ravel()).reshape(held.shape)
        found.append(held[np.logical_and.accumulate(is_code, axis=1)])
        everything = np.concatenate(found)
        code = everything[(everything > 0) & (everything < image.size)]
        return np.unique(code[self.references.in_code(code)])

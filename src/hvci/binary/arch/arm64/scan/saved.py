"""Which addresses ARM64 code makes in the registers that functions save.

A page, or what an ADD makes of one; a sum of something else is an address that is not known.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.scan.fields import Numbers, Words, addends, copies, is_sum, page_steps
from hvci.binary.form.references import Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among

SAVED = range(19, 29)
NOT_KNOWN = -(1 << 40)
"""In place of an address: a sum with a constant of what the words before it do not make."""
NEAR = 8
"""Words before a sum among which the page is made."""
_PAGE_MASK, _PAGE = 0x9F000000, 0x90000000
"""ADRP."""
_SUM_MASK, _SUM = 0xBF800000, 0x91000000
"""ADD and SUB of a constant."""
_HIGH = 0x10
"""The bit that all saved registers have."""
_NONE = NOT_KNOWN - 1
"""In place of what is no address."""
_FRAME = 29, 31
"""What holds addresses of the frame."""


class SavedAddresses:
    """Every ADRP and sum with a constant into a saved register, found in one look at all words."""

    def __init__(self, image: PeImage) -> None:
        self.image = image

    def within(self, start: int, end: int, register: int) -> list[tuple[int, int]]:
        """(RVA, address or `NOT_KNOWN`) of what makes one in a saved register between two RVAs."""
        made = self._made[register]
        return made[bisect_left(made, (start, NOT_KNOWN)) : bisect_left(made, (end, NOT_KNOWN))]

    def within_all(self, starts: Rvas, ends: Rvas, registers: Numbers) -> tuple[Numbers, Rvas]:
        """How many addresses code between RVAs puts into saved registers, and the first of them.

        Row by row. One that is put there again, after another, counts as a further one. Where
        there is none, or the register is no saved one, the address means nothing.
        """
        of, places, made = self._sorted
        if not len(of):
            return np.zeros(len(starts), np.int64), starts
        keys, wanted = of.astype(np.int64) << 32 | places, registers.astype(np.int64) << 32
        low, high = keys.searchsorted(wanted | starts), keys.searchsorted(wanted | ends)
        first, last = np.minimum(low, len(made) - 1), np.maximum(high - 1, 0)
        changes = np.zeros(len(made), np.int64)
        (made[1:] != made[:-1]).cumsum(out=changes[1:])
        return np.where(low < high, changes[last] - changes[first] + 1, 0), made[first]

    @cached_property
    def sums(self) -> dict[int, int]:
        """The addresses of those that are sums, by their RVA."""
        _, rvas, made = self._sorted
        chosen = self.image.bytes[rvas + 3] & 0x9F != _PAGE >> 24
        return dict(zip(rvas[chosen].tolist(), made[chosen].tolist(), strict=True))

    @cached_property
    def objects(self) -> frozenset[int]:
        """The addresses that sums make."""
        return frozenset(self.sums.values())

    @cached_property
    def _made(self) -> dict[int, list[tuple[int, int]]]:
        """By register: RVA and address of what makes one, sorted."""
        registers, rvas, made = self._sorted
        found = list(zip(rvas.tolist(), made.tolist(), strict=True))
        bounds = registers.searchsorted([*SAVED, SAVED.stop]).tolist()
        stretches = zip(SAVED, pairwise(bounds), strict=True)
        return {each: found[low:high] for each, (low, high) in stretches}

    @cached_property
    def _sorted(self) -> tuple[Numbers, Rvas, Rvas]:
        """(register, RVA, address) of what makes one, sorted by the first two."""
        found = [(np.zeros(0, np.int64),) * 3]
        for start, end in self.image.code_ranges:
            first = (start + 3) & ~3
            words = np.frombuffer(self.image.memory, "<u4", max(0, end - first) // 4, first)
            found.append(_makers(words, first))
        registers, rvas, made = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((rvas, registers))
        return registers[order], rvas[order], made[order]


def _makers(words: Words, first: int) -> tuple[Numbers, Rvas, Rvas]:
    """(register, RVA, address) of the words of a section that make one in a saved register.

    An ADRP is left out where the next word completes its address, and a sum where nothing near
    makes an address of what is added to.
    """
    pages = _into_saved(words, words & (_PAGE_MASK | _HIGH) == _PAGE | _HIGH)
    sums = _into_saved(words, words & (_SUM_MASK | _HIGH) == _SUM | _HIGH)
    base = words[sums] >> 5 & 31
    sums = sums[(base != _FRAME[0]) & (base != _FRAME[1])]
    adding = words[sums]
    of = adding >> 5 & 31
    before = sums[:, None] - np.arange(1, NEAR + 1)
    is_same = (words[np.maximum(before, 0)] & 31 == of[:, None]) & (before >= 0)
    rows, back = np.arange(len(sums)), is_same.argmax(axis=1)
    at, found = before[rows, back], is_same[rows, back]
    maker = words[at]
    is_page = found & (maker & _PAGE_MASK == _PAGE)
    is_open = np.where(
        found, is_sum(maker) | copies(maker), (of >= SAVED.start) & (of != adding & 31)
    )
    made = np.where(is_open, NOT_KNOWN, _NONE)
    made = np.where(is_page, _addresses(maker, first + 4 * at) + addends(adding), made)
    completed = at[is_page & (back == 0) & (maker & 31 == adding & 31)]
    sums, made = sums[made != _NONE], made[made != _NONE]
    pages = pages[~among(pages, completed)]
    makers = np.concatenate((pages, sums))
    addresses = np.concatenate((_addresses(words[pages], first + 4 * pages), made))
    return (words[makers] & 31).astype(np.int64), first + 4 * makers, addresses


def _into_saved(words: Words, chosen: npt.NDArray[np.bool_]) -> Rvas:
    """The indices of the chosen words that write a saved register."""
    places: Rvas = chosen.nonzero()[0]
    target = words[places] & 31
    return places[(target >= SAVED.start) & (target < SAVED.stop)]


def _addresses(words: Words, rvas: npt.NDArray[np.int64]) -> Rvas:
    """The page of each ADRP at an RVA."""
    pages: Rvas = (rvas & ~0xFFF) + page_steps(words) & 0xFFFFFFFF
    return pages

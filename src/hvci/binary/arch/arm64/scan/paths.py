"""Where an address in an ARM64 register is still good after code order has lost it.

Code order is not the flow of control: a register that is overwritten further on may still hold the
address where a branch leads to, and one that is saved in the frame holds it again when it is loaded
back. From the stretch of code in which a register surely lives this finds the places at which it
lives on. Knows words and their order; knows no image and no target.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from hvci.binary.form.references import NO_RVAS, Rvas

FARTHEST = 1 << 14
"""Words from a branch to its target, and from a save to its reload: no function is longer."""
MOST = 1 << 16
"""Places looked at in one go; real code has some thousands, hostile code more."""

_LOAD = 0x400000
"""The bit that tells a load from a store."""
_IS_STACK = 2 << 5
"""The bit that tells the stack pointer from the frame pointer, as a base."""
_FRAME = 1 << 16
"""What the slots of the frame pointer are counted from."""

Words = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Lives = tuple[Rvas, Rvas, Rvas]
"""Index of the word before a place, register with an address there, and row of the stretch."""


class Paths:
    """The branches of some code, and its loads from the frame."""

    def __init__(self, words: Words, ends: Rvas, labels: tuple[Rvas, Rvas]) -> None:
        """`ends`: sorted indices of the words at which functions begin or end, and the last.

        `labels`: (index of the jump, index of the label) for what jump tables lead to.
        """
        self._words = words
        self._ends = ends
        self._labels = labels
        self.is_cut = False
        """Whether there was more to look at than is looked at in one go."""

    @cached_property
    def direct(self) -> tuple[Rvas, Rvas]:
        """(index of the word, words to the target) of every direct branch, sorted."""
        words = self._words
        plain = words & 0x7C000000 == 0x14000000
        bits = words & 0x7E000000 == 0x36000000
        others = (words & 0xFF000010 == 0x54000000) | (words & 0x7E000000 == 0x34000000)
        places = (plain | bits | others).nonzero()[0]
        chosen = words[places].astype(np.int64)
        width = np.where(plain[places], 26, np.where(bits[places], 14, 19))
        field = np.where(plain[places], chosen, chosen >> 5) & ((1 << width) - 1)
        return places, field - ((field >> (width - 1)) << width)

    @cached_property
    def _branches(self) -> tuple[Rvas, Rvas]:
        """(index of the word, index of the target) of every branch but calls, sorted.

        Those of tables are among them.
        """
        words = self._words
        places, distances = self.direct
        targets = places + distances
        near = (np.abs(distances) < FARTHEST) & (targets > 0) & (targets < len(words))
        near &= words[places] & 0xFC000000 != 0x94000000
        places = np.concatenate((places[near], self._labels[0]))
        order = np.argsort(places, kind="stable")  # two sorted runs, which it merges
        return places[order], np.concatenate((targets[near], self._labels[1]))[order]

    @property
    def targets(self) -> Rvas:
        """Index of the target of every branch that is not far, in the order of branches."""
        return self._branches[1]

    def branched(self, first: Rvas, last: Rvas, registers: Rvas) -> Lives:
        """What branches out of the stretches `first` to `last`, both included, lead to."""
        places, targets = self._branches
        rows, chosen = self._spread(places.searchsorted(first), places.searchsorted(last, "right"))
        to = targets[chosen]
        leaves = (to > last[rows]) | (to <= first[rows])
        rows = rows[leaves]
        return to[leaves] - 1, registers[rows], rows

    @cached_property
    def _reloads(self) -> tuple[Rvas, Rvas, Rvas]:
        """(slot of the frame << 40 | index, index, register) of every load from there, sorted."""
        return _by_slot(self._words, _LOAD)

    @cached_property
    def _saves(self) -> tuple[Rvas, Rvas, Rvas]:
        """(register << 32 | index, index, slot of the frame) of every store to it, sorted."""
        keys, places, registers = _by_slot(self._words, 0)
        wanted = registers << 32 | places
        order = np.argsort(wanted, kind="stable")
        return wanted[order], places[order], (keys >> 40)[order]

    def reloaded(self, first: Rvas, last: Rvas, registers: Rvas) -> Lives:
        """Where what is saved in the frame within the stretches is loaded back."""
        wanted, places, offsets = self._saves
        key = registers << 32
        rows, chosen = self._spread(
            wanted.searchsorted(key | first), wanted.searchsorted((key | last) + 1)
        )
        if not len(rows):
            return NO_RVAS, NO_RVAS, NO_RVAS
        begin = places[chosen]
        following = self._ends.searchsorted(begin, side="right")
        stop = np.minimum(self._ends[following], begin + FARTHEST)
        keys, indices, into = self._reloads
        slot = offsets[chosen] << 40
        inner, found = self._spread(keys.searchsorted(slot | begin), keys.searchsorted(slot | stop))
        return indices[found], into[found], rows[inner]

    def _spread(self, low: Rvas, high: Rvas) -> tuple[Rvas, Rvas]:
        """The same as `spread`, but no more than `MOST`."""
        counts = np.maximum(high - low, 0)
        total = counts.cumsum()
        if len(total) and total[-1] > MOST:
            self.is_cut = True
            high = np.where(total > MOST, low, high)
        return spread(low, high)


def _by_slot(words: Words, kind: int) -> tuple[Rvas, Rvas, Rvas]:
    """Loads or stores at the stack or frame pointer as (slot << 40 | index, index, register).

    Slots of the frame pointer are others than those of the stack pointer.
    """
    framed = words & 0x3A0 == 0x3A0
    single = (framed & (words & 0xFFC00000 == 0xF9000000 | kind)).nonzero()[0]
    near = (framed & (words & 0xFFE00C00 == 0xF8000000 | kind)).nonzero()[0]
    pair = (framed & (words & 0xFEC00000 == 0xA8000000 | kind)).nonzero()[0]
    one, two, three = (words[places].astype(np.int64) for places in (single, pair, near))
    imm7, imm9 = two >> 15 & 0x7F, three >> 12 & 0x1FF
    lower = (imm7 - (imm7 >> 6 << 7)) * 8
    places = np.concatenate([single, pair, pair, near])
    offsets = (one >> 10 & 0xFFF) * 8, lower, lower + 8, imm9 - (imm9 >> 8 << 9)
    bases = [each & _IS_STACK for each in (one, two, two, three)]
    slots = np.concatenate(
        [
            np.where(base, offset, offset + _FRAME)
            for base, offset in zip(bases, offsets, strict=True)
        ]
    )
    registers = np.concatenate([one & 31, two & 31, two >> 10 & 31, three & 31])
    good = slots >= 0
    keys = slots[good] << 40 | places[good]
    order = np.argsort(keys, kind="stable")
    return keys[order], places[good][order], registers[good][order]


def spread(low: Rvas, high: Rvas) -> tuple[Rvas, Rvas]:
    """(row, index) of every index in the ranges `low` to `high`, the last one not included."""
    counts = high - low
    chosen = (counts > 0).nonzero()[0]
    if not len(chosen):
        return NO_RVAS, NO_RVAS
    counts = counts[chosen]
    starts = counts.cumsum() - counts
    rows = chosen.repeat(counts)
    return rows, np.arange(len(rows)) + (low[chosen] - starts).repeat(counts)

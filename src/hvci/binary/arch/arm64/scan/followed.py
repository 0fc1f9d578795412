"""What ARM64 code does with addresses in registers, followed in code order and along branches.

From where registers get addresses all uses are found at once: up to where a register is
overwritten, through one sorted list of what overwrites or uses which register. A sum, a copy or a
base that moves starts anew, and so does what a branch or the frame carries to where code order has
lost it. Knows no page and no section.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.encoding import (
    BASED,
    CHOICE,
    COPY,
    INDEXED,
    MAKES,
    MOVES,
    PAIR,
    SUM,
    TWO,
    WRITES,
    all_kinds,
    written_registers,
)
from hvci.binary.arch.arm64.scan.fields import addends, offsets, pair_size, steps
from hvci.binary.arch.arm64.scan.paths import FARTHEST, Paths, spread
from hvci.binary.arch.arm64.values import move_wide
from hvci.binary.form.code import Const
from hvci.binary.form.references import NO_RVAS, Rvas
from hvci.binary.form.straight import last_write
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among, distinct

PLACE = (1 << 32) - 1
"""Mask of the index in a number that stands for a register and the index of a word."""
NEVER = 1 << 62
ROUNDS = 8
"""ADRP, an ADD to its page, an ADD to that; and branches to where code order has lost one."""
LOOK_BACK = 16
"""Words before a load at a register that may say what that holds."""
PAGE_MASK = ~0xFFF
ADDRESS = (1 << 32) - 1
"""Mask of the address in an anchor."""
_VOLATILE_LIMIT = 18
_RESULT_PLACE = 8
"""x8 says where a structure is to be returned, the last register that carries an argument."""
_NOWHERE = 31
"""The number of the zero register, and of the stack pointer: neither gets an address of data."""

Words = npt.NDArray[np.uint32]
Anchors = Rvas
"""Index of a word, register that holds an address behind it, and that address, as one number."""


class Followed:
    """The uses of addresses in registers, for the words of one image."""

    def __init__(
        self, image: PeImage, words: Words, rvas: Rvas, bounds: Rvas, paths: Paths
    ) -> None:
        self.image = image
        self.words = words
        self.rvas = rvas
        self.bounds = bounds
        """Sorted indices of the words at which functions begin or end, and the last."""
        self.paths = paths

    @cached_property
    def _kinds(self) -> npt.NDArray[np.uint16]:
        """What each word does."""
        return all_kinds(self.words)

    @cached_property
    def _ends(self) -> tuple[Rvas, Rvas]:
        """For each word the last of its function, and the next call through a register before.

        What code of the image that is called by name leaves alone, a caller may rely on.
        """
        last = (self.bounds - 1).repeat(np.diff(self.bounds, prepend=-1))
        calls = (self.words & 0xFEFFF800 == 0xD63F0000).nonzero()[0]
        calls = np.append(calls, len(self.words))
        following = calls.repeat(np.diff(calls, prepend=-1))
        return last, np.minimum(last, following)

    def uses_of(self, anchors: Anchors) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of all uses of some addresses in registers, sorted."""
        anchors = seen = anchors[anchors >> 32 & 31 != _NOWHERE]
        bases, found = [NO_RVAS], [NO_RVAS]
        for left in reversed(range(ROUNDS)):
            if not len(anchors):
                break
            places, registers = (anchors >> 37) + 1, anchors >> 32 & 31
            rows, uses, ends = self._follow(places, registers)
            base = anchors[rows] & ADDRESS
            bases.append(base)
            found.append(uses)
            if not left:
                break
            made = [self._made(uses, base), *self._elsewhere(anchors, places, ends, registers)]
            anchors = distinct(np.concatenate(made))
            anchors = anchors[~among(anchors, seen) & (anchors >> 32 & 31 != _NOWHERE)]
            seen = np.concatenate((seen, anchors))
            seen.sort()
        return self._named(np.concatenate(found), np.concatenate(bases))

    def _named(self, uses: Rvas, bases: Rvas) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of some uses of registers with addresses, sorted."""
        places = self._lives[1][uses] & PLACE
        does = self._kinds[places]
        indexed = does & INDEXED != 0
        naming = does & (COPY | CHOICE | INDEXED) == 0
        at_index = self._at_index(places[indexed], bases[indexed])
        places, bases, does = places[naming], bases[naming], does[naming]
        words = self.words[places]
        sites, targets = self.rvas[places], bases + offsets(words)
        pairs, moves = (does & TWO).nonzero()[0], (does & MOVES).nonzero()[0]
        seconds = targets[pairs] + pair_size(words[pairs])
        behind = bases[moves] + steps(words[moves])
        all_targets = np.concatenate((targets, seconds, behind, at_index[0]))
        all_sites = np.concatenate((sites, sites[pairs], sites[moves], at_index[1]))
        order = all_targets.argsort(kind="stable")
        return all_targets[order], all_sites[order]

    def _at_index(self, places: Rvas, bases: Rvas) -> tuple[Rvas, Rvas]:
        """(target, RVA) of loads at a register from an address in the import table.

        The register as the words right before leave it, or zero where they do not say.
        """
        first, last = self._slots
        near = (bases >= first & PAGE_MASK) & (bases <= last)
        places, bases = places[near], bases[near]
        words = self.words[places]
        indices = [
            self._constant(place, int(word) >> 16 & 31)
            for place, word in zip(places.tolist(), words, strict=True)
        ]
        shifts = np.where(words >> 12 & 1, 3, 0)
        return bases + (np.array(indices, np.int64) << shifts), self.rvas[places]

    @cached_property
    def _slots(self) -> tuple[int, int]:
        """The first and the last import slot."""
        slots = self.image.imports
        return (min(slots), max(slots)) if slots else (0, -1)

    def _constant(self, place: int, register: int) -> int:
        """The constant that one of the words before a word moves into a register."""
        before = self.words[max(0, place - LOOK_BACK) : place].tolist()
        made = last_write(before, written_registers, len(before), 1 << register, 0)
        word = before[made] if made >= 0 else 0
        value = move_wide(word, 8) if word >> 23 & 63 == 0b100101 else None
        return value.value if isinstance(value, Const) else 0

    def _made(self, uses: Rvas, bases: Rvas) -> Anchors:
        """The anchors that sums, copies of registers and bases that move among uses make."""
        places = self._lives[1][uses] & PLACE
        making = (self._kinds[places] & MAKES).nonzero()[0]
        if not len(making):
            return NO_RVAS
        places = places[making]
        words, does = self.words[places], self._kinds[places]
        registers, addresses = words & 31, bases[making]
        adds, moves = (does & SUM).nonzero()[0], (does & MOVES).nonzero()[0]
        if len(adds):
            addresses[adds] += addends(words[adds])
        if len(moves):
            addresses[moves] += steps(words[moves])
            registers[moves] = words[moves] >> 5 & 31
        return anchors_at(places, registers, addresses & ADDRESS)

    def _elsewhere(
        self, anchors: Anchors, first: Rvas, ends: Rvas, registers: Rvas
    ) -> list[Anchors]:
        """Where registers still hold their addresses though code order has lost them."""
        lives = [
            self.paths.branched(first, ends, registers),
            self.paths.reloaded(first, ends, registers),
        ]
        return [
            anchors_at(places, registers, anchors[rows] & ADDRESS)
            for places, registers, rows in lives
            if len(places)
        ]

    @cached_property
    def _lives(self) -> tuple[Rvas, Rvas]:
        """Words that overwrite a register, and words that use one as a base or copy it, sorted.

        Each is (register, index of the word) as one number.
        """
        ends = self._naming(WRITES, 0), self._naming(PAIR, 10), self._naming(MOVES, 5)
        uses = self._naming(BASED | CHOICE | INDEXED, 5), self._naming(COPY | CHOICE, 16)
        overwrites = np.concatenate((*ends, [NEVER]))
        overwrites.sort()
        used = np.concatenate(uses)
        used.sort()
        return overwrites, used

    def _naming(self, kinds: int, low: int) -> Rvas:
        """(register, index) of the words of some kinds, for the register that a bit begins."""
        places = (self._kinds & kinds != 0).nonzero()[0]
        registers = (self.words[places] >> low & 31).astype(np.int64)
        found: Rvas = registers << 32 | places
        return found

    def _follow(self, places: Rvas, registers: Rvas) -> tuple[Rvas, Rvas, Rvas]:
        """(row, number of the use) of every use of registers that live from some words on.

        Last, the index of the last word at which each register does. None lives on behind its
        function.
        """
        overwrites, uses = self._lives
        key = registers << 32
        begin = key | places
        # what overwrites another register is a whole register number behind, and so no minimum
        ends = overwrites[overwrites.searchsorted(begin)] - key
        np.minimum(ends, places + FARTHEST, out=ends)
        last, called = self._ends
        np.minimum(ends, last[places], out=ends)
        is_lost = registers < _VOLATILE_LIMIT
        if self.image.guard_check >= 0:  # which preserves what may be arguments of its target
            is_lost &= registers > _RESULT_PLACE
        np.minimum(ends, called[places], out=ends, where=is_lost)
        first = uses.searchsorted(begin)
        last_use = uses.searchsorted(key | ends, "right")
        rows, chosen = spread(first, last_use)
        return rows, chosen, ends


def anchors_at(places: Rvas, registers: npt.NDArray[Any], addresses: Rvas) -> Anchors:
    """Sorting them sorts them by place."""
    found: Anchors = (places << 5 | registers) << 32 | addresses
    return found

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

from hvci.binary.arch.arm64.scan.fields import (
    addends,
    chooses,
    copies,
    is_indexed,
    is_pair,
    is_sum,
    loads_pair,
    moves_base,
    offsets,
    pair_size,
    steps,
    uses_base,
    writes_lowest,
)
from hvci.binary.arch.arm64.scan.paths import FARTHEST, Paths, spread
from hvci.binary.arch.arm64.values import move_wide
from hvci.binary.arch.arm64.words import written_registers
from hvci.binary.form.code import Const
from hvci.binary.form.references import NO_RVAS, Rvas
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
Bytes = npt.NDArray[np.uint8]
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
        self._making = np.zeros(0, bool)
        """Which words make addresses of addresses; `_lives` tells."""

    @cached_property
    def _calls(self) -> Rvas:
        """Indices of the calls through registers, and one behind all words.

        What code of the image that is called by name leaves alone, a caller may rely on.
        """
        return np.append(np.flatnonzero(self.words & 0xFEFFF800 == 0xD63F0000), PLACE)

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
            seen.sort(kind="stable")  # two sorted runs, which it merges
        return self._named(np.concatenate(found), np.concatenate(bases))

    def _named(self, uses: Rvas, bases: Rvas) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of some uses of registers with addresses, sorted."""
        places = self._lives[1][uses] & PLACE
        words = self.words[places]
        indexed = is_indexed(words)
        naming = ~(copies(words) | chooses(words) | indexed)
        at_index = self._at_index(places[indexed], bases[indexed])
        places, bases, words = places[naming], bases[naming], words[naming]
        sites, targets = self.rvas[places], bases + offsets(words)
        pairs, moves = is_pair(words).nonzero()[0], moves_base(words).nonzero()[0]
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
        for word in self.words[max(0, place - LOOK_BACK) : place][::-1].tolist():
            if written_registers(word) >> register & 1:
                value = move_wide(word, 8) if word >> 23 & 63 == 0b100101 else None
                return value.value if isinstance(value, Const) else 0
        return 0

    def _made(self, uses: Rvas, bases: Rvas) -> Anchors:
        """The anchors that sums, copies of registers and bases that move among uses make."""
        places = self._lives[1][uses] & PLACE
        making = self._making[places].nonzero()[0]
        if not len(making):
            return NO_RVAS
        places = places[making]
        words = self.words[places]
        adds, moves = is_sum(words), moves_base(words)
        added = np.where(adds, addends(words), np.where(moves, steps(words), 0))
        registers = np.where(moves, words >> 5, words) & 31
        return anchors_at(places, registers, bases[making] + added & ADDRESS)

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
        words = self.words
        moves, is_choice, is_copy = moves_base(words), chooses(words), copies(words)
        self._making = is_sum(words) | moves | is_choice | is_copy
        lowest, base, second, third = (_field(words, low) for low in (0, 5, 10, 16))
        writes = _by_register(lowest, writes_lowest(words) & (lowest != _NOWHERE))
        moved = _by_register(base, moves & (base != _NOWHERE))
        ends = _merged(writes, _by_register(second, loads_pair(words)), moved)
        based = uses_base(words) | is_choice | is_indexed(words)
        uses = _by_register(base, based & (base != _NOWHERE))
        copied = _by_register(third, is_copy | is_choice)
        return np.append(ends, NEVER), _merged(uses, copied)

    def _follow(self, places: Rvas, registers: Rvas) -> tuple[Rvas, Rvas, Rvas]:
        """(row, number of the use) of every use of registers that live from some words on.

        Last, the index of the last word at which each register does. None lives on behind its
        function.
        """
        overwrites, uses = self._lives
        key = registers << 32
        begin = key | places
        ends = np.minimum(places + FARTHEST, self.bounds[self.bounds.searchsorted(places)] - 1)
        # what overwrites another register is a whole register number behind, and so no minimum
        np.minimum(ends, overwrites[overwrites.searchsorted(begin)] - key, out=ends)
        calls = self._calls[self._calls.searchsorted(places)]
        is_lost = registers < _VOLATILE_LIMIT
        if self.image.guard_check >= 0:  # which preserves what may be arguments of its target
            is_lost &= registers > _RESULT_PLACE
        np.minimum(ends, calls, out=ends, where=is_lost)
        first = uses.searchsorted(begin)
        last = uses.searchsorted(key | ends, "right")
        rows, chosen = spread(first, last)
        return rows, chosen, ends


def anchors_at(places: Rvas, registers: npt.NDArray[Any], addresses: Rvas) -> Anchors:
    """Sorting them sorts them by place."""
    found: Anchors = (places << 5 | registers) << 32 | addresses
    return found


def _field(words: Words, low: int) -> Bytes:
    """The registers that words name from a bit on."""
    return (words >> low & 31).astype(np.uint8)


def _merged(numbers: Rvas, *others: Rvas) -> Rvas:
    """Sorted numbers in one sorted run."""
    for other in others:
        numbers = np.insert(numbers, numbers.searchsorted(other), other)
    return numbers


def _by_register(registers: Bytes, chosen: npt.NDArray[np.bool_]) -> Rvas:
    """(register, index) of the chosen words as one number each, sorted.

    Small numbers sort fast, and the places are sorted.
    """
    places = chosen.nonzero()[0]
    mine = registers[places]
    order = mine.argsort(kind="stable")
    return mine[order].astype(np.int64) << 32 | places[order]

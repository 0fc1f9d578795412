"""Where ARM64 code refers to what: ADRP followed to the uses of its page, branches, literals.

An address takes two instructions. All ADRPs of a page are followed forwards at once, up to where
their register is overwritten, through one sorted list of what overwrites or uses which register;
an ADD or a copy starts anew, and so does what a branch or the frame carries to where code order has
lost it. Nothing is said about what other paths do to the register, so a hit is a candidate like any
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hvci.binary.arm64_fields import (
    addends,
    copies,
    loads_pair,
    offsets,
    page_steps,
    pair_size,
    signed,
    uses_base,
    writes_lowest,
)
from hvci.binary.arm64_words import access, is_access
from hvci.binary.image import PeImage
from hvci.binary.jumptables import JumpTables, Used
from hvci.binary.jumptables_arm64 import LOOK, find_table
from hvci.binary.paths_arm64 import FARTHEST, Paths, spread
from hvci.binary.references import MAX_HITS, NO_RVAS, References, Rvas
from hvci.binary.sets import among, distinct
from hvci.binary.unwind_arm64 import UnwindTableArm64

WINDOW = 584
"""Words behind an ADRP that are looked at while its register lives."""
PLACE = (1 << 32) - 1
"""Mask of the index in a number that stands for a register and the index of a word."""
NEVER = 1 << 62
TOGETHER = 4096
"""ADRPs that are followed at once: a call of numpy costs more than its elements do."""
ROUNDS = 8
"""ADRP, an ADD to its page, an ADD to that; and branches to where code order has lost one."""
MOST_JUMPS = 8192
"""Jumps through registers that are looked at; real drivers have some hundreds."""
PAGE_MASK = ~0xFFF
ADDRESS = (1 << 32) - 1
"""Mask of the address in an anchor."""
_VOLATILE_LIMIT = 18
_NOWHERE = 31
"""The number of the zero register, and of the stack pointer: neither gets an address of data."""
ADD_MASK, ADD = 0xFF800000, 0x91000000
"""ADD of 64 bits and an immediate."""
_BRANCH_REGISTER = 0xFFFFFC1F
_BR = 0xD61F0000

Words = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]
Anchors = Rvas
"""Index of a word, register that holds an address behind it, and that address, as one number."""


class ReferencesArm64(References):
    """References from the code of one ARM64 image."""

    def __init__(self, image: PeImage) -> None:
        super().__init__(image)
        words, rvas = [np.zeros(1, np.uint32)], [np.zeros(1, np.int64)]
        for start, end in image.code_ranges:
            first = (start + 3) & ~3
            count = max(0, end - first) // 4
            words.append(np.frombuffer(image.memory, "<u4", count, first))
            rvas.append(np.arange(first, first + 4 * count, 4, dtype=np.int64))
        self.words: Words = np.concatenate(words)
        """The words of all code sections behind each other, one of zeros before them."""
        self.rvas: Rvas = np.concatenate(rvas)
        """Their RVAs, sorted."""
        self._by_page: dict[int, tuple[Rvas, Rvas]] = {}

    # ---- addresses in two steps

    @cached_property
    def adrps(self) -> tuple[Rvas, Rvas]:
        """(page, index of the word) of every ADRP, sorted by page."""
        places = np.flatnonzero(self.words & 0x9F000000 == 0x90000000)
        words = self.words[places]
        pages = (self.rvas[places] & PAGE_MASK) + page_steps(words)
        order = np.argsort(pages, kind="stable")
        return pages[order], places[order]

    @cached_property
    def _calls(self) -> Rvas:
        """Indices of the words that are calls, and one behind all words."""
        words = self.words
        by_register = words & 0xFEFFF800 == 0xD63F0000
        places = np.flatnonzero((words & 0xFC000000 == 0x94000000) | by_register)
        return np.append(places, PLACE)

    def _uses(self, page: int) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of all uses of a page's ADRPs, sorted by target.

        Those of other pages may be among them.
        """
        known = self._by_page.get(page)
        if known is None:
            self._learn(page)
            known = self._by_page[page]
        return known

    def _learn(self, page: int) -> None:
        """Find the uses of a page; all pages of data are looked at together."""
        alone, pages = np.array([page], np.int64), self._data_pages
        pages = pages if page in pages else alone
        self._paths.is_cut = False
        found = self._find_uses(pages)
        if self._paths.is_cut and len(pages) > 1:  # a page alone has all the room to itself
            pages, found = alone, self._find_uses(alone)
        self._by_page.update(dict.fromkeys(pages.tolist(), found))

    @cached_property
    def _data_pages(self) -> Rvas:
        """The pages without code that ADRPs name, sorted; none where the ADRPs are too many."""
        pages = self.adrps[0]
        wanted = pages[~self.in_code(pages) & (pages >= 0) & (pages < self.image.size)]
        return distinct(wanted) if len(wanted) <= TOGETHER else NO_RVAS

    def _find_uses(self, wanted: Rvas) -> tuple[Rvas, Rvas]:
        """The same for some pages of the image, sorted."""
        pages, places = self.adrps
        chosen = among(pages, wanted)
        places = places[chosen]
        anchors = np.sort(_anchors(places, self.words[places] & 31, pages[chosen]))
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
        naming = ~copies(self.words[places])
        places, bases = places[naming], bases[naming]
        words, sites = self.words[places], self.rvas[places]
        targets = bases + offsets(words)
        pairs = (words & 0x3A000000 == 0x28000000).nonzero()[0]
        seconds = targets[pairs] + pair_size(words[pairs])
        all_targets = np.concatenate((targets, seconds))
        all_sites = np.concatenate((sites, sites[pairs]))
        order = all_targets.argsort(kind="stable")
        return all_targets[order], all_sites[order]

    @cached_property
    def unwind(self) -> UnwindTableArm64:
        """The exception data of the image."""
        return UnwindTableArm64(self.image)

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self.words, self._bounds, self._find_labels())

    def _find_labels(self) -> tuple[Rvas, Rvas]:
        """(index of the jump, index of the label) of every label of a jump table.

        What lies between two known functions is taken for one.
        """
        places = (self.words & _BRANCH_REGISTER == _BR).nonzero()[0][:MOST_JUMPS]
        following = self._bounds.searchsorted(places, "right")
        firsts = np.where(following, self._bounds[following - 1], 1)
        lasts = np.minimum(self._bounds[following] - 1, firsts + FARTHEST)
        tables, used = JumpTables(self.image), []
        for place, first, last in zip(
            places.tolist(), firsts.tolist(), lasts.tolist(), strict=True
        ):
            low = max(first, place - LOOK)
            words, start = self.words[low : place + 1].tolist(), int(self.rvas[low])
            table = find_table(words, start, place - low, self.image.base)
            if table is not None:
                used.append(Used(place, table, int(self.rvas[first]), int(self.rvas[last])))
        edges = np.array(list(tables.read(used)), np.int64).reshape(-1, 2)
        jumps, labels = edges[:, 0], self.rvas.searchsorted(edges[:, 1])
        found = self.rvas[labels] == edges[:, 1]
        return jumps[found], labels[found]

    @cached_property
    def _bounds(self) -> Rvas:
        """Index of the words at which the exception data begins or ends a function, and the end."""
        rvas = distinct(np.array([*self.unwind.starts, *self.unwind.ends], np.int64))
        return np.append(np.searchsorted(self.rvas, rvas), len(self.words))

    def _made(self, uses: Rvas, bases: Rvas) -> Anchors:
        """The anchors that the ADDs and the copies of registers among some uses make."""
        places = self._lives[1][uses] & PLACE
        words = self.words[places]
        adds = words & ADD_MASK == ADD
        making = (adds | copies(words)).nonzero()[0]
        if not len(making):
            return NO_RVAS
        words = words[making]
        added = np.where(adds[making], addends(words), 0)
        return _anchors(places[making], words & 31, bases[making] + added)

    def _elsewhere(
        self, anchors: Anchors, first: Rvas, ends: Rvas, registers: Rvas
    ) -> list[Anchors]:
        """Where registers still hold their addresses though code order has lost them."""
        lives = [
            self._paths.branched(first, ends, registers),
            self._paths.reloaded(first, ends, registers),
        ]
        return [
            _anchors(places, registers, anchors[rows] & ADDRESS)
            for places, registers, rows in lives
            if len(places)
        ]

    @cached_property
    def _lives(self) -> tuple[Rvas, Rvas]:
        """Words that overwrite a register, and words that use one as a base or copy it, sorted.

        Each is (register, index of the word) as one number.
        """
        words = self.words
        lowest, base, second = ((words >> low & 31).astype(np.uint8) for low in (0, 5, 10))
        writes = _by_register(lowest, writes_lowest(words) & (lowest != _NOWHERE))
        pairs = _by_register(second, loads_pair(words))
        ends = np.insert(writes, writes.searchsorted(pairs), pairs)
        uses = _by_register(base, uses_base(words) & (base != _NOWHERE))
        copied = _by_register((words >> 16 & 31).astype(np.uint8), copies(words))
        return np.append(ends, NEVER), np.insert(uses, uses.searchsorted(copied), copied)

    def _follow(self, places: Rvas, registers: Rvas) -> tuple[Rvas, Rvas, Rvas]:
        """(row, number of the use) of every use of registers that live from some words on.

        Last, the index of the last word at which each register does. None lives on behind its
        function.
        """
        overwrites, uses = self._lives
        key = registers << 32
        begin = key | places
        ends = np.minimum(places + WINDOW, self._bounds[self._bounds.searchsorted(places)] - 1)
        # what overwrites another register is a whole register number behind, and so no minimum
        np.minimum(ends, overwrites[overwrites.searchsorted(begin)] - key, out=ends)
        calls = self._calls[self._calls.searchsorted(places)]
        np.minimum(ends, calls, out=ends, where=registers < _VOLATILE_LIMIT)
        first = uses.searchsorted(begin)
        last = uses.searchsorted(key | np.minimum(ends, places + (WINDOW - 1)), "right")
        rows, chosen = spread(first, last)
        return rows, chosen, ends

    @cached_property
    def joined(self) -> npt.NDArray[np.bool_]:
        """Which words direct branches and jump tables lead to, but for far ones."""
        found = np.zeros(len(self.words), bool)
        found[self._paths.targets] = True
        return found

    @cached_property
    def _joins(self) -> bytes:
        """The same by RVA: 1 for each such word of the image."""
        found = np.zeros((int(self.rvas[-1]) >> 2) + 1, bool)
        found[self.rvas[self.joined] >> 2] = True
        return found.tobytes()

    def are_branched_to(self, first: int, last: int) -> bool:
        """Whether a branch or a jump table leads to an RVA between two, both included."""
        return self._joins.find(1, (first + 3) >> 2, (last >> 2) + 1) >= 0

    def makes_page(self, page: int, start: int, end: int) -> bool:
        """Whether an ADRP between two RVAs makes the address of a page."""
        pages, places = self.adrps
        low, high = pages.searchsorted((page, page + 1))
        rvas = self.rvas[places[low:high]]
        return bool(rvas.searchsorted(start) < rvas.searchsorted(end))

    # ---- addresses in one step

    @cached_property
    def _literals(self) -> tuple[Rvas, Rvas]:
        """(target, RVA) of every ADR and literal load, sorted by target."""
        words = self.words
        is_adr, is_load = words & 0x9F000000 == 0x10000000, words & 0x3B000000 == 0x18000000
        places = np.flatnonzero(is_adr | is_load)
        chosen = words[places]
        fields = signed(chosen >> 5 & 0x7FFFF, 19) << 2
        low_bits = np.where(is_adr[places], chosen >> 29 & 3, 0)
        targets: Rvas = self.rvas[places] + (fields | low_bits)
        order = np.argsort(targets, kind="stable")
        return targets[order], self.rvas[places[order]]

    # ---- questions

    def jumps_on(self, rva: int) -> bool:
        """`br x`."""
        return self.image.u32(rva) & 0xFFFF_FC1F == 0xD61F_0000

    def method_loads(self, displacement: int) -> list[int]:
        """`ldr x, [x, #displacement]`."""
        words = self.words & 0xFFFFFC00 == 0xF9400000 | displacement // 8 << 10
        found: list[int] = self.rvas[np.flatnonzero(words)].tolist()
        return found

    def constants(self, value: int) -> list[int]:
        """`movz w, #low` with `movk w, #high, lsl #16` right behind it."""
        low, high = self.words[:-1], self.words[1:]
        pair = low & 0xFFFFFFE0 == 0x52800000 | (value & 0xFFFF) << 5
        pair &= high & 0xFFFFFFE0 == 0x72A00000 | value >> 16 << 5
        pair &= low & 31 == high & 31
        found: list[int] = self.rvas[np.flatnonzero(pair)].tolist()
        return found

    def to_slots(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        """(RVA of the instruction, slot) of every candidate that names a slot exactly."""
        wanted = np.array(sorted(slots), np.int64)
        hits: list[tuple[int, int]] = []
        for page in distinct(wanted & PAGE_MASK).tolist():
            targets, places = self._uses(page)
            chosen = among(targets, wanted).nonzero()[0][: MAX_HITS + 1]
            hits += zip(places[chosen].tolist(), targets[chosen].tolist(), strict=True)
        return sorted(set(hits))[: MAX_HITS + 1]

    def naming(self, low: int, high: int) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of every candidate that names some RVAs in a row."""
        found = [(NO_RVAS, NO_RVAS)]
        for page in range(low & PAGE_MASK, high, 0x1000):
            targets, places = self._uses(page)
            first, last = targets.searchsorted((max(low, page), min(high, page + 0x1000))).tolist()
            found.append((targets[first:last], places[first:last]))
        return np.concatenate([each for each, _ in found]), np.concatenate([x for _, x in found])

    def to_data(self, rva: int, count: int = 1) -> list[int]:
        """RVAs of every candidate instruction that names one of some RVAs in a row."""
        found = []
        end = rva + count
        pages = {rva & PAGE_MASK, (end - 1) & PAGE_MASK}
        for targets, places in (*map(self._uses, pages), self._literals):
            low, high = targets.searchsorted((rva, end))
            found += places[low:high].tolist()
        return sorted(set(found))

    def only_reads(self, place: int) -> bool:
        """Whether the instruction at an RVA is a load and nothing else."""
        word = self.image.u32(place)
        return is_access(word) and access(word).is_load

    def takes_address(self, rva: int) -> bool:
        """Whether a pointer in data, an ADD or an ADR makes the address of an RVA."""
        if self.pointers_to(rva):
            return True
        words = [self.image.u32(place) for place in self.to_data(rva)]
        return any(word & 0x1F000000 in (0x10000000, 0x11000000) for word in words)

    def thunk(self, place: int) -> int | None:
        """`adrp; ldr; br` in a row."""
        if self.image.memory[place + 7] != _BR >> 24:
            return None
        jump = self.image.u32(place + 4)
        if jump & _BRANCH_REGISTER != _BR:
            return None
        page, load = self.image.u32(place - 4), self.image.u32(place)
        same_base = page & 31 == load >> 5 & 31 and jump >> 5 & 31 == load & 31
        return place - 4 if page & 0x9F000000 == 0x90000000 and same_base else None

    def find_branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every B and BL into code."""
        places = np.flatnonzero(self.words & 0x7C000000 == 0x14000000)
        sites = self.rvas[places]
        targets = sites + 4 * signed(self.words[places] & 0x3FFFFFF, 26)
        inside = self.in_code(targets)
        return targets[inside], sites[inside]

    def are_calls(self, sites: Rvas) -> npt.NDArray[np.bool_]:
        """Which sites hold BL."""
        return np.asarray(self.image.bytes[sites + 3] >> 7 == 1)


def _anchors(places: Rvas, registers: npt.NDArray[Any], addresses: Rvas) -> Anchors:
    """Sorting them sorts them by place."""
    found: Anchors = (places << 5 | registers) << 32 | addresses
    return found


def _by_register(registers: Bytes, chosen: npt.NDArray[np.bool_]) -> Rvas:
    """(register, index) of the chosen words as one number each, sorted.

    Small numbers sort fast, and the places are sorted.
    """
    places = chosen.nonzero()[0]
    mine = registers[places]
    order = mine.argsort(kind="stable")
    return mine[order].astype(np.int64) << 32 | places[order]

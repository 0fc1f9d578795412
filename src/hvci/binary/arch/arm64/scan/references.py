"""Where ARM64 code refers to what: ADRP followed to the uses of its page, branches, literals.

An address takes two instructions. All ADRPs of a page are followed forwards at once
(followed.py). Nothing is said about what other paths do to the register, so a hit is a
candidate like any other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hvci.binary.arch.arm64.scan.fields import page_steps, signed
from hvci.binary.arch.arm64.scan.followed import PAGE_MASK, Followed, Words, anchors_at
from hvci.binary.arch.arm64.scan.paths import FARTHEST, Paths
from hvci.binary.arch.arm64.tables import LOOK, find_table
from hvci.binary.arch.arm64.unwind import UnwindTableArm64
from hvci.binary.arch.arm64.words import access, is_access
from hvci.binary.form.code import Function
from hvci.binary.form.jumptables import JumpTables, Used
from hvci.binary.form.references import MAX_HITS, NO_RVAS, References, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among, distinct

TOGETHER, BATCH = 4096, 32
"""ADRPs that are followed at once: a call of numpy costs more than its elements do."""
MOST_JUMPS = 8192
"""Jumps through registers that are looked at; real drivers have some hundreds."""
ADD_MASK, ADD = 0xFF800000, 0x91000000
"""ADD of 64 bits and an immediate."""
_BRANCH_REGISTER = 0xFFFFFC1F
_BR = 0xD61F0000
_LDR_W, _LDRSW = 0xB9400000, 0xB9800000


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
        places = (self.words & 0x9F000000 == 0x90000000).nonzero()[0]
        words = self.words[places]
        pages = (self.rvas[places] & PAGE_MASK) + page_steps(words)
        order = np.argsort(pages, kind="stable")
        return pages[order], places[order]

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

    def _learn_some(self, pages: Rvas) -> None:
        """Find the uses of some pages, a batch of them together, as far as there is room."""
        if len(self._data_pages):
            return  # then they are all looked at together
        for first in range(0, len(pages), BATCH):
            batch = pages[first : first + BATCH]
            if not all(page in self._by_page for page in batch.tolist()):
                self._paths.is_cut = False
                found = self._find_uses(batch)
                if not self._paths.is_cut:
                    self._by_page.update(dict.fromkeys(batch.tolist(), found))

    @cached_property
    def _named_pages(self) -> Rvas:
        """The pages that instructions make, sorted."""
        return distinct(np.concatenate((self.adrps[0], self._adrs[0] & PAGE_MASK)))

    @cached_property
    def _data_pages(self) -> Rvas:
        """The pages without code that ADRPs name, sorted; none where the ADRPs are too many."""
        pages = np.concatenate((self.adrps[0], self._adrs[0] & PAGE_MASK))
        wanted = pages[~self.in_code(pages) & (pages >= 0) & (pages < self.image.size)]
        return distinct(wanted) if len(wanted) <= TOGETHER else NO_RVAS

    def _find_uses(self, wanted: Rvas) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of all uses of some pages of the image, sorted."""
        pages, places = self.adrps
        chosen = among(pages, wanted)
        places, (targets, near) = places[chosen], self._adrs
        inside = among(targets & PAGE_MASK, wanted) if len(near) else near > 0
        places = np.concatenate((places, near[inside]))
        addresses = np.concatenate((pages[chosen], targets[inside]))
        return self._followed.uses_of(
            np.sort(anchors_at(places, self.words[places] & 31, addresses))
        )

    @cached_property
    def unwind(self) -> UnwindTableArm64:
        """The exception data of the image."""
        return UnwindTableArm64(self.image)

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self.words, self._bounds, self._find_labels())

    @cached_property
    def _followed(self) -> Followed:
        return Followed(self.image, self.words, self.rvas, self._bounds, self._paths)

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
    def _adrs(self) -> tuple[Rvas, Rvas]:
        """(target, index of the word) of every ADR to what is no code."""
        places = (self.words & 0x9F000000 == 0x10000000).nonzero()[0]
        words = self.words[places]
        fields = signed(words >> 5 & 0x7FFFF, 19) << 2
        targets: Rvas = self.rvas[places] + (fields | (words >> 29 & 3))
        chosen = ~self.in_code(targets) & (targets >= 0) & (targets < self.image.size)
        return targets[chosen], places[chosen]

    @cached_property
    def _literals(self) -> tuple[Rvas, Rvas]:
        """(target, RVA) of every ADR and literal load, sorted by target."""
        words = self.words
        is_adr, is_load = words & 0x9F000000 == 0x10000000, words & 0x3B000000 == 0x18000000
        places = (is_adr | is_load).nonzero()[0]
        chosen = words[places]
        fields = signed(chosen >> 5 & 0x7FFFF, 19) << 2
        low_bits = np.where(is_adr[places], chosen >> 29 & 3, 0)
        targets: Rvas = self.rvas[places] + (fields | low_bits)
        order = np.argsort(targets, kind="stable")
        return targets[order], self.rvas[places[order]]

    @cached_property
    def taken(self) -> Rvas:
        """Of ADR."""
        targets, places = self._literals
        words = np.frombuffer(self.image.memory, "<u4", len(self.image.memory) // 4)
        return distinct(targets[words[places >> 2] & 0x9F000000 == 0x10000000])

    def loads_of(self, halves: Sequence[int]) -> list[int]:
        """RVAs of the literal loads of one or two words with one of some upper halves."""
        targets, places = self._literals
        inside = (targets >= 0) & (targets < self.image.size - 8) & (targets & 3 == 0)
        targets, places = targets[inside], places[inside]
        words = np.frombuffer(self.image.memory, "<u4", len(self.image.memory) // 4)
        at = targets >> 2
        found = among(words[at] >> 16, np.array(halves)) | among(
            words[at + 1] >> 16, np.array(halves)
        )
        chosen: list[int] = places[found].tolist()
        return chosen

    # ---- questions

    def jumps_on(self, rva: int) -> bool:
        """`br x`."""
        return self.image.u32(rva) & 0xFFFF_FC1F == 0xD61F_0000

    def method_loads(self, displacement: int) -> list[int]:
        """`ldr x, [x, #displacement]`."""
        words = self.words & 0xFFFFFC00 == 0xF9400000 | displacement // 8 << 10
        found: list[int] = self.rvas[words.nonzero()[0]].tolist()
        return found

    def field_loads(self, offset: int) -> Rvas:
        """RVAs of `ldr w, [x, #offset]` and `ldrsw x, [x, #offset]`, sorted."""
        forms = [form | offset // 4 << 10 for form in (_LDR_W, _LDRSW)]
        return self.rvas[np.isin(self.words & 0xFFFFFC00, forms)]

    def constants(self, value: int) -> list[int]:
        """`movz w, #low` with `movk w, #high, lsl #16` right behind it."""
        low, high = self.words[:-1], self.words[1:]
        pair = low & 0xFFFFFFE0 == 0x52800000 | (value & 0xFFFF) << 5
        pair &= high & 0xFFFFFFE0 == 0x72A00000 | value >> 16 << 5
        pair &= low & 31 == high & 31
        found: list[int] = self.rvas[pair.nonzero()[0]].tolist()
        return found

    def to_slots(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        """(RVA of the instruction, slot) of every candidate that names a slot exactly."""
        wanted = np.array(sorted(slots), np.int64)
        hits: list[tuple[int, int]] = []
        places = [*map(self._uses, distinct(wanted & PAGE_MASK).tolist()), self._literals]
        places += self._through_pointers(wanted)
        for targets, sites in places:
            chosen = among(targets, wanted).nonzero()[0][: MAX_HITS + 1]
            hits += zip(sites[chosen].tolist(), targets[chosen].tolist(), strict=True)
        return sorted(set(hits))[: MAX_HITS + 1]

    def naming(self, low: int, high: int) -> tuple[Rvas, Rvas]:
        """(target, RVA of the instruction) of every candidate that names some RVAs in a row."""
        found = [(NO_RVAS, NO_RVAS)]
        first, last = self._named_pages.searchsorted((low & PAGE_MASK, high)).tolist()
        wanted = self._named_pages[first:last]
        self._learn_some(wanted)
        for page in wanted.tolist():
            targets, places = self._uses(page)
            first, last = targets.searchsorted((max(low, page), min(high, page + 0x1000))).tolist()
            found.append((targets[first:last], places[first:last]))
        return np.concatenate([each for each, _ in found]), np.concatenate([x for _, x in found])

    def _through_pointers(self, slots: Rvas) -> list[tuple[Rvas, Rvas]]:
        """(target, RVA of the instruction) of uses of what pointers to slots are loaded into."""
        targets, cells = self.pointers
        chosen = among(targets, slots)
        found = []
        for cell, slot in zip(cells[chosen].tolist(), targets[chosen].tolist(), strict=True):
            sites = [site for site in self.to_data(cell) if self.only_reads(site)]
            places = self.rvas.searchsorted(sites)
            anchors = anchors_at(places, self.words[places] & 31, slot)
            found.append(self._followed.uses_of(np.sort(anchors)))
        return found

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
        """`adrp; ldr; br` in a row, or `adrp; add; ldar; br`."""
        if self.image.memory[place + 7] != _BR >> 24:
            return None
        jump, load = self.image.u32(place + 4), self.image.u32(place)
        if jump & _BRANCH_REGISTER != _BR or jump >> 5 & 31 != load & 31 or not is_access(load):
            return None
        start, base = place - 4, load >> 5 & 31
        before = self.image.u32(start)
        if before & ADD_MASK == ADD and before & 31 == base:
            start, base = place - 8, before >> 5 & 31
            before = self.image.u32(start)
        makes_page = before & 0x9F000000 == 0x90000000 and before & 31 == base
        return start if makes_page else None

    def thunks(self, places: Sequence[int]) -> dict[int, int]:
        """By the last byte of BR, of all at once."""
        at = np.array(places, np.int64)
        return super().thunks(at[self.image.bytes[at + 7] == _BR >> 24].tolist())

    def find_branches(self) -> tuple[Rvas, Rvas]:
        """(target, site) of every B and BL into code."""
        places = (self.words & 0x7C000000 == 0x14000000).nonzero()[0]
        sites = self.rvas[places]
        targets = sites + 4 * signed(self.words[places] & 0x3FFFFFF, 26)
        inside = self.in_code(targets)
        return targets[inside], sites[inside]

    def strays(self) -> list[tuple[int, int]]:
        """By every B and BL."""
        places = (self.words & 0x7C000000 == 0x14000000).nonzero()[0]
        sites = self.rvas[places]
        targets = sites + 4 * signed(self.words[places] & 0x3FFFFFF, 26)
        stray = ~self.in_code(targets) & (targets >= 0) & (targets < self.image.size)
        return list(zip(sites[stray].tolist(), targets[stray].tolist(), strict=True))

    def leaving(self, functions: list[Function]) -> list[Function]:
        """By all words that look like direct branches."""
        places, distances = self._paths.direct
        targets = self.rvas[places] + 4 * distances
        sites = self.rvas[places[(targets < 0) | (targets >= self.image.size)]].tolist()
        return [
            each
            for each in functions
            if bisect_left(sites, each.rvas[0]) < bisect_left(sites, each.rvas[-1] + 1)
        ]

    def are_calls(self, sites: Rvas) -> npt.NDArray[np.bool_]:
        """Which sites hold BL."""
        return np.asarray(self.image.bytes[sites + 3] >> 7 == 1)

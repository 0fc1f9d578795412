"""Where functions of x64 code start that no exception data describes.

clang with -ffreestanding writes none, nor does GCC when it is told so, and assemblers only what
somebody describes. A stretch without exception data is decoded once, from places that look like the
start of a function; its instructions then tell what is called, jumped and pointed to. Knows where
code begins; knows nothing of what it does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from iced_x86 import Mnemonic, Register

from hvci.binary.arch.x86.starts import BEFORE, Openings
from hvci.binary.form.boundaries import Boundaries
from hvci.binary.form.code import CALLS, Flow
from hvci.binary.form.references import References, Rvas
from hvci.binary.pe.image import PeImage
from hvci.binary.pe.sets import among, distinct

if TYPE_CHECKING:
    from hvci.binary.arch.x86.architecture import X86

MAX_STRETCH = 1 << 15
"""Bytes decoded together; longer stretches are cut where a function seems to end."""
CALL = 0xE8
_LEAVES = (Mnemonic.POP, Mnemonic.LEAVE)
_RESTORES = (Mnemonic.ADD, Register.RSP)
PADDING = b"\x00\x90\xcc"
MAX_ROUNDS = 8
"""How often tail calls of functions that were found by tail calls are looked for."""
ALIGNMENT = 16
MAX_CUT = 1 << 12
"""Bytes in which the end of a function is looked for."""


class Layout(NamedTuple):
    """What is known of one stretch."""

    starts: list[int]
    """RVAs where functions start, sorted."""
    end: int
    entered: frozenset[int]
    """RVAs within functions that others jump to."""

    def span(self, rva: int) -> tuple[int, int]:
        """The function that holds an RVA: where it starts and where the next one does."""
        i = bisect_right(self.starts, rva)
        end = self.starts[i] if i < len(self.starts) else self.end
        return self.starts[max(0, i - 1)], end


class Gaps:
    """The functions without exception data of one image."""

    def __init__(
        self,
        image: PeImage,
        architecture: X86,
        references: References,
        boundary: Callable[[int], int | None],
        is_all: bool,
    ) -> None:
        self.image = image
        self.architecture = architecture
        self.references = references
        self.boundary = boundary
        """The instruction that holds an RVA of a function with exception data."""
        self.is_all = is_all
        """Whether no function of the image has exception data."""
        self._layouts: dict[int, Layout] = {}
        self._cuts: dict[int, int] = {}
        self._starts: dict[int, list[int]] = {}
        self._boundaries: dict[int, Boundaries] = {}

    def layout(self, low: int, high: int, rva: int) -> Layout:
        """The functions between two RVAs; of a long stretch those of a part around a third."""
        low, high = self._part(low, high, rva)
        known = self._layouts.get(low)
        if known is None:
            known = self._layouts[low] = self._lay_out(low, high)
        return known

    def holding(self, low: int, high: int, rva: int) -> int | None:
        """RVA of the instruction between two RVAs that holds a third, as its layout decodes it."""
        low, high = self._part(low, high, rva)
        starts = self._decoded_from(low, high)
        i = bisect_right(starts, rva) - 1
        if i < 0:
            return None
        start = starts[i]
        known = self._boundaries.get(start)
        if known is None:
            end = starts[i + 1] if i + 1 < len(starts) else high
            code = bytes(self.image.memory[start:end])
            known = Boundaries(self.architecture.boundaries(code, start))
            self._boundaries[start] = known
        return known.holding(rva)

    def _part(self, low: int, high: int, rva: int) -> tuple[int, int]:
        """What is decoded together of a stretch between two RVAs around a third."""
        if high - low > MAX_STRETCH:
            before, behind = rva // MAX_STRETCH, rva // MAX_STRETCH + 1
            before -= rva < self._cut(before)
            low, high = max(low, self._cut(before)), min(high, self._cut(behind))
            high = max(high, rva + 1)
        return low, high

    def _cut(self, number: int) -> int:
        """Where a function seems to end behind so many times the longest stretch."""
        known = self._cuts.get(number)
        if known is None:
            at = number * MAX_STRETCH
            places = np.arange(at + ALIGNMENT, min(at + MAX_CUT, self.image.size), ALIGNMENT)
            ended = self.seen.is_behind_end(places).nonzero()[0]
            known = self._cuts[number] = int(places[ended[0]]) if len(ended) else at
        return known

    def _lay_out(self, low: int, high: int) -> Layout:
        starts = self._decoded_from(low, high)
        if len(starts) > 1 or self.is_all:
            return _Stretch(self, low, high, starts, *self._within(low, high)).layout()
        return Layout(starts, high, frozenset())

    def _within(self, low: int, high: int) -> list[Rvas]:
        """What is branched to, made the address of, and named between two RVAs."""
        groups = (self.references.branch_targets, self.taken, self.named)
        return [rvas[slice(*rvas.searchsorted((low, high)))] for rvas in groups]

    def _decoded_from(self, low: int, high: int) -> list[int]:
        """Where decoding begins anew between two RVAs, sorted."""
        known = self._starts.get(low)
        if known is None:
            known = self._anchors(low, *self._within(low, high))
            if len(known) <= 1 and not self.is_all:
                memory = self.image.memory
                known = [next((rva for rva in range(low, high) if memory[rva] not in PADDING), low)]
            self._starts[low] = known
        return known

    def _anchors(self, low: int, branched: Rvas, taken: Rvas, named: Rvas) -> list[int]:
        """Where to begin decoding: data between functions would put it out of step."""
        likely = np.concatenate((branched, taken))
        likely = likely[likely >= BEFORE]
        ended = self.seen.is_behind_end(likely)
        others = likely[~ended]
        filled = others[self.seen.are_behind_fillers(others)]
        called = filter(self.is_called, others[among(others, branched)].tolist())
        pointed = others[among(others, self.references.pointers[0])]
        sure = (*filled.tolist(), *called, *pointed.tolist(), *named.tolist())
        return sorted({low, *likely[ended].tolist(), *sure})

    def is_called(self, rva: int) -> bool:
        """Whether an instruction of a function with exception data calls an RVA."""
        memory, sites = self.image.memory, self.references.to_code(rva)
        return any(memory[site] == CALL and self.boundary(site) == site for site in sites)

    def has_pointers(self, low: int, high: int) -> bool:
        """Whether pointers lead between two RVAs: to functions, or to labels of a table."""
        first, last = self.references.pointers[0].searchsorted((low, high))
        return bool(first < last)

    @cached_property
    def seen(self) -> Openings:
        """Tells what the bytes before a place look like."""
        return Openings(self.image, self.references)

    @cached_property
    def taken(self) -> Rvas:
        """Every RVA of code of which LEA or a pointer makes the address, sorted."""
        found = distinct(np.concatenate((self.references.taken, self.references.pointers[0])))
        return found[self.references.in_code(found)]

    @cached_property
    def named(self) -> Rvas:
        """The entry point and the exports, sorted."""
        return distinct(np.array([int(self.image.headers.entry), *self.image.exports], np.int64))


class _Stretch:
    """One stretch on its way to a layout."""

    def __init__(
        self,
        gaps: Gaps,
        low: int,
        high: int,
        anchors: list[int],
        branched: Rvas,
        taken: Rvas,
        named: Rvas,
    ) -> None:
        self.gaps = gaps
        self.low, self.high = low, high
        self.branched, self.taken, self.named = branched, taken, named
        self.code = gaps.architecture.function(low, list(pairwise((*anchors, high))), "stretch")
        if gaps.is_all or gaps.has_pointers(low, high):
            gaps.architecture.note_tables(self.code)

    def layout(self) -> Layout:
        """Every start, and what is jumped to from elsewhere."""
        starts = self._certain()
        found = sorted(starts)
        for _ in range(MAX_ROUNDS):
            found = sorted(starts)
            across = [each for each in self._across(found) if self._is_behind_end(each)]
            if starts.issuperset(across):
                break
            starts.update(across)
        return Layout(found, self.high, frozenset(self._across(found) - starts))

    def _certain(self) -> set[int]:
        """What begins the stretch, is exported, called, or pointed to."""
        code = self.code
        first = self._behind_padding(0)
        starts = {code.rvas[first] if first < len(code.rvas) else self.low}
        starts.update(self.named.tolist())
        called = {
            self.gaps.architecture.direct_target(code, i)
            for i, flow in enumerate(code.flows)
            if flow == Flow.CALL
        }
        for rva in self.branched.tolist():
            if rva in called or self._is_called_from_outside(rva):
                starts.add(rva)
        for rva in self.taken.tolist():
            if rva not in starts and self._is_pointed_to(rva):
                starts.add(rva)
        return starts

    def _is_called_from_outside(self, rva: int) -> bool:
        """Whether an instruction of a known function calls an RVA, or jumps to what looks so."""
        memory, is_ended = self.gaps.image.memory, self._is_behind_end(rva)
        for site in self.gaps.references.to_code(rva):
            if not self.low <= site < self.high and (is_ended or memory[site] == CALL):
                place = self.gaps.boundary(site)
                if place == site or (place is None and is_ended):
                    return True
        return False

    def _is_pointed_to(self, rva: int) -> bool:
        """Whether what a pointer names looks like a function, and not like a label."""
        code = self.code
        i = code.find(rva)
        if i is None or any(self._dispatches(p) for p in code.sources.get(i, ())):
            return False
        if code.flows[i - 1] in CALLS or self._is_behind_end(rva):
            return True
        if self.gaps.seen.are_typed(np.array([rva])).any():
            return True
        return bool(self.gaps.references.pointers_to(rva))  # data may stand before it

    def _dispatches(self, p: int) -> bool:
        """Whether a jump goes through the table of a switch: one that leaves the frame calls."""
        before = self.code.instructions[p - 1]
        leaves = before.mnemonic in _LEAVES or (before.mnemonic, before.op0_register) == _RESTORES
        return self.code.flows[p] == Flow.INDIRECT_JUMP and not leaves

    def _is_behind_end(self, rva: int) -> bool:
        """Whether control cannot come to an instruction from what stands before it."""
        i = self.code.find(rva)
        if i is None:
            return False
        while i > 0 and self.code.follows(i) and self._fills(i - 1):
            i -= 1
        return not self.code.follows(i)

    def _behind_padding(self, i: int) -> int:
        """The first instruction from one on that does something."""
        while i < len(self.code.rvas) and self._fills(i):
            i += 1
        return i

    def _fills(self, i: int) -> bool:
        return self.gaps.architecture.is_padding(self.code, i)

    def _across(self, starts: list[int]) -> set[int]:
        """Where jumps and branches lead from one function into another, but not to its start."""
        code, found = self.code, set[int]()
        for i, k in code.jumps.items():
            source, target = code.rvas[i], code.rvas[k]
            at = bisect_right(starts, target)
            low = starts[at - 1] if at else self.low
            high = starts[at] if at < len(starts) else self.high
            if target != low and not low <= source < high:
                found.add(target)
        return found

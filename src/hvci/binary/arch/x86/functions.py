"""Which bytes of an x64 or x86 image are functions: unwind data, calls, pointers and prologues."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cached_property, partial
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, cast

import numpy as np

from hvci.binary.arch.x86.direct.dispatchers import Dispatchers
from hvci.binary.arch.x86.direct.named_calls import NAMED, name_calls
from hvci.binary.arch.x86.gaps import Gaps
from hvci.binary.arch.x86.starts import find_starts
from hvci.binary.arch.x86.unwind import UnwindTable
from hvci.binary.form.boundaries import Boundaries
from hvci.binary.form.code import Architecture, Function
from hvci.binary.form.exceptions import NO_FRAME, Exceptions, Fragment
from hvci.binary.form.functions import MAX_FUNCTION, MAX_GAP, SHORT_GAP, Functions, Outline
from hvci.binary.form.references import References, Rvas
from hvci.binary.pe.image import PeImage

if TYPE_CHECKING:
    from hvci.binary.arch.x86.architecture import X86


class FunctionsX86(Functions):
    """The functions of one x64 or x86 image."""

    def __init__(self, image: PeImage, architecture: Architecture, references: References) -> None:
        super().__init__(image, architecture, references)
        self._boundaries: dict[int, Boundaries | None] = {}

    @cached_property
    def unwind(self) -> Exceptions:
        """What the exception data says of the functions."""
        return UnwindTable(self.image)

    def at(self, rva: int) -> Function | None:
        """The function that holds an RVA; None when no code does."""
        if not self.image.is_code(rva):
            return None
        return self._at_64(rva) if self.image.bits == 64 else self._at_32(rva)

    def outline(self, rva: int) -> Outline | None:
        """The function that holds an RVA; None where only decoding tells."""
        if not self.image.is_code(rva):
            return None
        if self.image.bits == 32:
            span = self._span_32(rva)
            found = Outline(span[0], [span]) if span is not None else None
        else:
            fragments = self.unwind.find(rva)
            found = Outline(fragments[0].start, list(_apart(fragments))) if fragments else None
        if found is None or not any(start <= rva < end for start, end in found.spans):
            return None
        return found

    def starts_within(self, outline: Outline) -> Rvas | None:
        """RVAs of the instructions of a function; None where only decoding tells."""
        start, spans = outline
        decoded = self._unwound.get(start) or self._known.get(("start", start))
        if decoded is not None:
            return np.array(decoded.rvas, np.int64)
        memory, boundaries = self.image.memory, self.architecture.boundaries
        each = (boundaries(bytes(memory[first:last]), first) for first, last in spans)
        found = np.fromiter(chain.from_iterable(each), np.int64)
        if self.image.bits == 32 and self._has_import_branches(*spans[0]):
            return None if self._lost_boundaries(found.tolist(), *spans[0]) else found
        return found

    def boundary(self, rva: int) -> int | None:
        """RVA of the instruction that holds an RVA; None where that is not known.

        A seventh of the cost of a decoded function, for those who only sort places out.
        """
        return self._boundary(rva, self.unwind.find(rva) if self.image.bits == 64 else [])

    def _boundary(self, rva: int, fragments: list[Fragment]) -> int | None:
        """The same, with the fragments of the function on x64."""
        decoded = self._unwound.get(fragments[0].start) if fragments else None
        if decoded is not None:
            i = bisect_right(decoded.rvas, rva) - 1
            return decoded.rvas[i] if i >= 0 else None
        span = self._span_32(rva) if self.image.bits == 32 else _span_64(fragments, rva)
        if span is None:
            return None
        start, end = span
        if start not in self._boundaries:
            code = bytes(self.image.memory[start:end])
            found = Boundaries(self.architecture.boundaries(code, start))
            is_lost = self._has_import_branches(start, end) and self._lost_boundaries(
                found.all(), start, end
            )
            self._boundaries[start] = None if is_lost else found
        boundaries = self._boundaries[start]
        return boundaries.holding(rva) if boundaries is not None else None

    def likely_boundary(self, rva: int) -> int | None:
        """The same outside of known functions as well, where no more than decoding tells it."""
        if self.image.bits == 32:
            return self._boundary(rva, [])
        fragments = self.unwind.find(rva)
        if not fragments:
            if self.is_overworked or not self.image.is_code(rva):
                return None
            return self._gaps.holding(*self.unwind.gap(rva), rva)
        return self._boundary(rva, fragments)

    def _decode(self, start: int, fragments: list[tuple[int, int]], kind: str) -> Function:
        function = super()._decode(start, fragments, kind)
        if self.references.named:
            name_calls(self.image, function)
        self.dispatchers.note(function)
        return function

    @cached_property
    def dispatchers(self) -> Dispatchers:
        """The code that goes on to where a register points."""
        return Dispatchers(self.image, self.references)

    # ---- x64

    def _at_64(self, rva: int) -> Function:
        fragments = self.unwind.find(rva)
        if not fragments:
            return self._in_gap(rva)
        start = fragments[0].start
        function = self._unwound.get(start)
        if function is None:
            spans = list(_apart(fragments))
            function = self._decode(start, spans, "unwind")
            function.frames = {item.start: partial(self.unwind.frame, item) for item in fragments}
            self._unwound[start] = function
        return function

    def _in_gap(self, rva: int) -> Function:
        """Code without unwind data: leaf functions, thunks, hand-written code."""
        low, high = self.unwind.gap(rva)
        if self.is_overworked:
            start, end = max(low, rva - SHORT_GAP), min(high, rva + SHORT_GAP)
            entered: Set[int] = frozenset()
        else:
            layout = self._gaps.layout(low, high, rva)
            (start, end), entered = layout.span(rva), layout.entered
        is_known = not self.unwind.starts
        longest = start + (MAX_FUNCTION if is_known else MAX_GAP)
        start, end = min(start, rva), min(end, max(longest, rva + 64))
        function = self._known.get(("gap", start))
        if function is not None and function.rvas[-1] >= rva:
            return function
        function = self._decode(start, [(start, end)], "start" if is_known else "gap")
        function.frames = {function.start: NO_FRAME}
        _enter(function, entered)
        self._known["gap", start] = function
        return function

    @cached_property
    def _gaps(self) -> Gaps:
        architecture, is_all = cast("X86", self.architecture), not self.unwind.starts
        return Gaps(self.image, architecture, self.references, self.boundary, is_all)

    # ---- x86

    def _span_32(self, rva: int) -> tuple[int, int] | None:
        i = bisect_right(self._starts, rva) - 1
        if i < 0:
            return None
        start = self._starts[i]
        end = self._starts[i + 1] if i + 1 < len(self._starts) else self.image.size
        for first, last in self.image.code_ranges:
            if first <= start < last:
                end = min(end, last)
        return start, min(end, start + MAX_FUNCTION)

    def _at_32(self, rva: int) -> Function | None:
        i = bisect_right(self._starts, rva) - 1
        if i < 0:
            return None
        start = self._starts[i]
        function = self._known.get(("start", start))
        if function is None:
            start, end = self._span_32(rva) or (start, start)
            function = self._decode(start, [(start, end)], "start")
            lost = self._lost_boundaries(function.rvas, start, end)
            if lost:  # data in code put the decoder out of step
                cuts = [start, *lost, end]
                spans = list(pairwise(cuts))
                function = self._decode(start, spans, "start")
            self._known["start", start] = function
        return function

    @cached_property
    def _import_branches(self) -> list[int]:
        found: list[int] = self.references.import_branches.tolist()
        return found

    def _has_import_branches(self, start: int, end: int) -> bool:
        i = bisect_left(self._import_branches, start)
        return i < len(self._import_branches) and self._import_branches[i] < end

    def _lost_boundaries(self, known: Sequence[int], start: int, end: int) -> list[int]:
        """Import calls and jumps in a stretch that its decoding stepped over."""
        branches, count = self._import_branches, len(known)
        chosen = branches[bisect_left(branches, start) : bisect_left(branches, end)]
        places = map(bisect_left, repeat(known), chosen)
        return [
            branch
            for branch, i in zip(chosen, places, strict=True)
            if i == count or known[i] != branch
        ]

    @property
    def starts(self) -> Sequence[int]:
        """Function starts of an x86 image, sorted; none of an x64 one."""
        return self._starts if self.image.bits == 32 else ()

    @cached_property
    def _starts(self) -> list[int]:
        """Function starts of an x86 image, sorted."""
        return find_starts(self.image, self.references, self.architecture.boundaries)

    def _is_only_called(self, rva: int) -> bool:
        """Whether the address of a function is made for calls only."""
        places = self.references.named.get(rva)
        if not places or self.references.pointers_to(rva):
            return False
        return all(next(self._named_calls(rva, place), None) for place in places)

    def _named_calls(self, start: int, place: int) -> Iterator[tuple[Function, int]]:
        """Calls through the register that an operand at a place gives the address of a function."""
        function = self.at(place)
        if function is None:
            return
        for i, call in function.cache.get(NAMED, {}).items():
            if call.target == start and function.rvas[call.by] < place < function.end(call.by):
                yield function, i


def _enter(function: Function, rvas: Set[int]) -> None:
    """Note with a function to which of some RVAs code outside it jumps."""
    found = [function.find(rva) for rva in rvas if rva != function.start]
    entered = {i for i in found if i is not None}
    for i in entered:
        function.sources.setdefault(i, [])
    function.cache["entered"] = entered


def _span_64(fragments: Iterable[Fragment], rva: int) -> tuple[int, int] | None:
    """The fragment around an RVA, as far as it is decoded; None where none is."""
    for start, end, _ in fragments:
        if start <= rva < end:
            return start, min(end, start + MAX_FUNCTION)
    return None


def _apart(fragments: Sequence[Fragment]) -> Iterator[tuple[int, int]]:
    """Bounds of fragments in order; what overlaps, in damaged tables, is decoded once."""
    if len(fragments) == 1:
        start, end, _ = fragments[0]
        yield start, min(end, start + MAX_FUNCTION)
        return
    last = 0
    for item in sorted(set(fragments)):
        start = max(item.start, last)
        last = max(last, min(item.end, item.start + MAX_FUNCTION))
        if start < last:
            yield start, last

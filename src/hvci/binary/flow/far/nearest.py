"""Where the object that a global is part of seems to begin, and whether others may write to it.

No image tells where objects begin: the last place before a field of which a pointer is made is
taken for that. Knows who makes such pointers; knows nothing of what is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.far.bounds import FARTHEST, NESTING, bound, count_of
from hvci.binary.flow.fates import ANY_SIZE, LOST, Fate, Kept, covers, extent
from hvci.binary.form.code import CALLS, Function, Memory

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow
    from hvci.binary.flow.makers import Makers

MOST_CODE = 1 << 20
"""Bytes of code in which stores are looked for; more have one at any small distance."""
WIDEST = 64
"""Bytes that one store can write."""
SHORT = 0x80
"""Distances from here on stand in code as numbers of their own, which are looked for first."""


class Objects:
    """The objects of one image, as far as pointers to them tell."""

    def __init__(self, flow: Dataflow, makers: Makers) -> None:
        self.flow, self.makers = flow, makers
        self.references = flow.functions.references

    def written_by_others(self, rva: int, size: int) -> int | None:
        """Where the object around a global begins, if code may write to the global unseen.

        A pointer to its start goes where nobody follows it, and some code stores as far behind a
        pointer; or through one so much is written that nobody knows where that ends.
        """
        start, fates = self._last_made(rva)
        if start == rva:
            return None
        is_open = any(map(self._is_lost, fates)) and self._is_stored(rva - start, size)
        is_open = is_open or any(self._is_filled(fate, start) for fate in fates)
        return start if is_open else None

    def _last_made(self, rva: int) -> tuple[int, list[Fate]]:
        """The last RVA of which a pointer is made, and what becomes of the pointers to it."""
        section = self.flow.image.section_at(rva)  # no object lies in two
        low = max(section.rva if section is not None else 0, rva - FARTHEST)
        named: dict[int, list[int]] = {}
        starts, places = self.references.naming(low, rva + 1)
        for start, place in zip(starts.tolist(), places.tolist(), strict=True):
            named.setdefault(start, []).append(place)
        pointed: dict[int, list[Fate]] = {}
        for place, start in self.makers.in_data(low, rva):
            pointed.setdefault(start, []).append(Fate(kept=frozenset((Kept(place),))))
        for start in sorted({*named, *pointed}, reverse=True):
            fates = [*self._made(named.get(start, ()), start), *pointed.get(start, ())]
            if fates:
                return start, fates
        return rva, []

    def _made(self, places: Iterable[int], start: int) -> Iterator[Fate]:
        """What becomes of the pointers to an RVA that some instructions make."""
        for place in filter(self.references.may_make, places):
            found = self.flow.functions.instruction_at(place)
            if found is None or found[0].flows[found[1]] in CALLS:
                continue
            if start in self.makers.made(*found):
                yield self.makers.fate_of(*found, start)

    def _is_lost(self, fate: Fate) -> bool:
        """Whether a pointer goes where it is not followed."""
        kept = self.makers.through(fate)
        fates = (fate, *kept.fates)
        places = {variable.rva for each in fates for variable in each.kept}
        read = {place for place in places if self.makers.by_table(place)}
        if kept.is_cut or any(not self.makers.of_data(place).fates for place in places - read):
            return True  # others read it
        if any(each.returned or (each.is_lost and each != LOST) for each in fates):
            return True
        return LOST in fates and (not read or read != places)

    def _is_filled(self, fate: Fate, start: int) -> bool:
        """Whether nobody knows how much is written through a pointer to an RVA."""
        fates, bits = (fate, *self.makers.through(fate).fates), self.flow.image.bits
        if any(
            write.size == ANY_SIZE and not bound(self.flow, write, start, Kind.ADDRESS)
            for each in fates
            for write in each.writes
        ):
            return True
        return any(
            extent(passed.name, passed.argument, bits) < 0
            and any(x.kind is not Kind.CONST for x in count_of(self.flow, passed, NESTING))
            for each in fates
            for passed in each.passed
        )

    def _is_stored(self, behind: int, size: int) -> bool:
        """Whether some code may store so far behind a pointer."""
        if sum(end - start for start, end in self.flow.image.code_ranges) > MOST_CODE:
            return True
        if behind - WIDEST >= SHORT and not len(
            self.flow.arch.numbers(behind - WIDEST, behind + size)
        ):
            return False
        frames = self.flow.frames
        return any(
            frames.offset(function, i, memory) is None
            for (offset, width), stores in self._stores.items()
            if covers(offset, width, behind, size)
            for function, i, memory in stores
        )

    @cached_property
    def _stores(self) -> dict[tuple[int, int], list[tuple[Function, int, Memory]]]:
        """By displacement and bytes: the stores through registers, some of which name the frame."""
        arch, functions = self.flow.arch, self.flow.functions
        found: dict[tuple[int, int], list[tuple[Function, int, Memory]]] = {}
        frame = (arch.stack_pointer, arch.frame_pointer)
        for start in functions.reached():
            if (function := functions.at(start)) is None:
                continue
            for i in arch.storing(function):
                for memory in arch.effect(function, i).stores:
                    if memory.base < 0 or memory.base in frame or memory.index_register >= 0:
                        continue
                    key = memory.displacement, memory.size
                    found.setdefault(key, []).append((function, i, memory))
        return found

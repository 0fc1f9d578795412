"""What is written far behind where a pointer to data of the image points, as far as that is sure.

Knows who makes such a pointer; how far a fill goes is said by `bounds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.far.bounds import FARTHEST, Span, spans
from hvci.binary.flow.fates import OBJECT_REACH, Fate, Place, Write, covers
from hvci.binary.form.code import CALLS, Ahead
from hvci.binary.form.references import Rvas
from hvci.catalog.memory import BLOCKS

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow
    from hvci.binary.flow.makers import Makers

WIDEST = 8
"""Bytes that one access can move; those of more are told as two."""

WALKED = 100
"""Instructions in which a use is looked for of a pointer to what may be far before a variable."""


class Reached(NamedTuple):
    """What is written far behind an RVA by a pointer to that."""

    start: int
    writes: tuple[Write, ...]
    """Single stores."""
    spans: tuple[Span, ...]
    """What is filled."""


class FarWrites:
    """The writes far behind the start of data in one image."""

    def __init__(self, flow: Dataflow, makers: Makers) -> None:
        self.flow, self.makers = flow, makers
        self._made: dict[tuple[int, bool], tuple[Reached, ...]] = {}
        """By the RVA of what makes a pointer, and for what that is looked at."""
        self._kept: dict[int, Reached] = {}
        """By the RVA of a pointer in data."""
        self._filling: dict[int, bool] = {}

    def find(self, rva: int, size: int) -> tuple[list[tuple[int, Write]], list[Place]]:
        """The stores to some bytes, each with where its pointer points, and what fills them.

        By pointers to what begins far before.
        """
        stores: list[tuple[int, Write]] = []
        fills: list[Place] = []
        for start, writes, filled in self._around(rva):
            behind = rva - start
            stores += ((start, x) for x in writes if covers(x.offset, x.size, behind, size))
            fills += (by for first, end, by in filled if first <= behind < end)
        return stores, fills

    def _around(self, rva: int) -> Iterator[Reached]:
        """All that is written from far before an RVA on.

        Or, on x86, from far behind it: an index may count up to 0.
        """
        references = self.flow.functions.references
        section = self.flow.image.section_at(rva)  # no object lies in two
        first = section.rva if section is not None else 0
        low, high = max(first, rva - FARTHEST), rva - OBJECT_REACH + 1
        starts, places = references.naming(low, max(low, high))
        is_field = self._may_be_fields(rva - starts)
        named = [*zip(places.tolist(), is_field.tolist(), strict=True)]
        if self.flow.image.bits == 32:
            ends = references.naming(rva + 1, rva + FARTHEST)[1].tolist()
            named += [(place, False) for place in ends if self._ahead.has_index(place)]
        for key in named:
            if references.may_make(key[0]) and (key[1] or self._may_be_filled(key[0])):
                if key not in self._made:
                    self._made[key] = ()  # while it is asked for
                    self._made[key] = tuple(self._by_code(*key))
                yield from self._made[key]
        for place, start in self.makers.in_data(low, high):
            if self._may_be_fields(np.array((rva - start,))).any():
                if place not in self._kept:
                    self._kept[place] = Reached(start, (), ())
                    self._kept[place] = self._reached(self.makers.of_data(place).fates, start)
                yield self._kept[place]

    @cached_property
    def _numbers(self) -> Rvas:
        """The distances that code may hold from the start of data to something far behind."""
        return self.flow.arch.numbers(OBJECT_REACH - WIDEST, FARTHEST)

    def _may_be_fields(self, distances: Rvas) -> npt.NDArray[np.bool_]:
        """Which distances code may add to a pointer before it stores."""
        numbers = np.append(self._numbers, 2 * FARTHEST)
        nearest = numbers[numbers.searchsorted(distances, "right") - 1]
        return np.asarray((nearest <= distances) & (nearest > distances - WIDEST))

    @cached_property
    def _ahead(self) -> Ahead:
        """What tells where code may fill memory."""
        names, imports = BLOCKS, self.flow.image.imports
        slots = frozenset(rva for rva, each in imports.items() if each.name in names)
        return self.flow.arch.may_fill(slots)

    def _may_be_filled(self, place: int) -> bool:
        """Whether code right behind a place may fill what it makes the address of."""
        if place not in self._filling:
            self._filling[place] = self._ahead.behind(place)
        return self._filling[place]

    def _by_code(self, place: int, out_of_variables: bool) -> Iterator[Reached]:
        """What is written by a pointer that the instruction around a place makes.

        Out of the variables that it is put into, as well.
        """
        found = self.flow.functions.instruction_at(place)
        if found is None or found[0].flows[found[1]] in CALLS:
            return
        for start in sorted(self.makers.made(*found)):
            fate = self.makers.fate_of(*found, start, WALKED)
            kept = self.makers.through(fate).fates if fate.kept and out_of_variables else ()
            yield self._reached((fate, *kept), start)

    def _reached(self, fates: Iterable[Fate], start: int) -> Reached:
        """What is written by a pointer to an RVA, where that is far behind it."""
        writes: set[Write] = set()
        filled: set[Span] = set()
        for fate in fates:
            writes |= {x for x in fate.writes if x.size > 0 and x.offset + x.size > OBJECT_REACH}
            filled |= {
                span
                for span in spans(self.flow, fate, start, Kind.ADDRESS)
                if span.end - span.first >= OBJECT_REACH
            }
        in_order = sorted(writes, key=lambda x: (x.function.rvas[x.i], x.offset, len(x.calls)))
        return Reached(start, tuple(in_order), tuple(filled))

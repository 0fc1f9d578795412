"""Local variables that callees write, far behind the start of the object that they get."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hvci.binary.flow.atoms import Kind
from hvci.binary.flow.far.bounds import FARTHEST, spans
from hvci.binary.flow.fates import OBJECT_REACH, Fate, covers
from hvci.binary.form.code import Function, Location, slot_offset

if TYPE_CHECKING:
    from hvci.binary.flow.dataflow import Dataflow

SLOT = 4
"""Bytes of the options that are asked for."""
NONE: frozenset[int] = frozenset()


def filling(flow: Dataflow, function: Function, location: Location) -> frozenset[int]:
    """The calls that surely write a slot, in an object that begins far before it."""
    taken, wanted = flow.frames.taken(function), slot_offset(location)
    if not taken or taken[0][0] > wanted - OBJECT_REACH:
        return NONE
    known: dict[int, frozenset[int]] = function.cache.setdefault("filling", {})
    if wanted not in known:
        known[wanted] = NONE  # while it is asked for
        first = bisect_left(taken, (wanted - FARTHEST, 0))
        last = bisect_left(taken, (wanted - OBJECT_REACH + 1, 0))
        known[wanted] = frozenset(
            by
            for at, i in taken[first:last]
            for by in _filling(flow, flow.frames.fate(function, i), at, wanted - at)
        )
    return known[wanted]


def _filling(flow: Dataflow, fate: Fate, at: int, behind: int) -> Iterator[int]:
    """The calls that write so far behind the address of a place, out of what becomes of that."""
    for write in fate.writes:
        if write.calls and write.size > 0 and covers(write.offset, write.size, behind, SLOT):
            yield write.calls[0][1]
    for first, end, (_, by) in spans(flow, fate, at, Kind.STACK):
        if first <= behind < end:
            yield by

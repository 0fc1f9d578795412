"""The usual call of the framework in ARM64 words: table loaded, entry loaded, entry called.

Decodes no function and asks no data flow. What is not that plain is left to table.py.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from hvci.binary.analysis.wiring import Analysis
from hvci.binary.arch.arm64.encoding import (
    ZERO,
)
from hvci.binary.arch.arm64.lift import CALLEE_SAVED, PLAIN_LOAD, PLAIN_LOAD_MASK
from hvci.binary.arch.arm64.scan.references import ReferencesArm64
from hvci.binary.arch.arm64.steps import STEPS
from hvci.binary.arch.arm64.words import (
    is_address_of_page,
    literal_target,
)
from hvci.binary.form.functions import MAX_FUNCTION
from hvci.binary.form.straight import WINDOW, Held, next_call
from hvci.binary.pe.image import PeImage

if TYPE_CHECKING:
    from hvci.binary.arch.arm64.architecture import Arm64


class Plain(NamedTuple):
    """One call whose entry the words around it give away."""

    rva: int
    start: int
    """RVA of the function that calls."""
    offset: int
    """Offset of the entry in the table, in bytes."""
    is_sure: bool
    """Nothing on the way, and no other way, can have changed the register."""


def plain_call(analysis: Analysis, place: int) -> Plain | None:
    """The call that follows a load of the table at an RVA; None when it is not plain to see."""
    unwind = analysis.functions.unwind
    at = bisect_right(unwind.starts, place) - 1
    if at < 0 or place >= unwind.ends[at]:
        return None
    start = unwind.starts[at]
    end = min(unwind.ends[at], start + MAX_FUNCTION)
    load = analysis.image.u32(place)
    if end - place < 8 or load & PLAIN_LOAD_MASK != PLAIN_LOAD or load & 31 == ZERO:
        return None
    words = _words(analysis.image, place, end, WINDOW + 1)
    call = next_call(words[1:], STEPS, Held((load & 31,)))
    if call is None:
        return None
    n, offset, called, passed = call
    rva = place + 4 * n
    is_sure = not passed or bool(CALLEE_SAVED >> called.through & 1)
    is_sure = is_sure and not _references(analysis).are_branched_to(place + 4, rva)
    return Plain(rva, start, offset, is_sure)


def surely_loads(analysis: Analysis, place: int, table: int) -> bool:
    """Whether a load at an RVA reads the table and nothing else, whatever way leads to it."""
    image, load = analysis.image, analysis.image.u32(place)
    base, offset = load >> 5 & 31, load >> 7 & 0x7FF8
    if not CALLEE_SAVED >> base & 1:
        page = image.u32(place - 4)
        makes = is_address_of_page(page) and page & 31 == base
        if not makes or _references(analysis).are_branched_to(place, place):
            return False
        return literal_target(page, place - 4) + offset == table
    function = analysis.functions.at(place)
    if function is None:
        return False
    held = cast("Arm64", analysis.arch).lift.saved_page(function, base)
    return held is not None and held + offset == table


def _words(image: PeImage, place: int, end: int, most: int) -> tuple[int, ...]:
    """The words from an RVA on, within the function."""
    count = min(most, (end - place) // 4)
    return struct.unpack_from(f"<{count}I", image.memory, place)


def _references(analysis: Analysis) -> ReferencesArm64:
    return cast("ReferencesArm64", analysis.references)


def loads_at(analysis: Analysis, table: int, known: Iterable[int]) -> list[tuple[int, int]]:
    """(start of the function, RVA) of loads at the page offset of an RVA, but for known ones.

    Only those in functions with exception data that make the address of the page.
    """
    makes_page, page = _references(analysis).makes_page, table & ~0xFFF
    wanted = PLAIN_LOAD | (table & 0xFFF) >> 3 << 10
    seen = set(known)
    found = []
    for start, end in analysis.image.code_ranges:
        first = (start + 3) & ~3
        words = np.frombuffer(analysis.image.memory, "<u4", max(0, end - first) // 4, first)
        for n in (words & 0xFFFF_FC00 == wanted).nonzero()[0].tolist():
            rva = first + 4 * n
            fragments = analysis.functions.unwind.find(rva) if rva not in seen else ()
            if fragments and makes_page(page, fragments[0].start, fragments[0].end):
                found.append((fragments[0].start, rva))
    return found

"""The usual call of the framework in ARM64 words: table loaded, entry loaded, entry called.

Decodes no function and asks no data flow. What is not that plain is left to kmdf.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hvci.binary.ahead import WINDOW, Held, plain_arm64
from hvci.binary.analysis import Analysis
from hvci.binary.arm64_lift import PLAIN_LOAD, PLAIN_LOAD_MASK
from hvci.binary.arm64_words import FLOW_BY_TOP, ZERO, indirect_flow
from hvci.binary.code import Flow
from hvci.binary.functions import MAX_FUNCTION
from hvci.binary.references_arm64 import ReferencesArm64

_FLOWS = FLOW_BY_TOP.tolist()


class Plain(NamedTuple):
    """One call whose entry the words around it give away."""

    rva: int
    start: int
    """RVA of the function that calls."""
    offset: int
    """Offset of the entry in the table, in bytes."""


def plain_call(analysis: Analysis, place: int) -> Plain | None:
    """The call that follows a load of the table at an RVA; None when it is not plain to see."""
    image = analysis.image
    found = analysis.functions.unwind.find(place)
    if not found:
        return None
    start = found[0].start
    end = min(found[0].end, start + MAX_FUNCTION)
    count = min(WINDOW + 1, (end - place) // 4)
    if count < 2:
        return None
    load, *words = struct.unpack_from(f"<{count}I", image.memory, place)
    if load & PLAIN_LOAD_MASK != PLAIN_LOAD or load & 31 == ZERO:
        return None
    held = Held(tables={load & 31})
    for n, word in enumerate(words, 1):
        flow = _FLOWS[word >> 24]
        if flow == Flow.NEXT:
            plain_arm64(word, held)
            if held.lost:
                return None
            continue
        if flow == Flow.CALL:
            continue
        flow = indirect_flow(word) if flow == 0xFF else flow
        if flow not in (Flow.INDIRECT_CALL, Flow.INDIRECT_JUMP):
            return None
        offset = held.routines.get(word >> 5 & 31)
        if offset is not None:
            return Plain(place + 4 * n, start, offset)
        if flow == Flow.INDIRECT_JUMP:
            return None
    return None


def loads_at(analysis: Analysis, table: int, known: Iterable[int]) -> list[tuple[int, int]]:
    """(start of the function, RVA) of loads at the page offset of an RVA, but for known ones.

    Only those in functions with exception data that make the address of the page.
    """
    assert isinstance(analysis.references, ReferencesArm64)
    makes_page, page = analysis.references.makes_page, table & ~0xFFF
    wanted = PLAIN_LOAD | (table & 0xFFF) >> 3 << 10
    seen = set(known)
    found = []
    for start, end in analysis.image.code_ranges:
        first = (start + 3) & ~3
        words = np.frombuffer(analysis.image.memory, "<u4", max(0, end - first) // 4, first)
        for n in np.flatnonzero(words & 0xFFFF_FC00 == wanted).tolist():
            rva = first + 4 * n
            fragments = analysis.functions.unwind.find(rva) if rva not in seen else ()
            if fragments and makes_page(page, fragments[0].start, fragments[0].end):
                found.append((fragments[0].start, rva))
    return found

"""Cheap tests on ARM64 words that decide whether a place is worth decoding a function for.

The counterpart of nearby.py, and of the scan in processor.py: an instruction is one word, so a mask
finds it. A place that passes is decoded and judged by the data flow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hvci.binary.behaviour.scene import Scene
from hvci.binary.behaviour.words_near import Nearby
from hvci.binary.sets import among, distinct
from hvci.model import Behaviour, Confidence

Words = npt.NDArray[np.uint32]
Rvas = npt.NDArray[np.int64]
WINDOW = 24
"""Words behind an address in which a store through it, or a copy, is looked for."""
MAX_MATCHES = 64
FRAME = 29
"""The frame pointer; the link register and the stack pointer follow it."""
PAIR_WINDOW = 4
"""Words between an ADRP and its ADD."""
_GUARDED = (
    "memory integrity itself does not forbid it; PatchGuard and, where virtualization-based "
    "security runs, HyperGuard stop the machine for a value that is not the system's own"
)
_REGISTERS = {0xD518_1000: "SCTLR_EL1, the system control register", 0xD518_C000: "VBAR_EL1, the "
              "exception vector table"}  # fmt: skip


def processor_state(scene: Scene) -> None:
    """Writes to the system control register and the vector table."""
    for words, rvas in _code(scene):
        for pattern, name in _REGISTERS.items():
            for rva in rvas[(words & 0xFFFF_FFE0) == pattern].tolist():
                found = scene.analysis.functions.instruction_at(rva)
                if found is not None:
                    scene.add(
                        "writes-executable-memory",
                        Behaviour.PROCESSOR_STATE,
                        f"writes {name}",
                        found,
                        Confidence.PROVEN,
                        _GUARDED,
                    )


def code_addresses(scene: Scene, copies: frozenset[int]) -> list[int]:
    """RVAs of instructions that complete an address of code, where a store or copy follows."""
    found: list[int] = []
    for words, rvas in _code(scene):
        pages = np.flatnonzero((words & 0x9F00_0000) == 0x9000_0000)
        pages = pages[pages + PAIR_WINDOW < len(words)]
        chosen = words[pages].astype(np.int64)
        delta = _signed((chosen >> 5 & 0x7FFFF) << 2 | (chosen >> 29 & 3), 21) << 12
        inside = scene.analysis.references.in_code((rvas[pages] & ~0xFFF) + delta)
        pages, register = pages[inside], (chosen & 31)[inside]
        near = Nearby(scene)
        candidates = _followed(words, rvas, pages, frozenset())
        for step in range(1, PAIR_WINDOW + 1):
            after = words[pages + step]
            adds = ((after & 0xFF80_0000) == 0x9100_0000) & ((after >> 5 & 31) == register)
            candidates += _followed(words, rvas, pages[adds] + step, copies)
        found += [place for place in candidates if near.is_kept(place, copies, anywhere=False)]
    return found


def loads(scene: Scene, places: list[int], copies: frozenset[int]) -> list[int]:
    """Those of the loads of a variable that a store through the loaded register follows."""
    wanted = np.array(sorted(places), np.int64)
    found: list[int] = []
    for words, rvas in _code(scene):
        at = np.searchsorted(rvas, wanted)
        at = at[at < len(words)]
        at = at[among(rvas[at], distinct(wanted))]
        called = (words[np.minimum(at[:, None] + np.arange(1, 4), len(words) - 1)]) & 0xFFDF_FC1F
        at = at[~(called == 0xD61F_0000).any(axis=1)]
        found += _followed(words, rvas, at, copies, any_base=True)
    near = Nearby(scene)
    return [place for place in found if near.is_kept(place, copies, anywhere=True)]


def indirect(scene: Scene, sites: Rvas, most: int) -> list[int]:
    """RVAs of calls and jumps through a register, at most so many before the usual are left out.

    The usual ones go through what was just loaded from an import or from a field of a structure.
    """
    if not len(sites):
        return []
    known = set(scene.analysis.import_places)
    found = []
    for words, rvas in _code(scene):
        places = np.flatnonzero((words & 0xFFFF_FC1F) == 0xD61F_0000)
        calls = np.flatnonzero((words & 0xFFFF_FC1F) == 0xD63F_0000)
        places = distinct(np.concatenate((places, calls)))
        before = np.searchsorted(sites, rvas[places]) - 1
        near = (before >= 0) & (rvas[places] - sites[np.maximum(before, 0)] < 0x800)
        found += [int(rvas[i]) for i in places[near].tolist() if not _just_loaded(rvas, i, known)]
    is_usual = Nearby(scene).is_method_call
    return [place for place in found[:most] if not is_usual(place)]


def matching(scene: Scene, mask: int, pattern: int) -> set[int]:
    """Starts of the functions that hold a word of a pattern."""
    found = set()
    for words, rvas in _code(scene):
        for rva in rvas[(words & mask) == pattern].tolist()[:MAX_MATCHES]:
            function = scene.analysis.functions.at(rva)
            if function is not None:
                found.add(function.start)
    return found


def _just_loaded(rvas: Rvas, i: int, known: set[int]) -> bool:
    return any(int(rvas[i]) - 4 * n in known for n in range(1, 3))


def _followed(
    words: Words, rvas: Rvas, places: Rvas, copies: frozenset[int], any_base: bool = False
) -> list[int]:
    """RVAs of the instructions behind which their register is stored through, or a copy called."""
    if not len(places):
        return []
    behind = np.minimum(places[:, None] + np.arange(1, WINDOW), len(words) - 1)
    window = words[behind]
    register = (words[places] & 31)[:, None]
    stores = ((window & 0x3A40_0000) == 0x3800_0000) | ((window & 0x3A40_0000) == 0x2800_0000)
    base = window >> 5 & 31
    through = (stores & ((base == register) | (any_base & (base < FRAME)))).any(axis=1)
    calls = np.array(sorted(copies), np.int64)
    next_call = np.searchsorted(calls, rvas[places])
    near = np.zeros(len(places), bool)
    if len(calls):
        distance = calls[np.minimum(next_call, len(calls) - 1)] - rvas[places]
        near = (distance > 0) & (distance < 4 * WINDOW)
    return [int(rva) for rva in rvas[places[through | near]]]


def _code(scene: Scene) -> Iterator[tuple[Words, Rvas]]:
    """The words of every executable section with their RVAs."""
    for start, end in scene.image.code_ranges:
        first = (start + 3) & ~3
        count = max(0, end - first) // 4
        if count:
            words = np.frombuffer(scene.image.memory, "<u4", count, first)
            yield words, np.arange(first, first + 4 * count, 4, dtype=np.int64)


def _signed(values: Rvas, bits: int) -> Rvas:
    return values - ((values >> (bits - 1)) << bits)

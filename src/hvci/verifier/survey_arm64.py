"""The survey of ARM64 code: everything by bit masks over one array of instruction words.

Addresses are RVAs. Executes nothing.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from hvci.binary import PeImage
from hvci.verifier.checks import watched_ddis

Rvas = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
WINDOW = 16
"""Instructions between the load of an import slot and the call through it."""
BRANCHES = (
    (0x7C00_0000, 0x1400_0000, 0, 26),
    (0xFF00_0010, 0x5400_0000, 5, 19),
    (0x7E00_0000, 0x3400_0000, 5, 19),
    (0x7E00_0000, 0x3600_0000, 5, 14),
)
"""(mask, pattern, shift, bits) of direct branches and calls."""


def survey_arm64(image: PeImage) -> tuple[Rvas, dict[int, int], tuple[int, ...]]:
    """(block leaders, call sites with their functions, control codes)."""
    starts = _function_starts(image)
    leaders: set[int] = set(starts)
    goals: dict[int, int] = {}
    codes: set[int] = set()
    slots = _slots(image)
    for start, end in image.code_ranges:
        words = np.frombuffer(image.memory, "<u4", (end - start) // 4, start)
        leaders.update(_splits(words, start))
        codes.update(_constants(words))
        for site in _sites(words, start, slots):
            at = bisect_right(starts, site) - 1
            goals[site] = starts[at] if at >= 0 else site
    found = np.fromiter(sorted(leaders), np.int64, len(leaders))
    return found, dict(sorted(goals.items())), tuple(sorted(codes)[:96])


def _function_starts(image: PeImage) -> list[int]:
    at, size = image.runtime_functions
    rows = np.frombuffer(image.memory, "<u4", 2 * (size // 8), at).reshape(-1, 2)
    starts = {int(start) for start in rows[:, 0] if 0 < start < image.size}
    return sorted(starts | {int(image.headers.entry)})


def _slots(image: PeImage) -> set[int]:
    wanted = watched_ddis()
    return {slot for slot, item in image.imports.items() if item.name in wanted}


def _splits(words: Words, start: int) -> set[int]:
    """Targets of direct branches, and what follows every branch."""
    found: set[int] = set()
    ends = (words & 0xFE00_0000) == 0xD600_0000
    for mask, pattern, shift, bits in BRANCHES:
        hits = np.flatnonzero((words & np.uint32(mask)) == pattern)
        raw = (words[hits].astype(np.int64) >> shift) & ((1 << bits) - 1)
        offset = np.where(raw >> (bits - 1), raw - (1 << bits), raw)
        targets = hits + offset
        good = targets[(targets >= 0) & (targets < len(words))]
        found.update((start + 4 * good).tolist())
        ends |= (words & np.uint32(mask)) == pattern
    after = np.flatnonzero(ends) + 1
    found.update((start + 4 * after[after < len(words)]).tolist())
    return found


def _constants(words: Words) -> set[int]:
    """Control codes built by MOVZ (low half) and MOVK (high half), in either order of registers."""
    found: set[int] = set()
    high = np.flatnonzero((words & 0xFFE0_0000) == 0x72A0_0000)
    for at in high.tolist():
        register, upper = int(words[at]) & 31, int(words[at]) >> 5 & 0xFFFF
        for before in range(at - 1, max(at - 4, -1), -1):
            word = int(words[before])
            if word & 0xFFE0_0000 == 0x5280_0000 and word & 31 == register:
                value = upper << 16 | word >> 5 & 0xFFFF
                if 1 <= upper < 0x60 or upper >= 0x8000:
                    found.add(value)
                break
    return found


def _sites(words: Words, start: int, slots: set[int]) -> list[int]:
    """Calls and tail jumps through a register that was loaded from an import slot."""
    found: list[int] = []
    thunks: dict[int, int] = {}
    for at, register in _slot_loads(words, start, slots):
        for later in range(at + 1, min(at + WINDOW, len(words))):
            word = int(words[later])
            if word & 0xFFDF_FC1F == 0xD61F_0000 and word >> 5 & 31 == register:
                if word & 0x0020_0000 or later - at > 1:
                    found.append(start + 4 * later)
                else:
                    thunks[start + 4 * (at - 1)] = start + 4 * later
                break
            if _writes(word, register):
                break
    callers = _callers(words, start, set(thunks))
    called = {target for target, _ in callers}
    found += [site for _, site in callers]
    return found + [jump for thunk, jump in thunks.items() if thunk not in called]


def _slot_loads(words: Words, start: int, slots: set[int]) -> list[tuple[int, int]]:
    """(index, register) of each `ldr x, [page, #offset]` that reads a slot."""
    found = []
    loads = np.flatnonzero((words & 0xFFC0_0000) == 0xF940_0000)
    pages = np.flatnonzero((words & 0x9F00_0000) == 0x9000_0000)
    for at in loads.tolist():
        word = int(words[at])
        base, offset = word >> 5 & 31, (word >> 10 & 0xFFF) * 8
        k = int(np.searchsorted(pages, at)) - 1
        while k >= 0 and at - pages[k] <= WINDOW:
            page = int(words[pages[k]])
            if page & 31 == base:
                immediate = (page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3
                immediate -= (immediate >> 20 & 1) << 21
                where = ((start + 4 * int(pages[k])) & ~0xFFF) + (immediate << 12) + offset
                if where in slots:
                    found.append((at, word & 31))
                break
            k -= 1
    return found


def _writes(word: int, register: int) -> bool:
    """Whether a load, move or arithmetic instruction may overwrite the register."""
    if word & 0x3F00_0000 == 0x3900_0000 and not word >> 22 & 3:
        return False
    if word & 0xFC00_0000 in (0x9400_0000, 0x1400_0000):
        return True
    return word & 31 == register and word & 0xFC00_0000 != 0x3400_0000


def _callers(words: Words, start: int, thunks: set[int]) -> list[tuple[int, int]]:
    """(thunk, site) of every direct call or jump to a thunk."""
    found = []
    hits = np.flatnonzero((words & 0x7C00_0000) == 0x1400_0000)
    raw = words[hits].astype(np.int64) & 0x3FF_FFFF
    offset = np.where(raw >> 25, raw - (1 << 26), raw)
    for at, to in zip(hits.tolist(), (hits + offset).tolist(), strict=True):
        target = start + 4 * to
        if target in thunks:
            found.append((target, start + 4 * at))
    return found

"""The survey of ARM64 code: everything by bit masks over one array of instruction words.

Addresses are RVAs. Executes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvci.binary import PeImage

Rvas = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
BRANCHES = (
    (0x7C00_0000, 0x1400_0000, 0, 26),
    (0xFF00_0010, 0x5400_0000, 5, 19),
    (0x7E00_0000, 0x3400_0000, 5, 19),
    (0x7E00_0000, 0x3600_0000, 5, 14),
)
"""(mask, pattern, shift, bits) of direct branches and calls."""


def survey_arm64(image: PeImage) -> tuple[Rvas, tuple[int, ...]]:
    """(block leaders, control codes)."""
    leaders: set[int] = set(_function_starts(image))
    codes: set[int] = set()
    for start, end in image.code_ranges:
        words = np.frombuffer(image.memory, "<u4", (end - start) // 4, start)
        leaders.update(_splits(words, start))
        codes.update(_constants(words))
    found = np.fromiter(sorted(leaders), np.int64, len(leaders))
    return found, tuple(sorted(codes))


def _function_starts(image: PeImage) -> list[int]:
    at, size = image.runtime_functions
    rows = np.frombuffer(image.memory, "<u4", 2 * (size // 8), at).reshape(-1, 2)
    starts = {int(start) for start in rows[:, 0] if 0 < start < image.size}
    return sorted(starts | {int(image.headers.entry)})


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
